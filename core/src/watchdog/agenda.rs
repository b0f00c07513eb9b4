//! What there is to do, at most once each; what is to be done about a forward stands in its
//! record ([`Forwards::next_action`]).
//!
//! One place per action instead of a queue: it cannot overflow, however late the caller comes,
//! and what a later event made pointless is taken back. Actions come out in the order of the
//! fields.

use crate::failure::Failure;
use crate::forwards::{ForwardAction, Forwards};
use crate::time::Instant;

use super::Action;

#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    abandon: Option<Failure>,
    wait: Option<(Instant, Failure)>,
    resolve: bool,
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

    pub(super) fn next(&mut self, forwards: &mut Forwards) -> Option<Action> {
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
        if let Some((id, action)) = forwards.next_action() {
            return Some(match action {
                ForwardAction::Request => Action::RequestForward { id },
                ForwardAction::Cancel => Action::CancelForward { id },
                ForwardAction::Waits { until, first } => Action::ForwardWaits { id, until, first },
            });
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
