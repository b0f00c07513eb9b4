//! What becomes of the forwards while the tunnel is up.

use super::{ExitReason, Watchdog};
use crate::forwards::ForwardState;
use crate::time::Instant;

impl Watchdog {
    pub(super) fn request(&mut self, now: Instant, index: usize) {
        self.forwards
            .request(index, now, self.policy.forward_timeout);
        self.agenda.request_forward(index);
    }

    pub(super) fn handle_wanted(&mut self, now: Instant, index: usize) {
        let ask = self.forwards.want(index);
        if !self.is_up() {
            return;
        }
        self.announced = false;
        if ask {
            self.request(now, index);
        }
        self.announce();
    }

    pub(super) fn handle_unwanted(&mut self, now: Instant, index: usize) {
        if !self.forwards.is_wanted(index) {
            return;
        }
        self.forwards.unwant(index);
        self.agenda.forward_unwanted(index);
        if self.is_up() {
            self.take_back_unwanted(now, index);
            self.announce();
        }
    }

    /// Cancels a forward that the server confirmed and nobody wants.
    pub(super) fn take_back_unwanted(&mut self, now: Instant, index: usize) {
        let confirmed = matches!(
            self.forwards.states().get(index),
            Some(ForwardState::Confirmed { .. })
        );
        if confirmed && !self.forwards.is_wanted(index) {
            self.forwards
                .cancel(index, now, self.policy.forward_timeout);
            self.agenda.cancel_forward(index);
        }
    }

    pub(super) fn handle_cancelled(&mut self, now: Instant, index: usize, done: bool) {
        if !self.is_up() || !self.forwards.handle_cancelled(index, done) {
            return;
        }
        let rng = self.random();
        if let Some(until) = self.forwards.take_misled(index, now, rng) {
            self.agenda.forward_waits(index, until);
            return;
        }
        match (self.forwards.is_wanted(index), done) {
            // Wanted again meanwhile.
            (true, true) => self.request(now, index),
            (true, false) => self.announce(),
            (false, true) => {}
            // The listener can only be got rid of with its connection.
            (false, false) => self.handle_reconnect(now),
        }
    }

    /// What a refusal is to a request, this is to a confirmation.
    pub(super) fn handle_elsewhere(&mut self, now: Instant, index: usize) {
        if !self.is_up() || !self.forwards.mislead(index) {
            return;
        }
        if self.policy.exit_on_forward_failure {
            self.stop(now, ExitReason::ForwardRefused);
            return;
        }
        self.forwards
            .cancel(index, now, self.policy.forward_timeout);
        self.agenda.cancel_forward(index);
    }

    pub(super) fn handle_refused(&mut self, now: Instant, index: u8) {
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

    /// Says that every forward is confirmed, if that is so and was not said yet.
    pub(super) fn announce(&mut self) {
        if self.forwards.all_confirmed() && !self.announced {
            self.announced = true;
            self.agenda.tunnel_up();
        }
    }
}
