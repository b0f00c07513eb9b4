//! What was obtained: values back to text, as a configuration file has them, and file names.

use core::fmt;

use super::{Config, Path};
use crate::keyword::{KEYWORDS, Keyword};

/// Whether a line of a configuration, or an option, may have the password of a proxy in it: then it is
/// shown nowhere.
pub fn may_be_secret(line: &str) -> bool {
    let line = line.trim_ascii_start();
    let Some((keyword, value)) = line.split_at_checked("Proxy".len()) else {
        return false;
    };
    let ends = !value.starts_with(|c: char| c.is_ascii_alphanumeric());
    ends && keyword.eq_ignore_ascii_case("Proxy") && value.contains('@')
}

/// The values that hold for one keyword; see [`Config::lines`].
struct Lines<'a>(&'a Config, &'static Keyword);

impl Config {
    /// Whether a value was obtained for a keyword.
    pub fn is_set(&self, keyword: &Keyword) -> bool {
        self.slot(keyword.setting).is_set()
    }

    /// Rewrites every file name that was obtained, where `rename` gives another one.
    pub fn rename_files(&mut self, rename: &dyn Fn(&str) -> Option<Path>) {
        for keyword in &KEYWORDS {
            self.slot_mut(keyword.setting).rename(keyword, rename);
        }
    }

    /// The values that hold for a keyword, defaults included: a line of a configuration file for
    /// each, none for a keyword without value. Times are in seconds, amounts in bytes.
    pub fn lines(&self, keyword: &'static Keyword) -> impl fmt::Display {
        Lines(self, keyword)
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.slot(self.1.setting).show(self.1, f)
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_secret;

    #[test]
    fn a_proxy_with_a_password_is_not_shown() {
        for line in ["Proxy http://u:p@h:1", "  proxy=u:p@h", "PROXY \"u@h\""] {
            assert!(may_be_secret(line), "{line}");
        }
        for line in [
            "Proxy http://h:1",
            "ProxyCommand ssh u@h",
            "User a@b",
            "Prox",
            "",
        ] {
            assert!(!may_be_secret(line), "{line}");
        }
    }
}
