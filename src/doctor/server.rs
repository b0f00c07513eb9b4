//! The way to the server and through its door.

use std::path::PathBuf;

use reachback_core::cause::Cause;
use reachback_core::control::Snapshot;
use reachback_core::forward::ForwardSpec;
use reachback_core::time::Instant;
use reachback_ssh::hostkey::{blob_to_base64, fingerprint};
use reachback_ssh::userkey::UserKey;
use reachback_ssh::{Client, Error};
use reachback_tunnel::{Ended, Proxy, Server, Way, denial};

use super::report::Report;
use super::{REST, STEP, forwards, local};
use crate::cli::Settings;
use crate::exit;
use crate::hostkey::{HostKeys, Known};
use crate::once::{self, Broken, Connection, Heard, Network, Route};
use crate::plan;
use crate::sys::clock;
use crate::sys::random::{self, KernelRandom};
use crate::trust::{Trust, certificate};

/// The steps from the route to the login.
const STEPS: [&str; 8] = [
    "route",
    "DNS",
    "TCP",
    PROXY,
    "server",
    "algorithms",
    "host key",
    "login",
];
/// Only where there is one.
const PROXY: &str = "proxy";
/// Index of `server` in [`STEPS`].
const SERVER: usize = 4;

/// What it takes to go there.
pub type Tools = (Vec<(PathBuf, UserKey)>, Option<Proxy>);

/// Goes there with these keys, by this proxy if there is one, and says of each forward where it listens; `held` is a tunnel that has
/// them. Whether the server's key is pinned.
pub fn look(
    settings: &Settings,
    tools: Option<Tools>,
    held: Option<&Snapshot>,
    forwards: &[&ForwardSpec],
    end: Instant,
    report: &mut Report,
) -> bool {
    let server = Server {
        user: settings.destination.user.as_str().to_owned(),
        host: settings.destination.host.as_str().to_owned(),
        port: settings.port(),
    };
    let (keys, proxy) = tools.unzip();
    let mut door = Door {
        settings,
        server: &server,
        proxy: proxy.flatten(),
        files: Vec::new(),
        step: 0,
        pinned: false,
        report,
    };
    let entered = keys.and_then(|keys| door.enter(keys, end));
    let (step, pinned, by_proxy) = (door.step, door.pinned, door.proxy.is_some());
    if entered.is_none() {
        let names = STEPS[step..].iter();
        for name in names.filter(|name| **name != PROXY || by_proxy) {
            report.skip(format_args!("{name}"), "");
        }
    }
    match (held, entered) {
        (Some(snapshot), None) => forwards::reported(snapshot, report),
        (None, None) => forwards::skip(forwards, report),
        (held, Some(mut entered)) => {
            let (connection, client) = &mut *entered;
            match held {
                Some(snapshot) => forwards::reported(snapshot, report),
                None => {
                    connection.end = Some(end);
                    forwards::ask(connection, client, forwards, report);
                }
            }
            connection.end(client);
        }
    }
    pinned
}

struct Door<'a> {
    settings: &'a Settings,
    server: &'a Server,
    proxy: Option<Proxy>,
    /// Of the keys, in their order.
    files: Vec<PathBuf>,
    /// Index into [`STEPS`] of the next one.
    step: usize,
    pinned: bool,
    report: &'a mut Report,
}

impl Door<'_> {
    /// The report, for the next step.
    fn next(&mut self) -> &mut Report {
        self.report.begin(format_args!("{}", STEPS[self.step]));
        self.step += 1;
        self.report
    }

    /// A connection that is logged in, or none.
    #[inline(never)]
    fn enter(
        &mut self,
        keys: Vec<(PathBuf, UserKey)>,
        end: Instant,
    ) -> Option<Box<(Connection, Client)>> {
        let config = &self.settings.config;
        let source = plan::source(config);
        let server = self.server;
        let proxy = self.proxy.clone();
        let route = Route {
            way: Way {
                server,
                proxy: proxy.as_ref(),
                family: config.address_family(),
                source: &source,
            },
            timeout: config.connect_timeout().min(STEP),
        };
        let (next, next_port) = route.way.next();
        if !local::route(next, source.address, self.next()) {
            return None;
        }
        let mut network = Network::new(self.trust());
        let looked = network.as_mut().map_err(|why| why.clone());
        let found = match looked.and_then(|network| network.look_up(&route)) {
            Ok(found) => found,
            Err(why) => {
                let text = format_args!("{why}");
                self.next().fail_for(exit::UNAVAILABLE, text, Cause::Name);
                return None;
            }
        };
        let mut by = String::new();
        for address in &found.addresses {
            by += &format!("{address} ");
        }
        by += &match found.answered {
            Some(server) => format!("from {}", server.ip()),
            None => "without a name server".to_owned(),
        };
        self.next().right(format_args!("{by}"));
        let port = server.port;
        let connected = network.ok()?.connect(&found.addresses, &route);
        let mut connection = match connected {
            Ok(connection) => connection,
            Err((Ended { reason, cause, .. }, reached)) => {
                if let Some(address) = reached {
                    self.next()
                        .right(format_args!("{address} port {next_port}"));
                }
                let cause = cause.unwrap_or(Cause::TimedOut);
                let text = format_args!("{reason}");
                self.next().fail_for(exit::UNAVAILABLE, text, cause);
                return None;
            }
        };
        self.next()
            .right(format_args!("{} port {next_port}", connection.address));
        if proxy.is_some() {
            let text = format_args!("leads to {} port {port}", server.host);
            self.next().right(text);
        } else {
            self.step += 1;
        }

        let (files, keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        self.files = files;
        let pinned = self
            .trust()
            .pinned_types(&server.host, port)
            .unwrap_or_default();
        let config = once::config(&server.user, keys.into(), &self.settings.offer, &pinned);
        let client = match random::is_ready() {
            true => Client::new(config, Box::new(KernelRandom::new()), clock::now().0).ok(),
            false => None,
        };
        let Some(mut client) = client else {
            self.next().fail(
                exit::TEMPORARY,
                format_args!("the kernel has no randomness yet"),
                format_args!("try again in a minute"),
            );
            return None;
        };
        connection.silence = STEP;
        connection.end = Some(Instant(end.0.saturating_sub(REST.as_millis() as u64)));
        let conversed = connection.converse(&mut client, |client, heard| self.hear(client, heard));
        match conversed {
            Ok(()) => return Some(Box::new((connection, client))),
            // That has been said.
            Err(Broken::Enough(_)) => {}
            Err(broken) => self.broke(&broken, &client),
        }
        None
    }

    fn hear(&mut self, client: &mut Client, heard: Heard) -> Result<bool, Broken> {
        match heard {
            Heard::Identified(software) => self.next().right(format_args!("{software}")),
            Heard::HostKey(key_type, blob) => {
                if let Some(agreed) = client.negotiated() {
                    let (kex, cipher) = (agreed.kex.name(), agreed.cipher_c2s.name());
                    let (gap, mac) = agreed.mac_c2s.map_or(("", ""), |mac| (" ", mac.name()));
                    let key = agreed.host_key.name();
                    self.next()
                        .right(format_args!("{kex} {key} {cipher}{gap}{mac}"));
                }
                if !self.judge(key_type, &blob) {
                    return Err(Broken::Enough(String::new()));
                }
                client.accept_host_key()?;
            }
            Heard::Authenticated(key) => {
                let user = &self.server.user;
                match key.and_then(|key| self.files.get(key)).cloned() {
                    Some(file) => self
                        .next()
                        .right(format_args!("{user}, with {}", file.display())),
                    None => self
                        .next()
                        .right(format_args!("{user}: the server asks for no key")),
                }
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Pins nothing.
    fn trust(&self) -> Trust {
        let known = HostKeys::of(&self.settings.known_hosts_files());
        Trust {
            accept_new: false,
            ..plan::trust(self.settings, known)
        }
    }

    /// Whether a tunnel would trust this key.
    #[inline(never)]
    fn judge(&mut self, key_type: &str, blob: &[u8]) -> bool {
        let trust = self.trust();
        let Server { host, port, .. } = self.server;
        let (name, number) = trust.name(host, *port);
        let certificate = certificate(blob);
        let key = certificate.as_ref().map_or(blob, |found| &found.key);
        let base64 = blob_to_base64(key);
        let shown = fingerprint(key);
        let known = trust.known.check(name, number, key_type, &base64);
        let judged = trust.judge(host, *port, key_type, blob);
        self.pinned = judged.is_ok();
        let accept = self.settings.accept_new
            && trust
                .known
                .has_authority(name, number)
                .is_ok_and(|has| !has);
        let report = self.next();
        match (known, judged) {
            (Ok(Known::Nothing | Known::Other(_)), Ok(())) => {
                let files = trust.known.shown();
                report.right(format_args!(
                    "{key_type} {shown}, certified by an authority of {files}"
                ));
            }
            (_, Ok(())) => {
                let place = trust.known.place(name, number, &base64);
                report.right(format_args!("{key_type} {shown}, pinned in {place}"));
            }
            (Ok(Known::Nothing), _) if accept => {
                report.right(format_args!(
                    "{key_type} {shown}, unknown: a tunnel would pin it"
                ));
            }
            (known, Err(ended)) => {
                let text = match known {
                    Ok(Known::Nothing) => format!("{key_type} {shown}, unknown"),
                    _ => ended.reason,
                };
                let text = format_args!("{text}");
                match ended.cause {
                    Some(cause) => report.fail_for(exit::NO_PERMISSION, text, cause),
                    None => {
                        report.fail(exit::NO_PERMISSION, text, format_args!("repair that file"))
                    }
                }
                return false;
            }
        }
        true
    }

    /// A conversation broke off at this step.
    #[inline(never)]
    fn broke(&mut self, broken: &Broken, client: &Client) {
        let Server { user, host, port } = self.server;
        let at = self.step;
        let file = self.files.first().map(|file| file.display().to_string());
        let file = file.unwrap_or_default();
        let said = match broken {
            Broken::Closed(_) => String::new(),
            _ if at == SERVER => client.said_before_identification(),
            _ => String::new(),
        };
        let said = match said.as_str() {
            "" => said,
            said => format!("; it said: {said}"),
        };
        let login = STEPS.len() - 1;
        let cause = match broken {
            Broken::Client(Error::NoCommon { .. }) => Cause::NothingInCommon,
            Broken::Client(Error::Disconnected { .. }) | Broken::Closed(_) | Broken::Socket(_) => {
                match at == login {
                    true => Cause::TurnedAway,
                    false => Cause::Closed,
                }
            }
            Broken::Client(error) => denial(error).unwrap_or(Cause::Garbled),
            _ if at == SERVER => Cause::Mute,
            _ => Cause::Stalled,
        };
        let code = match at == login {
            true => exit::NO_PERMISSION,
            false => exit::UNAVAILABLE,
        };
        // As the caller can type it.
        let action = cause.advice().replace("KEYFILE", &file);
        let action = action.replace("user@host", &format!("-p {port} {user}@{host}"));
        let text = format_args!("{broken}{said}");
        self.next().fail(code, text, format_args!("{action}"));
    }
}
