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
//! - or [`HOLD`] after the check was given up. The check itself does not stay silent that long:
//!   its end was closed by then, so that token or end of file were on their way already.

use std::time::Duration;

use reachback_core::forward::{Listen, MAX_FORWARDS};
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::time::Instant;
use reachback_core::verify::{Action, Finding, Proof, Verify, places};
use reachback_ssh::limits::CHANNELS;
use reachback_ssh::{ChannelId, Client, Error, Rng};

use crate::stats::Stats;

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
    /// Once its end is closed: when it is forgotten.
    until: Option<Instant>,
}

/// A connection that is held because it may be a check.
pub struct Held<'a> {
    /// The forward that it came to.
    pub id: ForwardId,
    /// The port that it came to.
    pub port: u16,
    /// What it has sent.
    pub first: &'a [u8],
    /// It will send no more.
    pub ended: bool,
    /// Until when it is held in any case; none while the check's outcome is awaited.
    pub until: &'a mut Option<Instant>,
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
    to_close: Vec<ChannelId>,
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
            to_close: Vec::new(),
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
        let watches = self.watches.iter().filter_map(|watch| watch.until);
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

    /// The server answered a keepalive.
    pub fn alive(&mut self, forwards: &mut Forwards, now: Instant) {
        self.policy.handle_alive(forwards, now);
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
        }
    }

    /// Whether a connection to this port may be a check, and is to be held. A Unix socket has no
    /// port (0), and is not checked.
    pub fn expects(&self, port: u16) -> bool {
        port != 0 && self.watches.iter().any(|watch| watch.port == port)
    }

    /// What is to become of a connection that is held.
    pub fn judge(&mut self, held: Held<'_>, forwards: &mut Forwards, now: Instant) -> Judgement {
        let first = held.first;
        let alike = |watch: &Watch| {
            watch.port == held.port
                && (watch.token.starts_with(first) || first.starts_with(&watch.token))
        };
        let Some(at) = self.watches.iter().position(alike) else {
            return Judgement::Serve;
        };
        if first.starts_with(&self.watches[at].token) {
            self.found(at, held.id, forwards, now);
            return Judgement::Close;
        }
        let awaited = |watch: &Watch| watch.port == held.port && watch.current;
        if self.watches.iter().any(awaited) {
            return Judgement::Hold;
        }
        match *held.until.get_or_insert(now + HOLD) <= now {
            false => Judgement::Hold,
            true if held.ended => Judgement::Close,
            true => Judgement::Serve,
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

    /// Does what is due; `serving` is the number of channels that are in use. Gives what was
    /// found, and is then to be called again.
    ///
    /// # Errors
    /// Those of the client; the connection is over.
    pub fn drive(
        &mut self,
        (enabled, serving): (bool, usize),
        client: &mut Client,
        forwards: &mut Forwards,
        stats: &mut Stats,
        now: Instant,
    ) -> Result<Option<Found>, Error> {
        self.policy.set_enabled(enabled, forwards, now);
        if self.policy.is_checking() && serving + SPARE >= CHANNELS {
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
                    stats.asked(now);
                    client.keepalive()?;
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
        Ok(None)
    }

    fn open(
        &mut self,
        (id, place, port): (ForwardId, u8, u16),
        client: &mut Client,
        forwards: &mut Forwards,
        now: Instant,
    ) -> Result<(), Error> {
        let host = forwards
            .get(id)
            .and_then(|forward| match &forward.spec.listen {
                Listen::Tcp { bind, .. } => places(bind).get(usize::from(place)).copied(),
                Listen::Unix(_) => None,
            });
        let mut secret = [0; 16];
        let direct = match (host, self.random.fill(&mut secret)) {
            (Some(host), Ok(())) if self.watches.len() < 2 * MAX_FORWARDS => {
                client.open_direct(host, port)?
            }
            _ => None,
        };
        let Some(direct) = direct else {
            self.policy.handle_crowded(forwards, now);
            return Ok(());
        };
        let mut token = [0; TOKEN];
        let words = format!("reachback-check {:032x}\r\n", u128::from_ne_bytes(secret));
        token.copy_from_slice(words.as_bytes());
        self.watches.push(Watch {
            id,
            port,
            token,
            // Nothing is to arrive from port 0.
            sent: if port == 0 { TOKEN } else { 0 },
            direct: Some(direct),
            opened: false,
            current: true,
            until: None,
        });
        Ok(())
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
    }

    fn send_token(&mut self, client: &mut Client) -> Result<(), Error> {
        for watch in &mut self.watches {
            let (Some(direct), true) = (watch.direct, watch.opened && watch.sent < TOKEN) else {
                continue;
            };
            while watch.sent < TOKEN
                && let Some(space) = client.channel_space(direct)?
            {
                let n = space.len().min(TOKEN - watch.sent);
                space[..n].copy_from_slice(&watch.token[watch.sent..watch.sent + n]);
                client.channel_filled(direct, n)?;
                watch.sent += n;
            }
        }
        Ok(())
    }

    fn of(&mut self, channel: ChannelId) -> Option<&mut Watch> {
        self.watches
            .iter_mut()
            .find(|watch| watch.direct == Some(channel))
    }
}
