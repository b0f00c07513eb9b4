//! Connections that check a forward from the server's side: made, recognised and kept from the
//! target. When, and what follows, is decided in [`reachback_core::verify`].
//!
//! A check asks the server to connect to its own listener (`direct-tcpip`) and sends a token that
//! nobody else knows through that connection; what arrives with the token as its first bytes is
//! the check. The originator's address is no proof: a server connects from a port of its choice,
//! and everybody on it shares its loopback address. So until the check is found, every connection
//! to that port is held: accepted, its target untouched. Who is not the check is served
//! - as soon as its first bytes are not the token's,
//! - as soon as the check is found,
//! - or [`HOLD`] after the check was given up. The check itself does not stay silent that long:
//!   its end was closed by then, so that token or end of file were on their way already.

use std::collections::VecDeque;
use std::time::Duration;

use reachback_core::forward::{ForwardSpec, Listen, MAX_FORWARDS, Target};
use reachback_core::time::Instant;
use reachback_core::verify::{Proof, Verify, has_spare, places};
use reachback_ssh::{ChannelId, Client, Error, Rng};

mod send;

/// How long a silent connection is held once the check is given up.
const HOLD: Duration = Duration::from_secs(5);
/// How long a check that was given up may still arrive, after the server closed its end.
const LINGER: Duration = Duration::from_secs(30);
/// Channels that stay free for people while a check is out.
const SPARE: usize = 4;
/// Bytes of a token: a line that tells a stranger's log what it is.
const TOKEN: usize = 50;

/// A check that is out, or may still arrive.
struct Watch {
    index: u8,
    port: u16,
    token: [u8; TOKEN],
    /// How much of the token is sent.
    sent: usize,
    /// This end of it, until both sides closed.
    direct: Option<ChannelId>,
    /// The server made the connection.
    opened: bool,
    /// Its outcome is awaited.
    current: bool,
    /// Once its end is closed: when it is forgotten.
    until: Option<Instant>,
}

/// A connection that may be the check.
pub struct Held {
    /// Its channel, accepted.
    pub channel: ChannelId,
    /// What its forward led to when it came.
    pub target: Target,
    /// What it has sent.
    pub first: Vec<u8>,
    /// It will send no more.
    pub ended: bool,
    /// Number of its forward.
    pub index: u8,
    port: u16,
    until: Option<Instant>,
}

/// What became of a channel's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not of a check, nor held.
    No,
    /// Kept with the connection that is held.
    Kept,
    /// Dropped; to be granted anew.
    Dropped,
}

/// The checks of one connection.
pub struct Checks {
    policy: Verify,
    random: Box<dyn Rng>,
    ports: [u16; MAX_FORWARDS],
    watches: Vec<Watch>,
    held: Vec<Held>,
    released: VecDeque<Held>,
    to_close: Vec<ChannelId>,
    /// The server's words when it refused.
    refusal: String,
    /// One bit per forward: the log knows that it leads here; and whether on loopback only.
    told: u16,
    loopback: u16,
}

impl Checks {
    /// No checks; [`Checks::drive`] turns them on.
    pub fn new(mut random: Box<dyn Rng>) -> Checks {
        // Without randomness, a constant jitter: no secret depends on it.
        let mut seed = [0; 8];
        let _ = random.fill(&mut seed);
        Checks {
            policy: Verify::new(u64::from_ne_bytes(seed)),
            random,
            ports: [0; MAX_FORWARDS],
            watches: Vec::new(),
            held: Vec::new(),
            released: VecDeque::new(),
            to_close: Vec::new(),
            refusal: String::new(),
            told: 0,
            loopback: 0,
        }
    }

    /// What is known of a forward.
    pub fn proof(&self, index: usize) -> Proof {
        self.policy.proof(index)
    }

    /// The port on which the server listens for a forward.
    pub fn port(&self, index: u8) -> u16 {
        self.ports.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// The server's words when it refused a check.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// True while connections are held, which may be people's.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// True once per confirmation, and when that changes: the log is to know that the forward
    /// leads here, maybe on the server's loopback address only.
    pub fn is_news(&mut self, index: u8, loopback: bool) -> bool {
        let bit = 1 << index;
        let news = self.told & bit == 0 || (self.loopback & bit != 0) != loopback;
        self.told |= bit;
        self.loopback = self.loopback & !bit | if loopback { bit } else { 0 };
        news
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let held = self.held.iter().filter_map(|held| held.until);
        let watches = self.watches.iter().filter_map(|watch| watch.until);
        held.chain(watches).chain(self.policy.poll_timeout()).min()
    }

    /// The server listens for a forward.
    pub fn confirmed(&mut self, index: u8, port: u16, spec: &ForwardSpec, now: Instant) {
        if let (Listen::Tcp { bind, .. }, Some(slot)) =
            (&spec.listen, self.ports.get_mut(usize::from(index)))
        {
            *slot = port;
            self.told &= !(1 << index);
            let count = places(bind).len() as u8;
            self.policy
                .handle_confirmed(index, count, has_spare(bind), now);
        }
    }

    /// A forward is being taken back.
    pub fn cancelled(&mut self, index: u8, now: Instant) {
        self.policy.handle_cancelled(index, now);
    }

    /// The server answered a keepalive.
    pub fn alive(&mut self, now: Instant) {
        self.policy.handle_alive(now);
    }

    /// The server made the connection of a check.
    pub fn opened(&mut self, channel: ChannelId, now: Instant) {
        if let Some(watch) = self.of(channel) {
            watch.opened = true;
            if watch.current {
                self.policy.handle_opened(now);
            }
        }
    }

    /// The server did not make the connection of a check, for this reason.
    pub fn refused(&mut self, channel: ChannelId, reason: u32, text: String, now: Instant) {
        let Some(at) = self.watches.iter().position(|w| w.direct == Some(channel)) else {
            return;
        };
        let current = self.watches.swap_remove(at).current;
        if current {
            self.refusal = text;
            self.policy.handle_refused(reason, now);
        }
        self.release_settled(now);
    }

    /// Somebody came to a forward. True if that may be a check: then it is accepted and held.
    ///
    /// # Errors
    /// Those of the client; the connection is over.
    pub fn arrived(
        &mut self,
        (channel, index): (ChannelId, u8),
        target: &Target,
        client: &mut Client,
        now: Instant,
    ) -> Result<bool, Error> {
        let port = self.port(index);
        let mut watches = self.watches.iter().filter(|w| w.port == port).peekable();
        // A Unix socket has no port, and is not checked.
        if port == 0 || watches.peek().is_none() {
            return Ok(false);
        }
        let until = (!watches.any(|watch| watch.current)).then(|| now + HOLD);
        client.accept_channel(channel)?;
        self.held.push(Held {
            channel,
            target: target.clone(),
            first: Vec::new(),
            ended: false,
            index,
            port,
            until,
        });
        Ok(true)
    }

    /// Data came on a channel.
    pub fn data(&mut self, channel: ChannelId, data: &[u8], now: Instant) -> Taken {
        if let Some(watch) = self.of(channel) {
            // Nothing is ever sent into the other end here, so this is somebody else's.
            if watch.current {
                self.policy.handle_stranger(now);
            }
            return Taken::Dropped;
        }
        let Some(at) = self.held.iter().position(|h| h.channel == channel) else {
            return Taken::No;
        };
        let held = &mut self.held[at];
        held.first.extend_from_slice(data);
        let (first, port) = (&held.first, held.port);
        let mut watches = self.watches.iter().filter(|watch| watch.port == port);
        let alike =
            |watch: &&Watch| watch.token.starts_with(first) || first.starts_with(&watch.token);
        match watches.find(alike) {
            None => self.release(at),
            Some(watch) if first.starts_with(&watch.token) => {
                let token = watch.token;
                self.found(at, token, now);
            }
            Some(_) => {}
        }
        Taken::Kept
    }

    /// The held connection is a check's.
    fn found(&mut self, at: usize, token: [u8; TOKEN], now: Instant) {
        let held = self.held.swap_remove(at);
        self.to_close.push(held.channel);
        let Some(at) = self.watches.iter().position(|w| w.token == token) else {
            return;
        };
        let watch = self.watches.swap_remove(at);
        self.to_close.extend(watch.direct);
        if watch.current {
            if watch.index == held.index {
                self.policy.handle_found(now);
            } else {
                self.policy.handle_stranger(now);
            }
        }
        self.release_settled(now);
    }

    /// A channel's peer will send no more. True if the channel is a check's, or held.
    pub fn peer_eof(&mut self, channel: ChannelId) -> bool {
        if let Some(held) = self.held.iter_mut().find(|h| h.channel == channel) {
            held.ended = true;
            return true;
        }
        self.of(channel).is_some()
    }

    /// A channel is closed both ways. True if it was a check's, or held.
    pub fn peer_closed(&mut self, channel: ChannelId, now: Instant) -> bool {
        if let Some(at) = self.held.iter().position(|h| h.channel == channel) {
            self.held.swap_remove(at);
            return true;
        }
        let Some(watch) = self.of(channel) else {
            return false;
        };
        watch.direct = None;
        watch.until = Some(now + LINGER);
        true
    }

    /// A connection that is nobody's check and now to be served.
    pub fn poll_released(&mut self) -> Option<Held> {
        self.released.pop_front()
    }

    /// Nothing is concluded from the current check any more; it may still arrive.
    fn give_up(&mut self, now: Instant) {
        for watch in self.watches.iter_mut().filter(|watch| watch.current) {
            watch.current = false;
            self.to_close.extend(watch.direct);
            if watch.direct.is_none() {
                watch.until = Some(now + LINGER);
            }
        }
        self.release_settled(now);
    }

    /// Watches have changed: who cannot be a check is released, the others get their time.
    fn release_settled(&mut self, now: Instant) {
        for at in (0..self.held.len()).rev() {
            let held = &mut self.held[at];
            let mut of_port = self.watches.iter().filter(|w| w.port == held.port);
            match of_port.next() {
                None => self.release(at),
                Some(watch) if watch.current || of_port.any(|watch| watch.current) => {}
                Some(_) => held.until = held.until.or(Some(now + HOLD)),
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let over = |until: Option<Instant>| until.is_some_and(|at| at <= now);
        for at in (0..self.held.len()).rev() {
            let held = &self.held[at];
            if !over(held.until) {
                continue;
            }
            if held.ended {
                // What a check looks like that was closed before its token went out.
                self.to_close.push(held.channel);
                self.held.swap_remove(at);
            } else {
                self.release(at);
            }
        }
        let before = self.watches.len();
        self.watches.retain(|watch| !over(watch.until));
        if self.watches.len() != before {
            self.release_settled(now);
        }
    }

    fn release(&mut self, at: usize) {
        self.released.push_back(self.held.swap_remove(at));
    }

    fn of(&mut self, channel: ChannelId) -> Option<&mut Watch> {
        self.watches
            .iter_mut()
            .find(|watch| watch.direct == Some(channel))
    }
}
