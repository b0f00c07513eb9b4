//! How long to wait before the next attempt.
//!
//! Exponential with full jitter above a floor: the n-th wait is drawn evenly from the floor to
//! `min(cap, base * 2^n)`. The floor keeps a wait from being zero, so it bounds the rate.
//! An ordinary wait is besides never longer than the trouble has lasted so far (but for the
//! base), so that failures that come at once do not make a short outage a long one.
//!
//! | class | floor | base | cap |
//! |---|---|---|---|
//! | [`Class::Normal`] | 0.5 s | 1 s | 60 s |
//! | [`Class::Slow`] | 610 s | 15 min | 20 min |
//! | [`Class::HostKey`] | 5 min | 7.5 min | 30 min |
//! | [`Class::Local`] | 1 s | 2 s | 10 s |
//! | [`Class::Throttled`] | 30 s | 60 s | 10 min |
//! | [`Class::Unserved`] | 5 s | 10 s | 45 s |
//!
//! A call cuts a wait, at the rate that [`Calls`] keeps.

use core::time::Duration;

use crate::failure::Class;
use crate::time::Instant;

/// The bounds of one kind of wait.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// No wait is shorter.
    pub floor: Duration,
    /// Upper end of the first wait.
    pub base: Duration,
    /// No wait is longer.
    pub cap: Duration,
    /// Nor longer than the trouble has lasted so far, but for the base.
    pub eager: bool,
    /// How long until calls may cut one wait more ([`Calls`]).
    pub call: Duration,
}

impl Range {
    const fn from_ms(floor: u64, base: u64, cap: u64, call: u64) -> Self {
        Self {
            floor: Duration::from_millis(floor),
            base: Duration::from_millis(base),
            cap: Duration::from_millis(cap),
            eager: false,
            call: Duration::from_millis(call),
        }
    }

    const fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// The wait after `failures` earlier ones in trouble that `lasted` so long, `rng` being 32
    /// random bits.
    fn delay(&self, failures: u8, lasted: Duration, rng: u32) -> Duration {
        let factor = 1u32 << failures.min(16);
        let mut ceiling = self.base.saturating_mul(factor).min(self.cap);
        if self.eager {
            ceiling = ceiling.min(lasted.max(self.base));
        }
        let span_ms = ceiling.saturating_sub(self.floor).as_millis() as u64;
        let share_ms = ((span_ms + 1) * u64::from(rng)) >> 32;
        self.floor + Duration::from_millis(share_ms)
    }
}

/// Failures of one kind in a row.
#[derive(Copy, Clone, Debug, Default)]
pub struct Row {
    failures: u8,
    /// The first of them.
    since: Option<Instant>,
}

impl Row {
    /// None yet.
    pub const NEW: Self = Self {
        failures: 0,
        since: None,
    };

    /// The wait after one more at `now`, `rng` being 32 random bits.
    pub fn next(&mut self, range: &Range, now: Instant, rng: u32) -> Duration {
        let lasted = now.since(*self.since.get_or_insert(now));
        let delay = range.delay(self.failures, lasted, rng);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

/// The bounds that hold for a class of failure.
pub const fn range(class: Class) -> Range {
    match class {
        Class::Normal => Range::from_ms(500, 1_000, 60_000, 20_000).eager(),
        // Above fail2ban's findtime of 10 min: docs/watchdog.md has the arithmetic.
        Class::Slow => Range::from_ms(610_000, 900_000, 1_200_000, 610_000),
        Class::HostKey => Range::from_ms(300_000, 450_000, 1_800_000, 120_000),
        Class::Local => Range::from_ms(1_000, 2_000, 10_000, 20_000),
        Class::Throttled => Range::from_ms(30_000, 60_000, 600_000, 120_000),
        Class::Unserved => Range::from_ms(5_000, 10_000, 45_000, 20_000),
    }
}

/// The bounds for asking again for a refused forward on a living connection. Asking costs one
/// packet and a line of the log, so it begins soon.
pub const FORWARD_RETRY: Range = Range::from_ms(1_000, 2_000, 60_000, 0).eager();

/// How long a process must have lived for its restart not to count as one more in a row.
pub const RESTART_HEALTHY: Duration = Duration::from_secs(600);

/// How long the `count`th restart of the process in a row waits before it goes on: 1 s, doubling
/// to [`RESTART_HEALTHY`], so that who makes it fail again and again has six tries an hour.
pub fn restart_delay(count: u32) -> Duration {
    let factor = 1u32 << count.saturating_sub(1).min(10);
    Duration::from_secs(1)
        .saturating_mul(factor)
        .min(RESTART_HEALTHY)
}

/// Counts failures by class.
#[derive(Copy, Clone, Debug, Default)]
pub struct Backoff {
    rows: [Row; 6],
}

impl Backoff {
    /// No failure yet.
    pub const NEW: Self = Self {
        rows: [Row::NEW; 6],
    };

    /// The wait after a failure of this class at `now`, `rng` being 32 random bits.
    pub fn next(&mut self, now: Instant, class: Class, rng: u32) -> Duration {
        self.rows[class as usize].next(&range(class), now, rng)
    }

    /// Forgets all failures: the connection held.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Waits of a class that calls may cut before one more needs [`Range::call`].
pub const CALLS: u32 = 3;
/// Attempts that calls began are so far apart.
pub const CALL_GAP: Duration = Duration::from_secs(5);
/// Refused logins within 10 min that no server bans for (fail2ban's `maxretry` is one more).
const REFUSALS: u32 = 4;

/// The waits that calls have cut: a token bucket for each class. A person who asks is served at
/// once, and a program that asks again and again does not get the address banned.
#[derive(Copy, Clone, Debug)]
pub struct Calls {
    /// When each bucket is full again.
    full: [Instant; 6],
    /// No attempt before.
    gap: Instant,
}

impl Calls {
    /// Every bucket is full.
    pub const NEW: Self = Self {
        full: [Instant(0); 6],
        gap: Instant(0),
    };

    /// When a call at `now` may cut a wait of this class, `keys` being how many are offered at a
    /// login: a server may count each.
    pub fn due(&self, now: Instant, class: Class, keys: u8) -> Instant {
        let most = match class {
            // One login is the ordinary one.
            Class::Slow => (REFUSALS / u32::from(keys.max(1))).saturating_sub(1).max(1),
            _ => CALLS,
        };
        let spare = range(class).call * (most - 1);
        let full = self.full[class as usize].0;
        let token = Instant(full.saturating_sub(spare.as_millis() as u64));
        now.max(token).max(self.gap)
    }

    /// A wait of this class is cut, and the attempt begins `at` this time.
    pub fn spend(&mut self, at: Instant, class: Class) {
        let full = &mut self.full[class as usize];
        *full = (*full).max(at) + range(class).call;
        self.gap = at + CALL_GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLASSES: [Class; 6] = [
        Class::Normal,
        Class::Slow,
        Class::HostKey,
        Class::Local,
        Class::Throttled,
        Class::Unserved,
    ];

    #[test]
    fn the_upper_end_doubles_from_1_s_to_60_s_and_reset_starts_over() {
        let mut backoff = Backoff::default();
        let mut hours = 0;
        let mut longest = |backoff: &mut Backoff| {
            hours += 1;
            let now = Instant(hours * 3_600_000);
            backoff.next(now, Class::Normal, u32::MAX).as_millis()
        };
        let waits: std::vec::Vec<_> = (0..8).map(|_| longest(&mut backoff)).collect();
        assert_eq!(
            waits,
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        backoff.reset();
        assert_eq!(longest(&mut backoff), 1_000);
    }

    #[test]
    fn failures_that_come_at_once_wait_no_longer_than_the_trouble_has_lasted() {
        let mut backoff = Backoff::default();
        let began = Instant(1_000_000);
        let mut now = began;
        for _ in 0..20 {
            let wait = backoff.next(now, Class::Normal, u32::MAX);
            let lasted = now.since(began).max(Duration::from_secs(1));
            assert!(wait <= lasted, "{wait:?} after {lasted:?}");
            now = now + wait;
        }
        assert!(
            now.since(began) > Duration::from_secs(300),
            "it still slows down"
        );
    }

    #[test]
    fn refused_logins_stay_below_what_servers_punish() {
        // fail2ban's jail.conf: maxretry 5 in findtime 10 min; each key of an attempt may be a
        // line. OpenSSH's sshd_config(5): authfail 5 s each, refused from 15 s on.
        let (maxretry, findtime_s) = (5, 600);
        let floor_s = range(Class::Slow).floor.as_secs();
        let attempts = findtime_s / floor_s + 1;
        let keys = crate::config::MAX_IDENTITY_FILES as u64;
        assert!(attempts * keys < maxretry);
        let (authfail_s, refused_from_s) = (5, 15);
        assert!(authfail_s < refused_from_s && authfail_s < floor_s);
    }

    /// The attempts of a backend that calls every second for an hour and is always refused.
    fn attempts(class: Class, keys: u8) -> std::vec::Vec<Instant> {
        let (mut calls, mut attempts) = (Calls::NEW, std::vec![Instant(0)]);
        let mut until = Instant(0) + range(class).floor;
        for now in (0..3600).map(|s| Instant(s * 1000)) {
            let due = calls.due(now, class, keys);
            if due < until {
                calls.spend(due, class);
                until = due;
            }
            if until <= now {
                attempts.push(now);
                until = now + range(class).floor;
            }
        }
        attempts
    }

    fn most_within(attempts: &[Instant], window_s: u64) -> usize {
        let within = |from: &Instant| {
            let until = *from + Duration::from_secs(window_s);
            attempts
                .iter()
                .filter(|at| (*from..until).contains(at))
                .count()
        };
        attempts.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn a_call_is_served_at_once_three_times_and_then_at_the_rate_of_its_class() {
        for class in CLASSES {
            let mut calls = Calls::NEW;
            let mut now = Instant(1_000_000);
            for _ in 0..CALLS {
                assert_eq!(calls.due(now, class, 1), now, "{class:?}");
                calls.spend(now, class);
                now = now + CALL_GAP;
            }
            let first = Instant(1_000_000) + range(class).call;
            assert_eq!(calls.due(now, class, 1), first.max(now), "{class:?}");
        }
    }

    #[test]
    fn a_backend_that_calls_every_second_gets_no_address_banned() {
        // As above: fail2ban bans at 5 lines in 10 min; a key may be a line.
        assert_eq!(most_within(&attempts(Class::Slow, 1), 600), 4);
        assert_eq!(most_within(&attempts(Class::Slow, 2), 600), 2);
        // A call is served all the same: docs/watchdog.md.
        assert_eq!(most_within(&attempts(Class::Slow, 4), 600), 2);
        // OpenSSH's penalty runs out second by second, and acts from 15 s on.
        let (mut penalty_s, mut last) = (0, Instant(0));
        for at in attempts(Class::Slow, 1) {
            penalty_s = u64::saturating_sub(penalty_s, at.since(last).as_secs()) + 5;
            last = at;
            assert!(penalty_s < 15, "{penalty_s} s at {at:?}");
        }
    }

    #[test]
    fn restarts_wait_1_s_doubling_to_10_min() {
        let waits: std::vec::Vec<_> = (1..=11).map(|n| restart_delay(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert_eq!(restart_delay(u32::MAX).as_secs(), 600);
    }

    #[test]
    fn classes_count_on_their_own() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.next(Instant(0), Class::Normal, 0);
        }
        assert_eq!(
            backoff.next(Instant(0), Class::Throttled, u32::MAX),
            Duration::from_secs(60)
        );
    }

    proptest! {
        #[test]
        fn every_wait_is_between_floor_and_cap(
            failures in any::<u8>(), lasted in any::<u32>(), rng in any::<u32>(), class in 0usize..6
        ) {
            let range = range(CLASSES[class]);
            let wait = range.delay(failures, Duration::from_millis(lasted.into()), rng);
            prop_assert!(wait >= range.floor && wait <= range.cap);
            prop_assert!(!wait.is_zero());
        }
    }
}
