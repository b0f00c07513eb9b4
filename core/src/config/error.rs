//! What can be wrong in a configuration.

use core::fmt;

use heapless::String;

use super::MAX_INCLUDE_DEPTH;
use crate::destination::DestinationError;
use crate::forward::ForwardError;
use crate::keyword::{self, Keyword};
use crate::tokens::TokenError;

/// The beginning of a wrong text, at most 40 bytes, control characters replaced by `?`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excerpt(String<40>);

impl Excerpt {
    /// The beginning of `text`.
    pub fn new(text: &str) -> Self {
        let mut excerpt = String::new();
        for c in text.chars() {
            let shown = if c.is_control() { '?' } else { c };
            if excerpt.push(shown).is_err() {
                break;
            }
        }
        Self(excerpt)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a file; both count from 1, columns in characters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// What is wrong, and where if it is in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The place in the file; none on the command line.
    pub position: Option<Position>,
    /// What is wrong.
    pub kind: ConfigErrorKind,
}

impl ConfigError {
    pub(super) fn on_command_line(kind: ConfigErrorKind) -> Self {
        Self {
            position: None,
            kind,
        }
    }
}

/// What is wrong. The text of each says what would be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigErrorKind {
    /// Not one of the keywords.
    UnknownKeyword(Excerpt),
    /// A keyword without a value.
    NoValue(&'static Keyword),
    /// A `Host` without a pattern.
    NoPattern,
    /// More words than the keyword takes.
    ExtraWord(&'static Keyword),
    /// A value that the keyword does not take.
    BadValue {
        /// The keyword.
        keyword: &'static Keyword,
        /// What was given.
        value: Excerpt,
    },
    /// A keyword of ssh without a value.
    NoWord(&'static str),
    /// A keyword of ssh that asks for what cannot be.
    Refused {
        /// The keyword.
        name: &'static str,
        /// What was given.
        value: Excerpt,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// Not one of the criteria of `Match`, or one without a value.
    Criterion(Excerpt),
    /// A word that is not UTF-8.
    Encoding,
    /// More values of a keyword than there is room for.
    TooMany(&'static str, usize),
    /// A `RemoteForward` that is none.
    Forward(ForwardError),
    /// A `Fallback` that is none.
    Destination(DestinationError),
    /// A token in a file name.
    Token(&'static str, TokenError),
    /// An `Include` without a file name.
    NoFile,
    /// An `Include` in a file that is included too deep.
    IncludeDepth,
    /// A quote without a partner.
    Quote,
}

impl fmt::Display for ConfigErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKeyword(name) => {
                write!(f, "unknown keyword '{name}'; ")?;
                match keyword::nearest(&name.0) {
                    Some(near) => write!(f, "did you mean {near}?"),
                    None => f.write_str("the manual lists those supported"),
                }
            }
            Self::NoValue(keyword) => {
                write!(f, "{} has no value; give {}", keyword.name, keyword.kind)
            }
            Self::NoPattern => f.write_str("Host has no pattern; give at least one, such as *"),
            Self::ExtraWord(keyword) => {
                let Keyword { name, kind, .. } = keyword;
                write!(f, "too many words for {name}; give {kind}")?;
                // Neither half of a forward may have any.
                match *name {
                    "RemoteForward" => Ok(()),
                    _ => f.write_str(", in double quotes if it has spaces"),
                }
            }
            Self::BadValue { keyword, value } => {
                let Keyword { name, kind, .. } = keyword;
                write!(f, "bad value '{value}' for {name}; give {kind}")
            }
            Self::NoWord(name) => write!(f, "{name} has no value"),
            Self::Refused { name, value, why } => write!(f, "{name} {value} cannot be done: {why}"),
            Self::Criterion(word) => write!(
                f,
                "bad criterion '{word}' of Match; give host, originalhost, user or localuser with patterns, or all, canonical or final"
            ),
            Self::Encoding => f.write_str("not UTF-8; rewrite it"),
            Self::TooMany(name, most) => write!(f, "too many of {name}; give at most {most}"),
            Self::Destination(error) => write!(f, "Fallback: {error}"),
            Self::Forward(error) => write!(f, "RemoteForward: {error}"),
            Self::Token(name, error) => write!(f, "{name}: {error}"),
            Self::NoFile => f.write_str("Include names no file; give at least one"),
            Self::IncludeDepth => write!(
                f,
                "too many files that include each other; go at most {MAX_INCLUDE_DEPTH} deep"
            ),
            Self::Quote => {
                f.write_str("a quote without a second one; add it, or write \\ before it")
            }
        }
    }
}

impl core::error::Error for ConfigErrorKind {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl core::error::Error for ConfigError {}
