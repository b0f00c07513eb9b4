//! The configuration keywords: one record each. The table drives parsing, help and manual.

use core::fmt;
use core::time::Duration;

mod nearest;
pub use nearest::nearest;

/// Which setting a keyword names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is described by its record in KEYWORDS.
pub enum Setting {
    AddressFamily,
    BindAddress,
    BindInterface,
    ConnectTimeout,
    ExitOnForwardFailure,
    Fallback,
    Hostname,
    IPQoS,
    IdentityFile,
    IdleTimeout,
    LogLevel,
    MaxLifetime,
    Port,
    RekeyLimit,
    RemoteForward,
    RuntimeDirectory,
    SerialFile,
    ServerAliveCountMax,
    ServerAliveInterval,
    StartAtBoot,
    StateFile,
    StrictHostKeyChecking,
    TCPKeepAlive,
    User,
    UserKnownHostsFile,
    VerifyForward,
}

/// What values a keyword takes. Its `Display` says so in words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number in these bounds.
    Number {
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// A time in the formats of sshd_config(5), in these bounds.
    Time {
        /// Shortest, in seconds.
        min_s: u32,
        /// Longest, in seconds.
        max_s: u32,
    },
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A login name.
    User,
    /// A file name of at most 255 bytes.
    Path,
    /// A file name of at most 255 bytes, with tokens.
    Template,
    /// The name or address of a server, with tokens.
    Host,
    /// `[bind:]port host:hostport`, with a path in the place of either.
    Forward,
    /// `[user@]host[:port]`.
    Destination,
    /// An amount of data and optionally a time.
    RekeyLimit,
    /// An IPv4 or IPv6 address, no name.
    Address,
    /// The name of a network interface.
    Interface,
    /// One or two markings of packets.
    IpQos,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Time { min_s, max_s } => write!(
                f,
                "a time from {min_s} to {max_s} seconds, such as 90, 5m or 1h30m"
            ),
            Self::Choice(words) => {
                f.write_str("one of ")?;
                for (i, word) in words.iter().enumerate() {
                    write!(f, "{}{word}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::User => f.write_str("a user name of 1 to 32 letters, digits and ._+-"),
            Self::Path => f.write_str("a file name of 1 to 255 bytes"),
            Self::Template => {
                f.write_str("a file name of 1 to 255 bytes; tokens such as %h are replaced")
            }
            Self::Host => f.write_str("a name or an address; %h is the host that was asked for"),
            Self::Destination => f.write_str("[user@]host[:port]"),
            Self::Forward => {
                f.write_str("[bind:]port host:hostport; a Unix socket's path may stand for either")
            }
            Self::Address => f.write_str("an IPv4 or IPv6 address"),
            Self::Interface => f.write_str("an interface name of 1 to 15 bytes"),
            Self::IpQos => f.write_str(
                "one or two of af11 to af43, cs0 to cs7, ef, le, lowdelay, throughput, reliability, none or a number from 0 to 255",
            ),
            Self::RekeyLimit => f.write_str(
                "an amount from 16K to 4G or `default`, then optionally a time (60 s to 1w) or `none`",
            ),
        }
    }
}

/// One configuration keyword, with ssh_config(5)'s name and meaning.
#[derive(PartialEq, Eq, Debug)]
pub struct Keyword {
    /// The name; any case is read.
    pub name: &'static str,
    /// What it sets.
    pub setting: Setting,
    /// What values it takes.
    pub kind: Kind,
    /// The value that holds when none is given, as text; empty for none.
    pub default: &'static str,
    /// Unit of a plain number; empty if it has none.
    pub unit: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

const YES_NO: Kind = Kind::Choice(&["yes", "no"]);

macro_rules! keyword {
    ($setting:ident, $kind:expr, $default:literal, $unit:literal, $help:literal) => {
        Keyword {
            name: stringify!($setting),
            setting: Setting::$setting,
            kind: $kind,
            default: $default,
            unit: $unit,
            help: $help,
        }
    };
}

/// That of `IdentityFile`, which `-i` sets as well.
pub(crate) const IDENTITY_FILE: Keyword = keyword!(
    IdentityFile,
    Kind::Template,
    "",
    "",
    "Private key file (Dropbear, OpenSSH or PEM); up to 4, tried in order"
);

/// All keywords, in alphabetical order.
#[rustfmt::skip]
pub static KEYWORDS: [Keyword; 26] = [
    keyword!(AddressFamily, Kind::Choice(&["any", "inet", "inet6"]), "any", "",
        "Which addresses of the server to use"),
    keyword!(BindAddress, Kind::Address, "", "",
        "Address of this machine to connect from"),
    keyword!(BindInterface, Kind::Interface, "", "",
        "Interface to connect through, such as the modem's"),
    keyword!(ConnectTimeout, Kind::Time { min_s: 1, max_s: 3600 }, "30", "s",
        "How long TCP connection and the server's identification may take together"),
    keyword!(ExitOnForwardFailure, YES_NO, "no", "",
        "End when the server refuses a forward, instead of asking again"),
    keyword!(Fallback, Kind::Destination, "", "",
        "Server to go to when the one before it stays unreachable; up to 4"),
    keyword!(Hostname, Kind::Host, "", "",
        "Real name or address of the server that a Host block names"),
    keyword!(IPQoS, Kind::IpQos, "none", "",
        "Marking of the connection's packets; of two, the second is used"),
    IDENTITY_FILE,
    keyword!(IdleTimeout, Kind::Time { min_s: 0, max_s: 31_536_000 }, "0", "s",
        "End when nobody connected through the tunnel for so long; 0 is never"),
    keyword!(LogLevel,
        Kind::Choice(&["QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"]),
        "INFO", "", "How much to log"),
    keyword!(MaxLifetime, Kind::Time { min_s: 0, max_s: 31_536_000 }, "0", "s",
        "End so long after the last call that asked for the tunnel; 0 is never"),
    keyword!(Port, Kind::Number { min: 1, max: 65535 }, "22", "",
        "TCP port of the server"),
    keyword!(RekeyLimit, Kind::RekeyLimit, "1G none", "bytes, s",
        "Data and time after which new session keys are asked for"),
    keyword!(RemoteForward, Kind::Forward, "", "",
        "Listener on the server and the local target it leads to; up to 16"),
    keyword!(RuntimeDirectory, Kind::Path, "", "",
        "Directory of locks and control sockets; /run/reachback for root, else $XDG_RUNTIME_DIR/reachback"),
    keyword!(SerialFile, Kind::Path, "", "",
        "File with this machine's serial number, for the token %s"),
    keyword!(ServerAliveCountMax, Kind::Number { min: 1, max: 100 }, "3", "",
        "Unanswered probes after which the connection counts as lost"),
    keyword!(ServerAliveInterval, Kind::Time { min_s: 0, max_s: 86400 }, "60", "s",
        "Silence after which the server is probed; 0 turns probing off"),
    keyword!(StartAtBoot, YES_NO, "no", "",
        "Whether `reachback boot` starts the tunnel of this Host block"),
    keyword!(StateFile, Kind::Template, "", "",
        "File that keeps the last address that worked, for when no name server answers"),
    keyword!(StrictHostKeyChecking, Kind::Choice(&["yes", "accept-new"]), "yes", "",
        "Whether an unknown host key may be accepted and pinned"),
    keyword!(TCPKeepAlive, YES_NO, "yes", "",
        "Whether the kernel probes an idle connection as well"),
    keyword!(User, Kind::User, "", "",
        "Login name, when the destination has none"),
    keyword!(UserKnownHostsFile, Kind::Template, "~/.ssh/known_hosts", "",
        "File with the pinned host keys"),
    keyword!(VerifyForward, YES_NO, "no", "",
        "Whether the server is asked to connect to its own listeners, to see that they lead here"),
];

/// The keyword with this name, in any case.
pub fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

/// Begin a block and read another file; they are no settings and stand in files only.
pub const STRUCTURE: [&str; 2] = ["Host", "Include"];

/// How much to log, from least to most (ssh_config(5), LogLevel).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs)] // The names are ssh's own.
pub enum LogLevel {
    Quiet,
    Fatal,
    Error,
    #[default]
    Info,
    Verbose,
    Debug1,
    Debug2,
    Debug3,
}

impl LogLevel {
    /// ssh's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "QUIET",
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Info => "INFO",
            Self::Verbose => "VERBOSE",
            Self::Debug1 => "DEBUG1",
            Self::Debug2 => "DEBUG2",
            Self::Debug3 => "DEBUG3",
        }
    }

    /// Reads ssh's name of a level, in any case; `DEBUG` is `DEBUG1`.
    pub fn parse(text: &str) -> Option<Self> {
        const NAMES: [(&str, LogLevel); 9] = [
            ("QUIET", LogLevel::Quiet),
            ("FATAL", LogLevel::Fatal),
            ("ERROR", LogLevel::Error),
            ("INFO", LogLevel::Info),
            ("VERBOSE", LogLevel::Verbose),
            ("DEBUG", LogLevel::Debug1),
            ("DEBUG1", LogLevel::Debug1),
            ("DEBUG2", LogLevel::Debug2),
            ("DEBUG3", LogLevel::Debug3),
        ];
        let found = NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(text));
        found.map(|&(_, level)| level)
    }
}

/// Reads a time as sshd_config(5) writes it under TIME FORMATS: numbers with the units
/// `s m h d w` in any case, seconds without one, added up: `600`, `10m`, `1h30m`.
pub fn parse_time(text: &str) -> Option<Duration> {
    let mut total_s: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let factor: u64 = match after.next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total_s = total_s.checked_add(number.checked_mul(factor)?)?;
        rest = after.as_str();
    }
    Some(Duration::from_secs(total_s))
}

/// Reads an amount of data in bytes with an optional `K`, `M` or `G` (powers of 1024).
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_as_in_sshd_config() {
        let seconds = |text| parse_time(text).map(|d| d.as_secs());
        assert_eq!(seconds("600"), Some(600));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(
            seconds("1W2d3H4m5"),
            Some(604_800 + 172_800 + 10_800 + 240 + 5)
        );
        for bad in [
            "",
            "m",
            "-1",
            "1x",
            "1 m",
            "1.5h",
            "99999999999999999999",
            "+3",
            "9é",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_take_powers_of_1024() {
        assert_eq!(parse_size("16M"), Some(16 << 20));
        assert_eq!(parse_size("1g"), Some(1 << 30));
        assert_eq!(parse_size("123"), Some(123));
        for bad in ["", "G", "1T", "-1K", "1.5G", "99999999999999999999G", "é"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_every_record_is_found_in_any_case() {
        assert!(KEYWORDS.windows(2).all(|w| w[0].name < w[1].name));
        for keyword in &KEYWORDS {
            assert_eq!(find(&keyword.name.to_ascii_uppercase()), Some(keyword));
            assert!(!keyword.help.is_empty());
        }
        assert_eq!(find("ProxyCommand"), None);
    }

    #[test]
    fn debug_is_the_first_debug_level() {
        assert_eq!(LogLevel::parse("debug"), LogLevel::parse("DEBUG1"));
        assert!(LogLevel::Quiet < LogLevel::Info && LogLevel::Info < LogLevel::Debug3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = (parse_time(&text), parse_size(&text), LogLevel::parse(&text));
        }
    }
}
