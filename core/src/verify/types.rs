//! Where a forward is looked for, and what is found.

use heapless::Vec;

use crate::forward::Bind;
use crate::forwards::ForwardId;

/// Where the listener of a forward is to be found, as seen from the server. Both loopback
/// addresses where it may listen on both: people come to either. Any other address with the
/// loopback address to make up for it ([`has_spare`]).
pub fn places(bind: &Bind) -> Vec<&str, 2> {
    let (first, second) = match bind {
        Bind::Default | Bind::Any => ("127.0.0.1", Some("::1")),
        Bind::Address(address) => match address.as_str() {
            "0.0.0.0" | "127.0.0.1" => ("127.0.0.1", None),
            "::" | "::1" => ("::1", None),
            address => (address, Some("127.0.0.1")),
        },
    };
    core::iter::once(first).chain(second).collect()
}

/// Whether the second of the [`places`] only counts if nothing answers at the first: with
/// `GatewayPorts no`, sshd confirms a forward of any address and listens on loopback alone.
pub fn has_spare(bind: &Bind) -> bool {
    matches!(bind, Bind::Address(_)) && places(bind).len() > 1
}

/// What a check says about a forward.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Its listener leads here.
    Here,
    /// It does, but only on the server's loopback address.
    Loopback,
    /// A listener answers at this place ([`places`]), and it does not lead here.
    Elsewhere {
        /// Index of the place.
        place: u8,
    },
    /// Nothing answers, on a server that has let a check through before.
    Gone,
    /// The server does not let checks through; there are no more on this connection.
    Off(Refused),
}

/// Why checks are turned off.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The server refused to connect, with this reason (RFC 4254, 5.1).
    Reason(u32),
    /// It did not answer.
    Unanswered,
    /// It says that it connects, whether it does or not.
    Hollow,
}

/// What to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Close the check's connection, or give it up if it is not open yet.
    Close,
    /// Ask the server for a sign of life; its answer is [`Verify::handle_alive`](super::Verify::handle_alive).
    Ask,
    /// For log and status; an [`Finding::Elsewhere`] or [`Finding::Gone`] forward is to be taken
    /// back.
    Found {
        /// Which forward.
        id: ForwardId,
        /// What was found.
        finding: Finding,
        /// The log does not know it yet.
        news: bool,
    },
    /// Open a connection to this place of the forward.
    Open {
        /// Which forward.
        id: ForwardId,
        /// Index into [`places`].
        place: u8,
    },
    /// Open a connection to port 0 of this place of the forward, which must fail.
    OpenNothing {
        /// Which forward.
        id: ForwardId,
        /// Index into [`places`].
        place: u8,
    },
}
