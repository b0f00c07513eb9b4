//! Values that a word makes.

use super::{ConfigErrorKind, Excerpt, RekeyLimit};
use crate::destination::HostName;
use crate::host;
use crate::keyword::{self, Keyword, Kind};

/// Without what may be a password in it.
pub(super) fn bad_value(keyword: &'static Keyword, value: &str) -> ConfigErrorKind {
    let value = match (keyword.kind, value.rsplit_once('@')) {
        (Kind::Proxy, Some((_, place))) => place,
        _ => value,
    };
    ConfigErrorKind::BadValue {
        keyword,
        value: Excerpt::new(value),
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

/// Whether the kernel takes it (`dev_valid_name`) and it has no control characters.
pub(super) fn is_interface(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == '/' || c == ':';
    !text.is_empty() && text != "." && text != ".." && !text.chars().any(bad)
}

/// `amount [time]`, each `default`, the time also `none`. The amount has an upper bound
/// because of RFC 4344, 3.1 and a lower one so that exchanges leave room for data.
pub(super) fn rekey_limit(amount: &str, time: Option<&str>) -> Option<RekeyLimit> {
    // As in ssh, 0 is the default amount, and no time.
    let bytes = if amount.eq_ignore_ascii_case("default") || amount == "0" {
        1 << 30
    } else {
        keyword::parse_size(amount).filter(|b| (16 << 10..=4 << 30).contains(b))?
    };
    let time = match time {
        None => None,
        Some(text)
            if ["none", "default", "0"]
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
