//! Connections that check a forward from the server's side: made here, recognised when they
//! arrive. When, and what follows, is decided in [`reachback_core::verify`].
//!
//! A check asks the server to connect to its own listener (`direct-tcpip`) and sends a token that
//! nobody else knows through that connection; what arrives with the token as its first bytes is
//! the check. The originator's address is no proof: a server connects from a port of its choice,
//! and everybody on it shares its loopback address. So until the check is found, every connection
//! to that port is a relay that is held: accepted, its target untouched. Who is not the check is
//! served
//! - as soon as its first bytes are not the token's,
//! - as soon as the check is found,
//! - or, once the check was given up and the server has closed its end, [`HOLD`] and a round trip
//!   later. The check itself does not stay silent that long: token or end of file were on their
//!   way when its end was closed, and what was sent before an answer has come before it.

use std::time::Duration;

use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::time::Instant;
use reachback_core::verify::{Action, Finding, Proof, Verify};
use reachback_ssh::{ChannelId, Client, Error, Rng};

use crate::stats::Stats;

mod send;

/// How long the server may take to bring the end of a check through its own listener.
const HOLD: Duration = Duration::from_secs(5);
/// The same for a token that it has, before "it did not arrive" is concluded.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a check that was given up may still arrive, after the server closed its end.
const LINGER: Duration = Duration::from_secs(30);
/// The same if the server does not close its end.
const UNCLOSED: Duration = Duration::from_secs(120);
/// Places that stay free for people while a check is out.
pub const SPARE: usize = 4;
/// Bytes of a token: a line that tells a stranger's log what it is.
const TOKEN: usize = 50;

/// A check that is out, or may still arrive.
struct Watch {
    number: u64,
    id: ForwardId,
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
    /// Given up: when it is forgotten.
    until: Option<Instant>,
    /// Its end is closed: when the server is asked whether it is still there.
    ask_at: Option<Instant>,
    /// That question's number.
    question: Option<u64>,
    /// It was answered: what stays silent now is no check.
    settled: bool,
}

/// The question that [`Verify`] asks before it concludes from what has not arrived. The first
/// answer says that the server has the token, the second one, [`SETTLE`] later, that it has not
/// come through.
struct Doubt {
    /// When it is asked.
    at: Instant,
    /// Its number, once it is.
    question: Option<u64>,
    /// It is asked for the second time.
    again: bool,
}

/// Which checks a connection may be: those to its port that were out when it came.
#[derive(Clone, Copy, Debug)]
pub struct Suspicion {
    port: u16,
    /// Number of the first check that it cannot be.
    before: u64,
}

impl Suspicion {
    fn covers(self, watch: &Watch) -> bool {
        watch.port == self.port && watch.number < self.before
    }
}

/// A connection that is held because it may be a check.
pub struct Held<'a> {
    /// The forward that it came to.
    pub id: ForwardId,
    /// Which checks it may be.
    pub suspicion: Suspicion,
    /// What it has sent.
    pub first: &'a [u8],
    /// It will send no more.
    pub ended: bool,
}

/// What is to become of a connection that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is held on.
    Hold,
    /// It is somebody's, and is served.
    Serve,
    /// It is a check, or looks like one that was closed before its token went out: it is closed.
    Close,
}

/// What the checks of one connection found.
pub struct Found {
    /// Which forward.
    pub id: ForwardId,
    /// What was found.
    pub finding: Finding,
    /// The log does not know it yet.
    pub news: bool,
}

/// The checks of one connection.
pub struct Checks {
    policy: Verify,
    random: Box<dyn Rng>,
    /// At most one a forward and place is out; those given up are forgotten after [`LINGER`].
    watches: Vec<Watch>,
    /// Checks so far.
    count: u64,
    to_close: Vec<ChannelId>,
    doubt: Option<Doubt>,
    /// Keepalives sent and answered on this connection: answers come in the order of the
    /// requests (RFC 4254, 4).
    asked: u64,
    answered: u64,
    /// The server's words when it refused.
    refusal: String,
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
            watches: Vec::new(),
            count: 0,
            to_close: Vec::new(),
            doubt: None,
            asked: 0,
            answered: 0,
            refusal: String::new(),
        }
    }

    /// What is known of a forward.
    pub fn proof(&self, forward: &reachback_core::forwards::Forward) -> Proof {
        self.policy.proof(forward)
    }

    /// The server's words when it refused a check.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self, forwards: &Forwards) -> Option<Instant> {
        let unasked = |watch: &Watch| watch.ask_at.filter(|_| watch.question.is_none());
        let times = |watch: &Watch| [watch.until, unasked(watch)].into_iter().flatten();
        let watches = self.watches.iter().flat_map(times);
        let doubt = self.doubt.iter().filter(|doubt| doubt.question.is_none());
        let watches = watches.chain(doubt.map(|doubt| doubt.at));
        watches.chain(self.policy.poll_timeout(forwards)).min()
    }

    /// The server listens for a forward.
    pub fn confirmed(&mut self, id: ForwardId, forwards: &mut Forwards, now: Instant) {
        self.policy.handle_confirmed(id, forwards, now);
    }

    /// A forward is being taken back.
    pub fn cancelled(&mut self, id: ForwardId, forwards: &mut Forwards, now: Instant) {
        self.policy.handle_cancelled(id, forwards, now);
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// Those of the client; the connection is over.
    pub fn ask(&mut self, client: &mut Client) -> Result<(), Error> {
        self.asked += 1;
        client.keepalive()
    }

    /// The server answered a keepalive.
    pub fn alive(&mut self, forwards: &mut Forwards, now: Instant) {
        self.answered += 1;
        let answered = |question: Option<u64>| question.is_some_and(|own| own <= self.answered);
        for watch in &mut self.watches {
            watch.settled |= answered(watch.question);
        }
        match &mut self.doubt {
            Some(doubt) if !answered(doubt.question) => {}
            Some(doubt) if !doubt.again => {
                *doubt = Doubt {
                    at: now + SETTLE,
                    question: None,
                    again: true,
                };
            }
            Some(_) => {
                self.doubt = None;
                self.policy.handle_alive(forwards, now);
            }
            None => {}
        }
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
    pub fn refused(
        &mut self,
        channel: ChannelId,
        (reason, text): (u32, String),
        forwards: &mut Forwards,
        now: Instant,
    ) {
        let Some(at) = self.watches.iter().position(|w| w.direct == Some(channel)) else {
            return;
        };
        if self.watches.swap_remove(at).current {
            self.refusal = text;
            self.policy.handle_refused(reason, forwards, now);
        }
    }

    /// Data came on a channel that is no relay's. Nothing is ever sent into the other end here, so
    /// this is somebody else's.
    pub fn data(&mut self, channel: ChannelId, forwards: &mut Forwards, now: Instant) {
        if self.of(channel).is_some_and(|watch| watch.current) {
            self.policy.handle_stranger(forwards, now);
        }
    }

    /// A channel that is no relay's is closed both ways.
    pub fn peer_closed(&mut self, channel: ChannelId, now: Instant) {
        if let Some(watch) = self.of(channel) {
            watch.direct = None;
            watch.until = Some(now + LINGER);
            watch.ask_at = Some(now + HOLD);
        }
    }

    /// Which checks a connection to this port may be, if any: then it is to be held. A Unix socket
    /// has no port (0), and is not checked.
    pub fn suspects(&self, port: u16) -> Option<Suspicion> {
        let suspicion = Suspicion {
            port,
            before: self.count,
        };
        let any = port != 0 && self.watches.iter().any(|watch| suspicion.covers(watch));
        any.then_some(suspicion)
    }

    /// What is to become of a connection that is held.
    pub fn judge(&mut self, held: Held<'_>, forwards: &mut Forwards, now: Instant) -> Judgement {
        let first = held.first;
        let alike = |watch: &Watch| {
            held.suspicion.covers(watch)
                && (watch.token.starts_with(first) || first.starts_with(&watch.token))
        };
        let Some(at) = self.watches.iter().position(alike) else {
            return Judgement::Serve;
        };
        if first.starts_with(&self.watches[at].token) {
            self.found(at, held.id, forwards, now);
            return Judgement::Close;
        }
        let awaited =
            |watch: &Watch| held.suspicion.covers(watch) && (watch.current || !watch.settled);
        match self.watches.iter().any(awaited) {
            true => Judgement::Hold,
            false if held.ended => Judgement::Close,
            false => Judgement::Serve,
        }
    }

    /// A connection that came to `id` is the check at `at`.
    fn found(&mut self, at: usize, id: ForwardId, forwards: &mut Forwards, now: Instant) {
        let watch = self.watches.swap_remove(at);
        self.to_close.extend(watch.direct);
        match (watch.current, watch.id == id) {
            (true, true) => self.policy.handle_found(forwards, now),
            (true, false) => self.policy.handle_stranger(forwards, now),
            (false, _) => {}
        }
    }

    /// Does what is due; `crowded` says that fewer than [`SPARE`] places are free. Gives what was
    /// found, and is then to be called again.
    ///
    /// # Errors
    /// Those of the client; the connection is over.
    pub fn drive(
        &mut self,
        (enabled, crowded): (bool, bool),
        client: &mut Client,
        forwards: &mut Forwards,
        stats: &mut Stats,
        now: Instant,
    ) -> Result<Option<Found>, Error> {
        self.policy.set_enabled(enabled, forwards, now);
        if self.policy.is_checking() && crowded {
            self.policy.handle_crowded(forwards, now);
        }
        self.policy.handle_timeout(forwards, now);
        self.watches
            .retain(|watch| watch.until.is_none_or(|until| until > now));
        loop {
            for channel in self.to_close.drain(..) {
                client.channel_close(channel)?;
            }
            match self.policy.poll_action(forwards) {
                None => break,
                Some(Action::Close) => self.give_up(now),
                Some(Action::Ask) => {
                    self.doubt = Some(Doubt {
                        at: now,
                        question: None,
                        again: false,
                    });
                }
                Some(Action::Found { id, finding, news }) => {
                    return Ok(Some(Found { id, finding, news }));
                }
                Some(Action::Open { id, place }) => {
                    let port = forwards.get(id).map_or(0, |forward| forward.port());
                    self.open((id, place, port), client, forwards, now)?;
                }
                Some(Action::OpenNothing { id, place }) => {
                    self.open((id, place, 0), client, forwards, now)?;
                }
            }
        }
        self.send_token(client)?;
        self.ask_due(client, stats, now)?;
        Ok(None)
    }

    /// Nothing is concluded from the current check any more; it may still arrive.
    fn give_up(&mut self, now: Instant) {
        for watch in self.watches.iter_mut().filter(|watch| watch.current) {
            watch.current = false;
            self.to_close.extend(watch.direct);
            // The server closed its end before, or is to do so.
            let left = watch.direct.map_or(LINGER, |_| UNCLOSED);
            watch.until = Some(now + left);
        }
    }

    fn of(&mut self, channel: ChannelId) -> Option<&mut Watch> {
        self.watches
            .iter_mut()
            .find(|watch| watch.direct == Some(channel))
    }
}
