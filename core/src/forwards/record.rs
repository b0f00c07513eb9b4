//! Everything about one forward.

use crate::backoff::{FORWARD_RETRY, Row};
use crate::forward::{ForwardSpec, Listen};
use crate::forwards::Checkup;
use crate::time::Instant;

/// Names one forward of a tunnel.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ForwardId(pub(crate) u8);

impl ForwardId {
    /// The same as a number, for a layer that keeps it and gives it back
    /// ([`super::Forwards::by_number`]); below [`crate::forward::MAX_FORWARDS`].
    pub fn number(self) -> u8 {
        self.0
    }
}

/// The state of one forward on this connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum ForwardState {
    /// Not asked for.
    #[default]
    Idle,
    /// Asked for; the reply is due until then.
    Requested {
        /// Deadline of the reply.
        until: Instant,
    },
    /// The server listens.
    Confirmed {
        /// On this port.
        port: u16,
    },
    /// The server refused (often because an old connection still holds the port), or its
    /// listener led elsewhere and was taken back; asked for again then.
    Refused {
        /// When.
        retry_at: Instant,
    },
    /// Being taken back; the reply is due until then. The listener takes no connection.
    Cancelling {
        /// The port it listened on.
        port: u16,
        /// Deadline of the reply.
        until: Instant,
    },
}

/// Who wants a forward.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The configuration, and the command line of the service.
    Configuration,
    /// The service, for a tunnel that somebody else began.
    Service,
    /// Somebody who called. Such an order stands against the configuration: reading that again
    /// neither takes back what a caller added nor opens again what a caller took away.
    Caller,
    /// A custom script: a caller who takes away only what callers added.
    Script,
}

/// Everything about one forward.
///
/// Whether a forward is wanted and what the server knows of it are two things: requests and
/// cancellations cross on the wire, and the reply to the one that went out decides what is sent
/// next.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Listener and target.
    pub spec: ForwardSpec,
    /// The configuration names it.
    pub(super) configured: bool,
    /// The service added it.
    pub(super) of_service: bool,
    /// A caller added it.
    pub(super) added: bool,
    /// The configuration names it, and a caller took it away.
    pub(super) withdrawn: bool,
    pub(super) state: ForwardState,
    pub(super) refusals: Row,
    /// It is being taken back because it led elsewhere.
    pub(super) misled: bool,
    /// That it waits was told since all were last confirmed.
    pub(super) wait_told: bool,
    pub(super) todo: Todo,
    /// What `VerifyForward` knows and does.
    pub(crate) checkup: Checkup,
}

/// What the caller of the watchdog still has to do about a forward.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Todo {
    pub(super) request: bool,
    pub(super) cancel: bool,
    pub(super) waits: Option<Instant>,
}

impl Forward {
    pub(super) fn new(spec: ForwardSpec) -> Self {
        Self {
            spec,
            configured: false,
            of_service: false,
            added: false,
            withdrawn: false,
            state: ForwardState::Idle,
            refusals: Row::NEW,
            misled: false,
            wait_told: false,
            todo: Todo::default(),
            checkup: Checkup::default(),
        }
    }

    /// Whether the server is to listen for it.
    pub fn is_wanted(&self) -> bool {
        self.added || self.of_service || (self.configured && !self.withdrawn)
    }

    /// Whether the configuration names it.
    pub fn is_configured(&self) -> bool {
        self.configured
    }

    /// Whether the configuration or the service names it, even if a caller took it away.
    pub fn is_operators(&self) -> bool {
        self.configured || self.of_service
    }

    /// Who added it after the start; such an order stands.
    pub fn added(&self) -> impl Iterator<Item = Origin> {
        let service = self.of_service.then_some(Origin::Service);
        service
            .into_iter()
            .chain(self.added.then_some(Origin::Caller))
    }

    /// Whether a caller took it away, and that stands.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn && !self.is_wanted()
    }

    /// What the server said to it.
    pub fn state(&self) -> ForwardState {
        self.state
    }

    /// The TCP port on which the server listens for it; 0 if it does not, or on a Unix socket.
    pub fn port(&self) -> u16 {
        match (&self.spec.listen, self.state) {
            (Listen::Unix(_), _) => 0,
            (_, ForwardState::Confirmed { port } | ForwardState::Cancelling { port, .. }) => port,
            _ => 0,
        }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.state, ForwardState::Confirmed { .. })
    }

    pub(super) fn is_free(&self) -> bool {
        self.state == ForwardState::Idle && !self.configured && !self.of_service && !self.added
    }

    pub(super) fn postpone(&mut self, now: Instant, rng: u32) {
        let retry_at = now + self.refusals.next(&FORWARD_RETRY, now, rng);
        self.state = ForwardState::Refused { retry_at };
        self.todo.request = false;
        self.todo.waits = Some(retry_at);
    }
}

/// What is to be done about a forward.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum ForwardAction {
    Request,
    Cancel,
    /// It waits until then; `first` if that was not told since all were last confirmed.
    Waits {
        until: Instant,
        first: bool,
    },
}
