//! The state of each forward on one connection.

use core::time::Duration;

use heapless::Vec;

use crate::backoff::FORWARD_RETRY;
use crate::forward::MAX_FORWARDS;
use crate::time::Instant;

/// The state of one forward.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ForwardState {
    /// Not asked for.
    Idle,
    /// Asked for; the reply is due until then.
    Requested {
        /// Deadline of the reply.
        until: Instant,
    },
    /// The server listens.
    Confirmed {
        /// On this port.
        port: u16,
    },
    /// The server refused (often because an old connection still holds the port); asked for
    /// again then.
    Refused {
        /// When.
        retry_at: Instant,
    },
}

/// The forwards of one tunnel, by index. Indexes out of range are ignored everywhere.
#[derive(Clone, Debug, Default)]
pub struct Forwards {
    states: Vec<ForwardState, MAX_FORWARDS>,
    refusals: [u8; MAX_FORWARDS],
}

impl Forwards {
    /// `count` forwards, none asked for; at most [`MAX_FORWARDS`].
    pub fn new(count: usize) -> Self {
        let mut forwards = Self::default();
        for _ in 0..count.min(MAX_FORWARDS) {
            let _ = forwards.states.push(ForwardState::Idle);
        }
        forwards
    }

    /// A new connection: nothing has been asked for.
    pub fn reset(&mut self) {
        *self = Self::new(self.states.len());
    }

    /// The states, by index.
    pub fn states(&self) -> &[ForwardState] {
        &self.states
    }

    /// Asks for a forward, whose reply is due within `timeout`.
    pub fn request(&mut self, index: usize, now: Instant, timeout: Duration) {
        self.set(
            index,
            ForwardState::Requested {
                until: now + timeout,
            },
        );
    }

    /// The server confirmed. False if it was not asked.
    pub fn handle_confirmed(&mut self, index: usize, port: u16) -> bool {
        self.is_requested(index) && {
            self.set(index, ForwardState::Confirmed { port });
            true
        }
    }

    /// The server refused. Gives the time of the next request, or none if it was not asked.
    pub fn handle_refused(&mut self, index: usize, now: Instant, rng: u32) -> Option<Instant> {
        if !self.is_requested(index) {
            return None;
        }
        let retry_at = now + FORWARD_RETRY.delay(self.refusals[index], rng);
        self.refusals[index] = self.refusals[index].saturating_add(1);
        self.set(index, ForwardState::Refused { retry_at });
        Some(retry_at)
    }

    /// The next refused forward whose time has come.
    pub fn poll_retry(&self, now: Instant) -> Option<usize> {
        self.states
            .iter()
            .position(|s| matches!(s, ForwardState::Refused { retry_at } if *retry_at <= now))
    }

    /// When the first outstanding reply is overdue, if one is outstanding.
    pub fn reply_due(&self) -> Option<Instant> {
        let due = |s: &ForwardState| match s {
            ForwardState::Requested { until } => Some(*until),
            _ => None,
        };
        self.states.iter().filter_map(due).min()
    }

    /// When the first refused forward is to be asked for again, if there is one.
    pub fn retry_due(&self) -> Option<Instant> {
        let due = |s: &ForwardState| match s {
            ForwardState::Refused { retry_at } => Some(*retry_at),
            _ => None,
        };
        self.states.iter().filter_map(due).min()
    }

    /// How many the server has confirmed.
    pub fn confirmed(&self) -> usize {
        let is = |s: &&ForwardState| matches!(s, ForwardState::Confirmed { .. });
        self.states.iter().filter(is).count()
    }

    /// Whether the server has confirmed all of them.
    pub fn all_confirmed(&self) -> bool {
        self.confirmed() == self.states.len()
    }

    fn is_requested(&self, index: usize) -> bool {
        matches!(self.states.get(index), Some(ForwardState::Requested { .. }))
    }

    fn set(&mut self, index: usize, state: ForwardState) {
        if let Some(slot) = self.states.get_mut(index) {
            *slot = state;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const REPLY: Duration = Duration::from_secs(30);

    #[test]
    fn a_refused_forward_is_asked_for_again_after_5_s_to_60_s() {
        let mut forwards = Forwards::new(1);
        let mut now = Instant(0);
        let mut waits = std::vec::Vec::new();
        for _ in 0..6 {
            forwards.request(0, now, REPLY);
            let retry_at = forwards.handle_refused(0, now, u32::MAX).unwrap();
            waits.push(retry_at.since(now).as_secs());
            assert_eq!(forwards.poll_retry(Instant(retry_at.0 - 1)), None);
            assert_eq!(forwards.poll_retry(retry_at), Some(0));
            now = retry_at;
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn replies_nobody_asked_for_change_nothing() {
        let mut forwards = Forwards::new(2);
        assert!(!forwards.handle_confirmed(0, 1111));
        assert_eq!(forwards.handle_refused(7, Instant(0), 0), None);
        forwards.request(0, Instant(0), REPLY);
        assert!(forwards.handle_confirmed(0, 1111));
        assert_eq!(forwards.handle_refused(0, Instant(1), 0), None);
        assert_eq!(forwards.confirmed(), 1);
        assert!(!forwards.all_confirmed());
        forwards.reset();
        assert_eq!(forwards.states(), [ForwardState::Idle; 2]);
    }

    #[test]
    fn the_earliest_deadline_counts() {
        let mut forwards = Forwards::new(3);
        forwards.request(0, Instant(500), REPLY);
        forwards.request(1, Instant(0), REPLY);
        assert_eq!(forwards.reply_due(), Some(Instant(30_000)));
        assert_eq!(forwards.retry_due(), None);
    }
}
