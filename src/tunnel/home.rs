//! Fallback destinations: which server the next attempt is to, and the look back at the first
//! one from beside a tunnel to another.
//!
//! The look is a TCP connection that waits for the server to begin its identification line. If
//! it does, that very connection becomes the tunnel's, so there are never two to one server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, info, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reachback_core::time::Instant;
use reachback_core::watchdog::Happening;

use super::{Link, Tunnel};
use crate::ended::Ended;
use crate::net::connect::{self, Dial};
use crate::net::lookup::Lookup;
use crate::plan::Server;
use crate::relay::{RELAYS, TOKENS_PER_RELAY};

/// Tokens behind those of the relays: two for the resolver, the dialler's, one for the socket.
pub(super) const HOME: usize = super::RELAY + RELAYS * TOKENS_PER_RELAY;
const DIAL: usize = HOME + 2;
const GREETING: usize = DIAL + connect::TOKENS;
/// How long the look may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

enum Stage {
    Resolving(Box<Lookup>),
    Dialling(Box<Dial>),
    Greeting(TcpStream, SocketAddr),
}

/// A look at the first destination.
pub(super) struct Look {
    stage: Stage,
    deadline: Instant,
}

impl Look {
    pub(super) fn poll_timeout(&self) -> Instant {
        let own = match &self.stage {
            Stage::Resolving(lookup) => lookup.poll_timeout(),
            Stage::Dialling(dial) => dial.poll_timeout(),
            Stage::Greeting(..) => None,
        };
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }
}

impl Tunnel {
    /// Tells about the destination of the attempt that begins, and makes it the current one.
    pub(super) fn select_server(&mut self) {
        let index = self.watchdog.destination();
        let Some(server) = self.servers.get(index) else {
            return;
        };
        let Server { user, host, port } = server.clone();
        if self.server() != self.servers[index] {
            if index == 0 {
                warn!("going back to {user}@{host} port {port}");
            } else {
                warn!("going to fallback {index}: {user}@{host} port {port}");
            }
        }
        if self.servers.len() > 1 {
            self.settings.place = format!(" at {host} port {port}");
        }
        self.trust.host.clone_from(&host);
        self.trust.port = port;
        self.settings.user = user;
        self.settings.host = host;
        self.settings.port = port;
    }

    /// The current server.
    fn server(&self) -> Server {
        Server {
            user: self.settings.user.clone(),
            host: self.settings.host.clone(),
            port: self.settings.port,
        }
    }

    /// Begins a look, unless the tunnel is in use: it would have to be left for it.
    pub(super) fn try_first(&mut self, registry: &Registry, now: Instant) {
        let (Some(first), Link::Up(session)) = (self.servers.first(), &self.link) else {
            return;
        };
        if !session.is_idle() || self.look.is_some() {
            debug!("the tunnel is in use; staying");
            return;
        }
        debug!("looking at {} port {}", first.host, first.port);
        let tokens = [HOME, HOME + 1].map(|place| Token(self.first_token + place));
        let family = self.settings.family;
        let lookup = Lookup::start(&first.host, family, None, registry, tokens, now);
        self.look = Some(Look {
            stage: Stage::Resolving(Box::new(lookup)),
            deadline: now + PATIENCE,
        });
    }

    pub(super) fn look_ready(&mut self, token: Token, registry: &Registry, now: Instant) {
        match self.look.as_mut().map(|look| &mut look.stage) {
            Some(Stage::Resolving(lookup)) => lookup.handle_ready(token, now, registry),
            Some(Stage::Dialling(dial)) => dial.handle_ready(token, now),
            _ => {}
        }
    }

    /// Goes on with the look, and over to the first destination if that answers.
    pub(super) fn drive_look(&mut self, registry: &Registry, now: Instant) {
        let Some(look) = self.look.take() else {
            return;
        };
        if look.deadline <= now {
            debug!("the first destination does not answer in time");
            return;
        }
        let deadline = look.deadline;
        match self.step(look.stage, registry, now) {
            Ok(Some(Stage::Greeting(stream, address))) if self.greets(&stream) => {
                self.go_home(stream, address, registry, now);
            }
            Ok(stage) => self.look = stage.map(|stage| Look { stage, deadline }),
            Err(reason) => debug!("the first destination does not answer: {reason}"),
        }
    }

    fn step(
        &mut self,
        mut stage: Stage,
        registry: &Registry,
        now: Instant,
    ) -> Result<Option<Stage>, String> {
        let Some(first) = self.servers.first() else {
            return Ok(None);
        };
        match &mut stage {
            Stage::Resolving(lookup) => {
                lookup.handle_timeout(now, registry);
                if let Some(found) = lookup.result(now) {
                    let addresses = found.map_err(|error| error.to_string())?.addresses;
                    let family = self.settings.family;
                    let source = self.settings.source.clone();
                    let token = self.first_token + DIAL;
                    let dial =
                        Dial::start(&addresses, first.port, registry, token, now, family, source);
                    stage = Stage::Dialling(Box::new(dial));
                }
            }
            Stage::Dialling(dial) => {
                dial.handle_timeout(now);
                if let Some(result) = dial.result() {
                    let (mut stream, address) = result.map_err(|error| error.to_string())?;
                    let token = Token(self.first_token + GREETING);
                    registry
                        .register(&mut stream, token, Interest::READABLE)
                        .map_err(|error| error.to_string())?;
                    stage = Stage::Greeting(stream, address);
                }
            }
            Stage::Greeting(stream, _) => match stream.peek(&mut [0; 4]) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(error.to_string());
                }
                _ => {}
            },
        }
        Ok(Some(stage))
    }

    /// Whether the server has begun its identification line (RFC 4253, 4.2).
    fn greets(&self, stream: &TcpStream) -> bool {
        let mut start = [0; 4];
        matches!(stream.peek(&mut start), Ok(4)) && &start == b"SSH-"
    }

    fn go_home(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) {
        let idle = matches!(&self.link, Link::Up(session) if session.is_idle());
        if !idle || registry.deregister(&mut stream).is_err() {
            debug!("the first destination answers, but the tunnel is in use; staying");
            return;
        }
        info!("the first destination answers again; leaving the fallback");
        self.homeward = Some((stream, address));
        self.watchdog.handle(now, Happening::FirstAnswers);
    }

    /// Begins an attempt on the connection of a look.
    pub(super) fn attempt_homeward(
        &mut self,
        registry: &Registry,
        now: Instant,
    ) -> Result<(), Ended> {
        let Some((stream, address)) = self.homeward.take() else {
            return Ok(());
        };
        let (host, port) = (&self.settings.host, self.settings.port);
        info!("connecting to {host} port {port} ({})", address.ip());
        self.from_memory = false;
        self.watchdog.handle(now, Happening::Resolved);
        self.connected(stream, address, registry, now)
    }
}
