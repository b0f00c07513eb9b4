//! The controller's side: the real watchdog and the real client, coupled as `src/tunnel.rs` and
//! `src/session.rs` of the program couple them. What those do with mio and the kernel is done
//! here with [`Net`]; the order of calls is the same and has to stay the same.

use std::collections::VecDeque;

use reachback_core::failure::Failure;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Action, Happening, Policy, State, Watchdog};
use reachback_ssh::limits::{CHANNEL_WINDOW, CHANNELS, INBOUND_BUFFER, OUTBOUND_BUFFER};
use reachback_ssh::{ChannelId, Client, Error, Event, ForwardId, Phase, Rekey};

use crate::duo;
use crate::network::Io;

/// Reads of the socket in one turn, as in the program.
const READS_PER_TURN: usize = 4;
/// `SSH_DISCONNECT_BY_APPLICATION`.
const BY_APPLICATION: u32 = 11;
/// A name server's answer that does not come is waited for without end here.
const NEVER_MS: u64 = u64::MAX;

/// The kernel under the controller.
pub trait Net {
    /// Begins to look the name up. Gives when the answer is there, and whether it is a good one.
    fn resolve(&mut self, now_ms: u64) -> (u64, bool);
    /// Begins a TCP connection.
    fn dial(&mut self, now_ms: u64) -> usize;
    /// Whether a connection that was begun is made; an error when it was refused.
    fn dialled(&mut self, socket: usize) -> Option<Result<(), ()>>;
    /// Reads.
    fn read(&mut self, socket: usize, space: &mut [u8]) -> Io;
    /// Writes.
    fn write(&mut self, socket: usize, bytes: &[u8]) -> Io;
    /// Closes, also a connection that is being made.
    fn close(&mut self, socket: usize);
}

/// Something that the controller did, for the invariants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// An attempt began.
    Attempt,
    /// An attempt or a connection ended, and the next attempt is not before `until_ms`.
    Waits {
        /// Why.
        why: Failure,
        /// Until when.
        until_ms: u64,
    },
    /// Every forward is confirmed.
    TunnelUp,
    /// A forward was refused.
    ForwardWaits {
        /// Which one.
        index: u8,
    },
    /// A probe was sent.
    Probe,
    /// Bytes were read.
    Inbound,
}

enum Link {
    Down,
    Resolving { at_ms: u64, good: bool },
    Dialling { socket: usize },
    Up(Box<Session>),
}

struct Echo {
    channel: ChannelId,
    bytes: VecDeque<u8>,
    ended: bool,
}

struct Session {
    socket: usize,
    client: Client,
    connected: bool,
    echoes: Vec<Echo>,
}

struct Ended(Failure);

/// Watchdog, client and targets that echo.
pub struct Controller {
    /// The real watchdog.
    pub watchdog: Watchdog,
    /// What was done since the last look, by time.
    pub deeds: Vec<(u64, Deed)>,
    /// The pinned host key.
    pub pinned: Vec<u8>,
    /// Whether data is taken by targets.
    pub targets_take: bool,
    forwards: usize,
    rekey: Rekey,
    link: Link,
    clients: u64,
    finished: bool,
}

/// Server port of a forward.
pub fn port_of(index: u8) -> u16 {
    1111 + u16::from(index)
}

impl Controller {
    /// A controller that begins its first attempt at its first turn.
    pub fn new(
        policy: Policy,
        forwards: usize,
        rekey: Rekey,
        seed: u64,
        now_ms: u64,
    ) -> Controller {
        Controller {
            watchdog: Watchdog::new(policy, forwards, seed, Instant(now_ms)),
            deeds: Vec::new(),
            pinned: crate::server::host_key_blob(1),
            targets_take: true,
            forwards,
            rekey,
            link: Link::Down,
            clients: seed,
            finished: false,
        }
    }

    /// True once the watchdog gave up for good.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Every forward is confirmed.
    pub fn is_whole(&self) -> bool {
        matches!(self.watchdog.state(), State::Up { confirmed, .. } if usize::from(confirmed) == self.forwards)
    }

    /// The socket that is in use.
    pub fn socket(&self) -> Option<usize> {
        match &self.link {
            Link::Dialling { socket } => Some(*socket),
            Link::Up(session) => Some(session.socket),
            _ => None,
        }
    }

    /// A link or an address came.
    pub fn network_came(&mut self, now_ms: u64) {
        self.watchdog.handle(Instant(now_ms), Happening::LinkUp);
    }

    /// The address of this connection is gone, says the kernel.
    pub fn address_removed(&mut self, now_ms: u64, net: &mut dyn Net) {
        if matches!(self.link, Link::Up(_)) {
            self.failed(Ended(Failure::Lost), net, now_ms);
        }
    }

    /// A person wants a new connection.
    pub fn reconnect(&mut self, now_ms: u64) {
        self.watchdog
            .handle(Instant(now_ms), Happening::ReconnectNow);
    }

    /// A person wants the end.
    pub fn stop(&mut self, now_ms: u64) {
        self.watchdog.handle(Instant(now_ms), Happening::Stop);
    }

    /// When the next turn is due at the latest.
    pub fn poll_timeout(&self) -> Option<u64> {
        let link = match &self.link {
            Link::Down | Link::Dialling { .. } => None,
            Link::Resolving { at_ms, .. } => Some(*at_ms).filter(|at| *at != NEVER_MS),
            Link::Up(session) => session.client.poll_timeout(),
        };
        let watchdog = self.watchdog.poll_timeout().map(|(at, _)| at.0);
        link.into_iter().chain(watchdog).min()
    }

    /// Bytes that are kept for server and targets, with their bound.
    pub fn memory(&self) -> (usize, usize) {
        let Link::Up(session) = &self.link else {
            return (0, 0);
        };
        let echoes: usize = session.echoes.iter().map(|echo| echo.bytes.len()).sum();
        let bound = OUTBOUND_BUFFER + CHANNELS * CHANNEL_WINDOW as usize;
        (session.client.poll_output().len() + echoes, bound)
    }

    /// One turn, as `Tunnel::drive`. True when there is more to do at once.
    pub fn drive(&mut self, net: &mut dyn Net, now_ms: u64) -> bool {
        self.perform_all(net, now_ms);
        let mut more = match self.advance(net, now_ms) {
            Ok(more) => more,
            Err(ended) => {
                self.failed(ended, net, now_ms);
                false
            }
        };
        self.watchdog.handle_timeout(Instant(now_ms));
        more |= self.perform_all(net, now_ms);
        if let Link::Up(session) = &mut self.link
            && let Err(ended) = session.flush(net)
        {
            self.failed(ended, net, now_ms);
            more |= self.perform_all(net, now_ms);
        }
        more && !self.finished
    }

    fn advance(&mut self, net: &mut dyn Net, now_ms: u64) -> Result<bool, Ended> {
        let now = Instant(now_ms);
        match &mut self.link {
            Link::Down => Ok(false),
            Link::Resolving { at_ms, good } => {
                if *at_ms > now_ms {
                    return Ok(false);
                }
                if !*good {
                    return Err(Ended(Failure::Resolve));
                }
                self.watchdog.handle(now, Happening::Resolved);
                let socket = net.dial(now_ms);
                self.link = Link::Dialling { socket };
                Ok(true)
            }
            Link::Dialling { socket } => match net.dialled(*socket) {
                None => Ok(false),
                Some(Err(())) => Err(Ended(Failure::Unreachable)),
                Some(Ok(())) => {
                    self.clients += 1;
                    let session = Session {
                        socket: *socket,
                        client: duo::client(self.rekey, self.clients, now_ms),
                        connected: false,
                        echoes: Vec::new(),
                    };
                    self.link = Link::Up(Box::new(session));
                    self.watchdog.handle(now, Happening::Connected);
                    Ok(true)
                }
            },
            Link::Up(session) => {
                let turn = Turn {
                    watchdog: &mut self.watchdog,
                    deeds: &mut self.deeds,
                    pinned: &self.pinned,
                    targets_take: self.targets_take,
                    net,
                    now_ms,
                };
                session.drive(turn)
            }
        }
    }

    fn perform_all(&mut self, net: &mut dyn Net, now_ms: u64) -> bool {
        let mut any = false;
        while let Some(action) = self.watchdog.poll_action() {
            any = true;
            if let Err(ended) = self.perform(action, net, now_ms) {
                self.failed(ended, net, now_ms);
            }
        }
        any
    }

    fn note(&mut self, now_ms: u64, deed: Deed) {
        self.deeds.push((now_ms, deed));
    }

    fn perform(&mut self, action: Action, net: &mut dyn Net, now_ms: u64) -> Result<(), Ended> {
        match action {
            Action::Resolve => {
                self.note(now_ms, Deed::Attempt);
                let (at_ms, good) = net.resolve(now_ms);
                self.link = Link::Resolving { at_ms, good };
            }
            Action::Abandon(_) => self.close(net),
            Action::RequestForward { index } => {
                if let Link::Up(session) = &mut self.link {
                    let asked = session.client.request_forward(
                        ForwardId(index),
                        "localhost",
                        port_of(index),
                    );
                    asked.map_err(|error| session.ended(&error))?;
                }
            }
            Action::Probe => {
                self.note(now_ms, Deed::Probe);
                if let Link::Up(session) = &mut self.link {
                    let asked = session.client.keepalive();
                    asked.map_err(|error| session.ended(&error))?;
                }
            }
            Action::Wait { until, why } => self.note(
                now_ms,
                Deed::Waits {
                    why,
                    until_ms: until.0,
                },
            ),
            Action::TunnelUp => self.note(now_ms, Deed::TunnelUp),
            Action::ForwardWaits { index, .. } => self.note(now_ms, Deed::ForwardWaits { index }),
            Action::Disconnect | Action::Exit => {
                self.close(net);
                self.finished = true;
            }
            // Forwards do not change here, and there is one destination.
            Action::CancelForward { .. } | Action::TryFirst => {}
        }
        Ok(())
    }

    fn failed(&mut self, ended: Ended, net: &mut dyn Net, now_ms: u64) {
        self.close(net);
        self.watchdog
            .handle(Instant(now_ms), Happening::Failed(ended.0));
    }

    fn close(&mut self, net: &mut dyn Net) {
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(mut session) => {
                session.client.disconnect(BY_APPLICATION, "");
                let _ = session.flush(net);
                net.close(session.socket);
            }
            Link::Dialling { socket } => net.close(socket),
            Link::Down | Link::Resolving { .. } => {}
        }
    }
}

/// What a session works with in one turn.
struct Turn<'a> {
    watchdog: &'a mut Watchdog,
    deeds: &'a mut Vec<(u64, Deed)>,
    pinned: &'a [u8],
    targets_take: bool,
    net: &'a mut dyn Net,
    now_ms: u64,
}

impl Session {
    /// As `Session::drive` of the program.
    fn drive(&mut self, mut turn: Turn<'_>) -> Result<bool, Ended> {
        let due = self.client.handle_timeout(turn.now_ms);
        due.map_err(|error| self.ended(&error))?;
        self.flush(turn.net)?;
        self.handle_events(&mut turn)?;
        let mut readable = true;
        for _ in 0..READS_PER_TURN {
            readable = self.read(&mut turn)?;
            if !readable {
                break;
            }
            self.handle_events(&mut turn)?;
        }
        let moved = self.relay(turn.targets_take);
        moved.map_err(|error| self.ended(&error))?;
        let blocked = self.client.waits_for_output();
        self.flush(turn.net)?;
        let released = blocked && !self.client.waits_for_output();
        let has_work = turn.targets_take
            && self
                .echoes
                .iter()
                .any(|echo| !echo.bytes.is_empty() && self.client.channel_takes_data(echo.channel));
        let space = self.client.input_space().len();
        assert!(space <= INBOUND_BUFFER, "the input buffer grew");
        Ok(released || has_work || (readable && space > 0))
    }

    fn read(&mut self, turn: &mut Turn<'_>) -> Result<bool, Ended> {
        let space = self.client.input_space();
        if space.is_empty() {
            return Ok(false);
        }
        match turn.net.read(self.socket, space) {
            Io::Moved(n) => {
                self.client.handle_input(n, turn.now_ms);
                turn.watchdog
                    .handle(Instant(turn.now_ms), Happening::Inbound);
                turn.deeds.push((turn.now_ms, Deed::Inbound));
                Ok(true)
            }
            Io::Blocked => Ok(false),
            Io::Ended => Err(Ended(match self.client.phase() {
                Phase::Identification | Phase::KeyExchange | Phase::Authentication => {
                    Failure::GoneAway
                }
                Phase::Connected | Phase::Ended => Failure::ServerClosed,
            })),
            Io::Reset => Err(Ended(Failure::Lost)),
        }
    }

    fn flush(&mut self, net: &mut dyn Net) -> Result<(), Ended> {
        while !self.client.poll_output().is_empty() {
            match net.write(self.socket, self.client.poll_output()) {
                Io::Moved(n) => self.client.handle_written(n),
                Io::Blocked => break,
                Io::Ended | Io::Reset => return Err(Ended(Failure::Lost)),
            }
        }
        Ok(())
    }

    fn handle_events(&mut self, turn: &mut Turn<'_>) -> Result<(), Ended> {
        loop {
            match self.handle_event(turn) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Ok(ended)) => return Err(ended),
                Err(Err(error)) => return Err(self.ended(&error)),
            }
        }
    }

    fn handle_event(&mut self, turn: &mut Turn<'_>) -> Result<bool, Result<Ended, Error>> {
        let now = Instant(turn.now_ms);
        let Some(event) = self.client.poll_event().map_err(Err)? else {
            return Ok(false);
        };
        match event {
            Event::Identified(_) => turn.watchdog.handle(now, Happening::Identified),
            Event::HostKey { blob, .. } => {
                if blob != turn.pinned {
                    return Err(Ok(Ended(Failure::HostKeyChanged)));
                }
                self.client.accept_host_key().map_err(Err)?;
            }
            Event::KeysExchanged { first: true, .. } => {
                turn.watchdog.handle(now, Happening::KeysExchanged);
            }
            Event::Authenticated { .. } => {
                self.connected = true;
                turn.watchdog.handle(now, Happening::Authenticated);
            }
            Event::ForwardConfirmed { forward, port } => {
                let index = forward.0;
                turn.watchdog
                    .handle(now, Happening::ForwardConfirmed { index, port });
            }
            Event::ForwardRefused { forward } => {
                let index = forward.0;
                turn.watchdog
                    .handle(now, Happening::ForwardRefused { index });
            }
            Event::ChannelOpened { channel, .. } => {
                self.echoes.push(Echo {
                    channel,
                    bytes: VecDeque::new(),
                    ended: false,
                });
                self.client.accept_channel(channel).map_err(Err)?;
            }
            Event::ChannelData { channel, data } => {
                if let Some(echo) = self.echoes.iter_mut().find(|e| e.channel == channel) {
                    echo.bytes.extend(data);
                }
            }
            Event::ChannelEof { channel } => {
                if let Some(echo) = self.echoes.iter_mut().find(|e| e.channel == channel) {
                    echo.ended = true;
                }
            }
            Event::ChannelClosed { channel } => self.echoes.retain(|e| e.channel != channel),
            _ => {}
        }
        Ok(true)
    }

    /// Two packets of each target's echo, as the program's relays do it in one turn.
    fn relay(&mut self, targets_take: bool) -> Result<(), Error> {
        for echo in &mut self.echoes {
            if !targets_take {
                continue;
            }
            for _ in 0..2 {
                if echo.bytes.is_empty() {
                    break;
                }
                let Some(space) = self.client.channel_space(echo.channel)? else {
                    break;
                };
                let n = space.len().min(echo.bytes.len());
                for (place, byte) in space.iter_mut().zip(echo.bytes.drain(..n)) {
                    *place = byte;
                }
                self.client.channel_filled(echo.channel, n)?;
                self.client.channel_taken(echo.channel, n)?;
            }
            if echo.bytes.is_empty() && echo.ended {
                echo.ended = false;
                self.client.channel_eof(echo.channel)?;
                self.client.channel_close(echo.channel)?;
            }
        }
        Ok(())
    }

    fn ended(&self, error: &Error) -> Ended {
        Ended(match (error, self.connected) {
            (Error::AuthRefused { .. }, _) => Failure::AuthRefused,
            (Error::HostKeySwapped | Error::BadHostSignature, _) => Failure::HostKeyChanged,
            (Error::Disconnected { .. }, false) => Failure::GoneAway,
            (Error::Disconnected { .. }, true) => Failure::ServerClosed,
            (Error::Crypto(_) | Error::Rng, _) => Failure::Local,
            _ => Failure::Protocol,
        })
    }
}
