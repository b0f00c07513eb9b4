//! Faults that tests ask for: `REACHBACK_TEST_FAULT=stall:FILE`, `panic:FILE` or `memory:FILE`
//! brings one about in the first turn that finds FILE, which it removes; without `:FILE` in every
//! first turn. `REACHBACK_TEST_STALL_MS` shortens the time a turn may take. Not part of a release.

use std::time::Duration;

#[cfg(any(debug_assertions, feature = "test-faults"))]
mod asked {
    use super::Duration;

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
            // SAFETY: nothing is there, so the process ends.
            "memory" => unsafe { std::hint::black_box(8 as *mut u8).write_volatile(0) },
            _ => {}
        }
    }
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
