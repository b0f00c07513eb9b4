//! Which destination is next: the first, or one of its fallbacks.
//!
//! Each destination has its own backoff, so that what one server must not see again for minutes
//! does not keep us from another. `docs/watchdog.md` has the rules in words.

use core::time::Duration;

use crate::backoff::{self, Backoff, Calls};
use crate::failure::Class;
use crate::time::Instant;

/// Most fallbacks of one tunnel.
pub const MAX_FALLBACKS: usize = 4;
/// Most destinations of one tunnel: the first and its fallbacks.
pub const MAX_DESTINATIONS: usize = 1 + MAX_FALLBACKS;
/// Failures of class Normal in a row after which the next destination is tried. Any other class
/// calls for minutes, so one is enough.
pub const PATIENCE: u8 = 3;
/// How long a tunnel to a fallback stays before the first destination is looked at again.
pub const FAILBACK_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Copy, Clone, Debug)]
struct Place {
    backoff: Backoff,
    calls: Calls,
    /// Not to be tried before.
    ready: Instant,
    /// Not even when a link came back.
    floor: Instant,
    class: Class,
}

const FRESH: Place = Place {
    backoff: Backoff::NEW,
    calls: Calls::NEW,
    ready: Instant(0),
    floor: Instant(0),
    class: Class::Normal,
};

/// The destinations of one tunnel, by index; 0 is the one that the caller named.
#[derive(Clone, Debug)]
pub struct Destinations {
    places: [Place; MAX_DESTINATIONS],
    count: usize,
    current: usize,
    /// Failures of the current one in a row.
    failures: u8,
    /// The fallback that worked before the first was tried again.
    retreat: Option<usize>,
}

impl Destinations {
    /// `count` destinations, at least 1 and at most [`MAX_DESTINATIONS`]; the first is current.
    pub fn new(count: usize) -> Self {
        Self {
            places: [FRESH; MAX_DESTINATIONS],
            count: count.clamp(1, MAX_DESTINATIONS),
            current: 0,
            failures: 0,
            retreat: None,
        }
    }

    /// Index of the destination of this attempt, or of the next one.
    pub fn current(&self) -> usize {
        self.current
    }

    /// An attempt or a connection ended, `rng` being 32 random bits: decides how long its
    /// destination is left alone, and which one is next. While the network is `settling`, an
    /// ordinary failure says nothing about the destination: it waits the floor and counts for
    /// nothing. A local one never says anything about it, and another would meet the same.
    pub fn handle_failed(&mut self, now: Instant, class: Class, settling: bool, rng: u32) {
        let place = &mut self.places[self.current];
        place.floor = now + backoff::range(class).floor;
        place.class = class;
        if settling && class == Class::Normal {
            place.ready = place.floor;
            return;
        }
        place.ready = now + place.backoff.next(now, class, rng);
        if class == Class::Local {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if class != Class::Normal || self.failures >= PATIENCE {
            self.move_on(now);
        }
    }

    /// The current destination held a connection for a while: its failures are forgotten.
    pub fn handle_stable(&mut self) {
        self.places[self.current].backoff.reset();
        self.failures = 0;
        self.retreat = None;
    }

    /// A link came back: what kept us from the first may be over, unless it refused us.
    pub fn handle_link_up(&mut self) {
        if matches!(self.places[0].class, Class::Normal | Class::Local) {
            self.go(0);
        }
    }

    /// The first answers: it is next, and one failure of it leads back to where we were.
    pub fn fail_back(&mut self) {
        self.retreat = Some(self.current).filter(|&current| current != 0);
        self.go(0);
        self.failures = PATIENCE - 1;
    }

    /// Somebody calls: when the current destination may be tried for that, if it is before
    /// `until`. `keys` as in [`Calls::due`].
    pub fn handle_call(&mut self, now: Instant, until: Instant, keys: u8) -> Option<Instant> {
        let Place { calls, class, .. } = &mut self.places[self.current];
        let due = calls.due(now, *class, keys);
        if due >= until {
            return None;
        }
        calls.spend(due, *class);
        Some(due)
    }

    /// When the current destination may be tried.
    pub fn ready(&self) -> Instant {
        self.places[self.current].ready
    }

    /// When it may be tried at the earliest if a link came back.
    pub fn floor(&self) -> Instant {
        self.places[self.current].floor
    }

    /// When to look for the first again, not before `at`; none if the current one is the first.
    pub fn failback_due(&self, at: Instant) -> Option<Instant> {
        (self.current != 0).then(|| at.max(self.places[0].ready))
    }

    fn go(&mut self, index: usize) {
        if index != self.current {
            self.current = index;
            self.failures = 0;
        }
    }

    /// The one that may be tried first, in their order after the current one.
    fn move_on(&mut self, now: Instant) {
        self.failures = 0;
        if let Some(retreat) = self.retreat.take() {
            self.go(retreat);
            return;
        }
        let order = (1..=self.count).map(|step| (self.current + step) % self.count);
        // `min_by_key` gives the first of several that are equal.
        if let Some(next) = order.min_by_key(|&index| self.places[index].ready.max(now)) {
            self.go(next);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1000;

    /// Fails the current destination once it may be tried, and gives the next one's index.
    fn fail(destinations: &mut Destinations, now: &mut Instant, class: Class) -> usize {
        *now = (*now).max(destinations.ready());
        destinations.handle_failed(*now, class, false, u32::MAX);
        destinations.current()
    }

    #[test]
    fn fallbacks_are_tried_in_order_after_three_ordinary_failures_each() {
        let mut destinations = Destinations::new(3);
        let mut now = Instant(S);
        let order: std::vec::Vec<_> = (0..9)
            .map(|_| fail(&mut destinations, &mut now, Class::Normal))
            .collect();
        assert_eq!(order, [0, 0, 1, 1, 1, 2, 2, 2, 0]);
    }

    #[test]
    fn there_is_room_for_the_first_and_four_fallbacks() {
        let mut destinations = Destinations::new(1 + MAX_FALLBACKS);
        let mut now = Instant(S);
        let order: std::vec::Vec<_> = (0..5)
            .map(|_| fail(&mut destinations, &mut now, Class::Slow))
            .collect();
        assert_eq!(order, [1, 2, 3, 4, 0]);
    }

    #[test]
    fn a_refusal_that_calls_for_minutes_leads_on_at_once() {
        for class in [
            Class::Slow,
            Class::HostKey,
            Class::Throttled,
            Class::Unserved,
        ] {
            let mut destinations = Destinations::new(2);
            let mut now = Instant(S);
            assert_eq!(fail(&mut destinations, &mut now, class), 1, "{class:?}");
            assert!(
                destinations.ready() <= now,
                "the fallback waits for nothing"
            );
        }
    }

    #[test]
    fn a_destination_that_refused_is_left_alone_for_its_own_wait() {
        let mut destinations = Destinations::new(2);
        let mut now = Instant(S);
        fail(&mut destinations, &mut now, Class::Slow);
        let first_ready = destinations.places[0].ready;
        while destinations.current() == 1 {
            assert!(now < first_ready, "its time came and it was not chosen");
            fail(&mut destinations, &mut now, Class::Normal);
        }
        assert_eq!(destinations.ready(), first_ready);
    }

    #[test]
    fn while_the_network_settles_ordinary_failures_wait_the_floor_and_count_for_nothing() {
        let mut destinations = Destinations::new(2);
        let now = Instant(S);
        for _ in 0..10 {
            destinations.handle_failed(now, Class::Normal, true, u32::MAX);
            assert_eq!(destinations.current(), 0);
            assert_eq!(
                destinations.ready(),
                now + backoff::range(Class::Normal).floor
            );
        }
        destinations.handle_failed(now, Class::Slow, true, u32::MAX);
        assert_eq!(destinations.current(), 1, "a refusal is one all the same");
    }

    #[test]
    fn with_one_destination_there_is_nowhere_to_go() {
        let mut destinations = Destinations::new(1);
        let mut now = Instant(S);
        for class in [Class::Normal, Class::Slow, Class::HostKey, Class::Throttled] {
            assert_eq!(fail(&mut destinations, &mut now, class), 0);
            assert!(destinations.ready() > now);
        }
        assert_eq!(destinations.failback_due(now), None);
    }

    #[test]
    fn the_way_home_leads_back_to_the_fallback_that_worked_after_one_failure() {
        let mut destinations = Destinations::new(3);
        let mut now = Instant(S);
        fail(&mut destinations, &mut now, Class::Slow);
        fail(&mut destinations, &mut now, Class::Slow);
        assert_eq!(destinations.current(), 2);
        assert_eq!(
            destinations.failback_due(now + FAILBACK_INTERVAL),
            Some((now + FAILBACK_INTERVAL).max(destinations.places[0].ready))
        );
        destinations.fail_back();
        assert_eq!(destinations.current(), 0);
        assert_eq!(fail(&mut destinations, &mut now, Class::Normal), 2);
    }

    #[test]
    fn a_link_that_came_back_leads_to_the_first_unless_it_refused_us() {
        let mut now = Instant(S);
        let mut unreachable = Destinations::new(2);
        for _ in 0..3 {
            fail(&mut unreachable, &mut now, Class::Normal);
        }
        assert_eq!(unreachable.current(), 1);
        unreachable.handle_link_up();
        assert_eq!(unreachable.current(), 0);

        let mut refused = Destinations::new(2);
        fail(&mut refused, &mut now, Class::Slow);
        refused.handle_link_up();
        assert_eq!(refused.current(), 1);
    }

    proptest! {
        #[test]
        fn no_destination_is_tried_before_its_time_and_there_is_always_a_next_one(
            count in 1usize..=5,
            steps in prop::collection::vec((0usize..4, any::<u32>(), any::<bool>()), 1..80),
        ) {
            let classes = [Class::Normal, Class::Slow, Class::HostKey, Class::Throttled];
            let mut destinations = Destinations::new(count);
            let mut ready = [Instant(0); MAX_DESTINATIONS];
            let mut now = Instant(S);
            for (class, rng, link_up) in steps {
                let current = destinations.current();
                prop_assert!(current < count);
                prop_assert_eq!(destinations.ready(), ready[current]);
                // The longest wait of any class.
                prop_assert!(destinations.ready().since(now) <= Duration::from_secs(1800));
                now = now.max(destinations.ready());
                destinations.handle_failed(now, classes[class], false, rng);
                ready[current] = destinations.places[current].ready;
                prop_assert!(ready[current].since(now) >= backoff::range(classes[class]).floor);
                if link_up {
                    destinations.handle_link_up();
                }
            }
        }
    }
}
