//! The turns of the worker's loop, as far as the supervisor watches them: a timer runs during each.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::TimerFd;
use reachback_core::time::Instant;

use crate::sys::faults;

/// A loop that waits for longer than this stops the timer first.
const LULL: Duration = Duration::from_secs(1);
/// So many turns in a row leave the timer running: more than a keepalive and its answer take.
const ROW: u8 = 8;
/// The part of its time after which a timer that was left running is set anew. With [`LULL`] it is
/// well below the whole.
const FRESH: u32 = 10;

/// The worker's side: one turn of its loop after the other.
///
/// Turns that follow each other quickly leave the timer running, so that a transfer does not pay for it
/// twice in each.
pub struct Turns {
    timer: TimerFd,
    limit: Duration,
    /// For so long a timer that was left running need not be set anew.
    fresh: Duration,
    /// When the timer was set, while it runs.
    running: Option<Instant>,
    /// When the last turn ended.
    ended: Instant,
    /// How many have followed one another within [`LULL`].
    row: u8,
}

impl Turns {
    /// A turn may take `limit`; `timer` is the one that the supervisor looks at.
    pub fn new(timer: TimerFd, limit: Duration) -> Turns {
        Turns {
            timer,
            limit,
            fresh: limit / FRESH,
            running: None,
            ended: Instant(0),
            row: 0,
        }
    }

    /// The loop woke up.
    pub fn begin(&mut self, now: Instant) {
        if !self.is_fresh(now) {
            set(&self.timer, self.limit);
            self.running = Some(now);
        }
        faults::cause();
    }

    /// The loop is about to wait: no longer than what is given before it comes back here; none is for
    /// ever.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let quick = now.since(self.ended) < LULL;
        self.ended = now;
        self.row = if quick { self.row.saturating_add(1) } else { 0 };
        // One that is not fresh may have fired, and be the supervisor's by now.
        if self.row >= ROW && self.is_fresh(now) {
            return Some(LULL);
        }
        if self.running.take().is_some() {
            let _ = self.timer.unset();
        }
        None
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let since = self.running.map(|at| now.since(at));
        since.is_some_and(|since| since < self.fresh)
    }
}

/// Lets the timer fire once, after `limit`.
pub fn set(timer: &TimerFd, limit: Duration) {
    let once = Expiration::OneShot(TimeSpec::from_duration(limit));
    // Fails only for a timer that does not exist or a time that is none.
    let _ = timer.set(once, TimerSetTimeFlags::empty());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use nix::sys::timerfd::{ClockId, TimerFlags};

    use super::*;

    fn turns() -> Turns {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC).unwrap();
        Turns::new(timer, Duration::from_secs(55))
    }

    /// A turn that begins and ends at once; gives whether the timer runs after it.
    fn turn(turns: &mut Turns, at_ms: u64) -> bool {
        turns.begin(Instant(at_ms));
        assert!(turns.timer.get().unwrap().is_some(), "in a turn");
        let most = turns.end(Instant(at_ms));
        let runs = turns.timer.get().unwrap().is_some();
        assert_eq!(
            most,
            runs.then_some(LULL),
            "it never runs for long unwatched"
        );
        runs
    }

    #[test]
    fn a_turn_now_and_then_stops_the_timer_and_many_in_a_row_leave_it_running() {
        let mut turns = turns();
        for keepalive in [100_000, 100_050, 115_000, 115_050] {
            assert!(!turn(&mut turns, keepalive));
        }
        let row = (0..20).filter(|n| turn(&mut turns, 130_000 + n * 10));
        assert_eq!(row.count(), 12);
        assert!(!turn(&mut turns, 131_190), "nothing came for a second");
    }

    #[test]
    fn a_turn_always_has_most_of_its_time() {
        let mut turns = turns();
        for n in 0..5000 {
            turns.begin(Instant(100_000 + n * 10));
            let Some(Expiration::OneShot(left)) = turns.timer.get().unwrap() else {
                panic!("it does not run");
            };
            assert!(Duration::from(left) > Duration::from_secs(48));
            turns.end(Instant(100_000 + n * 10));
        }
    }

    #[test]
    fn a_timer_that_may_have_fired_is_stopped() {
        let mut turns = turns();
        for n in 0..20 {
            turn(&mut turns, 100_000 + n);
        }
        turns.begin(Instant(100_021));
        assert_eq!(turns.end(Instant(160_000)), None);
        assert_eq!(turns.timer.get().unwrap(), None);
    }
}
