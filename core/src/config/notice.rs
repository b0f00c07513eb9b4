//! What is said about a value that is accepted and not, or not wholly, followed.

use core::fmt;

use super::{ConfigErrorKind, Excerpt};
use crate::keyword::{Setting, Treatment};

/// Something that a person should know about a configuration that is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The keyword.
    name: &'static str,
    /// The beginning of its value.
    value: Excerpt,
    what: &'static str,
    /// It asks for something for this destination: a warning. Otherwise it was passed over in a
    /// block of another.
    pub is_warning: bool,
}

impl Notice {
    pub(super) fn warning(name: &'static str, value: &str, what: &'static str) -> Self {
        Self {
            name,
            value: Excerpt::new(value),
            what,
            is_warning: true,
        }
    }

    pub(super) fn passed_over(name: &'static str, value: &str, what: &'static str) -> Self {
        Self {
            is_warning: false,
            ..Self::warning(name, value, what)
        }
    }

    /// In the place of an error: the tunnel does its job without what is too much.
    pub(super) fn instead(kind: &ConfigErrorKind, word: &str) -> Option<Self> {
        let ConfigErrorKind::TooMany(name, _) = *kind else {
            return None;
        };
        let what = match name {
            "IdentityFile" => "not tried: a server takes few keys, so the first 4 are",
            "UserKnownHostsFile" => "not read: the first 2 are",
            _ => return None,
        };
        Some(Self::warning(name, word, what))
    }

    /// About a value that has another meaning here than in ssh.
    pub(super) fn about(setting: Setting, word: &str) -> Option<Self> {
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        let what = match setting {
            Setting::StrictHostKeyChecking if is("no") || is("off") => {
                "taken as accept-new: an unknown host key is pinned, a changed one is refused"
            }
            Setting::StrictHostKeyChecking if is("ask") => {
                "taken as yes: nobody can be asked, an unknown host key is refused"
            }
            Setting::UpdateHostKeys if is("ask") => {
                "taken as no: nobody can be asked, pins stay as they are"
            }
            Setting::UserKnownHostsFile if is_no_file(word) => {
                "host keys are pinned in memory only, until this process ends"
            }
            Setting::ServerAliveCountMax if word == "0" => {
                "as in ssh, the connection counts as lost after ServerAliveInterval without a byte"
            }
            _ => return None,
        };
        Some(Self::warning(setting.keyword().name, word, what))
    }
}

/// Whether a `UserKnownHostsFile` is none.
pub(super) fn is_no_file(name: &str) -> bool {
    name.eq_ignore_ascii_case("none") || name == "/dev/null"
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, value, what, ..
        } = self;
        match self.is_warning {
            true => write!(f, "{name} {value}: {what}"),
            false => write!(f, "passed over: {name} {value}: {what}"),
        }
    }
}

/// Whether a value asks for what is so anyway; a list, for one of its words.
pub(super) fn is_so_anyway(treatment: Treatment, value: &str) -> bool {
    match treatment {
        Treatment::Same(_) => true,
        Treatment::Unless(values, _) | Treatment::Refused(values, _) => {
            let is = |word: &str| values.iter().any(|known| word.eq_ignore_ascii_case(known));
            is(value) || value.split(',').any(is)
        }
    }
}
