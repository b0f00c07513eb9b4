//! Whether the server is who it was: the judgement of a host key that was proven.

use log::{info, warn};
use reachback_core::cause::Cause;
use reachback_core::failure::Failure;
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, fingerprint, key_type};
use reachback_tunnel::Ended;

use crate::hostkey::{Change, Changes, HostKeys, Known, Pinned, Unusable};
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
    /// `UpdateHostKeys`: pins follow what a server announces.
    pub follows: bool,
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

    /// Which of the host keys that this server announces it has to prove, by their place; none where its
    /// pins do not follow.
    pub fn to_prove(
        &self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
    ) -> Option<Vec<usize>> {
        let mut new = self.changes(self.name(host, port), login, announced)?.new;
        new.retain(|&at| announced[at] != login);
        Some(new)
    }

    /// Lets the pins of this server follow: keys that it has and proved are added, those that it no longer
    /// has go.
    pub fn follow(
        &self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
        proven: &[Vec<u8>],
    ) {
        let name = self.name(host, port);
        let Some(changes) = self.changes(name, login, announced) else {
            return;
        };
        let trusted = |key: &&Vec<u8>| *key == login || proven.contains(key);
        let new = changes.new.iter().map(|&at| &announced[at]).filter(trusted);
        let new = new.map(|key| Change::Add(blob_to_base64(key)));
        // The new ones first: a server is never without a pin.
        for change in new.chain(changes.gone.iter().cloned().map(Change::Remove)) {
            let (key, did, why) = match &change {
                Change::Add(key) => (key, "pinned in", "the server has it now"),
                Change::Remove(key) => (key, "removed from", "the server no longer has it"),
            };
            let blob = base64_to_blob(key).unwrap_or_default();
            let key_type = key_type(&blob).unwrap_or_default();
            let shown = format!(
                "host key {key_type} {} of {host} port {port}",
                fingerprint(&blob)
            );
            match self.known.amend(name, &changes, &change) {
                Ok(place) => info!(target: logging::NOTICE, "{shown} {did} {place}: {why}"),
                Err(unusable) => {
                    return warn!(
                        "{shown} is not {did} known hosts, though {why}: {}; \
                         when that is mended: reachback reconnect",
                        unusable.short()
                    );
                }
            }
        }
    }

    fn changes(&self, name: (&str, u16), login: &[u8], announced: &[Vec<u8>]) -> Option<Changes> {
        if !self.follows {
            return None;
        }
        self.known
            .changes(name, login, announced)
            .unwrap_or_else(|why| {
                warn!("pins do not follow the server's host keys: {}", why.short());
                None
            })
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
