//! When a door that was forgotten closes: `MaxLifetime` and `IdleTimeout`.

use core::fmt;
use core::time::Duration;

use crate::time::Instant;

/// Which limit was reached.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Over {
    /// `MaxLifetime` since the last call that asked for the tunnel.
    MaxLifetime(Duration),
    /// `IdleTimeout` without a connection through the tunnel.
    IdleTimeout(Duration),
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxLifetime(limit) => {
                write!(f, "MaxLifetime of {} s is over", limit.as_secs())
            }
            Self::IdleTimeout(limit) => {
                write!(f, "no connection for {} s (IdleTimeout)", limit.as_secs())
            }
        }
    }
}

/// From when the two limits count. What they mean outlives a restart of the process, on a clock
/// that does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Since {
    /// The last call that asked for the tunnel.
    pub asked: Instant,
    /// The beginning of idleness; none before the tunnel was first up, and while a connection is
    /// served.
    pub idle: Option<Instant>,
}

/// The two limits of one tunnel; a limit of zero is none.
///
/// The lifetime counts from the last call that asked for the tunnel. Idleness counts from the
/// moment the tunnel was first up, or from the end of the last connection through it; a lost
/// link does not start it anew.
#[derive(Clone, Debug)]
pub struct Lifetime {
    max: Duration,
    idle: Duration,
    since: Since,
    was_up: bool,
}

impl Lifetime {
    /// Limits for a tunnel that is asked for now.
    pub fn new(max: Duration, idle: Duration, now: Instant) -> Lifetime {
        Lifetime {
            max,
            idle,
            since: Since {
                asked: now,
                idle: None,
            },
            was_up: false,
        }
    }

    /// From when the limits count.
    pub fn since(&self) -> Since {
        self.since
    }

    /// Goes on where the process was before it restarted itself, which nobody asked for. A
    /// connection that ended with it leaves its whole time, from when the tunnel is up again.
    pub fn go_on(&mut self, since: Since) {
        self.since = since;
    }

    /// New limits; what has passed counts.
    pub fn set(&mut self, max: Duration, idle: Duration) {
        (self.max, self.idle) = (max, idle);
    }

    /// Someone asked for the tunnel again.
    pub fn handle_call(&mut self, now: Instant) {
        self.since.asked = now;
        self.since.idle = self.since.idle.map(|_| now);
    }

    /// How it stands: whether the tunnel is up, and how many connections it serves.
    pub fn handle_state(&mut self, up: bool, connections: usize, now: Instant) {
        self.was_up |= up;
        if connections > 0 {
            self.since.idle = None;
        } else if self.was_up && self.since.idle.is_none() {
            self.since.idle = Some(now);
        }
    }

    /// When the lifetime ends, if it does.
    pub fn ends(&self) -> Option<Instant> {
        (!self.max.is_zero()).then(|| self.since.asked + self.max)
    }

    /// When it will have been idle for too long, as far as is known.
    pub fn idle_ends(&self) -> Option<Instant> {
        let since = self.since.idle.filter(|_| !self.idle.is_zero())?;
        Some(since + self.idle)
    }

    /// When to call [`Lifetime::poll`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ends().into_iter().chain(self.idle_ends()).min()
    }

    /// The limit that is reached, if one is.
    pub fn poll(&self, now: Instant) -> Option<Over> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.ends()) {
            return Some(Over::MaxLifetime(self.max));
        }
        due(self.idle_ends()).then_some(Over::IdleTimeout(self.idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(60);

    #[test]
    fn without_limits_nothing_is_ever_due() {
        let mut lifetime = Lifetime::new(Duration::ZERO, Duration::ZERO, Instant(0));
        lifetime.handle_state(true, 0, Instant(1));
        assert_eq!(lifetime.poll_timeout(), None);
        assert_eq!(lifetime.poll(Instant(u64::MAX)), None);
    }

    #[test]
    fn the_lifetime_counts_from_the_last_call() {
        let mut lifetime = Lifetime::new(MIN, Duration::ZERO, Instant(0));
        lifetime.handle_call(Instant(50_000));
        assert_eq!(lifetime.poll(Instant(109_999)), None);
        assert_eq!(
            lifetime.poll(Instant(110_000)),
            Some(Over::MaxLifetime(MIN))
        );
    }

    #[test]
    fn idleness_begins_when_the_tunnel_is_first_up_and_not_while_it_is_sought() {
        let mut lifetime = Lifetime::new(Duration::ZERO, MIN, Instant(0));
        lifetime.handle_state(false, 0, Instant(500_000));
        assert_eq!(lifetime.poll_timeout(), None);
        lifetime.handle_state(true, 0, Instant(600_000));
        // A link that comes and goes is no use of the tunnel.
        lifetime.handle_state(false, 0, Instant(610_000));
        lifetime.handle_state(true, 0, Instant(620_000));
        assert_eq!(
            lifetime.poll(Instant(660_000)),
            Some(Over::IdleTimeout(MIN))
        );
    }

    #[test]
    fn a_restart_of_the_process_starts_neither_limit_anew() {
        let mut before = Lifetime::new(2 * MIN, MIN, Instant(0));
        before.handle_state(true, 0, Instant(10_000));
        before.handle_call(Instant(20_000));
        let mut after = Lifetime::new(2 * MIN, MIN, Instant(50_000));
        after.go_on(before.since());
        after.handle_state(false, 0, Instant(50_000));
        after.handle_state(true, 0, Instant(60_000));
        assert_eq!(after.ends(), before.ends());
        assert_eq!(after.poll(Instant(79_999)), None);
        assert_eq!(after.poll(Instant(80_000)), Some(Over::IdleTimeout(MIN)));
    }

    #[test]
    fn a_connection_that_a_restart_ended_leaves_its_whole_idle_time() {
        let mut before = Lifetime::new(Duration::ZERO, MIN, Instant(0));
        before.handle_state(true, 1, Instant(10_000));
        let mut after = Lifetime::new(Duration::ZERO, MIN, Instant(50_000));
        after.go_on(before.since());
        after.handle_state(false, 0, Instant(50_000));
        assert_eq!(after.poll_timeout(), None);
        after.handle_state(true, 0, Instant(70_000));
        assert_eq!(after.poll_timeout(), Some(Instant(130_000)));
    }

    #[test]
    fn a_connection_stops_the_clock_and_its_end_starts_it_anew() {
        let mut lifetime = Lifetime::new(Duration::ZERO, MIN, Instant(0));
        lifetime.handle_state(true, 0, Instant(0));
        lifetime.handle_state(true, 1, Instant(30_000));
        assert_eq!(lifetime.poll(Instant(900_000)), None);
        lifetime.handle_state(true, 0, Instant(900_000));
        assert_eq!(lifetime.poll_timeout(), Some(Instant(960_000)));
    }
}
