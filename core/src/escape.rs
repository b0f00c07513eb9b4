//! Making text from elsewhere safe for one log line.

use core::fmt::{self, Display, Write};

/// `value` with control characters as `\n`, `\t`, `\r`, `\u{..}`, among them the C1 ones and
/// the line and paragraph separators; everything else as it is.
pub fn escaped<T: Display>(value: T) -> Escaped<T> {
    Escaped(value)
}

/// See [`escaped`].
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(T);

struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let unsafe_character = |c: char| {
            c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}')
        };
        let mut rest = text;
        while let Some(at) = rest.find(unsafe_character) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                write!(self.0, "{}", character.escape_default())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter(f), "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;
    use std::string::ToString;

    #[test]
    fn a_message_stays_one_line_whatever_it_holds() {
        assert_eq!(escaped("plain, ümlaut").to_string(), "plain, ümlaut");
        assert_eq!(escaped("a\nb\r\tc").to_string(), "a\\nb\\r\\tc");
        assert_eq!(escaped("\u{1b}[2J\u{0}").to_string(), "\\u{1b}[2J\\u{0}");
        assert_eq!(escaped("\u{85}\u{2028}").to_string(), "\\u{85}\\u{2028}");
    }
}
