//! A relay and its place.

use reachback_core::places::PATIENCE;
use reachback_core::time::Instant;
use reachback_ssh::Client;

use super::{Relay, TargetState};
use crate::checks::Suspicion;
use crate::outside::Outside;

impl<O: Outside> Relay<O> {
    /// Its channel was accepted, and may be a check.
    pub fn hold(&mut self, suspicion: Suspicion) {
        self.state = TargetState::Held(suspicion);
        self.deadline = None;
    }

    /// It waits for a place.
    pub fn wait(&mut self, now: Instant) {
        self.state = TargetState::Waiting;
        self.deadline = Some(now + PATIENCE);
    }

    /// Until when it waits for a place, if it does.
    pub fn waits_until(&self) -> Option<Instant> {
        let waits = matches!(self.state, TargetState::Waiting);
        self.deadline.filter(|_| waits)
    }

    /// Since when nothing has gone through it, if it has a place to lose.
    pub fn idle_since(&self) -> Option<Instant> {
        let open = matches!(self.state, TargetState::Open(_)) && self.channel.is_some();
        open.then_some(self.active)
    }

    /// Whether it has a place.
    pub fn is_served(&self) -> bool {
        use TargetState::{Connecting, Open, Resolving};
        let target = matches!(self.state, Resolving(_) | Connecting { .. } | Open(_));
        target && self.channel.is_some()
    }

    /// Whether the peer may send to it, or bytes of the peer wait here.
    pub fn is_holder(&self) -> bool {
        match self.state {
            TargetState::Waiting => !self.unsent.is_empty(),
            TargetState::TargetGone => false,
            _ => true,
        }
    }

    /// How many bytes of the peer may come to wait here.
    pub fn allowance(&self, client: &Client) -> usize {
        match self.channel {
            Some(channel) if self.is_holder() => client.channel_window(channel),
            _ => self.unsent.len(),
        }
    }

    /// A target whose bytes wait for a slow link is not idle; one whose user takes none is.
    pub(super) fn note_activity(&mut self, client: &Client, now: Instant) {
        let waits = self.readable.get() && !self.target_ended;
        let behind_others = |channel| client.channel_peer_takes_data(channel);
        if std::mem::take(&mut self.moved) || waits && self.channel.is_some_and(behind_others) {
            self.active = now;
        }
    }
}
