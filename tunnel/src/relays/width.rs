//! How much the peer may send ahead of a target.
//!
//! A window that is smaller than what the path holds makes a transfer wait for every round trip; one
//! that is larger fills this controller's memory, or a slow link's queue, to no purpose. So a window
//! widens when a whole one came within half a second and the target took it all, and what all of them hold
//! beyond the windows they opened with comes out of one budget.

use std::time::Duration;

use reachback_core::time::Instant;
use reachback_ssh::limits::CHANNEL_WINDOW;
use reachback_ssh::{ChannelId, Client};

use super::relay::Relay;
use crate::outside::Outside;

/// What all windows together have beyond [`CHANNEL_WINDOW`] each, bytes.
pub const WIDTH_BUDGET: usize = 4 * 1024 * 1024;
/// A link that fills a window in this time has room for twice as much. What the peer has sent ahead is in
/// the way of a keystroke; on the other hand a round trip that takes longer has to do with the first window.
const SPELL: Duration = Duration::from_millis(500);

/// What came within the present [`SPELL`].
#[derive(Default)]
pub struct Pace {
    since: Option<Instant>,
    bytes: usize,
}

impl Pace {
    /// Counts bytes of the peer; `behind` says that the target did not take them all.
    pub fn count(&mut self, bytes: usize, behind: bool, now: Instant) {
        let goes_on = |since: Instant| !behind && now < since + SPELL;
        if !self.since.is_some_and(goes_on) {
            *self = Pace {
                since: (!behind).then_some(now),
                bytes: 0,
            };
        }
        if !behind {
            self.bytes += bytes;
        }
    }

    /// True once after so many bytes.
    fn fills(&mut self, window: usize) -> bool {
        let full = self.bytes >= window;
        if full {
            *self = Pace::default();
        }
        full
    }
}

/// Widens the channel's window, if its link is that fast and the budget allows it. A window may take
/// half of what is left, so that there is something for the next.
pub fn widen<O: Outside>(table: &mut [Option<Relay<O>>], channel: ChannelId, client: &mut Client) {
    let mut relays = table.iter_mut().flatten();
    let Some(relay) = relays.find(|relay| relay.serves(channel)) else {
        return;
    };
    if relay.pace.fills(client.channel_window(channel)) {
        let beyond = |r: &Relay<O>| r.allowance(client).saturating_sub(CHANNEL_WINDOW as usize);
        let used: usize = table.iter().flatten().map(beyond).sum();
        client.channel_widen(channel, WIDTH_BUDGET.saturating_sub(used) / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counts: &[(usize, bool, u64)]) -> Pace {
        let mut pace = Pace::default();
        for &(bytes, behind, at_ms) in counts {
            pace.count(bytes, behind, Instant(at_ms));
        }
        pace
    }

    #[test]
    fn a_window_within_half_a_second_counts_once() {
        let mut pace = after(&[(40, false, 5_000), (40, false, 5_450)]);
        assert!(!pace.fills(81));
        assert!(pace.fills(80));
        assert!(!pace.fills(1));
    }

    #[test]
    fn what_takes_longer_does_not_count() {
        assert!(!after(&[(40, false, 5_000), (40, false, 5_500)]).fills(80));
        assert!(after(&[(40, false, 5_000), (80, false, 5_500)]).fills(80));
    }

    #[test]
    fn a_target_that_falls_behind_begins_anew() {
        assert!(!after(&[(79, false, 0), (50, true, 1), (79, false, 2)]).fills(80));
        assert!(after(&[(79, false, 0), (50, true, 1), (80, false, 2)]).fills(80));
    }
}
