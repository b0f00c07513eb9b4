//! The words of one configuration line: blanks between, quotes around, `#` to the end.

/// One word and its byte offset in the line.
#[derive(Copy, Clone, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
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
    /// empty line or a comment.
    pub(super) fn keyword(&mut self) -> Option<Word<'a>> {
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
        Some(Word {
            text: &rest[..end],
            offset,
        })
    }
}

impl<'a> Iterator for Words<'a> {
    /// A word, or the offset of a quote that has no partner.
    type Item = Result<Word<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks();
        let offset = self.at;
        let rest = &self.line[offset..];
        if rest.is_empty() || rest.starts_with('#') {
            self.at = self.line.len();
            return None;
        }
        let quote = rest.chars().next().filter(|c| is_quote(*c));
        if let Some(quote) = quote {
            let quoted = &rest[1..];
            let end = quoted.find(quote);
            let after = end.map(|end| &quoted[end + 1..]);
            return Some(match (end, after) {
                (Some(end), Some(after)) if after.is_empty() || after.starts_with(is_blank) => {
                    self.at += end + 2;
                    Ok(Word {
                        text: &quoted[..end],
                        offset,
                    })
                }
                _ => {
                    self.at = self.line.len();
                    Err(offset)
                }
            });
        }
        let end = rest.find(is_blank).unwrap_or(rest.len());
        self.at += end;
        let text = &rest[..end];
        if let Some(quote) = text.find(is_quote) {
            self.at = self.line.len();
            return Some(Err(offset + quote));
        }
        Some(Ok(Word { text, offset }))
    }
}
