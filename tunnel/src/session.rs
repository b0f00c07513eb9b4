//! One connection that is up: moves bytes between socket, client and relays.

use std::io;
use std::mem::{self, MaybeUninit};
use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::escape::escaped;
use reachback_core::failure::Failure;
use reachback_core::forward::{Listen, MAX_FORWARDS};
use reachback_core::forwards::{Forward, ForwardId, Forwards};
use reachback_core::liveness::Progress;
use reachback_core::time::Instant;
use reachback_core::verify::Proof;
use reachback_core::watchdog::{Input, Watchdog};
use reachback_ssh::{Client, Error, Phase};

use crate::checks::Checks;
use crate::ended::{Ended, denial, reason};
use crate::outside::{Outside, Ready, ServerStream, Stream, Token};
use crate::plan::{Plan, Server};
use crate::readable::Readable;
use crate::relays::Relays;
use crate::stats::Stats;

mod ahead;
mod check;
mod events;
mod farewell;
mod printed;
mod rotation;
mod strays;

use ahead::Ahead;
use printed::Printed;
use rotation::Rotation;
use strays::Strays;

/// Reads of the socket in one turn, each of at most one inbound buffer.
const READS_PER_TURN: usize = 4;
/// No further read in a turn that took this long, so that a server which pours in small packets
/// keeps nobody else waiting.
const READING: Duration = Duration::from_millis(4);
/// What came in one turn is acknowledged at once if it is less than this, bytes, as in the turn before,
/// and nothing is on its way back. Less than a full segment (RFC 8200: 1280 bytes with headers), so that
/// a bulk transfer is answered with no packet more.
const SMALL: usize = 1200;
/// `SSH_DISCONNECT_BY_APPLICATION` (RFC 4250 section 4.2.2).
const BY_APPLICATION: u32 = 11;

/// What one turn of a session works with.
pub struct Turn<'a, O> {
    /// What the tunnel is made from.
    pub plan: &'a Plan,
    /// Whom the connection leads to.
    pub server: &'a Server,
    /// Is told what happens.
    pub watchdog: &'a mut Watchdog,
    /// Keeps what status shows.
    pub stats: &'a mut Stats,
    /// Sockets, known hosts, the clock.
    pub outside: &'a mut O,
    /// The time of this turn.
    pub now: Instant,
}

/// A connection to the server, the SSH client on it, and the relays of its channels.
pub struct Session<O: Outside> {
    stream: O::Server,
    token: Token,
    client: Client,
    relays: Relays<O>,
    checks: Checks,
    strays: Strays,
    printed: Printed,
    rotation: Rotation,
    readable: Readable,
    writable: bool,
    /// Less than [`SMALL`] came when last something came.
    came_small: bool,
    /// Bytes written to the socket.
    written: u64,
    ahead: Ahead,
    /// Keys are exchanged, and then logged in: the client forgets its phase when it ends.
    authenticating: bool,
    connected: bool,
    /// The server does not stop listening when it is asked to, or is known for that.
    keeps_listeners: bool,
}

impl<O: Outside> Session<O> {
    /// A session on a connection that was made. The relays' tokens begin at `relays`.
    pub fn new(
        (stream, token): (O::Server, Token),
        client: Client,
        relays: usize,
        family: AddressFamily,
        outside: &mut O,
    ) -> Session<O> {
        Session {
            stream,
            token,
            client,
            relays: Relays::new(relays, family),
            checks: Checks::new(outside.randomness()),
            strays: Strays::new(),
            printed: Printed::default(),
            rotation: Rotation::default(),
            readable: Readable::unknown(),
            writable: true,
            came_small: true,
            written: 0,
            ahead: Ahead::new(),
            authenticating: false,
            connected: false,
            keeps_listeners: false,
        }
    }

    /// The server's socket, or one of a relay's, is ready.
    pub fn handle_ready(&mut self, ready: Ready, now: Instant) {
        if ready.token == self.token {
            self.readable.note(ready);
            self.writable |= ready.writable;
        } else {
            self.relays.handle_ready(ready, now);
        }
    }

    /// What of the client's buffers holds nothing.
    pub fn unused_memory(&mut self) -> (&mut [u8], &mut [MaybeUninit<u8>]) {
        self.client.unused_memory()
    }

    /// The connection.
    pub fn stream(&self) -> &O::Server {
        &self.stream
    }

    /// The earliest deadline of the client, the relays and the checks.
    pub fn poll_timeout(&self, forwards: &Forwards) -> Option<Instant> {
        let client = self.client.poll_timeout().map(Instant);
        let all = client.into_iter().chain(self.relays.poll_timeout());
        let all = all.chain(self.checks.poll_timeout(forwards));
        let all = all.chain(self.printed.poll_timeout());
        all.chain(self.strays.poll_timeout()).min()
    }

    /// True when no connection is being served.
    pub fn is_idle(&self) -> bool {
        self.relays.is_empty()
    }

    /// How many connections are being served.
    pub fn serving(&self) -> usize {
        self.relays.count()
    }

    /// Whether the server goes on listening although it was asked not to.
    pub fn keeps_listeners(&self) -> bool {
        self.keeps_listeners
    }

    /// What `VerifyForward` knows of a forward.
    pub fn proof(&self, forward: &Forward) -> Proof {
        self.checks.proof(forward)
    }

    /// Asks the server to listen.
    pub fn request_forward(&mut self, id: ForwardId, forwards: &Forwards) -> Result<(), Ended> {
        let Some(forward) = forwards.get(id) else {
            return Ok(());
        };
        let number = wire_id(id);
        let requested = match &forward.spec.listen {
            Listen::Tcp { bind, port } => self.client.request_forward(number, bind.wire(), *port),
            Listen::Unix(path) => self.client.request_socket_forward(number, path),
        };
        requested.map_err(|error| self.ended(error))
    }

    /// Takes a listener back; those connected through it stay so.
    pub fn cancel_forward(
        &mut self,
        id: ForwardId,
        forwards: &mut Forwards,
        now: Instant,
    ) -> Result<(), Ended> {
        self.checks.cancelled(id, forwards, now);
        let cancelled = self.client.cancel_forward(wire_id(id));
        cancelled.map_err(|error| self.ended(error))
    }

    /// Takes every listener back.
    pub fn cancel_forwards(&mut self, forwards: &mut Forwards, now: Instant) -> Result<(), Ended> {
        for number in 0..MAX_FORWARDS as u8 {
            if let Some(id) = forwards.by_number(number) {
                self.cancel_forward(id, forwards, now)?;
            }
        }
        Ok(())
    }

    /// Asks for a sign of life.
    pub fn probe(&mut self) -> Result<(), Ended> {
        let asked = self.checks.ask(&mut self.client);
        asked.map_err(|error| self.ended(error))
    }

    /// Says goodbye and lets go of every socket. What the kernel does not take at once is lost:
    /// nothing is waited for here.
    pub fn end(mut self) {
        self.client.disconnect(BY_APPLICATION, "");
        self.writable = true;
        let _ = self.flush();
    }

    /// One turn: everything that can go on without waiting, within a budget. True when there is
    /// more to do at once.
    pub fn drive(&mut self, turn: &mut Turn<'_, O>) -> Result<bool, Ended> {
        let now = turn.now;
        // In the turn after the login: as with ssh, the forwards are asked for first.
        if self.connected {
            let opened = self
                .printed
                .open(turn.plan.session_channel, &mut self.client);
            opened.map_err(|error| self.ended(error))?;
        }
        self.flush()?;
        self.handle_events(turn)?;
        let mut came = 0;
        for _ in 0..READS_PER_TURN {
            if !self.readable.get() {
                break;
            }
            let Some(n) = self.read(turn.watchdog, now)? else {
                break;
            };
            came += n;
            self.handle_events(turn)?;
            if turn.outside.now().since(now) >= READING {
                break;
            }
        }
        // Only now, as with the watchdog: what lay in the socket is heard before it is judged.
        let due = self.client.handle_timeout(now.0);
        due.map_err(|error| self.ended(error))?;
        self.check_forwards(turn)
            .map_err(|error| self.ended(error))?;
        let limit = turn.plan.channel_idle_timeout;
        let moved = self
            .relays
            .drive(&mut self.client, turn.outside, limit, now);
        let sent = moved.map_err(|error| self.ended(error))?;
        let refused = self.relays.take_refused() + self.strays.take_refused();
        let turned = (refused, self.relays.take_closed());
        turn.stats.turned(self.relays.count(), turned, sent);
        self.relays.say_counts(turn.watchdog.forwards(), now);
        self.strays.say_count(turn.watchdog.forwards(), now);
        self.printed.handle_timeout(now);
        let blocked = self.client.waits_for_output();
        self.flush()?;
        let held_up = !self.client.poll_output().is_empty();
        if let Some(limit) = self.ahead.note(self.written, held_up, now) {
            self.client.set_data_limit(limit);
            self.stream.limit_unsent(limit);
        }
        if came > 0 {
            let was_small = mem::replace(&mut self.came_small, came < SMALL);
            if was_small && self.came_small && self.client.poll_output().is_empty() {
                self.stream.acknowledge();
            }
        }
        let released = blocked && !self.client.waits_for_output();
        let readable = self.readable.get() && !self.client.input_space().is_empty();
        Ok(released || readable || self.relays.has_work(&self.client))
    }

    /// One read; none when there was nothing, or no room for it.
    fn read(&mut self, watchdog: &mut Watchdog, now: Instant) -> Result<Option<usize>, Ended> {
        let space = self.client.input_space();
        if space.is_empty() {
            return Ok(None);
        }
        let outcome = self.stream.read(space);
        self.readable.after(&outcome, space.len());
        match outcome {
            Ok(0) => Err(self.closed()),
            Ok(n) => {
                self.client.handle_input(n, now.0);
                let written = self.written;
                watchdog.handle(now, Input::Inbound { written });
                Ok(Some(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// How far our own bytes have come, as far as the kernel knows.
    pub fn progress(&mut self, now: Instant) -> Option<Progress> {
        let told = self.stream.unacknowledged()?;
        let since_ms = told.since.as_millis() as u64;
        Some(Progress {
            queued: self.written + self.client.poll_output().len() as u64,
            acknowledged: self.written.saturating_sub(told.bytes as u64),
            sacked: told.sacked as u64,
            at: Instant(now.0.saturating_sub(since_ms)),
            retransmission: told.retransmission,
        })
    }

    /// Writes what the kernel takes at once.
    pub fn flush(&mut self) -> Result<(), Ended> {
        while self.writable && !self.client.poll_output().is_empty() {
            match self.stream.write(self.client.poll_output()) {
                Ok(n) => {
                    self.client.handle_written(n);
                    self.written += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    /// The kernel ended the connection. A reset before login is how servers turn a caller away
    /// whose last bytes they did not read; it is respected like a close.
    fn broken(&self, error: &io::Error) -> Ended {
        let reset = error.kind() == io::ErrorKind::ConnectionReset;
        let failure = match self.client.phase() {
            Phase::Identification | Phase::KeyExchange if reset => Failure::NotServed,
            _ if reset && !self.connected => Failure::GoneAway,
            _ => Failure::Lost,
        };
        Ended::new(failure, self.with_said(&reason(error)))
    }

    /// The server closed the connection; what that means depends on how far it had come.
    fn closed(&self) -> Ended {
        match self.client.phase() {
            Phase::Identification => Ended::new(
                Failure::NotServed,
                self.with_said("the server closed the connection before it identified itself"),
            ),
            Phase::KeyExchange => Ended::new(
                Failure::NotServed,
                "the server closed the connection during the key exchange",
            ),
            Phase::Authentication => Ended::new(
                Failure::GoneAway,
                "the server closed the connection during authentication",
            ),
            Phase::Connected | Phase::Ended => {
                Ended::new(Failure::ServerClosed, "the server closed the connection")
            }
        }
    }

    /// Servers that turn a caller away say why in place of their identification.
    fn with_said(&self, text: &str) -> String {
        let said = self.client.said_before_identification();
        if said.is_empty() {
            text.to_owned()
        } else {
            format!("{text}; it said: {said}")
        }
    }

    fn ended(&self, error: Error) -> Ended {
        let failure = match (&error, self.connected) {
            (Error::AuthRefused { .. }, _) => Failure::AuthRefused,
            (Error::NoCommon { .. }, _) => Failure::Incompatible,
            (Error::HostKeySwapped, _) => Failure::HostKeyChanged,
            (Error::Disconnected { .. }, true) => Failure::ServerClosed,
            (Error::Disconnected { reason, text }, false) => {
                farewell::before_login(*reason, text, self.authenticating)
            }
            (Error::Crypto(_) | Error::Rng, _) => Failure::Local,
            _ => Failure::Protocol,
        };
        let cause = denial(&error);
        Ended::new(failure, escaped(error).to_string()).because(cause)
    }
}

/// What the SSH client calls a forward.
fn wire_id(id: ForwardId) -> reachback_ssh::ForwardId {
    reachback_ssh::ForwardId(id.number())
}
