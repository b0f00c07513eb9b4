//! Whether the server is who it was: the judgement of a host key that was proven.

use log::{info, warn};
use reachback_core::calendar::Utc;
use reachback_core::cause::Cause;
use reachback_core::certificate::{Flaw, is_plausible, judge};
use reachback_core::failure::Failure;
use reachback_core::known_hosts::HostKeyMatch;
use reachback_ssh::certificate::{self, Certificate};
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, fingerprint, key_type};
use reachback_tunnel::Ended;

use crate::hostkey::{Change, Changes, HostKeys, Known, Pinned, Unusable};
use crate::keys;
use crate::logging;
use crate::sys::clock;

/// Letters of a certificate's names that a message shows.
const NAMES: usize = 120;

/// The certificate that a host key came in, if it did.
pub fn certificate(blob: &[u8]) -> Option<Certificate> {
    certificate::is_certificate(blob)
        .then(|| certificate::read(blob).ok())
        .flatten()
}

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
        let certificate = certificate(blob);
        let blob = certificate.as_ref().map_or(blob, |found| &found.key);
        let base64 = blob_to_base64(blob);
        let refused = |failure, reason: String| Err(Ended::new(failure, reason));
        let shown = fingerprint(blob);
        let files = self.known.shown();
        let name = self.name(host, port);
        let found = self.known.check(name.0, name.1, key_type, &base64);
        if let (Some(certificate), false) = (&certificate, matches!(found, Ok(Known::Revoked))) {
            let is_pinned = matches!(found, Ok(Known::Pinned | Known::PinnedForThisRun));
            match self.certified((host, port), certificate) {
                Ok(true) => return Ok(()),
                Err(ended) if is_pinned && ended.cause == Some(Cause::HostCertificate) => {
                    warn!("{}; its key is pinned", ended.reason);
                }
                Err(ended) => return Err(ended),
                Ok(false) => {}
            }
        }
        match found.and_then(|known| self.pinned(known, name, (key_type, &base64), &shown)) {
            Ok(Known::Pinned | Known::PinnedForThisRun) => Ok(()),
            Ok(Known::Nothing) => {
                let how = match self.known.has_authority(name.0, name.1) {
                    Ok(false) => "or call once with -y",
                    _ => {
                        "or sign it: no authority that is named there certifies it, and -y does not pin it then"
                    }
                };
                refused(
                    Failure::HostKeyUnknown,
                    format!(
                        "host key for {host} port {port} is unknown ({key_type} {shown}): \
                         compare it, then add it to {files} {how}"
                    ),
                )
            }
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

    /// Whether an authority of the server certified its key; false where nothing is known about who did.
    fn certified(&self, (host, port): (&str, u16), of: &Certificate) -> Result<bool, Ended> {
        let name = self.name(host, port);
        let refused = |cause, flaw: &str| {
            let reason = format!(
                "host certificate '{}' of {host} port {port}, by {}, {flaw}",
                of.name,
                fingerprint(&of.authority)
            );
            Err(Ended::new(Failure::HostKeyUnknown, reason).because(Some(cause)))
        };
        match self.known.authority(name.0, name.1, &of.authority) {
            Ok(HostKeyMatch::Match) => {}
            Ok(HostKeyMatch::Revoked) => {
                return refused(Cause::HostKeyRevoked, "whose key is revoked");
            }
            Ok(_) => return Ok(false),
            Err(unusable) => return Err(Ended::new(Failure::Local, unusable.to_string())),
        }
        let now_s = clock::wall_s();
        let now = Utc::from_unix_s(now_s);
        let principals = of.principals.iter().map(String::as_str);
        let validity = (of.valid_after, of.valid_before);
        let judged = judge(
            (of.is_host, of.is_limited),
            principals,
            validity,
            name.0,
            now_s,
        );
        let flaw = match judged {
            Ok(()) => {
                if !is_plausible(now_s) {
                    warn!(
                        "until when the host certificate of {host} is valid is not looked at: the clock says {now}"
                    );
                }
                return Ok(true);
            }
            Err(Flaw::NotForHosts) => "is one for users, not for hosts".to_owned(),
            Err(Flaw::Limited) => "has critical options, which nobody knows here".to_owned(),
            Err(Flaw::OtherHost) => {
                let names = logging::escaped(of.principals.join(",")).to_string();
                let names: String = names.chars().take(NAMES).collect();
                format!("is for '{names}' and not for {}", name.0)
            }
            Err(Flaw::NotNow) if now_s < of.valid_after => {
                let from = Utc::from_unix_s(of.valid_after);
                format!("is not valid before {from}, and the clock here says {now}")
            }
            Err(Flaw::NotNow) => {
                let to = Utc::from_unix_s(of.valid_before);
                format!("expired at {to}, and the clock here says {now}")
            }
        };
        refused(Cause::HostCertificate, &flaw)
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
        // Who names an authority is not talked out of it by a server that has no certificate.
        if self.known.has_authority(host, port)? {
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
