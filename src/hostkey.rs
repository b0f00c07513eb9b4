//! The known_hosts file: which server keys are trusted, and pinning a new one.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reachback_core::known_hosts::{self, HashedName, Verdict};
use reachback_ssh::hostkey::base64_to_blob;
use ring::hmac;

use crate::exit::{self, Exit};
use crate::sys::file;

/// Largest known_hosts file read, bytes.
const KNOWN_HOSTS_BYTES: usize = 1024 * 1024;

/// The known_hosts file of the user. Read again at every question, for other programs
/// write it too.
#[derive(Debug)]
pub struct HostKeys {
    path: PathBuf,
}

/// known_hosts could not be read or written; never taken for an empty file.
#[derive(Debug)]
pub struct Unusable {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

impl Unusable {
    /// The sysexits(3) code when this happens before the start.
    pub fn exit_code(&self) -> u8 {
        match self.error.kind() {
            io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
            io::ErrorKind::FileTooLarge => exit::DATA,
            _ => exit::NO_INPUT,
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let reason = file::reason(&self.error);
        write!(
            f,
            "cannot {} the known hosts: {path}: {reason}; repair it or name another with -o UserKnownHostsFile",
            self.what
        )
    }
}

impl std::error::Error for Unusable {}

struct HmacSha1;

impl HashedName for HmacSha1 {
    /// HMAC-SHA1 keyed by the salt over the name (`HashKnownHosts`, ssh_config(5)).
    fn matches(&self, salt_b64: &str, hash_b64: &str, name: &str) -> bool {
        let (Ok(salt), Ok(hash)) = (base64_to_blob(salt_b64), base64_to_blob(hash_b64)) else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        hmac::verify(&key, name.as_bytes(), &hash).is_ok()
    }
}

impl HostKeys {
    /// The file at `path`, read once as a check. A file that does not exist is an empty one.
    ///
    /// # Errors
    /// [`exit::NO_INPUT`], [`exit::NO_PERMISSION`] or [`exit::DATA`] for one that exists and
    /// cannot be read, is not a regular file, or has more than a megabyte.
    pub fn open(path: &Path) -> Result<Self, Exit> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let keys = HostKeys { path };
        match keys.text() {
            Ok(text) => {
                if let Some(malformed) = known_hosts::malformed(&text) {
                    log::warn!(
                        "known hosts {}: {} lines are not in the format and are skipped, the first is line {}",
                        keys.path.display(),
                        malformed.count,
                        malformed.first_line
                    );
                }
                Ok(keys)
            }
            Err(unusable) => Err(Exit::new(unusable.exit_code(), unusable.to_string())),
        }
    }

    /// Where the file is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key types pinned for this server, to be asked for first.
    ///
    /// # Errors
    /// [`Unusable`] when the file cannot be read.
    pub fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Unusable> {
        let text = self.text()?;
        let types = known_hosts::pinned_types(&text, host, port, &HmacSha1);
        Ok(types.iter().map(|name| (*name).to_owned()).collect())
    }

    /// What the file says about a key that this server offers.
    ///
    /// # Errors
    /// [`Unusable`] when the file cannot be read.
    pub fn check(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> Result<Verdict, Unusable> {
        let text = self.text()?;
        Ok(known_hosts::lookup(
            &text, host, port, key_type, key_base64, &HmacSha1,
        ))
    }

    /// Appends this server's key. The line goes out in one write to a file opened for
    /// appending, so that lines of several programs do not mix; it is on disk on return. A
    /// directory that is missing is made with mode 0700, a file with 0600. A line cut short by
    /// a full disk is no valid entry, and the next one starts on a line of its own.
    ///
    /// # Errors
    /// [`Unusable`] when the file cannot be written.
    pub fn pin(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> Result<(), Unusable> {
        self.append(host, port, key_type, key_base64)
            .map_err(|error| self.unusable("write", error))
    }

    fn append(&self, host: &str, port: u16, key_type: &str, key_base64: &str) -> io::Result<()> {
        let directory = self.path.parent();
        if let Some(directory) = directory.filter(|directory| !directory.exists()) {
            DirBuilder::new().mode(0o700).create(directory)?;
        }
        let is_new = !self.path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let mut line = String::new();
        if !ends_with_line_feed(&mut file)? {
            line.push('\n');
        }
        known_hosts::write_entry(&mut line, host, port, key_type, key_base64)
            .map_err(|_| io::Error::other("the entry does not fit"))?;
        if !line.ends_with('\n') {
            line.push('\n');
        }
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        if let Some(directory) = directory.filter(|_| is_new) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    fn text(&self) -> Result<String, Unusable> {
        match file::read_bounded(&self.path, KNOWN_HOSTS_BYTES) {
            // A comment in another encoding does not make the file unreadable, and what
            // replaces it matches no host name.
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(self.unusable("read", error)),
        }
    }

    fn unusable(&self, what: &'static str, error: io::Error) -> Unusable {
        Unusable {
            path: self.path.clone(),
            what,
            error,
        }
    }
}

/// True for an empty file as well.
fn ends_with_line_feed(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
#[path = "hostkey_tests.rs"]
mod tests;
