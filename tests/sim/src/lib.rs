//! Peers that misbehave and networks that fail, on virtual time: no sockets, no threads, no
//! clock.
//!
//! [`server`] is an SSH server whose every misbehaviour is a knob; [`duo`] joins it to the real
//! client over a perfect wire. [`world`] puts the tunnel that ships (`tunnel/`) on a simulated
//! kernel ([`kernel`]) with a bad network ([`net`]), servers' machines ([`host`]), targets
//! ([`targets`]) and the people who use them ([`users`]), all on one virtual clock. A seeded
//! [`schedule`] lets [`faults`] loose on it. [`fleet`] has thousands of tunnels on one server.
//!
//! # What must hold
//!
//! [`invariants`] looks after every moment at which anything happened:
//!
//! 1. **Never two sessions at once**: the tunnel logs in on one socket. Others are only being
//!    made, or are a look at the first server; while the tunnel waits there are none.
//! 2. **Attempts keep their distance**: two never begin within 0.5 s; none begins before the
//!    end of the wait that was announced, except that a link that came may cut it to its class's
//!    floor, and that a person may ask. No wait is longer than its class's cap.
//! 3. **No state outlasts its bound**: 30 s for resolution, 30 s for TCP connection and
//!    identification together, 30 s for the exchange of keys, 60 s for authentication, 30 s for
//!    the reply to a forward, 2 s for the end; a wait ends when it says; a tunnel that is up heard
//!    something in the last `ServerAliveInterval` + `ServerAliveCountMax` x min(5 s, interval),
//!    75 s at the defaults. A program that was held up counts from when it went on, and asks
//!    before it judges.
//! 4. **No busy loop, and no lost wake-up**: the tunnel is driven when something is ready, due or
//!    left to do, and only then. Readiness comes once per change, as from an edge-triggered
//!    epoll(7). After a turn the next deadline lies in the future, and turns at one moment
//!    without effect are few.
//! 5. **Memory is capped**: a channel's window grows by what its target took and by no more, and
//!    there are never more targets than 64; the client's own buffers are bounded in
//!    `tests/memory.rs`.
//! 6. **The client keeps to the protocol**: the server finds nothing to blame (order of messages
//!    around an exchange of keys, windows, sizes, ends of channels, signatures).
//!
//! 8. **Orders hold**: the forwards that are wanted are those of the configuration and of the
//!    orders that were acknowledged, at every moment, whatever happens to the connection; an
//!    order to end is followed at once.
//! 9. **Status tells the truth**: whenever nothing is under way between tunnel and server, the
//!    forwards that status calls confirmed are those for which the server listens, one by one.
//! 10. **Nothing outlives both its ends**: there is no target without a session, and where a
//!     channel or a target is gone the other goes within 45 s.
//! 11. **What goes in comes out**: every byte is checked at the other end, both ways, and an
//!     orderly end comes after the last of them.
//! 12. **A tunnel goes by one name**: whatever server it uses, status has the first. (What it is
//!     called on the control socket is decided outside of `tunnel/`.)
//!
//! And at the end of every schedule, once the network is good:
//!
//! 7. **Always eventually up**: every forward is confirmed, and bytes come back through each,
//!    within the longest wait that the faults could leave behind, plus 150 s for an attempt that
//!    was doomed, 75 s for a dead connection, the server's own patience with the old session,
//!    60 s until its port is asked for again, and 10 s for round trips. Whoever waited for the
//!    network is served then.

pub mod dice;
pub mod duo;
pub mod faults;
pub mod fleet;
pub mod host;
pub mod invariants;
pub mod kernel;
pub mod log;
pub mod net;
pub mod network;
pub mod pattern;
pub mod schedule;
pub mod server;
pub mod setup;
pub mod targets;
pub mod users;
pub mod world;
