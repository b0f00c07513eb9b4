//! What a setting holds: the value that came first, or all that came.

use core::fmt;

use heapless::Vec;

use super::ConfigErrorKind;
use super::Path;
use super::value::{Value, held};
use crate::keyword::Keyword;
use crate::tokens::Tokens;

/// The place of one setting.
pub(super) trait Slot {
    /// Reads the words of one value and, if `store`, keeps it: next to those before it, or if
    /// there is none.
    fn obtain(
        &mut self,
        keyword: &'static Keyword,
        words: &[&str],
        store: bool,
    ) -> Result<(), ConfigErrorKind>;

    /// Whether something was obtained.
    fn is_set(&self) -> bool;

    /// A line of a configuration file for each value that holds.
    fn show(&self, keyword: &'static Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Replaces the tokens in file names.
    fn expand(
        &mut self,
        keyword: &'static Keyword,
        tokens: &Tokens<'_>,
    ) -> Result<(), ConfigErrorKind>;

    /// Whether [`Slot::expand`] would replace the token `%letter`.
    fn uses_token(&self, keyword: &'static Keyword, letter: char) -> bool;

    /// Rewrites file names.
    fn rename(&mut self, keyword: &'static Keyword, rename: &dyn Fn(&str) -> Option<Path>);

    /// Whether everything that `asked` holds is held here too, defaults included.
    fn includes(&self, asked: &Self, keyword: &'static Keyword) -> bool
    where
        Self: Sized;

    /// Whether the same holds in another configuration, defaults included.
    fn same(&self, other: &Self, keyword: &'static Keyword) -> bool
    where
        Self: Sized;
}

fn line(
    keyword: &Keyword,
    value: &impl Value,
    f: &mut fmt::Formatter<'_>,
) -> Result<(), fmt::Error> {
    write!(f, "{} ", keyword.name)?;
    value.show(keyword, f)?;
    f.write_str("\n")
}

impl<T: Value> Slot for Option<T> {
    fn obtain(
        &mut self,
        keyword: &'static Keyword,
        words: &[&str],
        store: bool,
    ) -> Result<(), ConfigErrorKind> {
        let value = T::read(keyword, words)?;
        if store && self.is_none() {
            *self = Some(value);
        }
        Ok(())
    }

    fn is_set(&self) -> bool {
        self.is_some()
    }

    fn show(&self, keyword: &'static Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        held(self, keyword).map_or(Ok(()), |value| line(keyword, &value, f))
    }

    fn expand(
        &mut self,
        keyword: &'static Keyword,
        tokens: &Tokens<'_>,
    ) -> Result<(), ConfigErrorKind> {
        let Some(value) = self else { return Ok(()) };
        value.expand(keyword, tokens)
    }

    fn uses_token(&self, keyword: &'static Keyword, letter: char) -> bool {
        let value = self.as_ref();
        value.is_some_and(|value| value.uses_token(keyword, letter))
    }

    fn rename(&mut self, keyword: &'static Keyword, rename: &dyn Fn(&str) -> Option<Path>) {
        if let Some(value) = self {
            value.rename(keyword, rename);
        }
    }

    fn includes(&self, asked: &Self, keyword: &'static Keyword) -> bool {
        asked.is_none() || self.same(asked, keyword)
    }

    fn same(&self, other: &Self, keyword: &'static Keyword) -> bool {
        held(self, keyword) == held(other, keyword)
    }
}

impl<T: Value, const MOST: usize> Slot for Vec<T, MOST> {
    fn obtain(
        &mut self,
        keyword: &'static Keyword,
        words: &[&str],
        store: bool,
    ) -> Result<(), ConfigErrorKind> {
        let value = T::read(keyword, words)?;
        if store {
            add(self, keyword, value)
        } else {
            Ok(())
        }
    }

    fn is_set(&self) -> bool {
        !self.is_empty()
    }

    fn show(&self, keyword: &'static Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|value| line(keyword, value, f))
    }

    /// Values that have become the same are one.
    fn expand(
        &mut self,
        keyword: &'static Keyword,
        tokens: &Tokens<'_>,
    ) -> Result<(), ConfigErrorKind> {
        for mut value in core::mem::take(self) {
            value.expand(keyword, tokens)?;
            add(self, keyword, value)?;
        }
        Ok(())
    }

    fn uses_token(&self, keyword: &'static Keyword, letter: char) -> bool {
        self.iter().any(|value| value.uses_token(keyword, letter))
    }

    fn rename(&mut self, keyword: &'static Keyword, rename: &dyn Fn(&str) -> Option<Path>) {
        self.iter_mut()
            .for_each(|value| value.rename(keyword, rename));
    }

    fn includes(&self, asked: &Self, _keyword: &'static Keyword) -> bool {
        asked.iter().all(|value| self.contains(value))
    }

    fn same(&self, other: &Self, _keyword: &'static Keyword) -> bool {
        self == other
    }
}

/// Adds a value, unless it is there already.
pub(super) fn add<T: Value, const MOST: usize>(
    values: &mut Vec<T, MOST>,
    keyword: &'static Keyword,
    value: T,
) -> Result<(), ConfigErrorKind> {
    if values.contains(&value) {
        return Ok(());
    }
    let added = values.push(value);
    added.map_err(|_| ConfigErrorKind::TooMany(keyword.name, MOST))
}
