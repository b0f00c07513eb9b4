//! What becomes of the forwards while the tunnel is up.

use core::time::Duration;

use super::{ExitReason, Watchdog};
use crate::forward::ForwardSpec;
use crate::forwards::{Forward, ForwardId, ForwardState, Origin};
use crate::time::Instant;

/// How long a listener that the server kept against our will may wait for its connection to be
/// unused. Nobody who comes to it is served meanwhile.
pub const KEPT: Duration = Duration::from_secs(3600);

impl Watchdog {
    /// Somebody wants a forward. True if it was not wanted before; none when every record is in
    /// use ([`crate::forward::MAX_FORWARDS`]).
    pub fn want(&mut self, now: Instant, spec: &ForwardSpec, origin: Origin) -> Option<bool> {
        let before = self.forwards.find(spec);
        let wanted = before.is_some_and(|id| self.is_wanted(id));
        let id = self.forwards.want(spec, origin)?;
        if wanted {
            return Some(false);
        }
        if self.is_up() {
            self.announced = false;
            if self.forward_state(id) == ForwardState::Idle {
                self.request(now, id);
            }
            self.announce();
        }
        Some(true)
    }

    /// Somebody does not want a forward any more. True if it was wanted and is not now.
    pub fn unwant(&mut self, now: Instant, id: ForwardId, origin: Origin) -> bool {
        let wanted = self.is_wanted(id);
        self.forwards.unwant(id, origin);
        if !wanted || self.is_wanted(id) {
            return false;
        }
        if self.is_up() {
            self.take_back_unwanted(now, id);
            self.announce();
        }
        true
    }

    fn is_wanted(&self, id: ForwardId) -> bool {
        self.forwards.get(id).is_some_and(Forward::is_wanted)
    }

    fn forward_state(&self, id: ForwardId) -> ForwardState {
        let forward = self.forwards.get(id);
        forward.map_or(ForwardState::Idle, Forward::state)
    }

    pub(super) fn request(&mut self, now: Instant, id: ForwardId) {
        self.forwards.request(id, now, self.policy.forward_timeout);
    }

    /// Cancels a forward that the server confirmed and nobody wants.
    pub(super) fn take_back_unwanted(&mut self, now: Instant, id: ForwardId) {
        if !self.is_wanted(id) {
            self.forwards.cancel(id, now, self.policy.forward_timeout);
        }
    }

    pub(super) fn handle_cancelled(&mut self, now: Instant, id: ForwardId, done: bool) {
        if !self.is_up() || !self.forwards.handle_cancelled(id, done) {
            return;
        }
        let rng = self.random();
        if self.forwards.take_misled(id, now, rng) {
            return;
        }
        match (self.is_wanted(id), done) {
            // Wanted again meanwhile.
            (true, true) => self.request(now, id),
            (true, false) => self.announce(),
            (false, true) => {}
            // The listener can only be got rid of with its connection, and that may have users.
            (false, false) => self.kept_until = self.kept_until.or(Some(now + KEPT)),
        }
    }

    /// No connection is being served: a listener that the server kept against our will can be got
    /// rid of now.
    pub(super) fn handle_idle(&mut self, now: Instant) {
        if self.is_up() && self.forwards.any_kept() {
            self.handle_reconnect(now);
        }
    }

    /// When such a listener is got rid of whoever is served.
    pub(super) fn renewal_due(&self) -> Option<Instant> {
        self.kept_until.filter(|_| self.forwards.any_kept())
    }

    /// What a refusal is to a request, this is to a confirmation.
    pub(super) fn handle_elsewhere(&mut self, now: Instant, id: ForwardId) {
        if !self.is_up() || !self.forwards.mislead(id) {
            return;
        }
        if self.policy.exit_on_forward_failure {
            self.stop(now, ExitReason::ForwardRefused);
            return;
        }
        self.forwards.cancel(id, now, self.policy.forward_timeout);
    }

    pub(super) fn handle_refused(&mut self, now: Instant, id: ForwardId) {
        if !self.is_up() {
            return;
        }
        let rng = self.random();
        let waits = self.forwards.handle_refused(id, now, rng);
        if waits && self.policy.exit_on_forward_failure {
            self.stop(now, ExitReason::ForwardRefused);
        }
    }

    /// Says that every forward is confirmed, if that is so and was not said yet.
    pub(super) fn announce(&mut self) {
        if self.forwards.all_confirmed() && !self.announced {
            self.announced = true;
            self.forwards.forget_told();
            self.agenda.tunnel_up();
        }
    }
}
