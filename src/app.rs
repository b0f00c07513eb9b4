//! The loop: who woke, what is due. One thread, one poll.

use std::io;
use std::time::Duration;

use log::{info, warn};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use reachback_core::time::Instant;
use reachback_core::watchdog::ExitReason;
use reachback_tunnel::{Ready, Token as TunnelToken};

use crate::exit::Exit;
use crate::instance::kept::Memory;
use crate::instance::lock::{Lookout, Ownership};
use crate::instance::served::Served;
use crate::instance::server::{Control, Tunnel as _};
use crate::logging;
use crate::net::link::{self, News, Watch};
use crate::sys::clock;
use crate::sys::file::reason;
use crate::sys::pages;
use crate::sys::signals::{Request, Signals};
use crate::sys::worker::{self, Turns};
use std::os::fd::AsRawFd;

/// Events taken in one turn; more wait for the next.
const EVENTS_PER_TURN: usize = 64;
const SIGNALS: Token = Token(0);
const LINK: Token = Token(1);
/// First token that is the tunnel's.
pub const TUNNEL_TOKENS: usize = 2;
/// How often lines that syslogd did not take are tried again.
const LOG_RETRY: Duration = Duration::from_secs(1);
/// How often memory is given back that a login or a reload used; after a transfer it is when the loop
/// comes to rest. None wakes the loop.
const TIDY: Duration = Duration::from_secs(60);

/// How the loop ended.
pub enum Ended {
    /// The tunnel has ended for good.
    Tunnel(ExitReason),
    /// The process is to go on, for this reason ([`ask`](crate::instance::supervisor::ask)).
    Again(u8),
    /// Nobody watches over this process any more; the tunnel may still be up.
    Orphaned,
}

/// The poll, the signals, and what runs on them.
pub struct App {
    poll: Poll,
    signals: Signals,
    turns: Turns,
    link: Watch,
    control: Control,
    /// None when its files could not be looked at, or cannot be made anew.
    lookout: Option<Lookout>,
    served: Served,
    orphaned: bool,
}

impl App {
    /// Opens what the loop needs.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses a poll or a signal descriptor.
    pub fn new(
        poll: Poll,
        served: Served,
        ownership: &Ownership,
        turns: Turns,
    ) -> Result<App, Exit> {
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
            turns,
            link,
            control,
            lookout: Lookout::new(ownership, clock::now()).ok(),
            served,
            orphaned: false,
        })
    }

    /// Runs until the tunnel has ended; only a request does that. What has to outlive a fault goes to
    /// the memory.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses to wait.
    pub fn run(&mut self, memory: &mut Memory) -> Result<Ended, Exit> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut more = true;
        let mut tidied: Option<Instant> = None;
        let mut was_busy = false;
        while !self.served.tunnel.is_finished() && !self.orphaned {
            let now = clock::now();
            let timeout = self.timeout(more, now);
            let most = self.turns.end(now);
            let lull = was_busy && most.is_none();
            was_busy = most.is_some();
            if !more && (lull || tidied.is_none_or(|at| now.since(at) >= TIDY)) {
                self.tidy();
                tidied = Some(now);
            }
            let timeout = timeout.into_iter().chain(most).min();
            let polled = self.poll.poll(&mut events, timeout);
            let now = clock::now();
            self.turns.begin(now);
            match polled {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Exit::os("cannot wait for events", error));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.handle_signals(now),
                    LINK => self.link.handle_ready(),
                    token if Control::owns(token) => self.control.handle_ready(event),
                    _ => self.handle_ready(event, now),
                }
            }
            more = self.handle_link(now);
            // Before the tunnel too: who asks does not wait for what a server pours in.
            more |= self.serve_callers(memory, now);
            more |= self.drive_tunnel(now);
            more |= self.serve_callers(memory, now);
            self.look_after_files(now);
            if logging::flush_wanted() {
                logging::flush_due(now);
            }
        }
        if self.orphaned {
            return Ok(Ended::Orphaned);
        }
        let reason = self.served.tunnel.exit_reason();
        if let Some(why) = self.served.again {
            self.control.end("the process goes on anew");
            return Ok(Ended::Again(why));
        }
        self.control.end(match reason {
            ExitReason::Stopped => "the tunnel ended",
            ExitReason::ForwardRefused => {
                "the server refused a forward, and ExitOnForwardFailure is set"
            }
        });
        info!("ended");
        Ok(Ended::Tunnel(reason))
    }

    fn tidy(&mut self) {
        if let Some((inbound, outbound)) = self.served.tunnel.unused_memory() {
            pages::give_back(inbound);
            pages::give_back(outbound);
        }
        pages::give_back_stack();
    }

    /// Lock and socket that somebody took away are made anew as the tunnel begins anew. Who is using
    /// it is not cut off for that.
    fn look_after_files(&mut self, now: Instant) {
        let Some(lookout) = &mut self.lookout else {
            return;
        };
        let Some(gone) = lookout.gone(now) else {
            return;
        };
        let shown = gone.display().to_string();
        if !lookout.may_make_anew() {
            warn!("gone, and cannot be made anew here: {shown}: callers do not find this tunnel");
            self.lookout = None;
        } else if !self.served.tunnel.is_in_use() && !self.served.tunnel.is_ending() {
            self.served.begin_anew(&format!("gone: {shown}"), now);
        }
    }

    fn handle_ready(&mut self, event: &Event, now: Instant) {
        let ended = event.is_read_closed() || event.is_error();
        let ready = Ready {
            token: TunnelToken(event.token().0),
            readable: event.is_readable() || ended,
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            ended,
        };
        let Served { tunnel, net, .. } = &mut self.served;
        tunnel.handle_ready(ready, net, now);
    }

    /// Addresses are gone. A connection from one of them is dead, whatever its timers say.
    fn addresses_removed(&mut self, news: &News, now: Instant) {
        if news.removed.is_empty() && !news.missed {
            return;
        }
        let Served { tunnel, net, .. } = &mut self.served;
        let Some(own) = tunnel.local_address() else {
            return;
        };
        if news.removed.contains(&own) || (news.missed && !link::is_local(own)) {
            tunnel.local_address_gone(net, now);
        }
    }

    fn drive_tunnel(&mut self, now: Instant) -> bool {
        let Served { tunnel, net, .. } = &mut self.served;
        tunnel.drive(net, now)
    }

    /// What was ordered is kept before anything else is done: it holds over a fault that it meets.
    fn serve_callers(&mut self, memory: &mut Memory, now: Instant) -> bool {
        let registry = self.poll.registry();
        let more = self.control.drive(&mut self.served, registry, now);
        let orders = self.served.changed_orders();
        let Served { tunnel, again, .. } = &self.served;
        let ending = tunnel.is_ending() && again.is_none();
        if let Err(error) = memory.keep(tunnel.since(), ending, orders) {
            warn!("cannot keep what callers ordered: {}", reason(&error));
        }
        more
    }

    fn timeout(&self, more: bool, now: Instant) -> Option<Duration> {
        if more {
            return Some(Duration::ZERO);
        }
        // One millisecond more than the difference: the clock's own fraction is cut off.
        let due = self
            .served
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
        self.addresses_removed(&news, now);
        if news.came {
            self.served.tunnel.network_came(now);
        }
        news.more
    }

    fn handle_signals(&mut self, now: Instant) {
        while let Some(request) = self.signals.next() {
            match request {
                Request::Stop => self.served.stop("a signal asked for it", now),
                Request::Reconnect => self.served.reconnect(now),
                Request::Reload => self.served.read_again(now),
                Request::Orphaned => self.orphaned |= worker::is_orphaned(),
            }
        }
    }
}
