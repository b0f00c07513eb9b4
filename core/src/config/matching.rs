//! `Match` blocks: what holds for which destination, without running anything.

use super::words::{Word, Words};
use super::{Config, ConfigErrorKind, Excerpt, Notice, Scope};
use crate::pattern;

/// What ssh_config(5) knows besides; none is judged.
const UNJUDGED: [(&str, &str); 6] = [
    ("command", "it is not judged: nothing is run on the server"),
    ("exec", "no program is ever run, so the block does not hold"),
    (
        "localnetwork",
        "it is not judged, so the block does not hold",
    ),
    (
        "sessiontype",
        "it is not judged, so the block does not hold",
    ),
    ("tagged", "it is not judged, so the block does not hold"),
    ("version", "it is not judged, so the block does not hold"),
];

/// What a `Match` line says.
pub(super) struct Judged {
    /// The block holds.
    pub(super) holds: bool,
    /// It asks for a second reading.
    pub(super) wants_final: bool,
    /// What was not judged.
    pub(super) notice: Option<Notice>,
}

/// Judges the criteria of a `Match` line.
pub(super) fn judge(
    mut words: Words<'_>,
    scope: &Scope<'_>,
    config: &Config,
) -> Result<Judged, (usize, ConfigErrorKind)> {
    let mut judged = Judged {
        holds: true,
        wants_final: false,
        notice: None,
    };
    let mut count = 0;
    while let Some(word) = words.next() {
        let Word { text, offset } = word.map_err(|offset| (offset, ConfigErrorKind::Quote))?;
        count += 1;
        let (negated, attribute) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, &*text),
        };
        let (name, attached) = match attribute.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (attribute, None),
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("all") {
            continue;
        }
        if is("canonical") || is("final") {
            judged.wants_final |= is("final");
            judged.holds &= scope.is_final != negated;
            continue;
        }
        let next;
        let value = match attached {
            Some(value) => value,
            None => {
                next = words
                    .next()
                    .ok_or((offset, ConfigErrorKind::Criterion(Excerpt::new(&text))))?
                    .map_err(|offset| (offset, ConfigErrorKind::Quote))?;
                &next.text
            }
        };
        let list = |text: &str| pattern::list_matches(value.split(','), text);
        let matches = match () {
            () if is("host") => match config.hostname(scope.host) {
                Some(Ok(host)) => list(&host),
                _ => list(scope.host),
            },
            () if is("originalhost") => list(scope.given),
            () if is("user") => list(scope.user.or(config.user()).unwrap_or(scope.local_user)),
            () if is("localuser") => list(scope.local_user),
            () => {
                let mut known = UNJUDGED.iter();
                let Some((name, why)) = known.find(|(name, _)| is(name)) else {
                    return Err((offset, ConfigErrorKind::Criterion(Excerpt::new(&text))));
                };
                judged.holds = false;
                judged.notice = Some(Notice::warning("Match", name, why));
                continue;
            }
        };
        judged.holds &= matches != negated;
    }
    if count == 0 {
        return Err((words.offset(), ConfigErrorKind::Criterion(Excerpt::new(""))));
    }
    Ok(judged)
}
