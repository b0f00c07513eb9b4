//! What reachback decides: grammars and policy, as pure state machines.
//!
//! # The contract
//! - `handle_*` (or `handle`) takes in what happened. It never blocks, and it never fails
//!   because of what a peer did.
//! - `poll_*` gives out what to do next, one thing at a time, until it says `None`.
//! - `poll_timeout` says when to call `handle_timeout` at the latest, and why.
//!
//! Time is a number handed in ([`time::Instant`], milliseconds of a monotonic clock), and the
//! randomness of policy is a seed handed in. Nothing here knows sockets, files, threads or
//! the wire format of SSH's transport; nothing here allocates: every table has a stated bound.
//!
//! The grammars ([`destination`], [`forward`], [`config`], [`known_hosts`], [`dropbear_key`])
//! take text or bytes that others wrote. None of them panics on any input, and each error
//! says in one line what is wrong and what would be right.
//!
//! # Example
//! A configuration as ssh_config(5) has it, read again after a change:
//! ```
//! use reachback_core::config::{self, Config, FileParser, Scope};
//! use reachback_core::keyword::OnReload;
//!
//! fn read(text: &str) -> Result<Config, config::ConfigError> {
//!     let mut config = Config::new();
//!     let mut parser = FileParser::new(text, Scope::new("hub"));
//!     // A step gives out what the caller has to do: here there is nothing to include.
//!     while parser.step(&mut config)?.is_some() {}
//!     Ok(config)
//! }
//!
//! let before = read("Host hub\n  RemoteForward 1111 localhost:22\n")?;
//! let after = read("Host hub\n  RemoteForward 1111 localhost:22\n  Port 2222\n")?;
//! assert_eq!(before.forwards()[0].to_string(), "1111:localhost:22");
//!
//! let changes: Vec<_> = config::changes(&before, &after).collect();
//! assert_eq!((changes[0].name, changes[0].on_reload), ("Port", OnReload::Renews));
//! # Ok::<(), config::ConfigError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::use_debug))]

#[cfg(test)]
extern crate std;

pub mod ages;
pub mod backoff;
pub mod calendar;
pub mod cause;
pub mod certificate;
pub mod config;
pub mod control;
pub mod destination;
pub mod destinations;
pub mod dial;
pub mod dropbear_key;
pub mod escape;
pub mod failure;
pub mod forward;
pub mod forwards;
pub mod history;
mod host;
pub mod ipqos;
pub mod keyword;
pub mod known_hosts;
pub mod lifetime;
pub mod liveness;
pub mod pattern;
pub mod places;
pub mod repeats;
pub mod time;
pub mod tokens;
pub mod verify;
pub mod watchdog;
