//! The clock of every deadline.

use nix::time::{ClockId, clock_gettime};
use reachback_core::time::Instant;

/// Milliseconds of `CLOCK_BOOTTIME` (clock_gettime(2)): never set, never stepped, and it
/// counts time spent in suspend, so that a connection that died meanwhile is seen at once.
///
/// The clock exists on every Linux since 2.6.39; 0 stands for a kernel without it.
pub fn now() -> Instant {
    let Ok(time) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return Instant(0);
    };
    // i64 on every target here except 32-bit glibc without 64-bit time, where it is i32.
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let milliseconds = u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000;
    Instant(seconds.saturating_mul(1000).saturating_add(milliseconds))
}

/// Seconds since 1970 on the wall clock, which may be wrong and may be set at any time: for
/// people only. 0 if it stands before that.
pub fn wall_s() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::now;

    #[test]
    fn the_clock_runs_and_never_goes_back() {
        let first = now();
        assert!(first.0 > 0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while now() == first {
            assert!(std::time::Instant::now() < deadline, "the clock stands");
        }
        assert!(now() > first);
    }
}
