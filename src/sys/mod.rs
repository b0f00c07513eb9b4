//! The kernel's side: clock, signals, background, socket options, random bytes, files.
//!
//! All `unsafe` of the program is below this module.

pub mod clock;
pub mod crash;
pub mod daemon;
pub mod errand;
pub mod faults;
pub mod file;
pub mod host;
pub mod inherit;
pub mod pages;
pub mod random;
pub mod relro;
pub mod sandbox;
pub mod signals;
pub mod sockopt;
mod syscalls;
pub mod terminal;
pub mod user;
pub mod wipe;
pub mod worker;
