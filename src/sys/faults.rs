//! Faults that tests ask for: `REACHBACK_TEST_FAULT=stall:FILE`, `panic:FILE` or `memory:FILE`
//! brings one about in the first turn that finds FILE, which it removes; without `:FILE` in every
//! first turn. `outside:FILE` and `forbidden:FILE` do there what a worker may not do.
//! `REACHBACK_TEST_STALL_MS` shortens the time a turn may take. Not part of a release.

use std::time::Duration;

#[cfg(any(debug_assertions, feature = "test-faults"))]
use nix::libc;

#[cfg(any(debug_assertions, feature = "test-faults"))]
mod asked {
    use super::{Duration, libc};

    /// `REACHBACK_TEST_FAILBACK_MS` shortens the stay at a fallback.
    pub fn failback_interval() -> Option<Duration> {
        milliseconds("REACHBACK_TEST_FAILBACK_MS")
    }

    pub fn limit() -> Option<Duration> {
        milliseconds("REACHBACK_TEST_STALL_MS")
    }

    fn milliseconds(variable: &str) -> Option<Duration> {
        let text = std::env::var(variable).ok()?;
        Some(Duration::from_millis(text.parse().ok()?))
    }

    pub fn cause() {
        let Ok(fault) = std::env::var("REACHBACK_TEST_FAULT") else {
            return;
        };
        let (kind, file) = fault.split_once(':').unwrap_or((&fault, ""));
        if !file.is_empty() && std::fs::remove_file(file).is_err() {
            return;
        }
        match kind {
            "stall" => loop {
                std::hint::spin_loop();
            },
            "panic" => panic!("asked for by a test"),
            "outside" => super::outside(),
            // SAFETY: the call takes numbers only.
            "forbidden" => drop(unsafe { libc::ptrace(libc::PTRACE_TRACEME) }),
            // SAFETY: nothing is there, so the process ends.
            "memory" => unsafe { std::hint::black_box(8 as *mut u8).write_volatile(0) },
            _ => {}
        }
    }
}

/// Does what a worker may not do, and says what came of it.
#[cfg(any(debug_assertions, feature = "test-faults"))]
fn outside() {
    let written = std::fs::write(super::host::home_directory().join("outside"), "");
    let executed = nix::unistd::execve(c"/bin/true", &[c"true"], &[c""; 0]).map(drop);
    // SAFETY: the call takes numbers only, and what it opens ends with the process.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0) };
    let socket = nix::errno::Errno::result(socket).map(drop);
    let why = |done: nix::Result<()>| done.map_or_else(|error| error.desc(), |()| "done");
    let written = written.map_or_else(|error| super::file::reason(&error), |()| "done".to_owned());
    let (executed, socket) = (why(executed), why(socket));
    log::info!("outside: write: {written}; execute: {executed}; packet socket: {socket}");
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let pinned = super::errand::ask(&format!("pin elsewhere.example 22 ssh-ed25519 {key}"));
    let pinned = pinned.and_then(Result::ok).unwrap_or_default();
    log::info!("outside: pin: {}", pinned.replace('\n', ", "));
}

#[cfg(not(any(debug_assertions, feature = "test-faults")))]
mod asked {
    use super::Duration;

    /// No test has a say in a release.
    pub fn failback_interval() -> Option<Duration> {
        None
    }

    pub fn limit() -> Option<Duration> {
        None
    }

    pub fn cause() {}
}

pub use asked::{cause, failback_interval, limit};
