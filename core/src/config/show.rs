//! Values back to text, as a configuration file has them.

use core::fmt;
use core::time::Duration;

use super::{Config, StrictHostKeyChecking};
use crate::dial::AddressFamily;
use crate::keyword::{Keyword, Setting};

/// The values that hold for one keyword; see [`Config::lines`].
struct Lines<'a>(&'a Config, &'static Keyword);

impl Config {
    /// The values that hold for a keyword, defaults included: a line of a configuration file for
    /// each, none for a keyword without value. Times are in seconds, amounts in bytes.
    pub fn lines(&self, keyword: &'static Keyword) -> impl fmt::Display {
        Lines(self, keyword)
    }
}

impl Lines<'_> {
    fn line(&self, f: &mut fmt::Formatter<'_>, value: impl fmt::Display) -> fmt::Result {
        writeln!(f, "{} {value}", self.1.name)
    }

    fn optional(
        &self,
        f: &mut fmt::Formatter<'_>,
        value: Option<impl fmt::Display>,
    ) -> fmt::Result {
        value.map_or(Ok(()), |value| self.line(f, value))
    }

    fn time(&self, f: &mut fmt::Formatter<'_>, value: Duration) -> fmt::Result {
        self.line(f, value.as_secs())
    }

    fn yes_no(&self, f: &mut fmt::Formatter<'_>, value: bool) -> fmt::Result {
        self.line(f, if value { "yes" } else { "no" })
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0;
        match self.1.setting {
            Setting::AddressFamily => self.line(
                f,
                match config.address_family() {
                    AddressFamily::Any => "any",
                    AddressFamily::V4 => "inet",
                    AddressFamily::V6 => "inet6",
                },
            ),
            Setting::BindAddress => self.optional(f, config.bind_address()),
            Setting::BindInterface => self.optional(f, config.bind_interface()),
            Setting::ConnectTimeout => self.time(f, config.connect_timeout()),
            Setting::ExitOnForwardFailure => self.yes_no(f, config.exit_on_forward_failure()),
            Setting::Fallback => {
                let mut all = config.fallbacks().iter();
                all.try_for_each(|fallback| self.line(f, fallback))
            }
            Setting::Hostname => self.optional(f, config.hostname.as_deref().map(Quoted)),
            Setting::IPQoS => self.line(f, config.ip_qos()),
            Setting::IdentityFile => {
                let mut all = config.identity_files().iter();
                all.try_for_each(|file| self.line(f, Quoted(file)))
            }
            Setting::IdleTimeout => self.time(f, config.idle_timeout()),
            Setting::LogLevel => self.line(f, config.log_level().name()),
            Setting::MaxLifetime => self.time(f, config.max_lifetime()),
            Setting::Port => self.line(f, config.port()),
            Setting::RekeyLimit => {
                let limit = config.rekey_limit();
                match limit.time {
                    Some(time) => self.line(f, format_args!("{} {}", limit.bytes, time.as_secs())),
                    None => self.line(f, format_args!("{} none", limit.bytes)),
                }
            }
            Setting::RemoteForward => {
                let mut all = config.forwards().iter();
                all.try_for_each(|spec| {
                    self.line(f, format_args!("{} {}", spec.listen, spec.target))
                })
            }
            Setting::RuntimeDirectory => self.optional(f, config.runtime_directory().map(Quoted)),
            Setting::SerialFile => self.optional(f, config.serial_file().map(Quoted)),
            Setting::ServerAliveCountMax => self.line(f, config.server_alive_count_max()),
            Setting::ServerAliveInterval => self.time(f, config.server_alive_interval()),
            Setting::StartAtBoot => self.yes_no(f, config.start_at_boot()),
            Setting::StateFile => self.optional(f, config.state_file().map(Quoted)),
            Setting::StrictHostKeyChecking => self.line(
                f,
                match config.strict_host_key_checking() {
                    StrictHostKeyChecking::Yes => "yes",
                    StrictHostKeyChecking::AcceptNew => "accept-new",
                },
            ),
            Setting::TCPKeepAlive => self.yes_no(f, config.tcp_keep_alive()),
            Setting::User => self.optional(f, config.user()),
            Setting::UserKnownHostsFile => self.line(f, Quoted(config.known_hosts_file())),
            Setting::VerifyForward => self.yes_no(f, config.verify_forward()),
        }
    }
}

/// A file name, in double quotes where it needs them.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = !self.0.starts_with('#') && !self.0.contains(char::is_whitespace);
        if plain {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}
