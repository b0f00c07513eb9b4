//! Configuration files: `Host` blocks and `Include` around the keywords.

use core::iter::Enumerate;
use core::str::Lines;

use super::words::{Word, Words};
use super::{Config, ConfigError, ConfigErrorKind, Position, find};
use crate::pattern;

/// How deep files may include others.
pub const MAX_INCLUDE_DEPTH: u8 = 8;

/// Where a file is read: for which host, and whether its lines hold at its start.
#[derive(Copy, Clone, Debug)]
pub struct Scope<'h> {
    host: &'h str,
    active: bool,
    /// Included from a block of another host: no block in here holds.
    never: bool,
    depth: u8,
}

impl<'h> Scope<'h> {
    /// A file that nothing includes, read for the destination host `host` as the caller gave it.
    pub fn new(host: &'h str) -> Self {
        Self {
            host,
            active: true,
            never: false,
            depth: 0,
        }
    }
}

/// What the caller of [`FileParser::step`] has to know or do.
#[derive(Copy, Clone, Debug)]
pub enum Found<'t, 'h> {
    /// A pattern of a `Host` line without wildcard and negation: the name of a server.
    Name(&'t str),
    /// Every file that `pattern` names, in the order of their names, is to be read with a parser
    /// in `scope`, before the next step.
    Include {
        /// As written: relative, with `~/`, `*` and `?`.
        pattern: &'t str,
        /// Where it stands.
        position: Position,
        /// What the included files are read with.
        scope: Scope<'h>,
    },
}

/// Words of a line that are given out one by one.
struct Pending<'t> {
    line: (u32, &'t str),
    words: Words<'t>,
    include: bool,
}

/// Reads one file, a step at a time. It opens nothing: the caller has the text, and reads what
/// is included with parsers of its own.
pub struct FileParser<'t, 'h> {
    lines: Enumerate<Lines<'t>>,
    scope: Scope<'h>,
    pending: Option<Pending<'t>>,
}

impl<'t, 'h> FileParser<'t, 'h> {
    /// A parser at the start of `text`.
    pub fn new(text: &'t str, scope: Scope<'h>) -> Self {
        Self {
            lines: text.lines().enumerate(),
            scope,
            pending: None,
        }
    }

    /// Obtains the values up to the next thing that was found, or to the end of the file. Blocks
    /// of other hosts are checked but not obtained.
    ///
    /// # Errors
    /// The first wrong line, with line and column. Values before it have been obtained.
    pub fn step(&mut self, config: &mut Config) -> Result<Option<Found<'t, 'h>>, ConfigError> {
        loop {
            if let Some(pending) = &mut self.pending {
                match next_found(pending, self.scope)? {
                    Some(found) => return Ok(Some(found)),
                    None => self.pending = None,
                }
            }
            let Some((index, line)) = self.lines.next() else {
                return Ok(None);
            };
            self.line(config, (index as u32 + 1, line))?;
        }
    }

    fn line(&mut self, config: &mut Config, line: (u32, &'t str)) -> Result<(), ConfigError> {
        let at = |offset, kind| error(line, offset, kind);
        let mut words = Words::new(line.1);
        let Some(name) = words.keyword() else {
            return Ok(());
        };
        let include = name.text.eq_ignore_ascii_case("Include");
        if !include && !name.text.eq_ignore_ascii_case("Host") {
            let keyword = find(name.text).map_err(|kind| at(name.offset, kind))?;
            let obtained = config.obtain(keyword, &mut words, self.scope.active);
            return obtained.map_err(|(offset, kind)| at(offset, kind));
        }
        let first = words.offset();
        if include {
            if self.scope.depth == MAX_INCLUDE_DEPTH {
                return Err(at(name.offset, ConfigErrorKind::IncludeDepth));
            }
            let none = words.clone().next().is_none();
            if none {
                return Err(at(first, ConfigErrorKind::NoFile));
            }
        } else {
            let matches = host_block(words.clone(), self.scope.host);
            let matches = matches.map_err(|(offset, kind)| at(offset, kind))?;
            self.scope.active = matches && !self.scope.never;
        }
        self.pending = Some(Pending {
            line,
            words,
            include,
        });
        Ok(())
    }
}

fn next_found<'t, 'h>(
    pending: &mut Pending<'t>,
    scope: Scope<'h>,
) -> Result<Option<Found<'t, 'h>>, ConfigError> {
    let at = |offset, kind| error(pending.line, offset, kind);
    for word in pending.words.by_ref() {
        let Word { text, offset } = word.map_err(|offset| at(offset, ConfigErrorKind::Quote))?;
        if !pending.include {
            if !text.contains(['*', '?', '!']) {
                return Ok(Some(Found::Name(text)));
            }
            continue;
        }
        if text.is_empty() {
            return Err(at(offset, ConfigErrorKind::NoFile));
        }
        let scope = Scope {
            never: !scope.active,
            depth: scope.depth + 1,
            ..scope
        };
        return Ok(Some(Found::Include {
            pattern: text,
            position: position(pending.line, offset),
            scope,
        }));
    }
    Ok(None)
}

/// The byte `offset` of a line, as people count.
fn position((number, line): (u32, &str), offset: usize) -> Position {
    let before = line.get(..offset).unwrap_or(line);
    Position {
        line: number,
        column: before.chars().count() as u32 + 1,
    }
}

fn error(line: (u32, &str), offset: usize, kind: ConfigErrorKind) -> ConfigError {
    ConfigError {
        position: Some(position(line, offset)),
        kind,
    }
}

/// Whether a `Host` block with these patterns is for `host`.
fn host_block(mut words: Words<'_>, host: &str) -> Result<bool, (usize, ConfigErrorKind)> {
    let mut failed = None;
    let mut count = 0;
    let patterns = words.by_ref().map_while(|word| match word {
        Ok(Word { text, .. }) => {
            count += 1;
            Some(text)
        }
        Err(offset) => {
            failed = Some((offset, ConfigErrorKind::Quote));
            None
        }
    });
    let active = pattern::list_matches(patterns, host);
    match failed {
        Some(failed) => Err(failed),
        None if count == 0 => Err((words.offset(), ConfigErrorKind::NoPattern)),
        None => Ok(active),
    }
}
