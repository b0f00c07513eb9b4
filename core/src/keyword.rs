//! The configuration keywords: one record each, in `keyword/table.rs`. The settings of
//! [`Config`](crate::config::Config), reading and showing them, what `SIGHUP` does with a change,
//! help, manual and completion all come from it.

use core::fmt;

mod foreign;
mod nearest;
pub(crate) mod table;
mod units;
pub use foreign::{FOREIGN, Foreign, Treatment};
pub(crate) use foreign::{find_foreign, todays_name};
pub use nearest::{nearest, nearest_of};
pub use units::{parse_size, parse_time};

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
    /// A TCP port or the name of its service.
    Port,
    /// A time in the formats of sshd_config(5), in these bounds.
    Time {
        /// Shortest, in seconds.
        min_s: u32,
        /// Longest, in seconds.
        max_s: u32,
    },
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// `yes` or `no`.
    YesNo,
    /// A login name.
    User,
    /// A file name of at most 255 bytes.
    Path,
    /// Patterns, at most 255 bytes.
    Patterns,
    /// Patterns of `host` or `user@host`, at most 512 bytes.
    Destinations,
    /// Names and patterns of algorithms, at most 512 bytes.
    Algorithms,
    /// A file name of at most 255 bytes, with tokens.
    Template,
    /// One or two of those.
    Templates,
    /// A login name, with tokens.
    UserTemplate,
    /// The name or address of a server, with tokens.
    Host,
    /// The name of a server in known_hosts.
    Name,
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
    /// `http://host:port` of a proxy, or `none`.
    Proxy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Port => f.write_str("a number from 1 to 65535 or the name of a service"),
            Self::Time { min_s, max_s } => write!(
                f,
                "a time from {min_s} to {max_s} seconds, such as 90, 5m or 1h30m, or none"
            ),
            Self::Choice(words) => {
                f.write_str("one of ")?;
                for (i, word) in words.iter().enumerate() {
                    write!(f, "{}{word}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::YesNo => f.write_str("yes or no"),
            Self::User => f.write_str("a user name of 1 to 64 letters, digits and signs, without blanks and quotes"),
            Self::Path => f.write_str("a file name of 1 to 255 bytes"),
            Self::Patterns => f.write_str("patterns with commas between"),
            Self::Destinations => f.write_str("patterns of host or user@host with commas between"),
            Self::Algorithms => f.write_str(
                "names or patterns with commas between; + before them adds to the default, - takes away, ^ puts first",
            ),
            Self::Template => {
                f.write_str("a file name of 1 to 255 bytes; tokens such as %h are replaced")
            }
            Self::Templates => {
                f.write_str("one or two file names of 1 to 255 bytes; tokens such as %h are replaced")
            }
            Self::UserTemplate => f.write_str("a login name; tokens such as %s are replaced"),
            Self::Host => f.write_str("a name or an address; %h is the host that was asked for"),
            Self::Name => f.write_str("a name of 1 to 255 signs without blanks and ,*?!|#@"),
            Self::Destination => f.write_str("[user@]host[:port]"),
            Self::Forward => {
                f.write_str("[bind:]port host:hostport; a Unix socket's path may stand for either")
            }
            Self::Address => f.write_str("an IPv4 or IPv6 address"),
            Self::Interface => f.write_str("an interface name of 1 to 15 bytes"),
            Self::IpQos => f.write_str(
                "one or two of af11 to af43, cs0 to cs7, ef, le, lowdelay, throughput, reliability, none or a number from 0 to 255",
            ),
            Self::Proxy => f.write_str(
                "http://host:port or none; the password belongs into ProxyCredentialsFile, TLS to a proxy (https://) cannot be done",
            ),
            Self::RekeyLimit => f.write_str(
                "an amount from 16K to 4G or `default`, then optionally a time (60 s to 1w) or `none`",
            ),
        }
    }
}

impl Kind {
    /// The words of a choice.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Choice(words) => words,
            Self::YesNo => &["yes", "no", "true", "false"],
            _ => &[],
        }
    }

    /// How many words one value may have.
    pub(crate) fn most_words(&self) -> usize {
        match self {
            Self::Forward | Self::RekeyLimit | Self::IpQos | Self::Templates => 2,
            _ => 1,
        }
    }
}

/// What a running tunnel does when `SIGHUP` finds another value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OnReload {
    /// The value holds from now on; the connection stays.
    Applies,
    /// The connection is closed and made again.
    Renews,
    /// The same, if the connection is to the server that the value names.
    RenewsIfUsed,
    /// The process begins anew with another lock and socket, and so with another connection.
    Moves,
    /// The process keeps the value that it was started with.
    NextStart,
}

impl fmt::Display for OnReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applies => "applies to the living connection",
            Self::Renews => "renews the connection",
            Self::RenewsIfUsed => "renews the connection if it is to a server that was named by it",
            Self::Moves => "moves lock and socket, and renews the connection",
            Self::NextStart => "needs a restart",
        })
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
    /// What a change at `SIGHUP` does.
    pub on_reload: OnReload,
    /// What it does, in one line.
    pub help: &'static str,
}

macro_rules! records {
    ($(
        $name:ident, $field:ident: $how:ident[$($type:tt)*],
        $kind:expr, $default:literal, $unit:literal, $on_reload:ident, $help:literal;
    )*) => {
        /// Which setting a keyword names.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub enum Setting {
            $(#[doc = $help] $name,)*
        }

        impl Setting {
            /// The record of this setting.
            pub fn keyword(self) -> &'static Keyword {
                &KEYWORDS[self as usize]
            }
        }

        /// All keywords, in alphabetical order.
        pub static KEYWORDS: [Keyword; [$(Setting::$name),*].len()] = [
            $(Keyword {
                name: stringify!($name),
                setting: Setting::$name,
                kind: $kind,
                default: $default,
                unit: $unit,
                on_reload: OnReload::$on_reload,
                help: $help,
            },)*
        ];
    };
}
table::keyword_table!(records);

/// The keyword with this name, in any case, or with one that ssh still takes for it.
pub fn find(name: &str) -> Option<&'static Keyword> {
    let name = todays_name(name);
    KEYWORDS.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

/// Begin a block or read another file; they are no settings and stand in files only.
pub const STRUCTURE: [&str; 3] = ["Host", "Include", "Match"];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_record_is_found_in_any_case() {
        assert!(KEYWORDS.windows(2).all(|w| w[0].name < w[1].name));
        for keyword in &KEYWORDS {
            assert_eq!(find(&keyword.name.to_ascii_uppercase()), Some(keyword));
            assert_eq!(keyword.setting.keyword(), keyword);
        }
        assert_eq!(find("ProxyCommand"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = (find(&text), parse_time(&text), parse_size(&text));
        }
    }
}
