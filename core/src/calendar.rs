//! Dates for people: the log and the status page. No decision depends on them.

use core::fmt;

/// A moment in UTC, Gregorian, without leap seconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Utc {
    /// From 1970 on.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl Utc {
    /// The moment this many seconds after 1970 began.
    pub fn from_unix_s(seconds: u64) -> Self {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March, so that the leap day is their last: 146,097 days make 400
        // of them. Day 0 of that count is 719,468 days before 1970.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        Self {
            year: year + era * 400 + carry,
            month: month as u8,
            day: date as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }
}

/// A moment as `Mmm dd hh:mm:ss`, a day below 10 with a space in front (RFC 3164, 4.1.2).
#[derive(Copy, Clone, Debug)]
pub struct LogTime(pub Utc);

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Utc {
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = self.0;
        let month = MONTHS[usize::from(month - 1) % 12];
        write!(f, "{month} {day:2} {hour:02}:{minute:02}:{second:02}")
    }
}

/// `YYYY-MM-DDThh:mm:ssZ` (RFC 3339).
impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::{LogTime, Utc};

    #[test]
    fn dates_are_those_of_date_1() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_392_610, "2026-11-23T00:10:10Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc::from_unix_s(seconds).to_string(), expected);
        }
    }

    #[test]
    fn a_log_line_has_a_space_before_a_day_below_ten() {
        assert_eq!(
            LogTime(Utc::from_unix_s(951_868_800)).to_string(),
            "Mar  1 00:00:00"
        );
        assert_eq!(
            LogTime(Utc::from_unix_s(951_782_399)).to_string(),
            "Feb 28 23:59:59"
        );
    }
}
