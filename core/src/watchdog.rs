//! The tunnel's life: what happened and what time it is in, what to do out.
//!
//! `docs/watchdog.md` has the state diagram and every timer. The caller
//! 1. hands in each [`Happening`] as soon as it is seen ([`Watchdog::handle`]) and, when the
//!    time of [`Watchdog::poll_timeout`] has come, calls [`Watchdog::handle_timeout`]; what
//!    the socket holds is read and handed in first, so that nobody is declared dead unheard;
//! 2. after either, carries out [`Watchdog::poll_action`] until it says `None`.
//!
//! Happenings that do not fit the state (a reply nobody waits for, the end of an attempt that
//! was already abandoned) are ignored.

use core::time::Duration;

use crate::backoff::{self, Backoff};
use crate::failure::{Failure, Stage};
use crate::forwards::{ForwardState, Forwards};
use crate::liveness::{Due, Liveness};
use crate::time::Instant;

mod agenda;
mod types;
use agenda::Agenda;
pub use types::{Action, ExitReason, Happening, Policy, State, Timer};

/// Shortest time from the beginning of one attempt to that of the next, whatever happens.
pub const ATTEMPT_GAP: Duration = Duration::from_millis(500);
/// How long a graceful end may take.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Keeps one tunnel up.
#[derive(Clone, Debug)]
pub struct Watchdog {
    policy: Policy,
    phase: Phase,
    /// When the attempt under way, or the last one, began.
    began: Instant,
    backoff: Backoff,
    forwards: Forwards,
    liveness: Liveness,
    agenda: Agenda,
    exit_reason: ExitReason,
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
    /// A watchdog for `forwards` forwards (at most [`crate::forward::MAX_FORWARDS`]) that begins
    /// its first attempt at once. `seed` decides the jitter.
    pub fn new(policy: Policy, forwards: usize, seed: u64, now: Instant) -> Self {
        let policy = policy.bounded();
        let liveness = Liveness::new(policy.alive_interval, policy.alive_count_max);
        let mut watchdog = Self {
            policy,
            phase: Phase::Stopped,
            began: now,
            backoff: Backoff::default(),
            forwards: Forwards::new(forwards),
            liveness,
            agenda: Agenda::default(),
            exit_reason: ExitReason::Stopped,
            rng: seed,
        };
        watchdog.begin_attempt(now);
        watchdog
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, happening: Happening) {
        match happening {
            Happening::Resolved => self.advance(now, Stage::Tcp),
            Happening::Connected => self.advance(now, Stage::Ident),
            Happening::Identified => self.advance(now, Stage::KeyExchange),
            Happening::KeysExchanged => self.advance(now, Stage::Authentication),
            Happening::Authenticated => self.handle_authenticated(now),
            Happening::ForwardConfirmed { index, port } => {
                if self.is_up() && self.forwards.handle_confirmed(index.into(), port) {
                    self.announce();
                }
            }
            Happening::ForwardRefused { index } => self.handle_refused(now, index),
            Happening::Inbound => {
                if self.is_up() {
                    self.liveness.handle_inbound(now);
                }
            }
            Happening::Failed(failure) => self.handle_failed(now, failure),
            Happening::LinkUp => self.handle_link_up(now),
            Happening::ReconnectNow => self.handle_reconnect(now),
            Happening::Stop => self.stop(now, ExitReason::Stopped),
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
        self.agenda.next()
    }

    /// When to call [`Watchdog::handle_timeout`] at the latest, and which timer that is. None
    /// once stopped, and while a tunnel is up that waits for no reply and is never probed.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match self.phase {
            Phase::Attempt { stage, deadline } => Some((deadline, Timer::Stage(stage))),
            Phase::Waiting { until, .. } => Some((until, Timer::Wait)),
            Phase::Stopping { deadline } => Some((deadline, Timer::Drain)),
            Phase::Stopped => None,
            Phase::Up { .. } => {
                let alive = if self.liveness.is_doubtful() {
                    Timer::ProbeAnswer
                } else {
                    Timer::Probe
                };
                let timers = [
                    (self.forwards.reply_due(), Timer::Stage(Stage::Forward)),
                    (self.forwards.retry_due(), Timer::ForwardRetry),
                    (self.liveness.poll_timeout(), alive),
                ];
                timers
                    .into_iter()
                    .filter_map(|(at, timer)| Some((at?, timer)))
                    .min_by_key(|&(at, _)| at)
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
                forwards: self.forwards.states().len() as u8,
            },
            Phase::Waiting { until, why, .. } => State::Waiting { until, why },
            Phase::Stopping { .. } => State::Stopping,
            Phase::Stopped => State::Stopped,
        }
    }

    /// The state of each forward, by index.
    pub fn forwards(&self) -> &[ForwardState] {
        self.forwards.states()
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
        self.liveness.start(now);
        for index in 0..self.forwards.states().len() {
            self.request(now, index);
        }
        self.announce();
    }

    fn request(&mut self, now: Instant, index: usize) {
        self.forwards
            .request(index, now, self.policy.forward_timeout);
        self.agenda.request_forward(index);
    }

    fn handle_refused(&mut self, now: Instant, index: u8) {
        if !self.is_up() {
            return;
        }
        let rng = self.random();
        let Some(until) = self.forwards.handle_refused(index.into(), now, rng) else {
            return;
        };
        if self.policy.exit_on_forward_failure {
            self.stop(now, ExitReason::ForwardRefused);
        } else {
            self.agenda.forward_waits(index.into(), until);
        }
    }

    /// Says that every forward is confirmed, if that is so. Called after authentication and each
    /// confirmation, and no confirmation is taken twice, it says so once per connection.
    fn announce(&mut self) {
        if self.forwards.all_confirmed() {
            self.agenda.tunnel_up();
        }
    }

    fn handle_timeout_up(&mut self, now: Instant) {
        if self.forwards.reply_due().is_some_and(|due| due <= now) {
            self.abandon(now, Failure::Timeout(Stage::Forward));
            return;
        }
        while let Some(index) = self.forwards.poll_retry(now) {
            self.request(now, index);
        }
        match self.liveness.poll(now) {
            Some(Due::Probe) => self.agenda.probe(),
            Some(Due::Dead) => self.abandon(now, Failure::Silent),
            None => {}
        }
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

    fn wait(&mut self, now: Instant, why: Failure) {
        if let Phase::Up { since } = self.phase
            && now.since(since) >= self.policy.stable_after
        {
            self.backoff.reset();
        }
        let rng = self.random();
        let delay = self.backoff.next(why.class(), rng);
        self.forwards.reset();
        self.wait_until(now, now + delay, why);
    }

    /// Waits, never shorter than the gap between attempts allows.
    fn wait_until(&mut self, since: Instant, until: Instant, why: Failure) {
        let until = until.max(self.began + ATTEMPT_GAP);
        self.phase = Phase::Waiting { since, until, why };
        self.agenda.wait(until, why);
    }

    fn handle_link_up(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { since, until, why } => {
                let floor = since + backoff::range(why.class()).floor;
                if floor.max(now).max(self.began + ATTEMPT_GAP) < until {
                    self.wait_until(since, floor, why);
                    self.handle_timeout(now);
                }
            }
            Phase::Up { .. } => {
                self.liveness.handle_doubt(now);
                self.handle_timeout_up(now);
            }
            _ => {}
        }
    }

    fn handle_reconnect(&mut self, now: Instant) {
        match self.phase {
            Phase::Attempt { .. } | Phase::Up { .. } => {
                self.agenda.abandon(Failure::Asked);
                self.forwards.reset();
                self.wait_until(now, now, Failure::Asked);
            }
            Phase::Waiting { since, why, .. } => self.wait_until(since, now, why),
            _ => return,
        }
        self.handle_timeout(now);
    }

    fn stop(&mut self, now: Instant, reason: ExitReason) {
        match self.phase {
            Phase::Attempt { .. } | Phase::Up { .. } => {
                self.exit_reason = reason;
                self.phase = Phase::Stopping {
                    deadline: now + DRAIN,
                };
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
