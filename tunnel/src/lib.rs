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
//!
//! # One turn of a loop
//! ```
//! use reachback_core::time::Instant;
//! use reachback_tunnel::{Outside, Ready, Tunnel};
//!
//! /// Gives when the next turn is due, if no socket is ready before; none once it has ended.
//! fn turn<O: Outside>(
//!     tunnel: &mut Tunnel<O>,
//!     ready: &[Ready],
//!     outside: &mut O,
//! ) -> Option<Instant> {
//!     let now = outside.now();
//!     for socket in ready {
//!         tunnel.handle_ready(*socket, outside, now);
//!     }
//!     let more = tunnel.drive(outside, now);
//!     match tunnel.is_finished() {
//!         true => None,
//!         false if more => Some(now),
//!         false => tunnel.poll_timeout(),
//!     }
//! }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::use_debug))]

mod checks;
mod dial;
mod ended;
mod lookup;
mod outside;
mod plan;
mod proxy;
mod readable;
mod relays;
mod session;
mod stats;
mod tunnel;

pub use dial::{Dial, Dialled, Way};
pub use ended::{Ended, denial, reason};
pub use lookup::{Addresses, Lookup, PATIENCE};
pub use outside::{
    Outside, Ready, Resolution, ServerStream, Source, Stream, StreamOptions, TargetAddress, Token,
    Unacknowledged,
};
pub use plan::{Plan, Server};
pub use proxy::Proxy;
pub use relays::WIDTH_BUDGET;
pub use tunnel::{Program, Progress, Tunnel};
