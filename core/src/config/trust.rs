//! Which servers may be called and are trusted: what the configuration file has the last word on.

use heapless::Vec;

use super::{Algorithms, Config, Path, notice, value};
use crate::keyword::Setting;
use crate::pattern;

/// One or two file names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files(pub Vec<Path, 2>);

/// What to do about an unknown host key. A changed one is always refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    #[default]
    Yes,
    /// Accept and pin it.
    AcceptNew,
}

/// Which servers may be called, where the known hosts are, and whether a new one is trusted.
#[derive(Debug)]
pub struct Trusted(
    Option<Algorithms>,
    Option<Files>,
    Option<StrictHostKeyChecking>,
);

impl Config {
    /// Whether `AllowDestinations` lets a server be called: `user` at `host`, which was given as
    /// `given`. None where it does not say. A pattern is for the host, or for both sides of its last
    /// `@`; the host's is for its real name or the one that was given. A user's case counts.
    pub fn allows(&self, user: &str, host: &str, given: &str) -> Option<bool> {
        let mut found = false;
        for pattern in self.allow_destinations()?.split(',') {
            let (negated, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, pattern),
            };
            let (of_user, of_host) = pattern.rsplit_once('@').unwrap_or(("*", pattern));
            let named = [host, given]
                .iter()
                .any(|name| pattern::matches(of_host, name));
            if named && pattern::file_matches(of_user, user) {
                if negated {
                    return Some(false);
                }
                found = true;
            }
        }
        Some(found)
    }

    /// Takes out what the configuration file decides even against a custom script.
    pub fn take_trust(&mut self) -> Trusted {
        Trusted(
            self.allow_destinations.take(),
            self.known_hosts_files.take(),
            self.strict_host_key_checking.take(),
        )
    }

    /// Puts back what the file left open, also into the script's own options. False if it did not
    /// leave [`StrictHostKeyChecking`] open.
    pub fn give_trust(&mut self, script: &mut Config, trusted: Trusted) -> bool {
        let Trusted(allowed, files, checking) = trusted;
        if self.allow_destinations.is_none() {
            script.allow_destinations.clone_from(&allowed);
            self.allow_destinations = allowed;
        }
        if self.known_hosts_files.is_none() {
            script.known_hosts_files.clone_from(&files);
            self.known_hosts_files = files;
        }
        let open = self.strict_host_key_checking.is_none();
        if open {
            script.strict_host_key_checking = checking;
            self.strict_host_key_checking = checking;
        }
        open
    }

    /// The files with the pinned host keys; new ones go into the first. None for keys that are
    /// kept in memory only.
    pub fn known_hosts_files(&self) -> Files {
        let keyword = Setting::UserKnownHostsFile.keyword();
        let mut files = value::held(&self.known_hosts_files, keyword).unwrap_or_default();
        files.0.retain(|name| !notice::is_no_file(name));
        files
    }
}
