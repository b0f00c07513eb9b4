//! One tunnel: carries out the watchdog's actions with resolver, dialler and session.

use std::net::{IpAddr, SocketAddr};

use log::debug;
use mio::Registry;
use mio::event::Event;
use mio::net::TcpStream;
use reachback_core::failure::Failure;
use reachback_core::history::Kind;
use reachback_core::lifetime::Lifetime;
use reachback_core::time::Instant;
use reachback_core::watchdog::{ExitReason, Happening, Policy, State, Watchdog};

use crate::ended::Ended;
use crate::net::connect::{self, Dial};
use crate::net::link::{self, News};
use crate::net::lookup::Lookup;
use crate::net::remember::Remembered;
use crate::plan::{Plan, Server, Settings};
use crate::record::Record;
use crate::session::{Session, Turn};
use crate::sys::selfdog;
use crate::trust::Trust;

mod attempt;
mod home;
mod orders;
mod perform;
mod reload;
mod say;
use orders::Orders;

/// Tokens of one tunnel, from its first one on: two for the resolver, those of the dialler, one
/// for the server's socket, then the relays'.
const RESOLVE: usize = 0;
const DIAL: usize = 2;
const SERVER: usize = DIAL + connect::TOKENS;
const RELAY: usize = SERVER + 1;

/// Where the connection is.
enum Link {
    Down,
    Resolving(Box<Lookup>),
    Dialling(Box<Dial>),
    Up(Box<Session>),
}

/// A destination, its watchdog, and the connection while there is one.
pub struct Tunnel {
    settings: Settings,
    trust: Trust,
    policy: Policy,
    /// The first server and its fallbacks; the current one is in `settings` and `trust`.
    servers: Vec<Server>,
    /// A look at the first server while up at another one.
    look: Option<home::Look>,
    /// The connection of a look that was answered.
    homeward: Option<(TcpStream, SocketAddr)>,
    watchdog: Watchdog,
    link: Link,
    remembered: Remembered,
    /// The addresses of this attempt come from memory.
    from_memory: bool,
    /// Where the connection leads, until it is known to work.
    unproven: Option<IpAddr>,
    first_token: usize,
    /// In words, why the last attempt or connection ended.
    reason: String,
    /// It had logged in.
    had_connection: bool,
    /// What the log already knows of each forward that waits, so that it is told once.
    waiting_told: u32,
    record: Record,
    lifetime: Lifetime,
    orders: Orders,
    ending: bool,
    finished: bool,
}

impl Tunnel {
    /// A tunnel that begins its first attempt at its first turn.
    pub fn new(
        plan: Plan,
        remembered: Remembered,
        seed: u64,
        first_token: usize,
        now: Instant,
    ) -> Tunnel {
        let Plan {
            settings,
            servers,
            trust,
            policy,
        } = plan;
        let forwards = settings.forwards.len();
        let mut watchdog = Watchdog::new(policy, forwards, seed, now);
        watchdog.set_fallbacks(servers.len() - 1);
        let orders = Orders::new(&settings.forwards);
        let lifetime = Lifetime::new(settings.max_lifetime, settings.idle_timeout, now);
        Tunnel {
            settings,
            trust,
            policy,
            servers,
            look: None,
            homeward: None,
            watchdog,
            link: Link::Down,
            remembered,
            from_memory: false,
            unproven: None,
            first_token,
            reason: String::new(),
            had_connection: false,
            waiting_told: 0,
            record: Record::new(now),
            lifetime,
            orders,
            ending: false,
            finished: false,
        }
    }

    /// True once the tunnel has ended for good.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Why the tunnel ended.
    pub fn exit_reason(&self) -> ExitReason {
        self.watchdog.exit_reason()
    }

    /// The caller wants the tunnel to end, with manners. A fault on the way ends it as well.
    pub fn stop(&mut self, now: Instant) {
        selfdog::disarm();
        self.watchdog.handle(now, Happening::Stop);
    }

    /// The caller wants a new connection at once.
    pub fn reconnect(&mut self, now: Instant) {
        self.record.note(Kind::Reconnect, "", now);
        self.watchdog.handle(now, Happening::ReconnectNow);
    }

    /// A link, an address or a default route has come: a wait is cut short, and a connection
    /// is to prove itself.
    pub fn network_came(&mut self, now: Instant) {
        debug!("the network has changed");
        self.watchdog.handle(now, Happening::LinkUp);
    }

    /// Addresses are gone. A connection from one of them is dead, whatever its timers say.
    pub fn addresses_removed(&mut self, news: &News, registry: &Registry, now: Instant) {
        let Link::Up(session) = &self.link else {
            return;
        };
        let Some(own) = session.local_address() else {
            return;
        };
        if news.removed.contains(&own) || (news.missed && !link::is_local(own)) {
            let ended = Ended {
                failure: Failure::Lost,
                reason: format!("the address {own} is gone"),
            };
            self.failed(ended, registry, now);
        }
    }

    /// One of this tunnel's sockets is ready.
    pub fn handle_ready(&mut self, event: &Event, registry: &Registry, now: Instant) {
        let token = event.token();
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        let writable = event.is_writable() || event.is_write_closed() || event.is_error();
        let place = token.0 - self.first_token;
        if place >= home::HOME {
            self.look_ready(token, registry, now);
            return;
        }
        match &mut self.link {
            Link::Resolving(resolution) if place < DIAL => {
                resolution.handle_ready(token, now, registry)
            }
            Link::Dialling(dial) if (DIAL..SERVER).contains(&place) => {
                dial.handle_ready(token, now)
            }
            Link::Up(session) if place == SERVER => session.handle_server_ready(readable, writable),
            Link::Up(session) if place >= RELAY => {
                session.handle_relay_ready(token, readable, writable, registry, now);
            }
            // Left over from a socket that is closed already.
            _ => {}
        }
    }

    /// When the next turn is due at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down => None,
            Link::Resolving(resolution) => resolution.poll_timeout(),
            Link::Dialling(dial) => dial.poll_timeout(),
            Link::Up(session) => session.poll_timeout(),
        };
        let watchdog = self.watchdog.poll_timeout().map(|(at, _)| at);
        let look = self.look.as_ref().map(home::Look::poll_timeout);
        let life = self.lifetime.poll_timeout().filter(|_| !self.ending);
        let all = link.into_iter().chain(watchdog).chain(look).chain(life);
        all.min()
    }

    /// One turn: what is due is done, bytes are moved within a budget, the watchdog's actions
    /// are carried out. True when there is more to do at once.
    pub fn drive(&mut self, registry: &Registry, now: Instant) -> bool {
        self.perform_all(registry, now);
        let mut more = match self.advance(registry, now) {
            Ok(more) => more,
            Err(ended) => {
                self.failed(ended, registry, now);
                false
            }
        };
        self.drive_look(registry, now);
        // Only now: bytes that lay in the socket are life, however late this turn is.
        self.watchdog.handle_timeout(now);
        self.end_if_over(now);
        more |= self.perform_all(registry, now);
        if let Link::Up(session) = &mut self.link
            && let Err(ended) = session.flush()
        {
            self.failed(ended, registry, now);
            more |= self.perform_all(registry, now);
        }
        more && !self.finished
    }

    fn advance(&mut self, registry: &Registry, now: Instant) -> Result<bool, Ended> {
        match &mut self.link {
            Link::Down => Ok(false),
            Link::Resolving(resolution) => {
                resolution.handle_timeout(now, registry);
                match resolution.result(now) {
                    None => Ok(false),
                    Some(Ok(found)) => {
                        let addresses = self.take_found(found);
                        self.dial(&addresses, registry, now);
                        Ok(true)
                    }
                    Some(Err(error)) => Err(Ended {
                        failure: Failure::Resolve,
                        reason: error.to_string(),
                    }),
                }
            }
            Link::Dialling(dial) => {
                dial.handle_timeout(now);
                match dial.result() {
                    None => Ok(false),
                    Some(Ok((stream, address))) => self
                        .connected(stream, address, registry, now)
                        .map(|()| true),
                    Some(Err(error)) => Err(Ended {
                        failure: Failure::Unreachable,
                        reason: error.to_string(),
                    }),
                }
            }
            Link::Up(session) => {
                let more = session.drive(&mut Turn {
                    settings: &self.settings,
                    trust: &self.trust,
                    watchdog: &mut self.watchdog,
                    record: &mut self.record,
                    registry,
                    now,
                })?;
                if self.ending && session.is_idle() {
                    self.finish(registry, now);
                }
                if matches!(self.watchdog.state(), State::Up { .. }) {
                    self.remember();
                }
                Ok(more)
            }
        }
    }
}
