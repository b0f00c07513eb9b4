//! The tunnel's life: what happened and what time it is in, what to do out.
//!
//! `docs/watchdog.md` has the state diagram and every timer. The caller
//! 1. hands in each [`Input`] as soon as it is seen ([`Watchdog::handle`]) and, when the
//!    time of [`Watchdog::poll_timeout`] has come, calls [`Watchdog::handle_timeout`]; what
//!    the socket holds is read and handed in first, and what the peer has acknowledged, if
//!    [`Watchdog::wants_progress`], so that nobody is declared dead unheard;
//! 2. after either, carries out [`Watchdog::poll_action`] until it says `None`.
//!
//! Inputs that do not fit the state (a reply nobody waits for, the end of an attempt that
//! was already abandoned) are ignored.

use core::time::Duration;

use crate::destinations::Destinations;
use crate::failure::{Failure, Stage};
use crate::forward::ForwardSpec;
use crate::forwards::Forwards;
use crate::liveness::Liveness;
use crate::time::Instant;

mod agenda;
mod listeners;
mod types;
mod up;
mod waits;
use agenda::Agenda;
pub use listeners::KEPT;
pub use types::{Action, ExitReason, Input, Policy, State};
pub use up::REPLY_LIMIT;

/// Shortest time from the beginning of one attempt to that of the next, whatever happens.
pub const ATTEMPT_GAP: Duration = Duration::from_millis(500);
/// How long after a link came back the network is taken to settle (neighbours are found anew,
/// routes follow links): an attempt that fails meanwhile is soon repeated and not counted.
pub const SETTLING: Duration = Duration::from_secs(5);
/// How old an attempt must be up to its TCP connection for a link that comes back to begin it
/// anew. A younger one has its first retransmission before it (RFC 6298, 2.1: after 1 s) and
/// loses nothing; an older one may wait 2, 4, 8 s for its next.
pub const STALE_DIAL: Duration = Duration::from_secs(1);
/// The same from the server's identification to authentication: long enough for a slow
/// handshake to end by itself, so that no server counts abandoned logins.
pub const STALE_HANDSHAKE: Duration = Duration::from_secs(5);
/// A tunnel that has never once logged in for so long is tried as rarely as [`RARE`] from then on: a
/// name with a typing error is not looked up for years at the pace of an outage.
pub const HOPE: Duration = Duration::from_secs(86_400);
/// The least wait then.
pub const RARE: Duration = Duration::from_secs(600);
/// How long a graceful end may take.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Keeps one tunnel up.
#[derive(Clone, Debug)]
pub struct Watchdog {
    policy: Policy,
    phase: Phase,
    /// When the first attempt began, until one succeeds.
    never_up_since: Option<Instant>,
    /// When the attempt under way, or the last one, began.
    began: Instant,
    destinations: Destinations,
    /// When the first destination is looked at again, while up at another one.
    failback_at: Option<Instant>,
    forwards: Forwards,
    /// [`Action::TunnelUp`] was given for what is wanted now.
    announced: bool,
    /// See [`KEPT`].
    kept_until: Option<Instant>,
    liveness: Liveness,
    agenda: Agenda,
    exit_reason: ExitReason,
    /// End of the time in which the network settles.
    settled_at: Instant,
    rng: u64,
}

#[derive(Copy, Clone, Debug)]
enum Phase {
    /// An attempt up to authentication.
    Attempt { stage: Stage, deadline: Instant },
    /// Authenticated.
    Up { since: Instant },
    /// Between attempts.
    Waiting {
        since: Instant,
        until: Instant,
        why: Failure,
    },
    /// Ending gracefully.
    Stopping { deadline: Instant },
    /// Over.
    Stopped,
}

impl Watchdog {
    /// A watchdog for the forwards of a configuration (at most [`crate::forward::MAX_FORWARDS`])
    /// that begins its first attempt at once. `seed` decides the jitter.
    pub fn new(policy: Policy, forwards: &[ForwardSpec], seed: u64, now: Instant) -> Self {
        let policy = policy.bounded();
        let liveness = Liveness::new(policy.alive_interval, policy.alive_count_max);
        let mut watchdog = Self {
            policy,
            phase: Phase::Stopped,
            never_up_since: Some(now),
            began: now,
            destinations: Destinations::new(1),
            failback_at: None,
            forwards: Forwards::new(forwards),
            announced: false,
            kept_until: None,
            liveness,
            agenda: Agenda::default(),
            exit_reason: ExitReason::Stopped,
            settled_at: now,
            rng: seed,
        };
        watchdog.begin_attempt(now);
        watchdog
    }

    /// There are `count` fallbacks from now on (at most [`crate::destinations::MAX_FALLBACKS`]),
    /// and nothing is known of any destination. A connection is taken for one to the first.
    pub fn set_fallbacks(&mut self, count: usize) {
        self.destinations = Destinations::new(count + 1);
        self.failback_at = None;
    }

    /// Keeps to another policy from now on. A tunnel that is up stays so; its server is probed
    /// at once, from which the new times run.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        self.policy = policy.bounded();
        self.liveness = Liveness::new(self.policy.alive_interval, self.policy.alive_count_max);
        if self.is_up() {
            self.liveness.start(now);
            self.liveness.handle_doubt(now);
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Resolved => self.advance(now, Stage::Tcp),
            Input::Connected => self.advance(now, Stage::Ident),
            Input::Identified => self.advance(now, Stage::KeyExchange),
            Input::KeysExchanged => self.advance(now, Stage::Authentication),
            Input::Authenticated => self.handle_authenticated(now),
            Input::ForwardConfirmed { id, port } => {
                if self.is_up() && self.forwards.handle_confirmed(id, port) {
                    self.take_back_unwanted(now, id);
                    self.announce();
                }
            }
            Input::ForwardCancelled { id, done } => self.handle_cancelled(now, id, done),
            Input::ForwardElsewhere { id } => self.handle_elsewhere(now, id),
            Input::FirstAnswers => self.handle_first_answers(now),
            Input::Idle => self.handle_idle(now),
            Input::ForwardRefused { id } => self.handle_refused(now, id),
            Input::Inbound { written } => {
                if self.is_up() {
                    self.liveness.handle_inbound(now, written);
                }
            }
            Input::Acknowledged(progress) => {
                if self.is_up() {
                    self.liveness.handle_progress(now, progress);
                }
            }
            Input::Failed(failure) => self.handle_failed(now, failure),
            Input::LinkUp => self.handle_link_up(now),
            Input::ReconnectNow => self.handle_reconnect(now),
            Input::Called => self.handle_called(now),
            Input::Stop => self.stop(now, ExitReason::Stopped),
        }
    }

    /// Does what is due at `now`. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Attempt { stage, deadline } if deadline <= now => {
                self.abandon(now, Failure::Timeout(stage));
            }
            Phase::Waiting { until, .. } if until <= now => self.begin_attempt(now),
            Phase::Stopping { deadline } if deadline <= now => self.exit(),
            Phase::Up { .. } => self.handle_timeout_up(now),
            _ => {}
        }
    }

    /// The next thing to do. Call until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.agenda.next(&mut self.forwards)
    }

    /// When to call [`Watchdog::handle_timeout`] at the latest. None once stopped, and while a
    /// tunnel is up that waits for no reply and is never probed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Attempt { deadline, .. } | Phase::Stopping { deadline } => Some(deadline),
            Phase::Waiting { until, .. } => Some(until),
            Phase::Stopped => None,
            Phase::Up { .. } => {
                let judged = [self.reply_due(), self.liveness.poll_timeout()];
                let others = [
                    self.forwards.retry_due(),
                    self.failback_at,
                    self.renewal_due(),
                ];
                judged.into_iter().chain(others).flatten().min()
            }
        }
    }

    /// The state, for status and log.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Attempt { stage, .. } => State::Connecting(stage),
            Phase::Up { since } => State::Up {
                since,
                confirmed: self.forwards.confirmed() as u8,
                forwards: self.forwards.wanted().count() as u8,
            },
            Phase::Waiting { until, why, .. } => State::Waiting { until, why },
            Phase::Stopping { .. } => State::Stopping,
            Phase::Stopped => State::Stopped,
        }
    }

    /// The forwards.
    pub fn forwards(&self) -> &Forwards {
        &self.forwards
    }

    /// The forwards, for their checks ([`crate::verify`]).
    pub fn forwards_mut(&mut self) -> &mut Forwards {
        &mut self.forwards
    }

    /// Index of the destination of this attempt or connection, or else of the next one: 0 is the
    /// first, 1 its first fallback.
    pub fn destination(&self) -> usize {
        self.destinations.current()
    }

    /// Why [`Action::Exit`] was given; of no meaning before.
    pub fn exit_reason(&self) -> ExitReason {
        self.exit_reason
    }

    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    fn begin_attempt(&mut self, now: Instant) {
        self.began = now;
        self.phase = Phase::Attempt {
            stage: Stage::Resolve,
            deadline: now + self.policy.resolve_timeout,
        };
        self.agenda.resolve();
    }

    /// The attempt has come as far as `stage`.
    fn advance(&mut self, now: Instant, stage: Stage) {
        let Phase::Attempt {
            stage: before,
            deadline,
        } = self.phase
        else {
            return;
        };
        if stage <= before {
            return;
        }
        let deadline = match stage {
            // The identification shares its time with the TCP connection (ssh_config(5),
            // ConnectTimeout).
            Stage::Ident if before == Stage::Tcp => deadline,
            Stage::Tcp | Stage::Ident => now + self.policy.connect_timeout,
            Stage::KeyExchange => now + self.policy.kex_timeout,
            _ => now + self.policy.auth_timeout,
        };
        self.phase = Phase::Attempt { stage, deadline };
    }

    fn handle_authenticated(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Attempt { .. }) {
            return;
        }
        self.phase = Phase::Up { since: now };
        self.never_up_since = None;
        self.liveness.start(now);
        self.failback_at = self
            .destinations
            .failback_due(now + self.policy.failback_interval);
        self.announced = false;
        self.kept_until = None;
        let timeout = self.policy.forward_timeout;
        self.forwards.request_wanted(now, timeout);
        self.announce();
    }

    fn handle_failed(&mut self, now: Instant, failure: Failure) {
        match self.phase {
            Phase::Attempt { .. } | Phase::Up { .. } => self.wait(now, failure),
            Phase::Stopping { .. } => self.exit(),
            Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    fn abandon(&mut self, now: Instant, failure: Failure) {
        self.wait(now, failure);
        self.agenda.abandon(failure);
    }

    fn stop(&mut self, now: Instant, reason: ExitReason) {
        match self.phase {
            Phase::Attempt { .. } | Phase::Up { .. } => {
                self.exit_reason = reason;
                self.phase = Phase::Stopping {
                    deadline: now + DRAIN,
                };
                self.forwards.clear_actions();
                self.agenda.disconnect();
            }
            Phase::Waiting { .. } => {
                self.exit_reason = reason;
                self.exit();
            }
            Phase::Stopping { .. } | Phase::Stopped => {}
        }
    }

    fn exit(&mut self) {
        self.phase = Phase::Stopped;
        self.forwards.clear_actions();
        self.agenda.exit();
    }

    /// 32 bits of SplitMix64: for jitter, not for secrets.
    fn random(&mut self) -> u32 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32 ^ z as u32
    }
}

#[cfg(test)]
mod tests;
