//! One keyword's words to its value.

use super::parse::{self, bad_value, keep_first, number, path, template, time};
use super::{Config, ConfigErrorKind, StrictHostKeyChecking};
use crate::destination::Fallback;
use crate::destinations::MAX_FALLBACKS;
use crate::dial::AddressFamily;
use crate::forward::ForwardSpec;
use crate::ipqos::IpQos;
use crate::keyword::{Keyword, LogLevel, Setting};

impl Config {
    /// Checks one or two words and, if `store`, obtains the value.
    pub(super) fn obtain_words(
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
                let value = parse::interface(word).ok_or_else(bad)?;
                keep_first(&mut self.bind_interface, value, store);
            }
            Setting::ConnectTimeout => {
                let value = time(keyword, word).ok_or_else(bad)?;
                keep_first(&mut self.connect_timeout, value, store);
            }
            Setting::ExitOnForwardFailure => {
                let value = parse::yes_no(word).ok_or_else(bad)?;
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
            Setting::Hostname => {
                parse::hostname(word, "h").ok_or_else(bad)?;
                let value = path(word).ok_or_else(bad)?;
                keep_first(&mut self.hostname, value, store);
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
                template(keyword, word)?;
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
                let value = path(word).ok_or_else(bad)?;
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
                let value = parse::rekey_limit(word, second).ok_or_else(bad)?;
                keep_first(&mut self.rekey_limit, value, store);
            }
            Setting::RemoteForward => {
                let forward = ForwardSpec::parse_words(word, second.unwrap_or_default())
                    .map_err(ConfigErrorKind::Forward)?;
                if store {
                    self.add_forward(forward)?;
                }
            }
            Setting::SerialFile => {
                let value = path(word).ok_or_else(bad)?;
                keep_first(&mut self.serial_file, value, store);
            }
            Setting::VerifyForward => {
                let value = parse::yes_no(word).ok_or_else(bad)?;
                keep_first(&mut self.verify_forward, value, store);
            }
            Setting::StartAtBoot => {
                let value = parse::yes_no(word).ok_or_else(bad)?;
                keep_first(&mut self.start_at_boot, value, store);
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
                let value = template(keyword, word)?;
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
                let value = parse::yes_no(word).ok_or_else(bad)?;
                keep_first(&mut self.tcp_keep_alive, value, store);
            }
            Setting::User => {
                let value = crate::destination::parse_user(word).map_err(|_| bad())?;
                keep_first(&mut self.user, value, store);
            }
            Setting::UserKnownHostsFile => {
                let value = template(keyword, word)?;
                keep_first(&mut self.known_hosts_file, value, store);
            }
        }
        Ok(())
    }
}
