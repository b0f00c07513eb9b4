//! ssh_config(5) text to values.
//!
//! ssh's rule holds: the first value obtained for a keyword wins, so the command line is
//! applied before the file. `RemoteForward`, `IdentityFile` and `Fallback` add up. `Host` blocks
//! and `Include` are supported ([`FileParser`]); `Match` is an unknown keyword.

use core::net::IpAddr;
use core::time::Duration;

use heapless::{String, Vec};

use crate::destination::{Fallback, MAX_USER};
use crate::destinations::MAX_FALLBACKS;
use crate::dial::AddressFamily;
use crate::forward::{ForwardSpec, MAX_FORWARDS};
use crate::ipqos::IpQos;
use crate::keyword::{self, Keyword, Kind, LogLevel};
use crate::tokens::{self, Tokens};

mod error;
mod file;
mod obtain;
mod parse;
mod show;
mod values;
mod words;
pub use error::{ConfigError, ConfigErrorKind, Excerpt, Position};
pub use file::{FileParser, Found, MAX_INCLUDE_DEPTH, Scope};
use parse::template;
use words::Words;

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
    hostname: Option<Path>,
    identity_files: Vec<Path, MAX_IDENTITY_FILES>,
    idle_timeout: Option<Duration>,
    ip_qos: Option<IpQos>,
    known_hosts_file: Option<Path>,
    log_level: Option<LogLevel>,
    max_lifetime: Option<Duration>,
    port: Option<u16>,
    rekey_limit: Option<RekeyLimit>,
    runtime_directory: Option<Path>,
    serial_file: Option<Path>,
    server_alive_count_max: Option<u32>,
    server_alive_interval: Option<Duration>,
    start_at_boot: Option<bool>,
    state_file: Option<Path>,
    strict_host_key_checking: Option<StrictHostKeyChecking>,
    tcp_keep_alive: Option<bool>,
    user: Option<String<MAX_USER>>,
    verify_forward: Option<bool>,
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

    /// Obtains the values of a configuration file without `Include` for the destination host
    /// `host`. [`FileParser`] reads those with.
    ///
    /// # Errors
    /// The first wrong line, with line and column. Values before it have been obtained.
    #[cfg(test)]
    fn parse_file(&mut self, text: &str, host: &str) -> Result<(), ConfigError> {
        let mut parser = FileParser::new(text, Scope::new(host));
        while parser.step(self)?.is_some() {}
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
        let path = template(&keyword::IDENTITY_FILE, path)?;
        if self.identity_files.contains(&path) {
            return Ok(());
        }
        self.identity_files
            .push(path)
            .map_err(|_| ConfigErrorKind::TooMany("IdentityFile", MAX_IDENTITY_FILES))
    }

    /// Replaces the tokens in forwards and file names. To be done once: what it gives is no
    /// template any more. Forwards that have become the same are one.
    ///
    /// # Errors
    /// A token without a value here, and what is no path with it.
    pub fn expand(&mut self, tokens: &Tokens<'_>) -> Result<(), ConfigErrorKind> {
        for spec in core::mem::take(&mut self.forwards) {
            let spec = spec.expand(tokens).map_err(ConfigErrorKind::Forward)?;
            self.add_forward(spec)?;
        }
        let expand = |path: &mut Path, name| -> Result<(), ConfigErrorKind> {
            let expanded = tokens.expand(path);
            *path = expanded.map_err(|error| ConfigErrorKind::Token(name, error))?;
            Ok(())
        };
        for path in &mut self.identity_files {
            expand(path, "IdentityFile")?;
        }
        if let Some(path) = &mut self.known_hosts_file {
            expand(path, "UserKnownHostsFile")?;
        }
        if let Some(path) = &mut self.state_file {
            expand(path, "StateFile")?;
        }
        Ok(())
    }

    /// Whether anything that [`Config::expand`] looks at has the token `%letter`.
    pub fn uses_token(&self, letter: char) -> bool {
        let paths = self.identity_files.iter();
        let paths = paths.chain(&self.known_hosts_file).chain(&self.state_file);
        let mut paths = paths.map(Path::as_str);
        self.forwards.iter().any(|spec| spec.uses_token(letter))
            || paths.any(|path| tokens::uses(path, letter))
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
}

fn find(name: &str) -> Result<&'static Keyword, ConfigErrorKind> {
    keyword::find(name).ok_or_else(|| ConfigErrorKind::UnknownKeyword(Excerpt::new(name)))
}

#[cfg(test)]
mod tests;
