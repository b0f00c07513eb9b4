//! The way back from a fallback: a look at the first server from beside a tunnel to another.
//!
//! The look is a TCP connection that waits for the server to begin its identification line. If
//! it does, that very connection becomes the tunnel's, so there are never two to one server.

use std::io;
use std::time::Duration;

use log::{debug, info};
use reachback_core::time::Instant;
use reachback_core::watchdog::Input;

use super::{Connection, FAILBACK_DIAL, FAILBACK_RESOLVE, Tunnel};
use crate::dial::{Dial, Dialled};
use crate::ended::reason;
use crate::lookup::Lookup;
use crate::outside::{Outside, ServerStream, Token};

/// How long the look may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

enum Look<O: Outside> {
    Resolving(Lookup<O>),
    Dialling(Box<Dial<O>>),
    /// Waiting for the server's identification.
    Greeting(Dialled<O::Server>),
    /// The server has begun its identification line.
    Greeted(Dialled<O::Server>),
}

/// A look at the first server.
pub(super) struct Failback<O: Outside> {
    look: Look<O>,
    deadline: Instant,
}

impl<O: Outside> Failback<O> {
    pub(super) fn poll_timeout(&self) -> Instant {
        let own = match &self.look {
            Look::Resolving(lookup) => lookup.poll_timeout(),
            Look::Dialling(dial) => dial.poll_timeout(),
            Look::Greeting(_) | Look::Greeted(_) => None,
        };
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }
}

impl<O: Outside> Tunnel<O> {
    /// Begins a look, unless the tunnel is in use: it would have to be left for it.
    pub(super) fn try_first(&mut self, outside: &mut O, now: Instant) {
        let (Some(first), Connection::Up(session)) = (self.plan.servers.first(), &self.connection)
        else {
            return;
        };
        if !session.is_idle() || self.failback.is_some() {
            debug!("the tunnel is in use; staying");
            return;
        }
        debug!("looking at {} port {}", first.host, first.port);
        let places = [FAILBACK_RESOLVE, FAILBACK_RESOLVE + 1];
        let tokens = places.map(|place| Token(self.first_token + place));
        let (host, _) = self.plan.way(first).next();
        let lookup = Lookup::start(host, self.plan.family, None, tokens, outside, now);
        self.failback = Some(Failback {
            look: Look::Resolving(lookup),
            deadline: now + PATIENCE,
        });
    }

    pub(super) fn failback_ready(&mut self, token: Token, outside: &mut O, now: Instant) {
        match self.failback.as_mut().map(|failback| &mut failback.look) {
            Some(Look::Resolving(lookup)) => lookup.handle_ready(token, now),
            Some(Look::Dialling(dial)) => dial.handle_ready(token, outside, now),
            _ => {}
        }
    }

    /// Goes on with the look, and over to the first server if that answers.
    pub(super) fn drive_failback(&mut self, outside: &mut O, now: Instant) {
        let Some(Failback { look, deadline }) = self.failback.take() else {
            return;
        };
        if deadline <= now {
            if let Look::Greeting(dialled) = look {
                self.doubts.doubt(dialled.address);
            }
            debug!("the first destination does not answer in time");
            return;
        }
        match self.look(look, outside, now) {
            Ok(Look::Greeted(dialled)) => self.fail_back(dialled, now),
            Ok(look) => self.failback = Some(Failback { look, deadline }),
            Err(reason) => debug!("the first destination does not answer: {reason}"),
        }
    }

    fn look(&mut self, look: Look<O>, outside: &mut O, now: Instant) -> Result<Look<O>, String> {
        Ok(match look {
            Look::Resolving(mut lookup) => match lookup.poll(now) {
                None => Look::Resolving(lookup),
                Some(found) => {
                    let way = self.plan.way(&self.plan.servers[0]);
                    let (addresses, doubts) = (found?.addresses, &self.doubts);
                    let token = self.first_token + FAILBACK_DIAL;
                    let dial = Dial::start(&addresses, &way, doubts, token, outside, now);
                    Look::Dialling(Box::new(dial))
                }
            },
            Look::Dialling(mut dial) => {
                dial.handle_timeout(outside, now);
                match dial.result() {
                    None => Look::Dialling(dial),
                    Some(result) => self.greeting(result.map_err(|ended| ended.reason)?)?,
                }
            }
            Look::Greeting(dialled) => self.greeting(dialled)?,
            Look::Greeted(dialled) => Look::Greeted(dialled),
        })
    }

    fn greeting(&mut self, dialled: Dialled<O::Server>) -> Result<Look<O>, String> {
        let address = dialled.address;
        greeting(dialled).inspect_err(|_| self.doubts.doubt(address))
    }

    fn fail_back(&mut self, dialled: Dialled<O::Server>, now: Instant) {
        if !matches!(&self.connection, Connection::Up(session) if session.is_idle()) {
            debug!("the first destination answers, but the tunnel is in use; staying");
            return;
        }
        info!("the first destination answers again; leaving the fallback");
        self.answered = Some(dialled);
        self.watchdog.handle(now, Input::FirstAnswers);
    }
}

/// Looks whether the server has begun its identification line (RFC 4253, 4.2).
fn greeting<O: Outside>(dialled: Dialled<O::Server>) -> Result<Look<O>, String> {
    let mut start = [0; 4];
    match dialled.stream.peek(&mut start) {
        Ok(0) => Err("the server closed the connection".to_owned()),
        Ok(4) if &start == b"SSH-" => Ok(Look::Greeted(dialled)),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(reason(&error)),
        _ => Ok(Look::Greeting(dialled)),
    }
}
