//! From words to option values.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::Arg;
use reachback_core::config::{Config, ConfigError, ConfigErrorKind, Notice, may_be_secret};
use reachback_core::control;
use reachback_core::forward::ForwardSpec;
use reachback_core::keyword::{self, Setting};

use super::file::{self, Read};
use super::flags::{self, Action, Flag};
use super::program::Program;
use crate::exit::Exit;
use crate::instance::orders::What;
use crate::logging::escaped;

/// Read when `-F` names no other file; need not exist.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/reachback/config";

/// `--wait` without a time, and `ExitOnForwardFailure` with `-f`.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Something that the person who starts a tunnel should know, and that does not keep it from
/// starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// It asks for something that is not done.
    pub is_warning: bool,
    /// The line.
    pub text: String,
}

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
    /// `--short`.
    pub short: bool,
    /// `--all`.
    pub all: bool,
    /// `--service`.
    pub service: bool,
    /// `--list`.
    pub list: bool,
    /// `--restrict`.
    pub restrict: bool,
    /// `--password-fd`.
    pub password_fd: Option<i32>,
    /// How many `-v`.
    pub verbosity: u8,
    /// `-q`.
    pub quiet: bool,
    /// `-h`.
    pub help: bool,
    /// `-V`.
    pub version: bool,
    /// `-Q`.
    pub query: Option<String>,
    /// The line is autossh's, which starts ssh again when it ends.
    pub is_autossh: bool,
    /// `-N`.
    pub no_command: bool,
    /// What is to be said about the flags.
    pub notes: Vec<Note>,
    gateway: Option<Action>,
    /// How many `-y`.
    pub accept_new: u8,
}

impl Options {
    /// Reads flags and collects the other words, in getopt's way: flags before or after them,
    /// clusters (`-yNf`), attached values (`-p22`), `--` as the end of the flags. A word that
    /// is not UTF-8 keeps replacement characters where it is not.
    pub(super) fn parse(
        program: Program,
        arguments: impl Iterator<Item = OsString>,
    ) -> Result<(Self, Vec<String>), Exit> {
        let mut arguments: Vec<OsString> = arguments.collect();
        let mut options = Options::default();
        let monitored = program.take_monitor(&mut arguments);
        options.is_autossh = monitored || program == Program::Autossh;
        let variable = |(name, _): (OsString, _)| name.to_string_lossy().starts_with("AUTOSSH_");
        if monitored || std::env::vars_os().any(variable) {
            options.note(
                false,
                "autossh's -M and AUTOSSH_ variables are not needed: the tunnel watches itself",
            );
        }
        let (mut words, mut kept, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(usage)? {
            let (found, shown) = match &argument {
                Arg::Value(word) => {
                    let word = word.to_string_lossy().into_owned();
                    kept.push(quoted(&word));
                    words.push(word);
                    continue;
                }
                Arg::Short(short) => (flags::find(program, *short), format!("-{short}")),
                Arg::Long(long) => (
                    flags::all().find(|flag| flag.long == Some(long)),
                    format!("--{long}"),
                ),
            };
            let Some(flag) = found else {
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
            let whole = match value.is_empty() {
                true => shown,
                false => format!("{shown} {}", quoted(&value)),
            };
            let window = value.bytes().all(|b| b.is_ascii_digit());
            match flag.action {
                Action::Refused => refused.push((whole, flag.help)),
                Action::Window if !window => {
                    refused.push((whole, "standard input is not forwarded; only -R is done"));
                }
                _ => {
                    options.apply(flag, &value)?;
                    kept.push(whole);
                }
            }
        }
        match refused.first() {
            Some((what, why)) => Err(cannot(what, why, refused.len(), &kept)),
            None => {
                options.settle_gateway();
                Ok((options, words))
            }
        }
    }

    /// Something to say at the start.
    pub(super) fn note(&mut self, is_warning: bool, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.iter().any(|note| note.text == text) {
            self.notes.push(Note { is_warning, text });
        }
    }

    /// `-g`, once all `-R` are known.
    fn settle_gateway(&mut self) {
        let Some(action) = self.gateway else { return };
        let forwards = self.config.forwards().iter();
        let Some(shown) = forwards.clone().find_map(ForwardSpec::on_all_addresses) else {
            return;
        };
        let port = shown.listen.port();
        if action == Action::Gateway {
            self.note(
                false,
                format!("-g changes nothing for -R, as in ssh; for all addresses of the server, as in dbclient, write -R *:{port}:..."),
            );
            return;
        }
        self.note(
            false,
            format!("-g listens on all addresses of the server, as in dbclient; for its localhost only, write -R localhost:{port}:... without -g"),
        );
        self.config.listen_on_all_addresses();
    }

    fn apply(&mut self, flag: &Flag, value: &str) -> Result<(), Exit> {
        let short = flag.short;
        let bad = |error: &dyn std::fmt::Display| {
            let shown = if may_be_secret(value) { "Proxy" } else { value };
            Exit::usage(format!("bad -{short}: {}: {error}", escaped(shown)))
        };
        match flag.action {
            Action::Forward => {
                let forward = ForwardSpec::parse(value).map_err(|error| bad(&error))?;
                self.config
                    .add_forward(forward)
                    .map_err(|error| bad(&error))?;
            }
            Action::Identity => self
                .set(Setting::IdentityFile, value)
                .map_err(|error| bad(&error))?,
            Action::AcceptNew => {
                self.accept_new = self.accept_new.saturating_add(1);
                if self.accept_new == 2 {
                    self.note(true, "-y -y: taken as -y: an unknown host key is pinned, a changed one is refused");
                }
                self.set(Setting::StrictHostKeyChecking, "accept-new")
                    .map_err(|error| bad(&error))?;
            }
            Action::Port => self
                .set(Setting::Port, value)
                .map_err(|error| bad(&error))?,
            Action::Ipv4 => self
                .set(Setting::AddressFamily, "inet")
                .map_err(|error| bad(&error))?,
            Action::Ipv6 => self
                .set(Setting::AddressFamily, "inet6")
                .map_err(|error| bad(&error))?,
            Action::BindAddress => {
                // dbclient's address:port.
                let address = match value.parse::<SocketAddr>() {
                    Ok(both) => {
                        let text = "-b: the address holds, the port of this machine is the kernel's choice";
                        self.note(true, text);
                        both.ip().to_string()
                    }
                    Err(_) => value.to_owned(),
                };
                self.set(Setting::BindAddress, &address)
                    .map_err(|error| bad(&error))?;
            }
            Action::BindInterface => self
                .set(Setting::BindInterface, value)
                .map_err(|error| bad(&error))?,
            Action::Option => match self.config.parse_option(value) {
                Ok(notice) => self.say(notice),
                Err(error) => {
                    // What is refused comes with its reason, which is the answer to the next
                    // question.
                    return Err(match error.kind {
                        ConfigErrorKind::Refused { .. } => {
                            Exit::usage(format!("refused -o: {}: {error}", escaped(value)))
                        }
                        _ => bad(&error),
                    });
                }
            },
            Action::LogFile => {
                self.set(Setting::LogFile, value)
                    .map_err(|error| bad(&error))?;
            }
            Action::Login => self
                .set(Setting::User, value)
                .map_err(|error| bad(&error))?,
            Action::Ciphers => self
                .set(Setting::Ciphers, value)
                .map_err(|error| bad(&error))?,
            Action::Macs => self
                .set(Setting::MACs, value)
                .map_err(|error| bad(&error))?,
            Action::Query => self.query = Some(value.to_owned()),
            Action::NoCommand => self.no_command = true,
            Action::Gateway | Action::AllAddresses => self.gateway = Some(flag.action),
            Action::Warned => self.note(true, format!("-{short}: {}", flag.help)),
            Action::Told => self.note(false, format!("-{short}: {}", flag.help)),
            Action::File => self.file = Some(value.into()),
            Action::Background => self.background = true,
            Action::IdleTimeout => self
                .set(Setting::IdleTimeout, value)
                .map_err(|error| bad(&error))?,
            Action::KeepAlive => self
                .set(Setting::ServerAliveInterval, value)
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
            Action::Short => self.short = true,
            Action::All => self.all = true,
            Action::Service => self.service = true,
            Action::List => self.list = true,
            Action::Restrict => self.restrict = true,
            Action::PasswordFd => {
                let fd = value.parse().ok().filter(|fd| *fd >= 0);
                let wrong = || {
                    let shown = escaped(value);
                    Exit::usage(format!(
                        "bad --password-fd: {shown}: use a number, as in 3<file"
                    ))
                };
                self.password_fd = Some(fd.ok_or_else(wrong)?);
            }
            Action::Verbose => self.verbosity = self.verbosity.saturating_add(1),
            Action::Quiet => self.quiet = true,
            Action::Nothing | Action::Window | Action::Refused => {}
            Action::Help => self.help = true,
            Action::Version => self.version = true,
        }
        Ok(())
    }

    fn set(&mut self, setting: Setting, value: &str) -> Result<(), ConfigError> {
        let notice = self.config.set(setting, value)?;
        self.say(notice);
        Ok(())
    }

    fn say(&mut self, notice: Option<Notice>) {
        if let Some(notice) = notice {
            self.note(notice.is_warning, notice.to_string());
        }
    }

    /// The keywords of the command line and then those of the file for this host, as the caller
    /// gave it.
    ///
    /// # Errors
    /// Those of [`super::file::read`]; the default file need not exist.
    pub fn read_config(&self, host: &str) -> Result<Config, Exit> {
        self.read_all(host, None).map(|read| read.config)
    }

    /// The same with all that the file says, for a login name that the caller gave.
    ///
    /// # Errors
    /// As [`Options::read_config`].
    pub fn read_all(&self, host: &str, user: Option<&str>) -> Result<Read, Exit> {
        let config = self.config.clone();
        match self.config_file() {
            None => Ok(Read::new(config)),
            Some(path) => file::read(config, path, host, user),
        }
    }

    /// The configuration file to read: `-F`'s, or the default one if it is there.
    pub fn config_file(&self) -> Option<&Path> {
        match &self.file {
            Some(path)
                if ["none", "/dev/null"]
                    .map(Path::new)
                    .contains(&path.as_path()) =>
            {
                None
            }
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
        let argument = flag.argument;
        let name = match flag.long {
            Some(long) => format!("--{long}"),
            None => format!("-{}", flag.short),
        };
        Exit::usage(format!("nothing after: {name}: give {argument}"))
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

/// A word as a shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./-_~[]^".contains(&b);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Refuses a line for its first flag that asks for what cannot be done, and shows what is left.
fn cannot(what: &str, why: &str, count: usize, kept: &[String]) -> Exit {
    let more = match count {
        1 => String::new(),
        _ => format!(" (and {} more)", count - 1),
    };
    let rest = escaped(kept.join(" ")).to_string();
    let what = escaped(what).to_string();
    Exit::usage(format!(
        "{what}{more} cannot be done: {why}; the rest of the line: reachback {rest}"
    ))
}

fn usage(error: lexopt::Error) -> Exit {
    let shown = escaped(error).to_string();
    Exit::usage(format!("bad command line: {shown}: see reachback --help"))
}
