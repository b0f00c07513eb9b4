//! What reachback drives: one tunnel, from the look-up of the server's name to the last byte of a
//! relay, over any network.
//!
//! # The contract
//! The caller gives an [`Outside`] with every call: sockets, names, known hosts, the clock. It
//! hands in readiness ([`Tunnel::handle_ready`]) and what callers order ([`Tunnel::add_forward`]
//! and its neighbours), and then calls [`Tunnel::drive`], again at [`Tunnel::poll_timeout`] at the
//! latest. One turn moves a bounded number of bytes and never waits.
//!
//! The program gives mio and the kernel, the simulation a network on virtual time: what is
//! simulated is what ships.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::use_debug))]

mod checks;
mod dial;
mod ended;
mod lookup;
mod outside;
mod plan;
mod relays;
mod session;
mod stats;
mod tunnel;

pub use dial::{Dial, Dialled};
pub use ended::{Ended, reason};
pub use lookup::{Addresses, Lookup, PATIENCE};
pub use outside::{
    Outside, Ready, Resolution, ServerStream, Source, Stream, StreamOptions, TargetAddress, Token,
};
pub use plan::{Plan, Server};
pub use stats::Program;
pub use tunnel::{Progress, Tunnel};
