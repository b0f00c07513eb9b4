//! From words to option values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::Arg;
use reachback_core::config::{Config, ConfigError, ConfigErrorKind};
use reachback_core::control;
use reachback_core::forward::ForwardSpec;
use reachback_core::keyword;

use super::file;
use super::flags::{self, Action, Flag};
use crate::call::What;
use crate::exit::Exit;
use crate::logging::escaped;

/// Read when `-F` names no other file; need not exist.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/reachback/config";

/// `--wait` without a time, and `ExitOnForwardFailure` with `-f`.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// What the flags say; the configuration file is not read yet.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keywords from `-o` and from the flags that stand for one.
    pub config: Config,
    /// `-F`.
    pub file: Option<PathBuf>,
    /// `-f`.
    pub background: bool,
    /// `--wait`.
    pub wait: Option<Duration>,
    /// `-O`.
    pub order: Option<What>,
    /// `--json`.
    pub json: bool,
    /// `--watch`.
    pub watch: bool,
    /// `--all`.
    pub all: bool,
    /// `--list`.
    pub list: bool,
    /// `--restrict`.
    pub restrict: bool,
    /// How many `-v`.
    pub verbosity: u8,
    /// `-q`.
    pub quiet: bool,
    /// `-h`.
    pub help: bool,
    /// `-V`.
    pub version: bool,
}

impl Options {
    /// Reads flags and collects the other words, in getopt's way: flags before or after them,
    /// clusters (`-yNf`), attached values (`-p22`), `--` as the end of the flags. A word that
    /// is not UTF-8 keeps replacement characters where it is not.
    pub(super) fn parse(
        arguments: impl Iterator<Item = OsString>,
    ) -> Result<(Self, Vec<String>), Exit> {
        let mut options = Options::default();
        let mut words = Vec::new();
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(usage)? {
            let found = match &argument {
                Arg::Value(word) => {
                    words.push(word.to_string_lossy().into_owned());
                    continue;
                }
                Arg::Short(short) => flags::all().find(|flag| flag.short == *short),
                Arg::Long(long) => flags::all().find(|flag| flag.long == Some(long)),
            };
            let Some(flag) = found else {
                let shown = match &argument {
                    Arg::Short(short) => format!("-{short}"),
                    Arg::Long(long) => format!("--{long}"),
                    Arg::Value(_) => continue,
                };
                return Err(Exit::usage(format!(
                    "unknown flag: {}: see reachback --help",
                    escaped(shown)
                )));
            };
            let value = match flag.action {
                // Attached with `=` or not there at all, so that a destination may follow.
                Action::Wait => {
                    let value = parser.optional_value().unwrap_or_default();
                    value.to_string_lossy().into_owned()
                }
                _ if flag.argument.is_empty() => String::new(),
                _ => value(&mut parser, flag)?,
            };
            options.apply(flag, &value)?;
        }
        Ok((options, words))
    }

    fn apply(&mut self, flag: &Flag, value: &str) -> Result<(), Exit> {
        let short = flag.short;
        let bad = |error: &dyn std::fmt::Display| {
            Exit::usage(format!("bad -{short}: {}: {error}", escaped(value)))
        };
        match flag.action {
            Action::Forward => {
                let forward = ForwardSpec::parse(value).map_err(|error| bad(&error))?;
                self.config
                    .add_forward(forward)
                    .map_err(|error| bad(&error))?;
            }
            Action::Identity => self
                .config
                .add_identity_file(value)
                .map_err(|error| bad(&error))?,
            Action::AcceptNew => self
                .config
                .apply("StrictHostKeyChecking", "accept-new")
                .map_err(|error| bad(&error))?,
            Action::Port => self.set("Port", value).map_err(|error| bad(&error))?,
            Action::Ipv4 => self
                .set("AddressFamily", "inet")
                .map_err(|error| bad(&error))?,
            Action::Ipv6 => self
                .set("AddressFamily", "inet6")
                .map_err(|error| bad(&error))?,
            Action::BindAddress => self
                .set("BindAddress", value)
                .map_err(|error| bad(&error))?,
            Action::BindInterface => self
                .set("BindInterface", value)
                .map_err(|error| bad(&error))?,
            Action::Option => self.config.parse_option(value).map_err(|error| {
                // `no` is refused with its reason, which is the answer to the next question.
                match error.kind {
                    ConfigErrorKind::CheckingOff => {
                        Exit::usage(format!("refused -o: {}: {error}", escaped(value)))
                    }
                    _ => bad(&error),
                }
            })?,
            Action::File => self.file = Some(value.into()),
            Action::Background => self.background = true,
            Action::IdleTimeout => self
                .set("IdleTimeout", value)
                .map_err(|error| bad(&error))?,
            Action::KeepAlive => self
                .set("ServerAliveInterval", value)
                .map_err(|error| bad(&error))?,
            Action::Order => {
                self.order = Some(match value {
                    "check" => What::Check,
                    "forward" => What::Forward,
                    "cancel" => What::Cancel,
                    "exit" | "stop" => What::Stop,
                    _ => return Err(bad(&"use check, forward, cancel or exit")),
                });
            }
            Action::Wait => {
                let time = match value {
                    "" => Some(DEFAULT_WAIT),
                    _ => keyword::parse_time(value).filter(|time| *time <= control::MAX_WAIT),
                };
                let wrong = || {
                    let shown = escaped(value);
                    Exit::usage(format!("bad --wait: {shown}: use a time of at most a day"))
                };
                self.wait = Some(time.ok_or_else(wrong)?);
            }
            Action::Json => self.json = true,
            Action::Watch => self.watch = true,
            Action::All => self.all = true,
            Action::List => self.list = true,
            Action::Restrict => self.restrict = true,
            Action::Verbose => self.verbosity = self.verbosity.saturating_add(1),
            Action::Quiet => self.quiet = true,
            Action::Nothing => {}
            Action::Help => self.help = true,
            Action::Version => self.version = true,
        }
        Ok(())
    }

    fn set(&mut self, keyword: &str, value: &str) -> Result<(), ConfigError> {
        self.config.apply(keyword, value)
    }

    /// The keywords of the command line and then those of the file for this host, as the caller
    /// gave it.
    ///
    /// # Errors
    /// Those of [`super::file::read`]; the default file need not exist.
    pub fn read_config(&self, host: &str) -> Result<Config, Exit> {
        self.read_named(host).map(|(config, _)| config)
    }

    /// The same, and the servers that the file's `Host` lines name.
    ///
    /// # Errors
    /// As [`Options::read_config`].
    pub fn read_named(&self, host: &str) -> Result<(Config, Vec<String>), Exit> {
        let mut config = self.config.clone();
        let names = match self.config_file() {
            None => Vec::new(),
            Some(path) => file::read(&mut config, path, host)?,
        };
        Ok((config, names))
    }

    /// The configuration file to read: `-F`'s, or the default one if it is there.
    pub fn config_file(&self) -> Option<&Path> {
        match &self.file {
            Some(path) if path == Path::new("none") => None,
            Some(path) => Some(path),
            None => {
                let default = Path::new(DEFAULT_CONFIG_FILE);
                // One that cannot even be looked at is not taken for one that is not there.
                default.try_exists().unwrap_or(true).then_some(default)
            }
        }
    }
}

fn value(parser: &mut lexopt::Parser, flag: &Flag) -> Result<String, Exit> {
    let missing = |_| {
        let Flag {
            short, argument, ..
        } = flag;
        Exit::usage(format!("nothing after: -{short}: give {argument}"))
    };
    parser
        .value()
        .map_err(missing)?
        .into_string()
        .map_err(|value| {
            let shown = escaped(value.to_string_lossy()).to_string();
            Exit::usage(format!("not UTF-8: {shown}: rewrite it"))
        })
}

fn usage(error: lexopt::Error) -> Exit {
    let shown = escaped(error).to_string();
    Exit::usage(format!("bad command line: {shown}: see reachback --help"))
}
