//! The controller's side: the real watchdog and the real client, coupled as `src/tunnel.rs` and
//! `src/session.rs` of the program couple them. What those do with mio and the kernel is done
//! here with [`Net`]; the order of calls is the same and has to stay the same.

use reachback_core::failure::Failure;
use reachback_core::forward::ForwardSpec;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Action, Happening, Policy, State, Watchdog};
use reachback_ssh::limits::{CHANNEL_WINDOW, CHANNELS, OUTBOUND_BUFFER};
use reachback_ssh::{ForwardId, Rekey};

use crate::duo;
use crate::network::Io;

mod session;
use session::{Ended, Session, Turn};

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

fn specs(count: usize) -> Vec<ForwardSpec> {
    let text = |index| format!("{}:localhost:22", port_of(index));
    let all = (0..count as u8).map(|index| ForwardSpec::parse(&text(index)));
    all.flatten().collect()
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
            watchdog: Watchdog::new(policy, &specs(forwards), seed, Instant(now_ms)),
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
        let bound = OUTBOUND_BUFFER + CHANNELS * CHANNEL_WINDOW as usize;
        (
            session.client.poll_output().len() + session.waiting(),
            bound,
        )
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
                    let session =
                        Session::new(*socket, duo::client(self.rekey, self.clients, now_ms));
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
            Action::RequestForward { id } => {
                if let Link::Up(session) = &mut self.link {
                    let asked = session.client.request_forward(
                        ForwardId(id.number()),
                        "localhost",
                        port_of(id.number()),
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
            Action::ForwardWaits { id, .. } => {
                let index = id.number();
                self.note(now_ms, Deed::ForwardWaits { index });
            }
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
