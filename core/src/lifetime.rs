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

/// The two limits of one tunnel; a limit of zero is none.
///
/// The lifetime counts from the last call that asked for the tunnel. Idleness counts from the
/// moment the tunnel was first up, or from the end of the last connection through it; a lost
/// link does not start it anew.
#[derive(Clone, Debug)]
pub struct Lifetime {
    max: Duration,
    idle: Duration,
    asked: Instant,
    /// None before the tunnel was first up, and while a connection is served.
    idle_since: Option<Instant>,
    was_up: bool,
}

impl Lifetime {
    /// Limits for a tunnel that is asked for now.
    pub fn new(max: Duration, idle: Duration, now: Instant) -> Lifetime {
        Lifetime {
            max,
            idle,
            asked: now,
            idle_since: None,
            was_up: false,
        }
    }

    /// New limits; what has passed counts.
    pub fn set(&mut self, max: Duration, idle: Duration) {
        (self.max, self.idle) = (max, idle);
    }

    /// Someone asked for the tunnel again.
    pub fn handle_call(&mut self, now: Instant) {
        self.asked = now;
        self.idle_since = self.idle_since.map(|_| now);
    }

    /// How it stands: whether the tunnel is up, and how many connections it serves.
    pub fn handle_state(&mut self, up: bool, connections: usize, now: Instant) {
        self.was_up |= up;
        if connections > 0 {
            self.idle_since = None;
        } else if self.was_up && self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// When the lifetime ends, if it does.
    pub fn ends(&self) -> Option<Instant> {
        (!self.max.is_zero()).then(|| self.asked + self.max)
    }

    /// When it will have been idle for too long, as far as is known.
    pub fn idle_ends(&self) -> Option<Instant> {
        let since = self.idle_since.filter(|_| !self.idle.is_zero())?;
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
    fn a_connection_stops_the_clock_and_its_end_starts_it_anew() {
        let mut lifetime = Lifetime::new(Duration::ZERO, MIN, Instant(0));
        lifetime.handle_state(true, 0, Instant(0));
        lifetime.handle_state(true, 1, Instant(30_000));
        assert_eq!(lifetime.poll(Instant(900_000)), None);
        lifetime.handle_state(true, 0, Instant(900_000));
        assert_eq!(lifetime.poll_timeout(), Some(Instant(960_000)));
    }
}
