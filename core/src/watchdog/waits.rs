//! The time between attempts, and what ends it early.

use core::time::Duration;

use super::{ATTEMPT_GAP, HOPE, Phase, RARE, SETTLING, STALE_DIAL, STALE_HANDSHAKE, Watchdog};
use crate::failure::{Failure, Stage};
use crate::time::Instant;

impl Watchdog {
    pub(super) fn wait(&mut self, now: Instant, why: Failure) {
        // What grows the wait is to be refused; a login that was lost was not.
        let lost = why == Failure::Lost || why.is_silence();
        if let Phase::Up { since } = self.phase
            && (lost || now.since(since) >= self.policy.stable_after)
        {
            self.destinations.handle_stable();
        }
        let rng = self.random();
        let settling = now < self.settled_at;
        self.destinations
            .handle_failed(now, why.class(), settling, rng);
        self.forwards.reset();
        // Another destination may be ready long since.
        let mut until = self.destinations.ready().max(now + ATTEMPT_GAP);
        if self
            .never_up_since
            .is_some_and(|since| now.since(since) >= HOPE)
        {
            let jitter = Duration::from_millis(u64::from(self.random()) % 60_000);
            until = until.max(now + RARE + jitter);
        }
        self.wait_until(now, until, why);
    }

    /// Waits, never shorter than the gap between attempts allows.
    pub(super) fn wait_until(&mut self, since: Instant, until: Instant, why: Failure) {
        let until = until.max(self.began + ATTEMPT_GAP);
        self.phase = Phase::Waiting { since, until, why };
        self.agenda.wait(until, why);
    }

    pub(super) fn handle_link_up(&mut self, now: Instant) {
        self.settled_at = now + SETTLING;
        match self.phase {
            Phase::Waiting { since, until, why } => {
                self.destinations.handle_link_up();
                let floor = self.destinations.floor();
                if floor.max(now).max(self.began + ATTEMPT_GAP) < until {
                    self.wait_until(since, floor, why);
                    self.handle_timeout(now);
                }
            }
            Phase::Up { .. } => self.liveness.handle_doubt(now),
            Phase::Attempt { stage, .. } => {
                let stale = match stage {
                    Stage::Resolve | Stage::Tcp => STALE_DIAL,
                    _ => STALE_HANDSHAKE,
                };
                if now.since(self.began) >= stale {
                    self.agenda.abandon(Failure::NetworkChanged);
                    self.begin_attempt(now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn handle_reconnect(&mut self, now: Instant) {
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

    /// A tunnel that is up asks again for what was refused: that costs a packet.
    pub(super) fn handle_called(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { since, until, why } => {
                let keys = self.policy.keys;
                if let Some(due) = self.destinations.handle_call(now, until, keys) {
                    self.wait_until(since, due, why);
                    self.handle_timeout(now);
                }
            }
            Phase::Up { .. } => self.forwards.hurry(now),
            _ => {}
        }
    }
}
