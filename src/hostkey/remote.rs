//! A host key that another process pins: its answer, as lines.

use std::io;
use std::path::Path;

use super::{Change, HostKeys, Unusable, Written};
use crate::sys::file;

impl HostKeys {
    /// Pins this server's key in a file for a process that may not; the answer to it.
    pub fn pin_for_another(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> String {
        match self.write(host, port, key_type, key_base64) {
            Ok(Written::In(path)) => format!("in\n{}", path.display()),
            Ok(Written::Meanwhile) => "meanwhile".to_owned(),
            Ok(Written::Nowhere(None)) => "nowhere".to_owned(),
            Ok(Written::Nowhere(Some(why))) => format!("nowhere\n{}", lines(&why)),
            Err(why) => format!("unusable\n{}", lines(&why)),
        }
    }

    /// Changes a pin in the file for a process that may not; the answer to it.
    pub fn amend_for_another(&self, host: &str, port: u16, change: &Change) -> String {
        match self.amend_file(host, port, change) {
            Ok(path) => format!("in\n{}", path.display()),
            Err(why) => format!("unusable\n{}", lines(&why)),
        }
    }
}

/// Whether an answer says that another process writes the file at this time.
pub fn is_busy(answer: &str) -> bool {
    answer.starts_with("unusable\nlock\n")
}

/// The answer where nothing was tried.
pub fn not_pinned(why: &dyn std::fmt::Display) -> String {
    format!("nowhere\nwrite\nknown_hosts\n{why}")
}

fn lines(why: &Unusable) -> String {
    let (path, reason) = (why.path.display(), file::reason(&why.error));
    format!("{}\n{path}\n{reason}", why.what)
}

/// What such an answer says; one that says nothing known has tried nothing.
pub(super) fn told(answer: io::Result<String>) -> Result<Written, Unusable> {
    let answer = answer.unwrap_or_else(|error| not_pinned(&file::reason(&error)));
    let lines: Vec<&str> = answer.lines().collect();
    let unusable = |what: &str, path, why: &str| {
        let what = ["lock", "read"].into_iter().find(|known| *known == what);
        Unusable::new(
            Path::new(path),
            what.unwrap_or("write"),
            io::Error::other(why.to_owned()),
        )
    };
    match lines.as_slice() {
        ["in", path] => Ok(Written::In((*path).into())),
        ["meanwhile"] => Ok(Written::Meanwhile),
        ["nowhere", what, path, why] => Ok(Written::Nowhere(Some(unusable(what, path, why)))),
        ["unusable", what, path, why] => Err(unusable(what, path, why)),
        _ => Ok(Written::Nowhere(None)),
    }
}
