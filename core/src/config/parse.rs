//! Values that a word makes.

use core::time::Duration;

use super::{ConfigErrorKind, Excerpt, InterfaceName, Path, REKEY_BYTES, RekeyLimit};
use crate::destination::HostName;
use crate::host;
use crate::keyword::{self, Keyword, Kind};
use crate::tokens;

pub(super) fn keep_first<T>(slot: &mut Option<T>, value: T, store: bool) {
    if store && slot.is_none() {
        *slot = Some(value);
    }
}

pub(super) fn bad_value(name: &'static str, wanted: Kind, value: &str) -> ConfigErrorKind {
    ConfigErrorKind::BadValue {
        name,
        wanted,
        value: Excerpt::new(value),
    }
}

pub(super) fn number(keyword: &Keyword, text: &str) -> Option<u32> {
    let Kind::Number { min, max } = keyword.kind else {
        return None;
    };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

pub(super) fn time(keyword: &Keyword, text: &str) -> Option<Duration> {
    let Kind::Time { min_s, max_s } = keyword.kind else {
        return None;
    };
    keyword::parse_time(text)
        .filter(|t| (u64::from(min_s)..=u64::from(max_s)).contains(&t.as_secs()))
}

pub(super) fn path(text: &str) -> Option<Path> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    Path::try_from(text).ok()
}

/// A file name with tokens.
pub(super) fn template(keyword: &Keyword, text: &str) -> Result<Path, ConfigErrorKind> {
    let value = path(text).ok_or_else(|| bad_value(keyword.name, keyword.kind, text))?;
    tokens::check(text).map_err(|error| ConfigErrorKind::Token(keyword.name, error))?;
    Ok(value)
}

/// `yes` or `no`.
pub(super) fn yes_no(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("yes") => Some(true),
        _ if text.eq_ignore_ascii_case("no") => Some(false),
        _ => None,
    }
}

/// A host, `%h` in it being the host as it was given; only that and `%%` are tokens here, as in
/// ssh_config(5).
pub(super) fn hostname(template: &str, given: &str) -> Option<HostName> {
    let mut name = HostName::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before).ok()?;
        let (token, after) = after.split_at_checked(1)?;
        name.push_str(match token {
            "h" => given,
            "%" => "%",
            _ => return None,
        })
        .ok()?;
        rest = after;
    }
    name.push_str(rest).ok()?;
    host::parse(&name).ok()
}

/// A name as the kernel takes it (`dev_valid_name`), without control characters.
pub(super) fn interface(text: &str) -> Option<InterfaceName> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == '/' || c == ':';
    if text.is_empty() || text == "." || text == ".." || text.chars().any(bad) {
        return None;
    }
    InterfaceName::try_from(text).ok()
}

/// `amount [time]`, each `default`, the time also `none`. The amount has an upper bound
/// because of RFC 4344, 3.1 and a lower one so that exchanges leave room for data.
pub(super) fn rekey_limit(amount: &str, time: Option<&str>) -> Option<RekeyLimit> {
    let bytes = if amount.eq_ignore_ascii_case("default") {
        REKEY_BYTES
    } else {
        keyword::parse_size(amount).filter(|b| (16 << 10..=4 << 30).contains(b))?
    };
    let time = match time {
        None => None,
        Some(text)
            if ["none", "default"]
                .iter()
                .any(|w| text.eq_ignore_ascii_case(w)) =>
        {
            None
        }
        Some(text) => {
            let time = keyword::parse_time(text)?;
            (60..=604_800).contains(&time.as_secs()).then_some(())?;
            Some(time)
        }
    };
    Some(RekeyLimit { bytes, time })
}
