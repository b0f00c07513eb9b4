//! What a host certificate is worth, once its authority is known (OpenSSH's PROTOCOL.certkeys).
//!
//! The clock of a controller may be wrong. One that is [plausible](is_plausible) is believed; with any other
//! the validity counts for nothing: nobody could set right a controller that refuses its server for that.

use crate::pattern;

/// 2026-01-01: a clock before was never set.
const EARLIEST_S: u64 = 1_767_225_600;
/// 2100-01-01: a clock from then on is broken.
const LATEST_S: u64 = 4_102_444_800;

/// Why a certificate is not accepted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// It is one for users.
    NotForHosts,
    /// It has critical options, of which none is known.
    Limited,
    /// It is for other hosts.
    OtherHost,
    /// It is not valid yet, or no longer.
    NotNow,
}

/// Whether the clock, in seconds since 1970, may be right.
pub fn is_plausible(now_s: u64) -> bool {
    (EARLIEST_S..LATEST_S).contains(&now_s)
}

/// Judges a certificate for the server of this name. `principals` are its names, of which one has to match,
/// with patterns as in known_hosts, and `validity` the seconds since 1970 from which on it is valid, and no longer.
///
/// # Errors
/// The first flaw.
pub fn judge<'a>(
    (is_host, is_limited): (bool, bool),
    mut principals: impl Iterator<Item = &'a str>,
    validity: (u64, u64),
    name: &str,
    now_s: u64,
) -> Result<(), Flaw> {
    let (after, before) = validity;
    if !is_host {
        return Err(Flaw::NotForHosts);
    }
    if is_limited {
        return Err(Flaw::Limited);
    }
    if !principals.any(|principal| pattern::matches(principal, name)) {
        return Err(Flaw::OtherHost);
    }
    if is_plausible(now_s) && !(after..before).contains(&now_s) {
        return Err(Flaw::NotNow);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ALWAYS: (u64, u64) = (0, u64::MAX);

    fn of(principals: &str, validity: (u64, u64), now_s: u64) -> Result<(), Flaw> {
        let principals = principals.split(',').filter(|name| !name.is_empty());
        judge((true, false), principals, validity, "hub.example", now_s)
    }

    #[test]
    fn one_name_has_to_match_and_no_name_matches_none() {
        for good in [
            "hub.example",
            "other,HUB.example",
            "*.example",
            "hub.exampl?",
        ] {
            assert_eq!(of(good, ALWAYS, NOW), Ok(()), "{good}");
        }
        for bad in [
            "",
            "hub",
            "hub.example.org",
            "*.hub.example",
            "!other",
            "!hub.example",
        ] {
            assert_eq!(of(bad, ALWAYS, NOW), Err(Flaw::OtherHost), "{bad}");
        }
    }

    #[test]
    fn it_is_valid_from_the_first_second_up_to_the_last() {
        let hub = |validity| of("hub.example", validity, NOW);
        assert_eq!(hub((NOW, NOW + 1)), Ok(()));
        assert_eq!(hub((NOW, u64::MAX)), Ok(()));
        assert_eq!(hub((NOW + 1, u64::MAX)), Err(Flaw::NotNow));
        assert_eq!(hub((0, NOW)), Err(Flaw::NotNow));
        assert_eq!(hub((u64::MAX, 0)), Err(Flaw::NotNow));
    }

    #[test]
    fn a_clock_that_cannot_be_right_says_nothing() {
        for now in [0, EARLIEST_S - 1, LATEST_S, u64::MAX] {
            assert_eq!(of("hub.example", (NOW, NOW + 1), now), Ok(()), "{now}");
            assert_eq!(of("other", (NOW, NOW + 1), now), Err(Flaw::OtherHost));
        }
        for now in [EARLIEST_S, LATEST_S - 1] {
            assert_eq!(of("hub.example", (NOW, NOW + 1), now), Err(Flaw::NotNow));
        }
    }

    #[test]
    fn a_users_certificate_and_one_with_options_are_refused_whatever_they_say() {
        let any = || ["*"].into_iter();
        let user = judge((false, false), any(), ALWAYS, "hub", NOW);
        assert_eq!(user, Err(Flaw::NotForHosts));
        let limited = judge((true, true), any(), ALWAYS, "hub", NOW);
        assert_eq!(limited, Err(Flaw::Limited));
    }
}
