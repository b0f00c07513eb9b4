//! Values back to text, as a configuration file has them.

use core::fmt;

use super::Config;
use crate::keyword::Keyword;

/// The values that hold for one keyword; see [`Config::lines`].
struct Lines<'a>(&'a Config, &'static Keyword);

impl Config {
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
