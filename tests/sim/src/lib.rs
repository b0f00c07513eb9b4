//! Peers that misbehave and networks that fail, on virtual time: no sockets, no threads, no
//! clock.
//!
//! [`server`] is an SSH server whose every misbehaviour is a knob; [`duo`] joins it to the real
//! client over a perfect wire. [`world`] puts the real watchdog and the real client
//! ([`controller`]), a bad [`network`] and a server's machine on one clock and lets a seeded
//! schedule of faults ([`faults`]) loose on them.
//!
//! # What must hold
//!
//! [`invariants`] looks after every moment at which anything happened:
//!
//! 1. **Never two connections at once**: at most one socket is open on the controller, those
//!    that are being made included.
//! 2. **Attempts keep their distance**: two never begin within 0.5 s; none begins before the
//!    end of the wait that was announced, except that a link that came may cut it to its class's
//!    floor, and that a person may ask. No wait is longer than its class's cap.
//! 3. **No state outlasts its bound**: 30 s for resolution, 30 s for TCP connection and
//!    identification together, 30 s for the exchange of keys, 60 s for authentication, 30 s for
//!    the reply to a forward; a wait ends when it says; a tunnel that is up heard something in
//!    the last `ServerAliveInterval` + `ServerAliveCountMax` x min(5 s, interval), 75 s at the
//!    defaults. A program that was held up counts from when it went on, and asks before it
//!    judges.
//! 4. **No busy loop**: after a turn the next deadline lies in the future, and turns at one
//!    moment without effect are few.
//! 5. **Memory is capped**: the client's buffers, and what waits for targets, stay under the
//!    caps of `reachback_ssh::limits`.
//! 6. **The client keeps to the protocol**: the server finds nothing to blame (order of messages
//!    around an exchange of keys, windows, sizes, ends of channels, signatures).
//!
//! And at the end of every schedule, once the network is good:
//!
//! 7. **Always eventually up**: every forward is confirmed, and bytes come back through each,
//!    within the longest wait that the faults could leave behind, plus 150 s for an attempt that
//!    was doomed, 75 s for a dead connection, the server's own patience with the old session,
//!    60 s until its port is asked for again, and 10 s for round trips.

pub mod controller;
pub mod dice;
pub mod duo;
pub mod faults;
pub mod invariants;
pub mod network;
pub mod outside;
pub mod server;
pub mod world;
