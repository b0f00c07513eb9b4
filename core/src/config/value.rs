//! Words to a value, and back.

use core::fmt::{self, Display, Write};
use core::net::IpAddr;
use core::time::Duration;

use heapless::String;

use super::notice;
use super::parse::{self, bad_value};
use super::{
    ConfigErrorKind, Files, Path, RekeyLimit, Sandbox, SessionChannel, StrictHostKeyChecking,
};
use crate::destination::{self, Fallback, proxy};
use crate::dial::AddressFamily;
use crate::forward::ForwardSpec;
use crate::host;
use crate::ipqos::IpQos;
use crate::keyword::{self, Keyword, Kind, LogLevel};
use crate::tokens::{self, Tokens};

/// The type of a setting.
pub(super) trait Value: Clone + PartialEq {
    /// Reads one value: one word, or two where [`Kind::most_words`] says so.
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind>;

    /// The form that [`Value::read`] reads; times are in seconds, amounts in bytes.
    fn show(&self, keyword: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Replaces tokens, where the keyword's kind has any.
    fn expand(&mut self, _: &'static Keyword, _: &Tokens<'_>) -> Result<(), ConfigErrorKind> {
        Ok(())
    }

    /// Rewrites file names, where the keyword's kind is one.
    fn rename(&mut self, _: &Keyword, _: &dyn Fn(&str) -> Option<Path>) {}

    /// Whether [`Value::expand`] would replace the token `%letter`.
    fn uses_token(&self, _: &Keyword, _: char) -> bool {
        false
    }
}

/// What holds: the value that came, or the keyword's default.
pub(super) fn held<T: Value>(value: &Option<T>, keyword: &'static Keyword) -> Option<T> {
    if value.is_some() || keyword.default.is_empty() {
        return value.clone();
    }
    let (first, second) = match keyword.default.split_once(' ') {
        Some((first, second)) => (first, Some(second)),
        None => (keyword.default, None),
    };
    let words = [first, second.unwrap_or_default()];
    T::read(keyword, &words[..1 + usize::from(second.is_some())]).ok()
}

/// The first word, read by `read`.
fn word<T>(
    keyword: &'static Keyword,
    words: &[&str],
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ConfigErrorKind> {
    let word = words.first().copied().unwrap_or_default();
    read(word).ok_or_else(|| bad_value(keyword, word))
}

/// A type with a value for each word of a [`Kind::Choice`].
trait Choice: Copy + PartialEq + 'static {
    /// In the order of [`Kind::words`]; where two are the same, the first word is shown.
    const VALUES: &'static [Self];
}

impl Choice for bool {
    /// The fifth is a word of `UpdateHostKeys`.
    const VALUES: &'static [Self] = &[true, false, true, false, false];
}

impl Choice for AddressFamily {
    const VALUES: &'static [Self] = &[Self::Any, Self::V4, Self::V6];
}

impl Choice for LogLevel {
    const VALUES: &'static [Self] = &[
        Self::Quiet,
        Self::Fatal,
        Self::Error,
        Self::Info,
        Self::Verbose,
        Self::Debug1,
        Self::Debug1,
        Self::Debug2,
        Self::Debug3,
    ];
}

impl Choice for StrictHostKeyChecking {
    /// Nobody can be asked, and a changed key is never accepted.
    const VALUES: &'static [Self] = &[
        Self::Yes,
        Self::AcceptNew,
        Self::Yes,
        Self::AcceptNew,
        Self::AcceptNew,
    ];
}

impl Choice for SessionChannel {
    const VALUES: &'static [Self] = &[Self::No, Self::Yes, Self::Shell, Self::No, Self::Yes];
}

impl Choice for Sandbox {
    const VALUES: &'static [Self] = &[Self::Yes, Self::Try, Self::No];
}

impl<T: Choice> Value for T {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        word(keyword, words, |word| {
            let mut known = keyword.kind.words().iter();
            let index = known.position(|known| known.eq_ignore_ascii_case(word))?;
            Self::VALUES.get(index).copied()
        })
    }

    fn show(&self, keyword: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = Self::VALUES.iter().position(|value| value == self);
        let word = index.and_then(|index| keyword.kind.words().get(index));
        f.write_str(word.copied().unwrap_or_default())
    }
}

impl Value for u32 {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let Kind::Number { min, max } = keyword.kind else {
            return Err(bad_value(keyword, ""));
        };
        word(keyword, words, |text| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| text.parse().ok())?;
            number.filter(|n| (min..=max).contains(n))
        })
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

/// A port.
impl Value for u16 {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        word(keyword, words, |text| {
            host::parse_port(text).ok().filter(|port| *port != 0)
        })
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

/// What Linux takes to give up a connection that nobody answers, in seconds (tcp(7),
/// `tcp_syn_retries`): that is what `ConnectTimeout none` waits for in ssh.
const SYSTEM_TIMEOUT_S: u64 = 127;

impl Value for Duration {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let Kind::Time { min_s, max_s } = keyword.kind else {
            return Err(bad_value(keyword, ""));
        };
        let bounds = u64::from(min_s)..=u64::from(max_s);
        let none = if min_s == 0 { 0 } else { SYSTEM_TIMEOUT_S };
        word(keyword, words, |text| {
            if text.eq_ignore_ascii_case("none") || text == "0" {
                return Some(Duration::from_secs(none));
            }
            keyword::parse_time(text).filter(|time| bounds.contains(&time.as_secs()))
        })
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_secs().fmt(f)
    }
}

impl Value for IpAddr {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        word(keyword, words, |text| text.parse().ok())
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

impl Value for IpQos {
    /// ssh marks a session that has no terminal, as ours, with the second of two values.
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let first = word(keyword, words, Self::parse)?;
        match words.get(1..) {
            Some(second @ [_, ..]) => word(keyword, second, Self::parse),
            _ => Ok(first),
        }
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

impl Value for RekeyLimit {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let time = words.get(1).copied();
        word(keyword, words, |amount| parse::rekey_limit(amount, time))
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.bytes)?;
        match self.time {
            Some(time) => time.as_secs().fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl Value for Fallback {
    fn read(_: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let word = words.first().copied().unwrap_or_default();
        Self::parse(word).map_err(ConfigErrorKind::Destination)
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

impl Value for ForwardSpec {
    fn read(_: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let word = |index| words.get(index).copied().unwrap_or_default();
        Self::parse_words(word(0), word(1)).map_err(ConfigErrorKind::Forward)
    }

    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.listen, self.target)
    }

    fn expand(&mut self, _: &'static Keyword, tokens: &Tokens<'_>) -> Result<(), ConfigErrorKind> {
        *self = ForwardSpec::expand(self, tokens).map_err(ConfigErrorKind::Forward)?;
        Ok(())
    }

    fn uses_token(&self, _: &Keyword, letter: char) -> bool {
        ForwardSpec::uses_token(self, letter)
    }
}

impl Value for Files {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let mut files = Self::default();
        for word in words {
            let file = Path::read(keyword, &[word])?;
            let added = files.0.push(file);
            added.map_err(|_| ConfigErrorKind::TooMany(keyword.name, files.0.capacity()))?;
        }
        Ok(files)
    }

    fn show(&self, keyword: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            file.show(keyword, f)?;
        }
        Ok(())
    }

    fn expand(
        &mut self,
        keyword: &'static Keyword,
        tokens: &Tokens<'_>,
    ) -> Result<(), ConfigErrorKind> {
        let mut files = self.0.iter_mut();
        files.try_for_each(|file| file.expand(keyword, tokens))
    }

    fn rename(&mut self, keyword: &Keyword, rename: &dyn Fn(&str) -> Option<Path>) {
        self.0
            .iter_mut()
            .for_each(|file| file.rename(keyword, rename));
    }

    fn uses_token(&self, keyword: &Keyword, letter: char) -> bool {
        self.0.iter().any(|file| file.uses_token(keyword, letter))
    }
}

fn has_tokens(keyword: &Keyword) -> bool {
    matches!(
        keyword.kind,
        Kind::Template | Kind::Templates | Kind::UserTemplate
    )
}

/// Whether known_hosts can have it as the name of one server (sshd(8)).
fn is_pinned_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !b",*?!|#@".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}

/// Names: what they may be is the keyword's kind.
impl<const N: usize> Value for String<N> {
    fn read(keyword: &'static Keyword, words: &[&str]) -> Result<Self, ConfigErrorKind> {
        let name = word(keyword, words, |text| {
            let good = match keyword.kind {
                Kind::User => destination::parse_user(text).is_ok(),
                // With tokens it is looked at when they are replaced.
                Kind::UserTemplate => text.contains('%') || destination::parse_user(text).is_ok(),
                Kind::Interface => parse::is_interface(text),
                Kind::Name => is_pinned_name(text),
                Kind::Host => parse::hostname(text, "h").is_some(),
                Kind::Proxy => text.eq_ignore_ascii_case("none") || proxy(text).is_some(),
                _ => !text.is_empty() && !text.chars().any(char::is_control),
            };
            good.then(|| Self::try_from(text).ok())?
        })?;
        if has_tokens(keyword) {
            let checked = tokens::check(&name);
            checked.map_err(|error| ConfigErrorKind::Token(keyword.name, error))?;
        }
        Ok(name)
    }

    /// In double quotes where it needs them.
    fn show(&self, _: &Keyword, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = |c: char| matches!(c, '"' | '\'' | '\\');
        if !self.starts_with('#') && !self.contains(|c: char| c.is_whitespace() || special(c)) {
            return f.write_str(self);
        }
        f.write_str("\"")?;
        for c in self.chars() {
            if special(c) {
                f.write_str("\\")?;
            }
            f.write_char(c)?;
        }
        f.write_str("\"")
    }

    fn expand(
        &mut self,
        keyword: &'static Keyword,
        tokens: &Tokens<'_>,
    ) -> Result<(), ConfigErrorKind> {
        if has_tokens(keyword) {
            let expanded = tokens.expand(self);
            *self = expanded.map_err(|error| ConfigErrorKind::Token(keyword.name, error))?;
        }
        Ok(())
    }

    fn rename(&mut self, keyword: &Keyword, rename: &dyn Fn(&str) -> Option<Path>) {
        let is_file = matches!(keyword.kind, Kind::Template | Kind::Templates | Kind::Path);
        if is_file
            && !notice::is_no_file(self)
            && let Some(name) = rename(self).and_then(|name| Self::try_from(name.as_str()).ok())
        {
            *self = name;
        }
    }

    fn uses_token(&self, keyword: &Keyword, letter: char) -> bool {
        has_tokens(keyword) && tokens::uses(self, letter)
    }
}
