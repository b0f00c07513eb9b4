//! Times and amounts, as ssh's manual pages write them.

use core::time::Duration;

/// Reads a time as sshd_config(5) writes it under TIME FORMATS: numbers with the units
/// `s m h d w` in any case, seconds without one, added up: `600`, `10m`, `1h30m`.
pub fn parse_time(text: &str) -> Option<Duration> {
    let mut total_s: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let factor: u64 = match after.next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total_s = total_s.checked_add(number.checked_mul(factor)?)?;
        rest = after.as_str();
    }
    Some(Duration::from_secs(total_s))
}

/// Reads an amount of data in bytes with an optional `K`, `M` or `G` (powers of 1024).
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_as_in_sshd_config() {
        let seconds = |text| parse_time(text).map(|d| d.as_secs());
        assert_eq!(seconds("600"), Some(600));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(
            seconds("1W2d3H4m5"),
            Some(604_800 + 172_800 + 10_800 + 240 + 5)
        );
        for bad in [
            "",
            "m",
            "-1",
            "1x",
            "1 m",
            "1.5h",
            "99999999999999999999",
            "+3",
            "9é",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_take_powers_of_1024() {
        assert_eq!(parse_size("16M"), Some(16 << 20));
        assert_eq!(parse_size("1g"), Some(1 << 30));
        assert_eq!(parse_size("123"), Some(123));
        for bad in ["", "G", "1T", "-1K", "1.5G", "99999999999999999999G", "é"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
