//! Milliseconds of a monotonic clock, as a number that the caller hands in.

use core::ops::Add;
use core::time::Duration;

/// A point in time: milliseconds since an origin that stays fixed for the life of the process
/// (`CLOCK_MONOTONIC` or `CLOCK_BOOTTIME`, never the wall clock).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The time from `earlier` to `self`; zero if `earlier` is in fact later.
    pub fn since(self, earlier: Instant) -> Duration {
        let ms = self.0.saturating_sub(earlier.0);
        // Spans of less than 49 days without a division of 64 bits, which ARMv7 does not have.
        match u32::try_from(ms) {
            Ok(ms) => Duration::new(u64::from(ms / 1000), ms % 1000 * 1_000_000),
            Err(_) => Duration::from_millis(ms),
        }
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of time. Parts of a millisecond round up, so that a deadline is
    /// never early.
    #[inline]
    fn add(self, rhs: Duration) -> Instant {
        // Not by `as_nanos`: ARMv7 divides 128 bits with hundreds of instructions, and this is
        // called dozens of times in a turn.
        let whole_ms = rhs.as_secs().saturating_mul(1000);
        let parts_ms = u64::from(rhs.subsec_nanos().div_ceil(1_000_000));
        Instant(self.0.saturating_add(whole_ms).saturating_add(parts_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_and_never_rounds_a_deadline_down() {
        assert_eq!(Instant(5) + Duration::from_micros(1), Instant(6));
        assert_eq!(Instant(5) + Duration::from_millis(7), Instant(12));
        assert_eq!(Instant(u64::MAX - 1) + Duration::MAX, Instant(u64::MAX));
    }

    #[test]
    fn a_time_that_has_not_come_is_zero_ago() {
        assert_eq!(Instant(3).since(Instant(9)), Duration::ZERO);
        assert_eq!(Instant(9).since(Instant(3)), Duration::from_millis(6));
        for ms in [999, 1000, 61_234, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(Instant(ms).since(Instant(0)), Duration::from_millis(ms));
        }
    }
}
