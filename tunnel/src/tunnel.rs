//! One tunnel: carries out the watchdog's actions with look-up, dialler and session.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use log::debug;
use reachback_core::ages::Ages;
use reachback_core::dial::Doubts;
use reachback_core::failure::Failure;
use reachback_core::history::Kind;
use reachback_core::lifetime::Lifetime;
use reachback_core::time::Instant;
use reachback_core::watchdog::{ExitReason, Input, State, Watchdog};

use crate::dial::{self, Dial, Dialled};
use crate::ended::Ended;
use crate::lookup::Lookup;
use crate::outside::{Outside, Ready, ServerStream};
use crate::plan::{Plan, Server};
use crate::session::{Session, Turn};
use crate::stats::Stats;

mod attempt;
mod failback;
mod orders;
mod perform;
mod reload;
mod say;
mod status;
use failback::Failback;
pub use orders::Progress;
pub(crate) use say::at_server;
pub use status::Program;

/// Tokens of one tunnel, from its first one on: two for the resolver, those of the dialler, which
/// the server's socket keeps, the same again for the failback, then the relays'.
const RESOLVE: usize = 0;
const DIAL: usize = 2;
const FAILBACK_RESOLVE: usize = DIAL + dial::TOKENS;
const FAILBACK_DIAL: usize = FAILBACK_RESOLVE + 2;
const RELAYS: usize = FAILBACK_DIAL + dial::TOKENS;

/// Where the connection is.
enum Connection<O: Outside> {
    Down,
    Resolving(Lookup<O>),
    Dialling(Box<Dial<O>>),
    Up(Box<Session<O>>),
}

/// A destination, its watchdog, and the connection while there is one.
pub struct Tunnel<O: Outside> {
    plan: Plan,
    /// The server of this attempt or connection.
    server: Server,
    watchdog: Watchdog,
    connection: Connection<O>,
    /// A look at the first server while up at another one.
    failback: Option<Failback<O>>,
    /// The connection of a look that was answered.
    answered: Option<Dialled<O::Server>>,
    /// The addresses of this attempt come from memory.
    from_memory: bool,
    /// Where the connection leads, until it is known to work.
    unproven: Option<IpAddr>,
    doubts: Doubts,
    first_token: usize,
    /// In words, why the last attempt or connection ended.
    reason: String,
    /// It had logged in.
    had_connection: bool,
    stats: Stats,
    ages: Ages,
    lifetime: Lifetime,
    /// Since they were last asked for ([`Tunnel::changed_orders`]).
    orders_changed: bool,
    ending: bool,
    finished: bool,
}

impl<O: Outside> Tunnel<O> {
    /// A tunnel that begins its first attempt at its first turn. `seed` decides the jitter. Its
    /// tokens begin at `first_token`.
    pub fn new(
        mut plan: Plan,
        seed: u64,
        first_token: usize,
        outside: &O,
        now: Instant,
    ) -> Tunnel<O> {
        let forwards = std::mem::take(&mut plan.forwards);
        let mut watchdog = Watchdog::new(plan.policy, &forwards, seed, now);
        watchdog.set_fallbacks(plan.servers.len() - 1);
        Tunnel {
            server: plan.servers[0].clone(),
            watchdog,
            connection: Connection::Down,
            failback: None,
            answered: None,
            from_memory: false,
            unproven: None,
            doubts: Doubts::default(),
            first_token,
            reason: String::new(),
            had_connection: false,
            stats: Stats::new(now, outside.wall_s()),
            ages: Ages::default(),
            lifetime: Lifetime::new(plan.max_lifetime, plan.idle_timeout, now),
            orders_changed: false,
            plan,
            ending: false,
            finished: false,
        }
    }

    /// True once the tunnel has ended for good.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// True once it is ending.
    pub fn is_ending(&self) -> bool {
        matches!(self.watchdog.state(), State::Stopping | State::Stopped)
    }

    /// Whether a connection is being served.
    pub fn is_in_use(&self) -> bool {
        matches!(&self.connection, Connection::Up(session) if !session.is_idle())
    }

    /// What of the buffers holds nothing, as [`Client::unused_memory`](reachback_ssh::Client::unused_memory).
    pub fn unused_memory(&mut self) -> Option<(&mut [u8], &mut [MaybeUninit<u8>])> {
        match &mut self.connection {
            Connection::Up(session) => Some(session.unused_memory()),
            _ => None,
        }
    }

    /// Why the tunnel ended.
    pub fn exit_reason(&self) -> ExitReason {
        self.watchdog.exit_reason()
    }

    /// The state, for tests and status.
    pub fn state(&self) -> State {
        self.watchdog.state()
    }

    /// A link, an address or a default route has come: a wait is cut short, and a connection
    /// is to prove itself.
    pub fn network_came(&mut self, now: Instant) {
        debug!("the network has changed");
        self.watchdog.handle(now, Input::LinkUp);
    }

    /// This machine's address of the connection, while there is one.
    pub fn local_address(&self) -> Option<IpAddr> {
        match &self.connection {
            Connection::Up(session) => session.stream().local_address(),
            _ => None,
        }
    }

    /// This machine has lost the address of the connection: it is dead, whatever its timers say.
    pub fn local_address_gone(&mut self, outside: &mut O, now: Instant) {
        if let Some(own) = self.local_address() {
            let ended = Ended::new(Failure::Lost, format!("the address {own} is gone"));
            self.failed(ended, outside, now);
        }
    }

    /// One of this tunnel's sockets is ready. Tokens that are not in use are ignored: they are
    /// left over from a socket that is closed already.
    pub fn handle_ready(&mut self, ready: Ready, outside: &mut O, now: Instant) {
        let token = ready.token;
        match &mut self.connection {
            Connection::Resolving(lookup) => lookup.handle_ready(token, now),
            Connection::Dialling(dial) => dial.handle_ready(token, outside, now),
            Connection::Up(session) => session.handle_ready(ready, now),
            Connection::Down => {}
        }
        self.failback_ready(token, outside, now);
    }

    /// When the next turn is due at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection = match &self.connection {
            Connection::Down => None,
            Connection::Resolving(lookup) => lookup.poll_timeout(),
            Connection::Dialling(dial) => dial.poll_timeout(),
            Connection::Up(session) => session.poll_timeout(self.watchdog.forwards()),
        };
        let watchdog = self.watchdog.poll_timeout();
        let failback = self.failback.as_ref().map(Failback::poll_timeout);
        let life = self.lifetime.poll_timeout().filter(|_| !self.ending);
        let all = connection.into_iter().chain(watchdog).chain(failback);
        all.chain(life).min()
    }

    /// One turn: what is due is done, bytes are moved within a budget, the watchdog's actions
    /// are carried out. True when there is more to do at once.
    pub fn drive(&mut self, outside: &mut O, now: Instant) -> bool {
        self.perform_all(outside, now);
        let mut more = match self.advance(outside, now) {
            Ok(more) => more,
            Err(ended) => {
                self.failed(ended, outside, now);
                false
            }
        };
        self.drive_failback(outside, now);
        if self.watchdog.wants_progress(now)
            && let Connection::Up(session) = &mut self.connection
            && let Some(progress) = session.progress(now)
        {
            self.watchdog.handle(now, Input::Acknowledged(progress));
        }
        // Only now: bytes that lay in the socket are life, however late this turn is.
        self.watchdog.handle_timeout(now);
        self.end_if_over(outside, now);
        more |= self.perform_all(outside, now);
        if let Connection::Up(session) = &mut self.connection
            && let Err(ended) = session.flush()
        {
            self.failed(ended, outside, now);
            more |= self.perform_all(outside, now);
        }
        more && !self.finished
    }

    fn advance(&mut self, outside: &mut O, now: Instant) -> Result<bool, Ended> {
        match &mut self.connection {
            Connection::Down => Ok(false),
            Connection::Resolving(lookup) => match lookup.poll(now) {
                None => Ok(false),
                Some(Ok(found)) => {
                    let addresses = self.take_found(found);
                    self.dial(&addresses, outside, now);
                    Ok(true)
                }
                Some(Err(why)) => Err(Ended::new(Failure::Resolve, why)),
            },
            Connection::Dialling(dial) => {
                dial.handle_timeout(outside, now);
                // A proxy that leads nowhere goes last in the next attempt.
                self.unproven = dial.reached();
                match dial.result() {
                    None => Ok(false),
                    Some(dialled) => self.connected(dialled?, outside, now).map(|()| true),
                }
            }
            Connection::Up(session) => {
                let more = session.drive(&mut Turn {
                    plan: &self.plan,
                    server: &self.server,
                    watchdog: &mut self.watchdog,
                    stats: &mut self.stats,
                    outside,
                    now,
                })?;
                if session.is_idle() {
                    self.watchdog.handle(now, Input::Idle);
                    if self.ending {
                        self.finish(now);
                    }
                }
                if matches!(self.watchdog.state(), State::Up { .. }) {
                    self.remember(outside);
                }
                Ok(more)
            }
        }
    }

    /// Something happened, for status.
    fn note(&mut self, kind: Kind, text: impl std::fmt::Display, outside: &O, now: Instant) {
        self.stats.note(kind, text, now, outside.wall_s());
    }
}
