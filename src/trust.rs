//! Whether the server is who it was: the judgement of a host key that was proven.

use log::{info, warn};
use reachback_core::cause::Cause;
use reachback_core::failure::Failure;
use reachback_ssh::hostkey::{blob_to_base64, fingerprint};
use reachback_tunnel::Ended;

use crate::hostkey::{HostKeys, Known, Pinned, Unusable};
use crate::keys;
use crate::logging;

/// Known hosts, and what to do with a server that is not among them.
pub struct Trust {
    /// The file of pinned keys.
    pub known: HostKeys,
    /// `HostKeyAlias`: the host that has it, and the name its keys are known under.
    pub alias: Option<(String, String)>,
    /// `-y`: an unknown key is accepted once, and pinned.
    pub accept_new: bool,
}

impl Trust {
    /// The key types to ask for first: those that are pinned, so that a server with several
    /// keys shows the one that can be compared.
    pub fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Ended> {
        let (host, port) = self.name(host, port);
        let types = self.known.pinned_types(host, port);
        types.map_err(|unusable| Ended::new(Failure::Local, unusable.to_string()))
    }

    /// Accepts a key that is pinned, pins one that may be, and says loudly why not otherwise.
    pub fn judge(&self, host: &str, port: u16, key_type: &str, blob: &[u8]) -> Result<(), Ended> {
        let base64 = blob_to_base64(blob);
        let refused = |failure, reason: String| Err(Ended::new(failure, reason));
        let shown = fingerprint(blob);
        let files = self.known.shown();
        let name = self.name(host, port);
        let found = self.known.check(name.0, name.1, key_type, &base64);
        match found.and_then(|known| self.pinned(known, name, (key_type, &base64), &shown)) {
            Ok(Known::Pinned | Known::PinnedForThisRun) => Ok(()),
            Ok(Known::Nothing) => refused(
                Failure::HostKeyUnknown,
                format!(
                    "host key for {host} port {port} is unknown ({key_type} {shown}): \
                     compare it, then add it to {files} or call once with -y"
                ),
            ),
            Ok(Known::Other(place)) => refused(
                Failure::HostKeyChanged,
                format!(
                    "host key for {host} has changed: the server on port {port} showed {key_type} {shown}, \
                     {place} pins another: not connecting; if the server really has a new key: {}",
                    self.forget(name.0, name.1)
                ),
            ),
            Ok(Known::Revoked) => {
                let reason = format!(
                    "host key for {host} is revoked in {files}: {key_type} {shown}: not connecting"
                );
                let ended = Ended::new(Failure::HostKeyChanged, reason);
                Err(ended.because(Some(Cause::HostKeyRevoked)))
            }
            Err(unusable) => refused(Failure::Local, unusable.to_string()),
        }
    }

    /// The name under which a server's keys are known. An alias has no port, as in ssh: port 22 is
    /// not written.
    pub fn name<'a>(&'a self, host: &'a str, port: u16) -> (&'a str, u16) {
        match &self.alias {
            Some((of, alias)) if of == host => (alias, 22),
            _ => (host, port),
        }
    }

    /// The command that takes the pins of a server away.
    fn forget(&self, host: &str, port: u16) -> String {
        let mut command = "reachback known-hosts forget".to_owned();
        let default = [keys::absolute("~/.ssh/known_hosts")];
        if self.known.files() != default {
            let files = self
                .known
                .files()
                .iter()
                .map(|file| file.display().to_string());
            let files = files.collect::<Vec<_>>().join(" ");
            command.push_str(&format!(" -o 'UserKnownHostsFile {files}'"));
        }
        match (host.contains(':'), port) {
            (_, 22) => format!("{command} {host}"),
            (true, _) => format!("{command} [{host}]:{port}"),
            (false, _) => format!("{command} {host}:{port}"),
        }
    }

    /// Pins a key that may be; what is known of it then. One that no file took so far is tried
    /// again at each connection.
    fn pinned(
        &self,
        known: Known,
        (host, port): (&str, u16),
        (key_type, base64): (&str, &str),
        shown: &str,
    ) -> Result<Known, Unusable> {
        let again = known == Known::PinnedForThisRun;
        if !self.accept_new || !(again || known == Known::Nothing) {
            return Ok(known);
        }
        Ok(match self.known.pin(host, port, key_type, base64)? {
            Pinned::Meanwhile(known) => known,
            Pinned::In(file) => {
                let file = file.display();
                info!(target: logging::NOTICE, "host key {key_type} {shown} accepted and pinned in {file}");
                Known::Pinned
            }
            Pinned::ForThisRun(_) if again => known,
            Pinned::ForThisRun(reason) => {
                warn!(
                    "host key {key_type} {shown} accepted and kept in memory until this process ends: {reason}"
                );
                Known::PinnedForThisRun
            }
        })
    }
}
