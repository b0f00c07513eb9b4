//! The type-of-service byte of IPv4 and the traffic class of IPv6, by ssh_config(5)'s names.

use core::fmt;

/// Names of whole values; `af` and `cs` have a number behind them. `le` is RFC 8622's lower
/// effort, the last three are RFC 1349's, which ssh knows as well.
const NAMES: [(&str, u8); 5] = [
    ("ef", 46 << 2),
    ("le", 1 << 2),
    ("lowdelay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
];

/// What the packets of the connection are marked with (`IPQoS`).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum IpQos {
    /// `none`: what the system marks packets with, normally nothing.
    #[default]
    System,
    /// This byte: six bits of DSCP and two of ECN (RFC 2474, 3), of which the kernel keeps
    /// the last two of TCP to itself.
    Byte(u8),
}

impl IpQos {
    /// Reads one of ssh's words (`af11` to `af43`, `cs0` to `cs7`, `ef`, `le`, `lowdelay`,
    /// `throughput`, `reliability`, `none`), in any case, or a number from 0 to 255, also with
    /// `0x` in front.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("none") {
            return Some(Self::System);
        }
        if let Some((_, byte)) = NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(text)) {
            return Some(Self::Byte(*byte));
        }
        let byte = match text.as_bytes() {
            // RFC 2597, 6: class and drop precedence.
            [
                b'a' | b'A',
                b'f' | b'F',
                class @ b'1'..=b'4',
                drop @ b'1'..=b'3',
            ] => ((class - b'0') << 5) | ((drop - b'0') << 3),
            // RFC 2474, 4.2.2.
            [b'c' | b'C', b's' | b'S', class @ b'0'..=b'7'] => (class - b'0') << 5,
            [b'0', b'x' | b'X', ..] => number(&text[2..], 16)?,
            _ => number(text, 10)?,
        };
        Some(Self::Byte(byte))
    }
}

impl fmt::Display for IpQos {
    /// The form that [`IpQos::parse`] reads: `none` or a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("none"),
            Self::Byte(byte) => write!(f, "0x{byte:02x}"),
        }
    }
}

/// Digits only: the standard parser takes a sign as well.
fn number(text: &str, radix: u32) -> Option<u8> {
    let plain = text.chars().all(|c| c.is_digit(radix));
    plain.then(|| u8::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_ssh_has_its_registered_value() {
        for (name, byte) in [
            ("af11", 0x28),
            ("af12", 0x30),
            ("AF21", 0x48),
            ("af43", 0x98),
            ("cs0", 0),
            ("CS1", 0x20),
            ("cs7", 0xe0),
            ("ef", 0xb8),
            ("le", 0x04),
            ("lowdelay", 0x10),
            ("throughput", 0x08),
            ("reliability", 0x04),
            ("0", 0),
            ("0x48", 0x48),
            ("255", 0xff),
        ] {
            assert_eq!(IpQos::parse(name), Some(IpQos::Byte(byte)), "{name}");
        }
        assert_eq!(IpQos::parse("None"), Some(IpQos::System));
    }

    #[test]
    fn other_words_and_numbers_are_refused() {
        for bad in [
            "", "af", "af14", "af51", "af1", "cs8", "cs", "256", "-1", "+1", "0x", "0x100", "é",
            "0x+1", "af11 ",
        ] {
            assert_eq!(IpQos::parse(bad), None, "{bad}");
        }
    }
}
