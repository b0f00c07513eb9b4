//! The loop: who woke, what is due. One thread, one poll.

use std::io;
use std::time::Duration;

use log::{debug, info};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use reachback_core::time::Instant;
use reachback_core::watchdog::ExitReason;

use crate::exit::Exit;
use crate::logging;
use crate::sys::clock;
use crate::sys::signals::{Request, Signals};
use crate::tunnel::Tunnel;
use std::os::fd::AsRawFd;

/// Events taken in one turn; more wait for the next.
const EVENTS_PER_TURN: usize = 64;
const SIGNALS: Token = Token(0);
/// First token that is the tunnel's.
pub const TUNNEL_TOKENS: usize = 1;
/// How often lines that syslogd did not take are tried again.
const LOG_RETRY: Duration = Duration::from_secs(1);

/// The poll, the signals, and what runs on them.
pub struct App {
    poll: Poll,
    signals: Signals,
    tunnel: Tunnel,
}

impl App {
    /// Opens what the loop needs.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses a poll or a signal descriptor.
    pub fn new(tunnel: Tunnel) -> Result<App, Exit> {
        let poll = Poll::new().map_err(|error| Exit::os("cannot wait for events", error))?;
        let signals = Signals::new()?;
        poll.registry()
            .register(
                &mut SourceFd(&signals.as_raw_fd()),
                SIGNALS,
                Interest::READABLE,
            )
            .map_err(|error| Exit::os("cannot wait for signals", error))?;
        Ok(App {
            poll,
            signals,
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
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Exit::os("cannot wait for events", error));
                }
                _ => {}
            }
            let now = clock::now();
            for event in &events {
                match event.token() {
                    SIGNALS => self.handle_signals(now),
                    _ => self.tunnel.handle_ready(event, self.poll.registry(), now),
                }
            }
            more = self.tunnel.drive(self.poll.registry(), now);
            if logging::flush_wanted() {
                logging::flush_due(now);
            }
        }
        info!("ended");
        Ok(self.tunnel.exit_reason())
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
        due.into_iter().chain(log).min()
    }

    fn handle_signals(&mut self, now: Instant) {
        while let Some(request) = self.signals.next() {
            match request {
                Request::Stop => {
                    debug!("asked to end");
                    self.tunnel.stop(now);
                }
                Request::Reconnect => self.tunnel.reconnect(now),
            }
        }
    }
}
