//! The loop: who woke, what is due. One thread, one poll.

use std::io;
use std::time::Duration;

use log::{debug, error, info};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use reachback_core::time::Instant;
use reachback_core::watchdog::ExitReason;

use crate::control::Control;
use crate::exit::Exit;
use crate::logging;
use crate::net::link::Watch;
use crate::owner::Ownership;
use crate::plan::Plan;
use crate::sys::clock;
use crate::sys::selfdog::Selfdog;
use crate::sys::signals::{Request, Signals};
use crate::tunnel::Tunnel;
use std::os::fd::AsRawFd;

/// Events taken in one turn; more wait for the next.
const EVENTS_PER_TURN: usize = 64;
const SIGNALS: Token = Token(0);
const LINK: Token = Token(1);
/// First token that is the tunnel's.
pub const TUNNEL_TOKENS: usize = 2;
/// How often lines that syslogd did not take are tried again.
const LOG_RETRY: Duration = Duration::from_secs(1);

/// Reads the configuration again (`SIGHUP`).
pub type Reread = Box<dyn Fn() -> Result<Plan, Exit>>;

/// The poll, the signals, and what runs on them.
pub struct App {
    poll: Poll,
    signals: Signals,
    selfdog: Selfdog,
    reread: Reread,
    link: Watch,
    control: Control,
    tunnel: Tunnel,
}

impl App {
    /// Opens what the loop needs.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses a poll or a signal descriptor.
    pub fn new(tunnel: Tunnel, ownership: Ownership, reread: Reread) -> Result<App, Exit> {
        let poll = Poll::new().map_err(|error| Exit::os("cannot wait for events", error))?;
        let signals = Signals::new()?;
        poll.registry()
            .register(
                &mut SourceFd(&signals.as_raw_fd()),
                SIGNALS,
                Interest::READABLE,
            )
            .map_err(|error| Exit::os("cannot wait for signals", error))?;
        let link = Watch::open(poll.registry(), LINK, clock::now());
        let control = Control::new(ownership, poll.registry())?;
        Ok(App {
            poll,
            signals,
            selfdog: Selfdog::start()?,
            reread,
            link,
            control,
            tunnel,
        })
    }

    /// Runs until the tunnel has ended; only a request does that.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses to wait.
    pub fn run(mut self) -> Result<ExitReason, Exit> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut more = true;
        while !self.tunnel.is_finished() {
            let timeout = self.timeout(more, clock::now());
            self.selfdog.turn_ends();
            let polled = self.poll.poll(&mut events, timeout);
            self.selfdog.turn_begins();
            match polled {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Exit::os("cannot wait for events", error));
                }
                _ => {}
            }
            let now = clock::now();
            for event in &events {
                match event.token() {
                    SIGNALS => self.handle_signals(now),
                    LINK => self.link.handle_ready(),
                    token if Control::owns(token) => self.control.handle_ready(event),
                    _ => self.tunnel.handle_ready(event, self.poll.registry(), now),
                }
            }
            more = self.handle_link(now);
            // Before the tunnel too: who asks does not wait for what a server pours in.
            more |= self.serve_callers(now);
            more |= self.tunnel.drive(self.poll.registry(), now);
            more |= self.serve_callers(now);
            if logging::flush_wanted() {
                logging::flush_due(now);
            }
        }
        let reason = self.tunnel.exit_reason();
        self.control.end(match reason {
            ExitReason::Stopped => "the tunnel ended",
            ExitReason::ForwardRefused => {
                "the server refused a forward, and ExitOnForwardFailure is set"
            }
        });
        info!("ended");
        Ok(reason)
    }

    /// What was ordered is kept before anything else is done: it holds over a fault that it meets.
    fn serve_callers(&mut self, now: Instant) -> bool {
        let registry = self.poll.registry();
        let more = self.control.drive(&mut self.tunnel, registry, now);
        if let Some(orders) = self.tunnel.changed_orders() {
            self.control.keep_orders(&orders);
        }
        more
    }

    fn timeout(&self, more: bool, now: Instant) -> Option<Duration> {
        if more {
            return Some(Duration::ZERO);
        }
        // One millisecond more than the difference: the clock's own fraction is cut off.
        let due = self
            .tunnel
            .poll_timeout()
            .map(|at| at.since(now) + Duration::from_millis(1));
        let log = logging::flush_wanted().then_some(LOG_RETRY);
        let link = self
            .link
            .poll_timeout()
            .map(|at| at.since(now) + Duration::from_millis(1));
        let control = self
            .control
            .poll_timeout()
            .map(|at| at.since(now) + Duration::from_millis(1));
        let all = due.into_iter().chain(log).chain(link).chain(control);
        all.min()
    }

    /// True when there is more to read at once.
    fn handle_link(&mut self, now: Instant) -> bool {
        let news = self.link.drive(now);
        self.tunnel
            .addresses_removed(&news, self.poll.registry(), now);
        if news.came {
            self.tunnel.network_came(now);
        }
        news.more
    }

    /// What is wrong with the configuration is logged, and nothing changes.
    fn reload(&mut self, now: Instant) {
        match (self.reread)() {
            Ok(plan) => {
                info!("configuration read again");
                self.tunnel.reload(plan, now);
            }
            Err(exit) => {
                let why = exit.line();
                error!("configuration not taken over, going on as before: {why}");
            }
        }
    }

    fn handle_signals(&mut self, now: Instant) {
        while let Some(request) = self.signals.next() {
            match request {
                Request::Stop => {
                    debug!("asked to end");
                    self.tunnel.stop(now);
                }
                Request::Reconnect => self.tunnel.reconnect(now),
                Request::Reload => self.reload(now),
            }
        }
    }
}
