//! What goes in and out of the watchdog.

use core::fmt;
use core::time::Duration;

use crate::config::Config;
use crate::destinations::FAILBACK_INTERVAL;
use crate::failure::{Failure, Stage};
use crate::forwards::ForwardId;
use crate::liveness::Progress;
use crate::time::Instant;

/// The times and numbers that a watchdog keeps to. Timeouts below 1 ms count as 1 ms.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Silence after which the server is probed; zero means never. Default: 60 s.
    pub alive_interval: Duration,
    /// Unanswered probes after which it counts as dead. Default: 3.
    pub alive_count_max: u32,
    /// For name resolution. Default: 30 s.
    pub resolve_timeout: Duration,
    /// For TCP connection and server identification together. Default: 30 s.
    pub connect_timeout: Duration,
    /// For the first key exchange. Default: 30 s.
    pub kex_timeout: Duration,
    /// For authentication. Default: 60 s.
    pub auth_timeout: Duration,
    /// For the reply to a forward request, from the last sign of life. Default: 30 s.
    pub forward_timeout: Duration,
    /// How long a connection must have been authenticated for its end not to count as one more
    /// failure in a row. Default: 60 s.
    pub stable_after: Duration,
    /// How long a tunnel to a fallback stays before the first destination is looked at again,
    /// and from one look to the next. Default: 10 min.
    pub failback_interval: Duration,
    /// Whether a refused forward is the end. Default: no.
    pub exit_on_forward_failure: bool,
    /// How many keys a login offers. Default: 1.
    pub keys: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alive_interval: Duration::from_secs(60),
            alive_count_max: 3,
            resolve_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            kex_timeout: Duration::from_secs(30),
            auth_timeout: Duration::from_secs(60),
            forward_timeout: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
            failback_interval: FAILBACK_INTERVAL,
            exit_on_forward_failure: false,
            keys: 1,
        }
    }
}

impl From<&Config> for Policy {
    /// What the configuration sets; the defaults for the rest.
    fn from(config: &Config) -> Self {
        Self {
            alive_interval: config.server_alive_interval(),
            alive_count_max: config.server_alive_count_max(),
            connect_timeout: config.connect_timeout(),
            exit_on_forward_failure: config.exit_on_forward_failure(),
            ..Self::default()
        }
    }
}

impl Policy {
    /// With timeouts that are not zero: a deadline must lie after its beginning.
    pub(super) fn bounded(mut self) -> Self {
        for timeout in [
            &mut self.resolve_timeout,
            &mut self.connect_timeout,
            &mut self.kex_timeout,
            &mut self.auth_timeout,
            &mut self.forward_timeout,
            &mut self.failback_interval,
        ] {
            *timeout = (*timeout).max(Duration::from_millis(1));
        }
        self
    }
}

/// What happened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// There are addresses.
    Resolved,
    /// TCP connection established.
    Connected,
    /// The server's identification line was read.
    Identified,
    /// The first key exchange is complete and the host key accepted.
    KeysExchanged,
    /// The server let us in.
    Authenticated,
    /// The server listens for a forward.
    ForwardConfirmed {
        /// Which forward.
        id: ForwardId,
        /// The port it listens on.
        port: u16,
    },
    /// The server refused a forward.
    ForwardRefused {
        /// Which forward.
        id: ForwardId,
    },
    /// The server answered a cancellation.
    ForwardCancelled {
        /// Which forward.
        id: ForwardId,
        /// False if it goes on listening.
        done: bool,
    },
    /// The server's listener for a forward does not lead here ([`crate::verify`]).
    ForwardElsewhere {
        /// Which forward.
        id: ForwardId,
    },
    /// The first destination showed itself as an SSH server, and no connection is being served.
    FirstAnswers,
    /// The tunnel is up and no connection is being served.
    Idle,
    /// Bytes came from the server.
    Inbound {
        /// How many had been written to it on this connection by then.
        written: u64,
    },
    /// How far our own bytes have come, when [`super::Watchdog::wants_progress`] asks.
    Acknowledged(Progress),
    /// The attempt or the tunnel is over; the caller has closed its sockets.
    Failed(Failure),
    /// A link or an address came back.
    LinkUp,
    /// Someone asked for a new connection now.
    ReconnectNow,
    /// Someone called for the tunnel: what waits is tried now, within the rate of
    /// [`crate::backoff::Calls`].
    Called,
    /// Someone asked for the end.
    Stop,
}

/// What to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Begin an attempt to [`super::Watchdog::destination`]: resolve the name afresh and connect.
    Resolve,
    /// Close the sockets of the attempt or tunnel now. It is already counted as over; no
    /// [`Input::Failed`] is wanted for it.
    Abandon(Failure),
    /// Send the request for a forward.
    RequestForward {
        /// Which forward.
        id: ForwardId,
    },
    /// Send the cancellation of a forward.
    CancelForward {
        /// Which forward.
        id: ForwardId,
    },
    /// Ask the server for a sign of life.
    Probe,
    /// Look whether the first destination answers, beside the tunnel to a fallback; if it does
    /// and no connection is being served, hand in [`Input::FirstAnswers`].
    TryFirst,
    /// Nothing to do: the next attempt is at `until`. For log and status.
    Wait {
        /// When the next attempt begins.
        until: Instant,
        /// What ended the last one.
        why: Failure,
    },
    /// Every forward is confirmed. Once per connection, and again once forwards that were added
    /// to it are. For log and status.
    TunnelUp,
    /// A forward was refused, or led elsewhere and was taken back, and will be asked for again. For log and status.
    ForwardWaits {
        /// Which forward.
        id: ForwardId,
        /// When it is asked for again.
        until: Instant,
        /// It was not told of since all were last confirmed.
        first: bool,
    },
    /// End gracefully: cancel forwards, let channels drain, send `SSH_MSG_DISCONNECT`, close;
    /// then hand in [`Input::Failed`]. [`Action::Exit`] follows within [`super::DRAIN`]
    /// either way.
    Disconnect,
    /// The end. [`super::Watchdog::exit_reason`] says why.
    Exit,
}

/// Why the watchdog ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ExitReason {
    /// Someone asked for it.
    Stopped,
    /// The server refused a forward, and ExitOnForwardFailure is set.
    ForwardRefused,
}

/// What state a tunnel is in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// An attempt is under way, in this stage.
    Connecting(Stage),
    /// Authenticated.
    Up {
        /// Since when.
        since: Instant,
        /// How many forwards the server has confirmed.
        confirmed: u8,
        /// Of how many.
        forwards: u8,
    },
    /// Waiting for the next attempt.
    Waiting {
        /// Until when.
        until: Instant,
        /// What ended the last one.
        why: Failure,
    },
    /// Ending.
    Stopping,
    /// Over.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting(stage) => write!(f, "connecting ({stage})"),
            Self::Up {
                confirmed,
                forwards,
                ..
            } if confirmed == forwards => f.write_str("up"),
            Self::Up {
                confirmed,
                forwards,
                ..
            } => write!(f, "up ({confirmed} of {forwards} forwards)"),
            Self::Waiting { why, .. } => write!(f, "waiting ({why})"),
            Self::Stopping => f.write_str("stopping"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}
