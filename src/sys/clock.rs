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
    let milliseconds = u32::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000;
    let whole_ms = seconds.saturating_mul(1000);
    Instant(whole_ms.saturating_add(milliseconds.into()))
}

/// Seconds since 1970 on the wall clock, which may be wrong and may be set at any time: for
/// people, and for whether a host certificate is valid. 0 if it stands before that.
///
/// Never [`std::time::SystemTime`]: on 32-bit musl it asks with 32-bit seconds and panics from
/// 2038-01-19 03:14:08 UTC on.
pub fn wall_s() -> u64 {
    #[cfg(target_pointer_width = "32")]
    if let Some(seconds) = wide::wall_s() {
        return seconds;
    }
    let time = clock_gettime(ClockId::CLOCK_REALTIME);
    time.map_or(0, |time| u64::try_from(time.tv_sec()).unwrap_or(0))
}

/// The wall clock with 64-bit seconds where the C library's types have 32.
#[cfg(target_pointer_width = "32")]
mod wide {
    use nix::libc;

    /// Of clock_gettime64, from Linux 5.1 on: one number on every 32-bit architecture.
    const CLOCK_GETTIME64: libc::c_long = 403;

    /// `struct __kernel_timespec` (linux/time_types.h).
    #[repr(C)]
    #[derive(Default)]
    struct Timespec64 {
        seconds: i64,
        nanoseconds: i64,
    }

    /// None on a kernel without the call, whose clock has 32-bit seconds itself.
    pub fn wall_s() -> Option<u64> {
        let mut time = Timespec64::default();
        // SAFETY: the kernel writes one `__kernel_timespec` to the pointer, which is that of a
        // live one with the same layout, and keeps nothing.
        let outcome = unsafe {
            libc::syscall(
                CLOCK_GETTIME64,
                libc::CLOCK_REALTIME,
                &raw mut time as *mut Timespec64,
            )
        };
        (outcome == 0).then(|| u64::try_from(time.seconds).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{now, wall_s};

    #[test]
    fn the_wall_clock_is_that_of_date_1() {
        let date = std::process::Command::new("date").arg("+%s").output();
        let text = String::from_utf8(date.unwrap().stdout).unwrap();
        let seconds: u64 = text.trim().parse().unwrap();
        assert!(wall_s().abs_diff(seconds) <= 5, "{} {seconds}", wall_s());
    }

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
