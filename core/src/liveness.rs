//! Whether the peer is alive.
//!
//! Any byte from it is life. After `interval` without one it is probed, and while no answer
//! comes it is probed again every `min(interval, 5 s)`, `count_max` times in all; one such gap
//! after the last probe it counts as dead. At the defaults (60 s, 3) a silent loss is noticed
//! 75 s after the last byte, and an idle connection still costs one probe a minute.
//!
//! Everything is measured against the clock. A caller that comes late sends the probe late: a
//! peer is never declared dead without having been asked `count_max` times.

use core::time::Duration;

use crate::time::Instant;

/// Longest gap between probes that get no answer.
pub const PROBE_GAP: Duration = Duration::from_secs(5);

/// What is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// Ask the peer for a sign of life.
    Probe,
    /// The peer is to be taken for dead.
    Dead,
}

/// Watches one connection.
#[derive(Clone, Debug)]
pub struct Liveness {
    interval: Duration,
    count_max: u32,
    /// Probes since the last byte.
    unanswered: u32,
    due: Option<Instant>,
}

impl Liveness {
    /// A watch that has not begun. `interval` zero turns it off; with a
    /// `count_max` of zero the peer counts as dead after it, unasked.
    pub fn new(interval: Duration, count_max: u32) -> Self {
        Self {
            interval,
            count_max,
            unanswered: 0,
            due: None,
        }
    }

    /// Begins, as if a byte had just come.
    pub fn start(&mut self, now: Instant) {
        self.unanswered = 0;
        self.due = (!self.interval.is_zero()).then_some(now + self.interval);
    }

    /// Bytes came. Does nothing before [`Liveness::start`].
    pub fn handle_inbound(&mut self, now: Instant) {
        if self.due.is_some() {
            self.start(now);
        }
    }

    /// There is reason for doubt (a link came back): the next probe is due now, unless one is
    /// on its way already.
    pub fn handle_doubt(&mut self, now: Instant) {
        if self.due.is_some() && self.unanswered == 0 {
            self.due = self.due.min(Some(now));
        }
    }

    /// What is due at `now`. Counts a probe as sent.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        if self.unanswered >= self.count_max {
            self.due = None;
            return Some(Due::Dead);
        }
        self.unanswered += 1;
        self.due = Some(now + self.interval.min(PROBE_GAP));
        Some(Due::Probe)
    }

    /// When [`Liveness::poll`] has something next, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a probe has no answer yet.
    pub fn is_doubtful(&self) -> bool {
        self.unanswered > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1000;

    /// Polls whenever something is due, and gives the times of the probes and of the death.
    fn run(liveness: &mut Liveness) -> (std::vec::Vec<u64>, u64) {
        let mut probes = std::vec::Vec::new();
        loop {
            let now = liveness.poll_timeout().unwrap();
            match liveness.poll(now) {
                Some(Due::Probe) => probes.push(now.0),
                Some(Due::Dead) => return (probes, now.0),
                None => panic!("nothing was due at its own deadline"),
            }
        }
    }

    #[test]
    fn at_the_defaults_a_silent_loss_is_noticed_after_75_s() {
        let mut liveness = Liveness::new(Duration::from_secs(60), 3);
        liveness.start(Instant(0));
        let (probes, dead) = run(&mut liveness);
        assert_eq!(probes, [60 * S, 65 * S, 70 * S]);
        assert_eq!(dead, 75 * S);
    }

    #[test]
    fn a_short_interval_shortens_the_gaps_too() {
        let mut liveness = Liveness::new(Duration::from_secs(2), 3);
        liveness.start(Instant(0));
        assert_eq!(run(&mut liveness), (std::vec![2 * S, 4 * S, 6 * S], 8 * S));
    }

    #[test]
    fn a_byte_at_the_last_moment_starts_everything_over() {
        let mut liveness = Liveness::new(Duration::from_secs(60), 3);
        liveness.start(Instant(0));
        for at in [60, 65, 70] {
            assert_eq!(liveness.poll(Instant(at * S)), Some(Due::Probe));
        }
        liveness.handle_inbound(Instant(75 * S - 1));
        assert_eq!(liveness.poll(Instant(75 * S)), None);
        assert_eq!(liveness.poll_timeout(), Some(Instant(135 * S - 1)));
        assert!(!liveness.is_doubtful());
    }

    #[test]
    fn a_caller_that_comes_late_still_asks_before_it_judges() {
        let mut liveness = Liveness::new(Duration::from_secs(60), 3);
        liveness.start(Instant(0));
        assert_eq!(liveness.poll(Instant(3600 * S)), Some(Due::Probe));
        assert_eq!(liveness.poll(Instant(3600 * S)), None);
        assert_eq!(liveness.poll_timeout(), Some(Instant(3605 * S)));
    }

    #[test]
    fn doubt_probes_at_once_but_never_twice() {
        let mut liveness = Liveness::new(Duration::from_secs(60), 3);
        liveness.start(Instant(0));
        liveness.handle_doubt(Instant(S));
        assert_eq!(liveness.poll(Instant(S)), Some(Due::Probe));
        liveness.handle_doubt(Instant(S + 1));
        assert_eq!(liveness.poll(Instant(S + 1)), None);
        assert_eq!(liveness.poll_timeout(), Some(Instant(6 * S)));
    }

    #[test]
    fn an_interval_of_zero_is_off() {
        let mut liveness = Liveness::new(Duration::ZERO, 3);
        liveness.start(Instant(0));
        liveness.handle_doubt(Instant(1));
        assert_eq!(liveness.poll_timeout(), None);
        assert_eq!(liveness.poll(Instant(u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn death_comes_exactly_interval_and_count_gaps_after_the_last_byte(
            interval_s in 1u64..=86_400, count in 1u32..=100
        ) {
            let interval = Duration::from_secs(interval_s);
            let mut liveness = Liveness::new(interval, count);
            liveness.start(Instant(0));
            let (probes, dead) = run(&mut liveness);
            prop_assert_eq!(probes.len(), count as usize);
            let bound = interval + interval.min(PROBE_GAP) * count;
            prop_assert_eq!(Instant(dead), Instant(0) + bound);
        }
    }
}
