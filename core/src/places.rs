//! Who is served when more people come than there are places for.
//!
//! A connection whose user lost the link without a word looks like one whose user is silent, and
//! nothing ends it. So a place is kept by use, as far as somebody else wants it.

use core::time::Duration;

use crate::time::Instant;

/// Connections that are served at once.
pub const PLACES: usize = 32;
/// Connections that may have bytes waiting here: those that are served, those that may be a check,
/// and those whose user has left while the target takes the last bytes.
pub const HOLDERS: usize = 2 * PLACES;
/// How long a newcomer waits for a place before it is refused.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// From then on an idle connection gives way to a newcomer.
pub const GIVES_WAY: Duration = Duration::from_secs(60);

/// Why a connection loses its place.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Leave {
    /// `ChannelIdleTimeout`.
    TimedOut,
    /// A newcomer waits.
    GaveWay,
}

/// When, and why, the connection that has been idle for longest loses its place, if nothing goes
/// through it before. `limit` is `ChannelIdleTimeout`, zero for none; `crowded` says that a newcomer
/// waits and that no place is free.
pub fn leave(idle_since: Instant, limit: Duration, crowded: bool) -> Option<(Instant, Leave)> {
    let times_out = (!limit.is_zero()).then_some((limit, Leave::TimedOut));
    let gives_way = crowded.then_some((GIVES_WAY, Leave::GaveWay));
    let first = times_out.into_iter().chain(gives_way);
    let (after, why) = first.min_by_key(|(after, _)| *after)?;
    Some((idle_since + after, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SINCE: Instant = Instant(5_000);

    #[test]
    fn nobody_leaves_an_empty_house_without_a_limit() {
        assert_eq!(leave(SINCE, Duration::ZERO, false), None);
    }

    #[test]
    fn the_idle_give_way_to_a_newcomer_after_a_minute_and_to_their_own_limit_at_any_time() {
        let gave_way = Some((Instant(65_000), Leave::GaveWay));
        assert_eq!(leave(SINCE, Duration::ZERO, true), gave_way);
        assert_eq!(leave(SINCE, HOUR, true), gave_way);
        let timed_out = |after| Some((SINCE + after, Leave::TimedOut));
        assert_eq!(leave(SINCE, HOUR, false), timed_out(HOUR));
        let short = Duration::from_secs(20);
        assert_eq!(leave(SINCE, short, true), timed_out(short));
    }
}
