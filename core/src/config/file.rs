//! Configuration files: `Host` and `Match` blocks and `Include` around the keywords.

use core::iter::Enumerate;
use core::str::Lines;

use super::words::{Text, Word, Words};
use super::{Config, ConfigError, ConfigErrorKind, Notice, Position, matching};
use crate::pattern;

/// How deep files may include others.
pub const MAX_INCLUDE_DEPTH: u8 = 8;

/// Where a file is read: for which host, and whether its lines hold at its start.
#[derive(Copy, Clone, Debug)]
pub struct Scope<'h> {
    /// What `Host` patterns are compared with.
    pub(super) host: &'h str,
    pub(super) given: &'h str,
    pub(super) user: Option<&'h str>,
    pub(super) local_user: &'h str,
    pub(super) is_final: bool,
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
            given: host,
            user: None,
            local_user: "",
            is_final: false,
            active: true,
            never: false,
            depth: 0,
        }
    }

    /// The same for a login name that the caller gave, if any, by the local user `local`; for
    /// `Match`.
    pub fn by(self, user: Option<&'h str>, local: &'h str) -> Self {
        Self {
            user,
            local_user: local,
            ..self
        }
    }

    /// The second reading that `Match final` asks for: `Host` patterns are compared with the
    /// real host then.
    pub fn again(self, real: &'h str) -> Self {
        Self {
            host: real,
            is_final: true,
            ..self
        }
    }
}

/// What the caller of [`FileParser::step`] has to know or do.
#[derive(Clone, Debug)]
pub enum Found<'t, 'h> {
    /// A pattern of a `Host` line without wildcard and negation: the name of a server.
    Name(Text<'t>),
    /// Something to be told to a person.
    Notice(Notice, Position),
    /// Every file that `pattern` names, in the order of their names, is to be read with a parser
    /// in `scope`, before the next step.
    Include {
        /// As written: relative, with `~/`, `*` and `?`.
        pattern: Text<'t>,
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
    wants_final: bool,
}

impl<'t, 'h> FileParser<'t, 'h> {
    /// A parser at the start of `text`.
    pub fn new(text: &'t str, scope: Scope<'h>) -> Self {
        Self {
            lines: text.lines().enumerate(),
            scope,
            pending: None,
            wants_final: false,
        }
    }

    /// Whether a `Match final` was read: once everything is, all is to be read a second time,
    /// with [`Scope::again`].
    pub fn wants_final(&self) -> bool {
        self.wants_final
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
            let line = (index as u32 + 1, line);
            if let Some(notice) = self.line(config, line)? {
                return Ok(Some(Found::Notice(notice, position(line, 0))));
            }
        }
    }

    fn line(
        &mut self,
        config: &mut Config,
        line: (u32, &'t str),
    ) -> Result<Option<Notice>, ConfigError> {
        let at = |offset, kind| error(line, offset, kind);
        let mut words = Words::new(line.1);
        let Some((name, offset)) = words.keyword() else {
            return Ok(None);
        };
        // A comment may have any bytes, which the reader of the file has replaced.
        let foreign = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        let mut all = words.clone().map_while(Result::ok);
        let found = all.find(|word| foreign(&word.text));
        if let Some(offset) = match foreign(name) {
            true => Some(offset),
            false => found.map(|word| word.offset),
        } {
            return Err(at(offset, ConfigErrorKind::Encoding));
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let include = is("Include");
        if is("Match") {
            let judged = matching::judge(words, &self.scope, config);
            let judged = judged.map_err(|(offset, kind)| at(offset, kind))?;
            self.scope.active = judged.holds && !self.scope.never;
            self.wants_final |= judged.wants_final;
            return Ok(judged.notice.filter(|_| !self.scope.never));
        }
        if !include && !is("Host") {
            let named = config.named(name).map_err(|kind| at(offset, kind))?;
            let taken = config.take(named, &mut words, self.scope.active);
            return taken.map_err(|(offset, kind)| at(offset, kind));
        }
        let first = words.offset();
        if include {
            if self.scope.depth == MAX_INCLUDE_DEPTH {
                return Err(at(offset, ConfigErrorKind::IncludeDepth));
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
        Ok(None)
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
        Ok(word) => {
            count += 1;
            Some(word.text)
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
