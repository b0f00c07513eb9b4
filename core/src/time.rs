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
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of time. Parts of a millisecond round up, so that a deadline is
    /// never early.
    fn add(self, rhs: Duration) -> Instant {
        let whole_ms = rhs.as_nanos().div_ceil(1_000_000);
        Instant(
            self.0
                .saturating_add(u64::try_from(whole_ms).unwrap_or(u64::MAX)),
        )
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
    }
}
