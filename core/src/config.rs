//! ssh_config(5) text to values.
//!
//! ssh's rule holds: the first value obtained for a keyword wins, so the command line is
//! applied before the file. `RemoteForward`, `IdentityFile` and `Fallback` add up. `Host` blocks are
//! supported; `Match` and `Include` are unknown keywords.

use core::net::IpAddr;
use core::time::Duration;

use heapless::{String, Vec};

use crate::destination::{Fallback, MAX_USER};
use crate::destinations::MAX_FALLBACKS;
use crate::dial::AddressFamily;
use crate::forward::{ForwardSpec, MAX_FORWARDS};
use crate::ipqos::IpQos;
use crate::keyword::{self, Keyword, Kind, LogLevel, Setting};
use crate::pattern;

mod error;
pub use error::{ConfigError, ConfigErrorKind, Excerpt, Position};
mod words;
use words::{Word, Words};

/// Most private key files.
pub const MAX_IDENTITY_FILES: usize = 4;

/// A file name as it was written: `~` is not expanded here.
pub type Path = String<255>;

/// Name of a network interface (netdevice(7), `IFNAMSIZ`).
pub type InterfaceName = String<15>;

/// What to do about an unknown host key. A changed one is always refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    #[default]
    Yes,
    /// Accept and pin it.
    AcceptNew,
}

/// When to ask for new session keys (RFC 4253, 9; RFC 4344, 3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RekeyLimit {
    /// After this many bytes in one direction.
    pub bytes: u64,
    /// After this time, if any.
    pub time: Option<Duration>,
}

/// Default amount of data between key exchanges.
const REKEY_BYTES: u64 = 1 << 30;
/// Default time between key exchanges.
const REKEY_TIME: Duration = Duration::from_secs(3600);

/// The settings. Each accessor gives the value obtained first, or the default.
#[derive(Clone, Debug, Default)]
pub struct Config {
    address_family: Option<AddressFamily>,
    bind_address: Option<IpAddr>,
    bind_interface: Option<InterfaceName>,
    connect_timeout: Option<Duration>,
    exit_on_forward_failure: Option<bool>,
    fallbacks: Vec<Fallback, MAX_FALLBACKS>,
    forwards: Vec<ForwardSpec, MAX_FORWARDS>,
    identity_files: Vec<Path, MAX_IDENTITY_FILES>,
    idle_timeout: Option<Duration>,
    ip_qos: Option<IpQos>,
    known_hosts_file: Option<Path>,
    log_level: Option<LogLevel>,
    max_lifetime: Option<Duration>,
    port: Option<u16>,
    rekey_limit: Option<RekeyLimit>,
    runtime_directory: Option<Path>,
    server_alive_count_max: Option<u32>,
    server_alive_interval: Option<Duration>,
    state_file: Option<Path>,
    strict_host_key_checking: Option<StrictHostKeyChecking>,
    tcp_keep_alive: Option<bool>,
    user: Option<String<MAX_USER>>,
}

impl Config {
    /// A configuration in which nothing has been obtained yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Obtains one value, given as the configuration file would have it after the keyword
    /// (so a file name with spaces stands in double quotes).
    ///
    /// # Errors
    /// An unknown keyword, a value it does not take, or too many of them; without position.
    pub fn apply(&mut self, keyword: &str, value: &str) -> Result<(), ConfigError> {
        let keyword = find(keyword).map_err(ConfigError::on_command_line)?;
        self.obtain(keyword, &mut Words::new(value), true)
            .map_err(|(_, kind)| ConfigError::on_command_line(kind))
    }

    /// Obtains one value in the form of `-o`: `Key=Value` or `Key Value`.
    ///
    /// # Errors
    /// As [`Config::apply`].
    pub fn parse_option(&mut self, option: &str) -> Result<(), ConfigError> {
        let mut words = Words::new(option);
        let Some(name) = words.keyword() else {
            let kind = ConfigErrorKind::UnknownKeyword(Excerpt::new(option));
            return Err(ConfigError::on_command_line(kind));
        };
        let keyword = find(name.text).map_err(ConfigError::on_command_line)?;
        self.obtain(keyword, &mut words, true)
            .map_err(|(_, kind)| ConfigError::on_command_line(kind))
    }

    /// Obtains the values of a configuration file for the destination host `host`. Blocks of
    /// other hosts are checked but not obtained.
    ///
    /// # Errors
    /// The first wrong line, with line and column. Values before it have been obtained.
    pub fn parse_file(&mut self, text: &str, host: &str) -> Result<(), ConfigError> {
        let mut active = true;
        for (index, line) in text.lines().enumerate() {
            let at = |(offset, kind): (usize, ConfigErrorKind)| {
                let before = line.get(..offset).unwrap_or(line);
                let column = before.chars().count() as u32 + 1;
                let line = index as u32 + 1;
                ConfigError {
                    position: Some(Position { line, column }),
                    kind,
                }
            };
            let mut words = Words::new(line);
            let Some(name) = words.keyword() else {
                continue;
            };
            if name.text.eq_ignore_ascii_case("Host") {
                active = host_block(&mut words, host).map_err(at)?;
                continue;
            }
            let keyword = find(name.text).map_err(|kind| at((name.offset, kind)))?;
            self.obtain(keyword, &mut words, active).map_err(at)?;
        }
        Ok(())
    }

    /// Adds a forward (`-R`). One that is there already is not added again.
    ///
    /// # Errors
    /// More than [`MAX_FORWARDS`].
    pub fn add_forward(&mut self, forward: ForwardSpec) -> Result<(), ConfigErrorKind> {
        if self.forwards.contains(&forward) {
            return Ok(());
        }
        self.forwards
            .push(forward)
            .map_err(|_| ConfigErrorKind::TooMany("RemoteForward", MAX_FORWARDS))
    }

    /// Adds a private key file (`-i`). One that is there already is not added again.
    ///
    /// # Errors
    /// More than [`MAX_IDENTITY_FILES`], or a name that is empty or over 255 bytes.
    pub fn add_identity_file(&mut self, path: &str) -> Result<(), ConfigErrorKind> {
        const NAME: &str = "IdentityFile";
        let path = parse_path(path).ok_or_else(|| bad_value(NAME, Kind::Path, path))?;
        if self.identity_files.contains(&path) {
            return Ok(());
        }
        self.identity_files
            .push(path)
            .map_err(|_| ConfigErrorKind::TooMany(NAME, MAX_IDENTITY_FILES))
    }

    /// Checks the value of one keyword and, if `store`, obtains it. An error comes with the
    /// offset of the word that is wrong.
    fn obtain(
        &mut self,
        keyword: &'static Keyword,
        words: &mut Words<'_>,
        store: bool,
    ) -> Result<(), (usize, ConfigErrorKind)> {
        let word = match words.next() {
            Some(word) => word.map_err(|offset| (offset, ConfigErrorKind::Quote))?,
            None => return Err((words.offset(), ConfigErrorKind::NoValue(keyword))),
        };
        let second = words
            .next()
            .transpose()
            .map_err(|offset| (offset, ConfigErrorKind::Quote))?;
        let two_allowed = matches!(keyword.kind, Kind::Forward | Kind::RekeyLimit | Kind::IpQos);
        let extra = match (second, words.next()) {
            (Some(second), _) if !two_allowed => Some(second.offset),
            (_, Some(Ok(third))) => Some(third.offset),
            (_, Some(Err(offset))) => Some(offset),
            _ => None,
        };
        if let Some(offset) = extra {
            return Err((offset, ConfigErrorKind::ExtraWord(keyword)));
        }
        self.obtain_words(keyword, word.text, second.map(|w| w.text), store)
            .map_err(|kind| (word.offset, kind))
    }

    fn obtain_words(
        &mut self,
        keyword: &'static Keyword,
        word: &str,
        second: Option<&str>,
        store: bool,
    ) -> Result<(), ConfigErrorKind> {
        let bad = || bad_value(keyword.name, keyword.kind, word);
        let is = |text: &str| word.eq_ignore_ascii_case(text);
        match keyword.setting {
            Setting::AddressFamily => {
                let value = match () {
                    () if is("any") => AddressFamily::Any,
                    () if is("inet") => AddressFamily::V4,
                    () if is("inet6") => AddressFamily::V6,
                    () => return Err(bad()),
                };
                keep_first(&mut self.address_family, value, store);
            }
            Setting::BindAddress => {
                let value = word.parse().map_err(|_| bad())?;
                keep_first(&mut self.bind_address, value, store);
            }
            Setting::BindInterface => {
                let value = parse_interface(word).ok_or_else(bad)?;
                keep_first(&mut self.bind_interface, value, store);
            }
            Setting::ConnectTimeout => {
                let value = time(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.connect_timeout, value, store);
            }
            Setting::ExitOnForwardFailure => {
                let value = match () {
                    () if is("yes") => true,
                    () if is("no") => false,
                    () => return Err(bad()),
                };
                keep_first(&mut self.exit_on_forward_failure, value, store);
            }
            Setting::Fallback => {
                let fallback = Fallback::parse(word).map_err(ConfigErrorKind::Destination)?;
                if store && !self.fallbacks.contains(&fallback) {
                    self.fallbacks
                        .push(fallback)
                        .map_err(|_| ConfigErrorKind::TooMany(keyword.name, MAX_FALLBACKS))?;
                }
            }
            Setting::IPQoS => {
                let first = IpQos::parse(word).ok_or_else(bad)?;
                let value = match second {
                    None => first,
                    Some(second) => IpQos::parse(second)
                        .ok_or_else(|| bad_value(keyword.name, keyword.kind, second))?,
                };
                keep_first(&mut self.ip_qos, value, store);
            }
            Setting::IdentityFile => {
                parse_path(word).ok_or_else(bad)?;
                if store {
                    self.add_identity_file(word)?;
                }
            }
            Setting::IdleTimeout => {
                let value = time(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.idle_timeout, value, store);
            }
            Setting::MaxLifetime => {
                let value = time(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.max_lifetime, value, store);
            }
            Setting::RuntimeDirectory => {
                let value = parse_path(word).ok_or_else(bad)?;
                keep_first(&mut self.runtime_directory, value, store);
            }
            Setting::LogLevel => {
                let value = LogLevel::parse(word).ok_or_else(bad)?;
                keep_first(&mut self.log_level, value, store);
            }
            Setting::Port => {
                let value = number(keyword, word).ok_or_else(bad)? as u16;
                keep_first(&mut self.port, value, store);
            }
            Setting::RekeyLimit => {
                let value = parse_rekey_limit(word, second).ok_or_else(bad)?;
                keep_first(&mut self.rekey_limit, value, store);
            }
            Setting::RemoteForward => {
                let forward = ForwardSpec::parse_words(word, second.unwrap_or_default())
                    .map_err(ConfigErrorKind::Forward)?;
                if store {
                    self.add_forward(forward)?;
                }
            }
            Setting::ServerAliveCountMax => {
                let value = number(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.server_alive_count_max, value, store);
            }
            Setting::ServerAliveInterval => {
                let value = time(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.server_alive_interval, value, store);
            }
            Setting::StateFile => {
                let value = parse_path(word).ok_or_else(bad)?;
                keep_first(&mut self.state_file, value, store);
            }
            Setting::StrictHostKeyChecking => {
                let value = match () {
                    () if is("yes") => StrictHostKeyChecking::Yes,
                    () if is("accept-new") => StrictHostKeyChecking::AcceptNew,
                    () if is("no") || is("off") => return Err(ConfigErrorKind::CheckingOff),
                    () => return Err(bad()),
                };
                keep_first(&mut self.strict_host_key_checking, value, store);
            }
            Setting::TCPKeepAlive => {
                let value = match () {
                    () if is("yes") => true,
                    () if is("no") => false,
                    () => return Err(bad()),
                };
                keep_first(&mut self.tcp_keep_alive, value, store);
            }
            Setting::User => {
                let value = crate::destination::parse_user(word).map_err(|_| bad())?;
                keep_first(&mut self.user, value, store);
            }
            Setting::UserKnownHostsFile => {
                let value = parse_path(word).ok_or_else(bad)?;
                keep_first(&mut self.known_hosts_file, value, store);
            }
        }
        Ok(())
    }

    /// Which addresses of the server to use. Default: any.
    pub fn address_family(&self) -> AddressFamily {
        self.address_family.unwrap_or_default()
    }

    /// Address of this machine to connect from.
    pub fn bind_address(&self) -> Option<IpAddr> {
        self.bind_address
    }

    /// Interface to connect through.
    pub fn bind_interface(&self) -> Option<&str> {
        self.bind_interface.as_deref()
    }

    /// Bound for TCP connection and server identification together. Default: 30 s.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(30))
    }

    /// Whether a refused forward ends the program. Default: no.
    pub fn exit_on_forward_failure(&self) -> bool {
        self.exit_on_forward_failure.unwrap_or(false)
    }

    /// The servers to go to when the first stays unreachable, each once, in the order in which
    /// they came.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// The forwards, each once, in the order in which they came.
    pub fn forwards(&self) -> &[ForwardSpec] {
        &self.forwards
    }

    /// The private key files, each once, in the order in which they came.
    pub fn identity_files(&self) -> &[Path] {
        &self.identity_files
    }

    /// How long nobody may connect through the tunnel before it ends; zero is for ever.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout.unwrap_or_default()
    }

    /// How long the tunnel lives after the last call that asked for it; zero is for ever.
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or_default()
    }

    /// Directory of locks and control sockets. Default: depends on the user.
    pub fn runtime_directory(&self) -> Option<&str> {
        self.runtime_directory.as_deref()
    }

    /// Marking of the connection's packets. Default: the system's. ssh marks a session that
    /// has no terminal, as ours, with the second of two values.
    pub fn ip_qos(&self) -> IpQos {
        self.ip_qos.unwrap_or_default()
    }

    /// The file with the pinned host keys. Default: `~/.ssh/known_hosts`.
    pub fn known_hosts_file(&self) -> &str {
        self.known_hosts_file
            .as_deref()
            .unwrap_or("~/.ssh/known_hosts")
    }

    /// How much to log. Default: INFO.
    pub fn log_level(&self) -> LogLevel {
        self.log_level.unwrap_or_default()
    }

    /// TCP port of the server. Default: 22. A port in the destination is the caller's matter.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(22)
    }

    /// When to ask for new session keys. Default: after 1 GiB or 1 h.
    pub fn rekey_limit(&self) -> RekeyLimit {
        self.rekey_limit.unwrap_or(RekeyLimit {
            bytes: REKEY_BYTES,
            time: Some(REKEY_TIME),
        })
    }

    /// Unanswered probes after which the connection counts as lost. Default: 3.
    pub fn server_alive_count_max(&self) -> u32 {
        self.server_alive_count_max.unwrap_or(3)
    }

    /// Silence after which the server is probed; zero means never. Default: 60 s.
    pub fn server_alive_interval(&self) -> Duration {
        self.server_alive_interval
            .unwrap_or(Duration::from_secs(60))
    }

    /// File that keeps the last address that worked. Default: none.
    pub fn state_file(&self) -> Option<&str> {
        self.state_file.as_deref()
    }

    /// What to do about an unknown host key. Default: refuse it.
    pub fn strict_host_key_checking(&self) -> StrictHostKeyChecking {
        self.strict_host_key_checking.unwrap_or_default()
    }

    /// Whether the kernel probes an idle connection. Default: yes.
    pub fn tcp_keep_alive(&self) -> bool {
        self.tcp_keep_alive.unwrap_or(true)
    }

    /// Login name for a destination that has none.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

fn keep_first<T>(slot: &mut Option<T>, value: T, store: bool) {
    if store && slot.is_none() {
        *slot = Some(value);
    }
}

fn find(name: &str) -> Result<&'static Keyword, ConfigErrorKind> {
    keyword::find(name).ok_or_else(|| ConfigErrorKind::UnknownKeyword(Excerpt::new(name)))
}

fn bad_value(name: &'static str, wanted: Kind, value: &str) -> ConfigErrorKind {
    ConfigErrorKind::BadValue {
        name,
        wanted,
        value: Excerpt::new(value),
    }
}

/// Whether a `Host` block with these patterns is for `host`.
fn host_block(words: &mut Words<'_>, host: &str) -> Result<bool, (usize, ConfigErrorKind)> {
    let mut failed = None;
    let mut count = 0;
    let patterns = words.map_while(|word| match word {
        Ok(Word { text, .. }) => {
            count += 1;
            Some(text)
        }
        Err(offset) => {
            failed = Some((offset, ConfigErrorKind::Quote));
            None
        }
    });
    let active = pattern::list_matches(patterns, host);
    match failed {
        Some(failed) => Err(failed),
        None if count == 0 => Err((words.offset(), ConfigErrorKind::NoPattern)),
        None => Ok(active),
    }
}

fn number(keyword: &Keyword, text: &str) -> Option<u32> {
    let Kind::Number { min, max } = keyword.kind else {
        return None;
    };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

fn time(keyword: &Keyword, text: &str) -> Option<Duration> {
    let Kind::Time { min_s, max_s } = keyword.kind else {
        return None;
    };
    keyword::parse_time(text)
        .filter(|t| (u64::from(min_s)..=u64::from(max_s)).contains(&t.as_secs()))
}

fn parse_path(text: &str) -> Option<Path> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    Path::try_from(text).ok()
}

/// A name as the kernel takes it (`dev_valid_name`), without control characters.
fn parse_interface(text: &str) -> Option<InterfaceName> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == '/' || c == ':';
    if text.is_empty() || text == "." || text == ".." || text.chars().any(bad) {
        return None;
    }
    InterfaceName::try_from(text).ok()
}

/// `amount [time]`, each `default`, the time also `none`. The amount has an upper bound
/// because of RFC 4344, 3.1 and a lower one so that exchanges leave room for data.
fn parse_rekey_limit(amount: &str, time: Option<&str>) -> Option<RekeyLimit> {
    let bytes = if amount.eq_ignore_ascii_case("default") {
        REKEY_BYTES
    } else {
        keyword::parse_size(amount).filter(|b| (16 << 10..=4 << 30).contains(b))?
    };
    let time = match time {
        None => Some(REKEY_TIME),
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some(text) if text.eq_ignore_ascii_case("default") => Some(REKEY_TIME),
        Some(text) => {
            let time = keyword::parse_time(text)?;
            (60..=604_800).contains(&time.as_secs()).then_some(())?;
            Some(time)
        }
    };
    Some(RekeyLimit { bytes, time })
}

#[cfg(test)]
mod tests;
