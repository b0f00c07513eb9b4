//! What there is to do, at most once each.
//!
//! One place per action instead of a queue: it cannot overflow, however late the caller comes,
//! and what a later event made pointless is taken back. Actions come out in the order of the
//! fields.

use crate::failure::Failure;
use crate::forward::MAX_FORWARDS;
use crate::time::Instant;

use super::Action;

#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    abandon: Option<Failure>,
    wait: Option<(Instant, Failure)>,
    resolve: bool,
    /// One bit per forward.
    requests: u16,
    /// One bit per forward.
    cancels: u16,
    forward_waits: [Option<Instant>; MAX_FORWARDS],
    tunnel_up: bool,
    probe: bool,
    try_first: bool,
    disconnect: bool,
    exit: bool,
}

impl Agenda {
    /// Takes back all that belongs to a connection that is over.
    fn clear_connection(&mut self) {
        *self = Self {
            abandon: self.abandon,
            ..Self::default()
        };
    }

    pub(super) fn abandon(&mut self, why: Failure) {
        self.abandon = Some(why);
    }

    pub(super) fn wait(&mut self, until: Instant, why: Failure) {
        self.clear_connection();
        self.wait = Some((until, why));
    }

    pub(super) fn resolve(&mut self) {
        self.clear_connection();
        self.resolve = true;
    }

    pub(super) fn request_forward(&mut self, index: usize) {
        self.requests |= 1 << index;
        self.forward_waits[index] = None;
    }

    pub(super) fn forward_waits(&mut self, index: usize, until: Instant) {
        self.requests &= !(1 << index);
        self.forward_waits[index] = Some(until);
    }

    pub(super) fn cancel_forward(&mut self, index: usize) {
        self.cancels |= 1 << index;
    }

    pub(super) fn forward_unwanted(&mut self, index: usize) {
        self.forward_waits[index] = None;
    }

    pub(super) fn try_first(&mut self) {
        self.try_first = true;
    }

    pub(super) fn tunnel_up(&mut self) {
        self.tunnel_up = true;
    }

    pub(super) fn probe(&mut self) {
        self.probe = true;
    }

    pub(super) fn disconnect(&mut self) {
        self.clear_connection();
        self.disconnect = true;
    }

    pub(super) fn exit(&mut self) {
        let disconnect = self.disconnect;
        self.clear_connection();
        self.disconnect = disconnect;
        self.exit = true;
    }

    pub(super) fn next(&mut self) -> Option<Action> {
        use core::mem::take;
        if let Some(why) = self.abandon.take() {
            return Some(Action::Abandon(why));
        }
        if let Some((until, why)) = self.wait.take() {
            return Some(Action::Wait { until, why });
        }
        if take(&mut self.resolve) {
            return Some(Action::Resolve);
        }
        if self.requests != 0 {
            let index = self.requests.trailing_zeros() as u8;
            self.requests &= self.requests - 1;
            return Some(Action::RequestForward { index });
        }
        if self.cancels != 0 {
            let index = self.cancels.trailing_zeros() as u8;
            self.cancels &= self.cancels - 1;
            return Some(Action::CancelForward { index });
        }
        for (slot, index) in self.forward_waits.iter_mut().zip(0u8..) {
            if let Some(until) = slot.take() {
                return Some(Action::ForwardWaits { index, until });
            }
        }
        if take(&mut self.tunnel_up) {
            return Some(Action::TunnelUp);
        }
        if take(&mut self.probe) {
            return Some(Action::Probe);
        }
        if take(&mut self.try_first) {
            return Some(Action::TryFirst);
        }
        if take(&mut self.disconnect) {
            return Some(Action::Disconnect);
        }
        take(&mut self.exit).then_some(Action::Exit)
    }
}
