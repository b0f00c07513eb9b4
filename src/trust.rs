//! Whether the server is who it was: the judgement of a host key that was proven.

use log::info;
use reachback_core::failure::Failure;
use reachback_core::known_hosts::Verdict;
use reachback_ssh::hostkey::{blob_to_base64, fingerprint};
use reachback_tunnel::Ended;

use crate::hostkey::HostKeys;
use crate::logging;

/// Known hosts, and what to do with a server that is not among them.
pub struct Trust {
    /// The file of pinned keys.
    pub known: HostKeys,
    /// `-y`: an unknown key is accepted once, and pinned.
    pub accept_new: bool,
}

impl Trust {
    /// The key types to ask for first: those that are pinned, so that a server with several
    /// keys shows the one that can be compared. An unreadable file shows when the key is judged.
    pub fn pinned_types(&self, host: &str, port: u16) -> Vec<String> {
        self.known.pinned_types(host, port).unwrap_or_default()
    }

    /// Accepts a key that is pinned, pins one that may be, and says loudly why not otherwise.
    pub fn judge(&self, host: &str, port: u16, key_type: &str, blob: &[u8]) -> Result<(), Ended> {
        let base64 = blob_to_base64(blob);
        let refused = |failure, reason| Err(Ended { failure, reason });
        let shown = fingerprint(blob);
        let file = self.known.path().display();
        match self.known.check(host, port, key_type, &base64) {
            Ok(Verdict::Match) => Ok(()),
            Ok(Verdict::Unknown) if self.accept_new => {
                match self.known.pin(host, port, key_type, &base64) {
                    Ok(()) => {
                        info!(target: logging::NOTICE, "host key {key_type} {shown} accepted and pinned in {file}");
                        Ok(())
                    }
                    Err(unusable) => refused(Failure::HostKeyUnknown, unusable.to_string()),
                }
            }
            Ok(Verdict::Unknown) => refused(
                Failure::HostKeyUnknown,
                format!(
                    "host key for {host} port {port} is unknown ({key_type} {shown}): \
                     compare it, then add it to {file} or start once with -y"
                ),
            ),
            Ok(Verdict::Changed { line }) => refused(
                Failure::HostKeyChanged,
                format!(
                    "host key for {host} has changed: the server on port {port} showed {key_type} {shown}, \
                     {file} line {line} pins another: not connecting; if the server really has a new key, \
                     remove that line"
                ),
            ),
            Ok(Verdict::Revoked) => refused(
                Failure::HostKeyChanged,
                format!(
                    "host key for {host} is revoked in {file}: {key_type} {shown}: not connecting"
                ),
            ),
            Err(unusable) => refused(Failure::HostKeyUnknown, unusable.to_string()),
        }
    }
}
