//! The state of each forward on one connection.

use core::time::Duration;

use heapless::Vec;

use crate::backoff::{FORWARD_RETRY, Row};
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
    /// The server refused (often because an old connection still holds the port), or its
    /// listener led elsewhere and was taken back; asked for again then.
    Refused {
        /// When.
        retry_at: Instant,
    },
    /// Being taken back; the reply is due until then. The listener takes no connection.
    Cancelling {
        /// The port it listened on.
        port: u16,
        /// Deadline of the reply.
        until: Instant,
    },
}

/// The forwards of one tunnel, by index. Indexes out of range are ignored everywhere.
///
/// Whether a forward is wanted and what the server knows of it are two things: requests and
/// cancellations cross on the wire, and the reply to the one that went out decides what is sent
/// next. A forward that is unwanted and idle leaves its index free.
#[derive(Clone, Debug, Default)]
pub struct Forwards {
    states: Vec<ForwardState, MAX_FORWARDS>,
    refusals: [Row; MAX_FORWARDS],
    /// One bit per forward.
    wanted: u16,
    /// One bit per forward: being taken back because it led elsewhere.
    misled: u16,
}

impl Forwards {
    /// `count` forwards, none asked for; at most [`MAX_FORWARDS`].
    pub fn new(count: usize) -> Self {
        let mut forwards = Self::default();
        for index in 0..count.min(MAX_FORWARDS) {
            forwards.want(index);
        }
        forwards
    }

    /// A new connection: nothing has been asked for.
    pub fn reset(&mut self) {
        self.states.fill(ForwardState::Idle);
        self.refusals = [Row::NEW; MAX_FORWARDS];
        self.misled = 0;
    }

    /// The forward is wanted from now on. True if it is to be asked for now: it may be on its
    /// way in or out already. The index after the last one adds a forward.
    pub fn want(&mut self, index: usize) -> bool {
        if index == self.states.len() {
            let _ = self.states.push(ForwardState::Idle);
        }
        let Some(state) = self.states.get(index) else {
            return false;
        };
        self.wanted |= 1 << index;
        *state == ForwardState::Idle
    }

    /// The forward is not wanted any more. True if the server listens and so has to be told.
    /// While its reply is outstanding nothing can be taken back yet.
    pub fn unwant(&mut self, index: usize) -> bool {
        let Some(state) = self.states.get_mut(index) else {
            return false;
        };
        self.wanted &= !(1 << index);
        self.refusals[index] = Row::NEW;
        if let ForwardState::Refused { .. } = state {
            *state = ForwardState::Idle;
        }
        matches!(state, ForwardState::Confirmed { .. })
    }

    /// Whether the forward is wanted.
    pub fn is_wanted(&self, index: usize) -> bool {
        index < self.states.len() && self.wanted & (1 << index) != 0
    }

    /// How many are wanted.
    pub fn wanted(&self) -> usize {
        self.wanted.count_ones() as usize
    }

    /// An index that no forward uses, if there is one.
    pub fn vacant(&self) -> Option<usize> {
        let unused = |&index: &usize| {
            !self.is_wanted(index)
                && self
                    .states
                    .get(index)
                    .is_none_or(|s| *s == ForwardState::Idle)
        };
        (0..MAX_FORWARDS.min(self.states.len() + 1)).find(unused)
    }

    /// Takes a confirmed forward back; the reply is due within `timeout`.
    pub fn cancel(&mut self, index: usize, now: Instant, timeout: Duration) {
        if let Some(&ForwardState::Confirmed { port }) = self.states.get(index) {
            let until = now + timeout;
            self.set(index, ForwardState::Cancelling { port, until });
        }
    }

    /// A confirmed forward that is wanted leads elsewhere: to be cancelled, and then asked for
    /// again as if it had been refused ([`Forwards::take_misled`]). False if there is none.
    pub fn mislead(&mut self, index: usize) -> bool {
        let confirmed = matches!(self.states.get(index), Some(ForwardState::Confirmed { .. }));
        let due = confirmed && self.is_wanted(index);
        if due {
            self.misled |= 1 << index;
        }
        due
    }

    /// The cancellation of [`Forwards::mislead`] was answered. Gives the time of the next
    /// request if that is what it was, and if the server listens no more.
    pub fn take_misled(&mut self, index: usize, now: Instant, rng: u32) -> Option<Instant> {
        if index >= self.states.len() || self.misled & (1 << index) == 0 {
            return None;
        }
        self.misled &= !(1 << index);
        if self.states[index] != ForwardState::Idle || !self.is_wanted(index) {
            return None;
        }
        Some(self.postpone(index, now, rng))
    }

    /// The reply to a cancellation: `done` if the server listens no more. False if none was
    /// asked for.
    pub fn handle_cancelled(&mut self, index: usize, done: bool) -> bool {
        let Some(&ForwardState::Cancelling { port, .. }) = self.states.get(index) else {
            return false;
        };
        let state = if done {
            ForwardState::Idle
        } else {
            ForwardState::Confirmed { port }
        };
        self.set(index, state);
        true
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
        if !self.is_wanted(index) {
            self.set(index, ForwardState::Idle);
            return None;
        }
        Some(self.postpone(index, now, rng))
    }

    fn postpone(&mut self, index: usize, now: Instant, rng: u32) -> Instant {
        let retry_at = now + self.refusals[index].next(&FORWARD_RETRY, now, rng);
        self.set(index, ForwardState::Refused { retry_at });
        retry_at
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
            ForwardState::Requested { until } | ForwardState::Cancelling { until, .. } => {
                Some(*until)
            }
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

    /// How many of those wanted the server has confirmed.
    pub fn confirmed(&self) -> usize {
        let is = |(index, s): &(usize, &ForwardState)| {
            self.is_wanted(*index) && matches!(s, ForwardState::Confirmed { .. })
        };
        self.states.iter().enumerate().filter(is).count()
    }

    /// Whether the server has confirmed all that are wanted.
    pub fn all_confirmed(&self) -> bool {
        self.confirmed() == self.wanted()
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
    fn a_refused_forward_is_asked_for_again_and_waits_no_longer_than_it_has_been_refused() {
        let mut forwards = Forwards::new(1);
        let mut now = Instant(0);
        let mut waits = std::vec::Vec::new();
        for _ in 0..8 {
            forwards.request(0, now, REPLY);
            let retry_at = forwards.handle_refused(0, now, u32::MAX).unwrap();
            waits.push(retry_at.since(now).as_secs());
            assert_eq!(forwards.poll_retry(Instant(retry_at.0 - 1)), None);
            assert_eq!(forwards.poll_retry(retry_at), Some(0));
            now = retry_at;
        }
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 60, 60]);
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
    fn a_forward_that_is_unwanted_before_its_reply_is_taken_back_after_it() {
        let mut forwards = Forwards::new(1);
        forwards.request(0, Instant(0), REPLY);
        assert!(!forwards.unwant(0), "nothing to take back yet");
        assert_eq!(forwards.vacant(), Some(1), "its index is still in use");
        assert!(forwards.handle_confirmed(0, 1111));
        assert!(!forwards.is_wanted(0));
        forwards.cancel(0, Instant(1), REPLY);
        assert_eq!(forwards.reply_due(), Some(Instant(30_001)));
        assert!(forwards.handle_cancelled(0, true));
        assert_eq!((forwards.vacant(), forwards.wanted()), (Some(0), 0));
    }

    #[test]
    fn a_forward_wanted_again_while_it_is_taken_back_waits_for_the_reply() {
        for (done, state) in [
            (true, ForwardState::Idle),
            (false, ForwardState::Confirmed { port: 1111 }),
        ] {
            let mut forwards = Forwards::new(1);
            forwards.request(0, Instant(0), REPLY);
            forwards.handle_confirmed(0, 1111);
            assert!(forwards.unwant(0));
            forwards.cancel(0, Instant(0), REPLY);
            assert!(!forwards.want(0), "not while the cancellation is out");
            assert!(forwards.handle_cancelled(0, done));
            assert_eq!(forwards.states(), [state]);
        }
    }

    #[test]
    fn an_unwanted_forward_is_not_asked_for_again_when_refused() {
        let mut forwards = Forwards::new(2);
        for index in 0..2 {
            forwards.request(index, Instant(0), REPLY);
        }
        forwards.unwant(0);
        assert_eq!(forwards.handle_refused(0, Instant(0), 0), None);
        forwards.handle_refused(1, Instant(0), 0).unwrap();
        forwards.unwant(1);
        assert_eq!(forwards.retry_due(), None);
        assert!(forwards.all_confirmed(), "none is wanted");
    }

    #[test]
    fn the_table_takes_as_many_as_a_tunnel_may_have() {
        let mut forwards = Forwards::new(MAX_FORWARDS);
        assert_eq!(forwards.vacant(), None);
        assert!(!forwards.want(MAX_FORWARDS));
        assert_eq!(forwards.wanted(), MAX_FORWARDS);
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
