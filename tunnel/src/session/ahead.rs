//! How far the targets may be ahead of the link to the server.
//!
//! What waits here, and unsent in the kernel, is in the way of whatever comes after it: at 1 KiB a
//! second, 32 KiB of a download in each place are a minute for a keystroke. So both hold what the link
//! took in half a second, within bounds.

use std::time::Duration;

use reachback_core::time::Instant;
use reachback_ssh::limits::OUTBOUND_HIGH;

/// However slow the link is, bytes.
const LEAST: usize = 4 * 1024;
/// Over how long the rate is taken.
const SPELL: Duration = Duration::from_secs(1);
/// How much of a second may wait.
const SHARE: u64 = 2;

/// What the link took within the present [`SPELL`], and what follows from it.
pub struct Ahead {
    since: Instant,
    /// Bytes that had been written by then.
    written: u64,
    /// The link did not take everything.
    held_up: bool,
    limit: usize,
}

impl Ahead {
    pub fn new() -> Ahead {
        Ahead {
            since: Instant(0),
            written: 0,
            held_up: false,
            limit: OUTBOUND_HIGH,
        }
    }

    /// Takes note of the bytes `written` so far and of whether more are `held_up`. Gives the limit in
    /// bytes, a power of two, when it is another one from now on.
    pub fn note(&mut self, written: u64, held_up: bool, now: Instant) -> Option<usize> {
        self.held_up |= held_up;
        let lasted = now.since(self.since);
        if lasted < SPELL {
            return None;
        }
        let bytes = written - self.written;
        let limit = match self.held_up {
            true => {
                let share = bytes * 1000 / SHARE / lasted.as_millis() as u64;
                let share = (share as usize).clamp(LEAST, OUTBOUND_HIGH);
                1 << share.ilog2()
            }
            false => OUTBOUND_HIGH,
        };
        (self.since, self.written, self.held_up) = (now, written, held_up);
        let changed = limit != self.limit;
        self.limit = limit;
        changed.then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_has_little_before_it_and_a_fast_one_as_much_as_there_is_room_for() {
        let mut ahead = Ahead::new();
        let mut written = 0;
        let mut second = |ahead: &mut Ahead, at_s: u64, bytes: u64, held_up| {
            written += bytes;
            ahead.note(written, held_up, Instant(at_s * 1000))
        };
        assert_eq!(second(&mut ahead, 1, 1_000_000, true), None, "as it began");
        assert_eq!(second(&mut ahead, 2, 40_000, true), Some(16 * 1024));
        assert_eq!(second(&mut ahead, 3, 1_200, true), Some(LEAST));
        assert_eq!(second(&mut ahead, 60, 57 * 40_000, true), Some(16 * 1024));
        assert_eq!(second(&mut ahead, 61, 30_000, true), Some(8 * 1024));
        assert_eq!(second(&mut ahead, 62, 400_000, true), Some(32 * 1024));
        // A little that is taken at once says nothing of the link.
        assert_eq!(second(&mut ahead, 63, 9_000, true), Some(LEAST));
        assert_eq!(
            second(&mut ahead, 64, 100, false),
            None,
            "it was held up before"
        );
        assert_eq!(second(&mut ahead, 65, 100, false), Some(32 * 1024));
    }
}
