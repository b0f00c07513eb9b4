//! The words of one configuration line: blanks between, quotes around, `#` to the end.

use core::ops::Deref;

use heapless::String;

/// Longest word with quotes or backslashes in it, bytes. No value may be as long.
const LONGEST: usize = 520;

/// A word.
// Nothing is allocated in this crate, so there is no box for the large one.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// It stands in the line as it is.
    Piece(&'a str),
    /// It had quotes or backslashes.
    Made(Made),
}

/// What is left of a word without its quotes and backslashes. One that is too long is cut where
/// no value can end, and so is refused as too long.
#[derive(Clone, Debug, Default)]
pub struct Made(String<LONGEST>);

impl Made {
    fn push(&mut self, c: char) {
        // What does not fit is too long for every value already.
        let _ = self.0.push(c);
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Piece(text) => text,
            Text::Made(made) => &made.0,
        }
    }
}

/// One word and its byte offset in the line.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: Text<'a>,
    pub(super) offset: usize,
}

/// The words not yet taken.
#[derive(Clone)]
pub(super) struct Words<'a> {
    line: &'a str,
    at: usize,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0c')
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'')
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, at: 0 }
    }

    /// Where the next word starts, or would start.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    fn skip_blanks(&mut self) {
        self.at = self.line.len() - self.line[self.at..].trim_start_matches(is_blank).len();
    }

    /// The keyword at the start, with the blanks and at most one `=` after it. None for an
    /// empty line or a comment. With its offset.
    pub(super) fn keyword(&mut self) -> Option<(&'a str, usize)> {
        self.skip_blanks();
        let offset = self.at;
        let rest = &self.line[offset..];
        if rest.is_empty() || rest.starts_with('#') {
            return None;
        }
        let end = rest.find(|c| is_blank(c) || c == '=').unwrap_or(rest.len());
        self.at += end;
        self.skip_blanks();
        if self.line[self.at..].starts_with('=') {
            self.at += 1;
            self.skip_blanks();
        }
        Some((&rest[..end], offset))
    }
}

impl<'a> Iterator for Words<'a> {
    /// A word, or the offset of a quote that has no partner.
    type Item = Result<Word<'a>, usize>;

    /// As argv_split() of ssh: quotes may stand anywhere in a word, and a backslash takes the
    /// meaning of a quote, a backslash or, outside of quotes, a space; before anything else it is
    /// itself.
    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks();
        let offset = self.at;
        let rest = &self.line[offset..];
        if rest.is_empty() || rest.starts_with('#') {
            self.at = self.line.len();
            return None;
        }
        let end = rest.find(|c| is_blank(c) || is_quote(c) || c == '\\');
        let (plain, tail) = rest.split_at(end.unwrap_or(rest.len()));
        if !tail.starts_with(|c| is_quote(c) || c == '\\') {
            self.at += plain.len();
            let text = Text::Piece(plain);
            return Some(Ok(Word { text, offset }));
        }
        let mut made = Made::default();
        let mut quote = None;
        let mut characters = rest.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let c = match (c, quote) {
                ('\\', _) if next.is_some_and(|next| is_escaped(next, quote.is_some())) => {
                    characters.next();
                    next.unwrap_or(c)
                }
                (c, None) if is_blank(c) => {
                    self.at = offset + at;
                    let text = Text::Made(made);
                    return Some(Ok(Word { text, offset }));
                }
                (c, None) if is_quote(c) => {
                    quote = Some((c, at));
                    continue;
                }
                (c, Some((open, _))) if c == open => {
                    quote = None;
                    continue;
                }
                (c, _) => c,
            };
            made.push(c);
        }
        self.at = self.line.len();
        Some(match quote {
            Some((_, at)) => Err(offset + at),
            None => Ok(Word {
                text: Text::Made(made),
                offset,
            }),
        })
    }
}

fn is_escaped(c: char, quoted: bool) -> bool {
    is_quote(c) || c == '\\' || c == ' ' && !quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn words(line: &str) -> Result<Vec<String>, usize> {
        Words::new(line)
            .map(|word| word.map(|word| String::from(&*word.text)))
            .collect()
    }

    #[test]
    fn quotes_and_backslashes_are_those_of_ssh() {
        for (line, expected) in [
            (r#"a "b c" 'd "e' f"#, &["a", "b c", r#"d "e"#, "f"][..]),
            (r#"/my" "key /a'b'"c""#, &["/my key", "/abc"]),
            (
                r#"/my\ key "a\"b" a\\b 'it\'s'"#,
                &["/my key", r#"a"b"#, r"a\b", "it's"],
            ),
            (
                r#"DOM\user "a\ b" \n \"#,
                &[r"DOM\user", r"a\ b", r"\n", r"\"],
            ),
            ("\"\" a# \"#b\" # c", &["", "a#", "#b"]),
            ("a\tb\r", &["a", "b"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for (line, at) in [(r#"a "b"#, 2), (r#"ab'c"#, 2), (r#"'a\'"#, 0)] {
            assert_eq!(words(line), Err(at), "{line}");
        }
    }

    #[test]
    fn a_word_that_is_too_long_is_cut_nowhere() {
        let long = "x".repeat(2 * LONGEST);
        assert_eq!(words(&long).unwrap()[0], long);
        let made = &words(&std::format!("'{long}'")).unwrap()[0];
        assert_eq!(made.len(), LONGEST, "longer than any value may be");
    }
}
