//! What was obtained: values back to text, as a configuration file has them, and file names.

use core::fmt;

use super::{Config, Path};
use crate::keyword::{KEYWORDS, Keyword};

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
