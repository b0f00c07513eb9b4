//! The known_hosts file: which server keys are trusted, and pinning a new one.

mod amend;
mod pins;
mod remote;
mod store;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fmt, io};

use reachback_core::known_hosts::{self, HashedName, HostKeyMatch};
use reachback_ssh::certificate::CERTIFIED;
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, key_type};
use ring::hmac;

use crate::errands;
use crate::exit::{self, Exit};
use crate::sys::file;
pub use amend::{Change, Changes};
pub use pins::{Order, known_hosts as pins};
use remote::told;
pub use remote::{is_busy, not_pinned};
pub use store::writable;

/// Largest known_hosts file read, bytes; a larger one is a local fault until it is smaller.
const KNOWN_HOSTS_BYTES: usize = 1024 * 1024;

/// Most bytes of [`RunPins`].
const RUN_PINS_BYTES: usize = 16 * 1024;

/// The known_hosts files of the user, and the keys pinned for this run. The files are read again
/// at every question, for other programs write them too.
#[derive(Debug)]
pub struct HostKeys {
    files: Vec<PathBuf>,
    run: RunPins,
}

/// Host keys that no file takes, in the format of the files: they are known until the process
/// ends, through every reload of its configuration.
#[derive(Clone, Debug, Default)]
pub struct RunPins(Rc<RefCell<String>>);

/// What is known about a host key.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It is pinned for this server.
    Pinned,
    /// The same, in memory only.
    PinnedForThisRun,
    /// It is revoked for this server.
    Revoked,
    /// Another key is pinned for this server, at this place: `FILE line N`.
    Other(String),
    /// Nothing is pinned for this server.
    Nothing,
}

/// Where a new key was pinned.
#[derive(Debug)]
pub enum Pinned {
    /// In this file.
    In(PathBuf),
    /// In memory, and why in no file.
    ForThisRun(String),
    /// Nowhere: another process was faster, and this is what is known by now.
    Meanwhile(Known),
}

/// known_hosts could not be read or written; never taken for an empty file.
#[derive(Debug)]
pub struct Unusable {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

impl Unusable {
    fn new(path: &Path, what: &'static str, error: io::Error) -> Self {
        Unusable {
            path: path.to_owned(),
            what,
            error,
        }
    }

    /// What could not be done and why, without advice.
    pub fn short(&self) -> String {
        let reason = file::reason(&self.error);
        let path = self.path.display();
        format!("cannot {} the known hosts: {path}: {reason}", self.what)
    }

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
        let short = self.short();
        write!(
            f,
            "{short}; repair it or name another with -o UserKnownHostsFile"
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
    /// These files, not read yet, and no key pinned for this run.
    pub fn of(files: &[PathBuf]) -> Self {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        HostKeys {
            files: files.iter().map(absolute).collect(),
            run: RunPins::default(),
        }
    }

    /// These files, read once as a check; none of them is memory only. A file that does not
    /// exist is an empty one.
    ///
    /// # Errors
    /// [`exit::NO_INPUT`], [`exit::NO_PERMISSION`] or [`exit::DATA`] for one that exists and
    /// cannot be read, is not a regular file, or has more than a megabyte. [`exit::NO_INPUT`]
    /// as well where new keys are not accepted, there is no file, and none can be made: no
    /// server could ever be trusted.
    pub fn open(files: &[PathBuf], accept_new: bool, run: &RunPins) -> Result<Self, Exit> {
        let keys = HostKeys {
            run: run.clone(),
            ..HostKeys::of(files)
        };
        for path in &keys.files {
            let text = read(path)
                .map_err(|unusable| Exit::new(unusable.exit_code(), unusable.to_string()))?;
            if let Some(malformed) = known_hosts::malformed(&text) {
                log::warn!(
                    "known hosts {}: {} lines are not in the format and are skipped, the first is line {}",
                    path.display(),
                    malformed.count,
                    malformed.first_line
                );
            }
        }
        if !accept_new
            && !keys.files.iter().any(|path| path.exists())
            && let Some(reason) = keys.unwritable()
        {
            return Err(Exit::new(
                exit::NO_INPUT,
                format!(
                    "no host key is known, and StrictHostKeyChecking is yes: {reason}; \
                     name a file with -o UserKnownHostsFile, or start with -y"
                ),
            ));
        }
        Ok(keys)
    }

    /// Why no file takes a new key, as far as can be told without writing; none if one does.
    pub fn unwritable(&self) -> Option<String> {
        let mut reason = None;
        for path in &self.files {
            match store::writable(path) {
                Ok(()) => return None,
                Err(error) => reason.get_or_insert(Unusable::new(path, "write", error).short()),
            };
        }
        Some(reason.unwrap_or_else(|| "there is no known_hosts file".to_owned()))
    }

    /// The files, absolute.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Where the files are, absolute, in words.
    pub fn shown(&self) -> String {
        let names: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        match names.is_empty() {
            true => "memory".to_owned(),
            false => names.join(" or "),
        }
    }

    /// The key types pinned for this server, to be asked for first; [`CERTIFIED`] among them where an
    /// authority may certify its key.
    ///
    /// # Errors
    /// [`Unusable`] when a file cannot be read.
    pub fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Unusable> {
        let types = |text: &str| -> Vec<String> {
            let types = known_hosts::pinned_types(text, host, port, &HmacSha1);
            types.iter().map(|name| (*name).to_owned()).collect()
        };
        let text = self.text()?.0;
        let mut found = types(&text);
        if found.is_empty() {
            found = types(&self.run.0.borrow());
        }
        if known_hosts::has_authority(&text, host, port, &HmacSha1) {
            found.push(CERTIFIED.to_owned());
        }
        Ok(found)
    }

    /// Whether a file names an authority that certifies keys of this server.
    ///
    /// # Errors
    /// [`Unusable`] when a file cannot be read.
    pub fn has_authority(&self, host: &str, port: u16) -> Result<bool, Unusable> {
        let text = self.text()?.0;
        Ok(known_hosts::has_authority(&text, host, port, &HmacSha1))
    }

    /// What the files say about a key that certified this server's: whether it is an authority for it.
    ///
    /// # Errors
    /// [`Unusable`] when a file cannot be read.
    pub fn authority(&self, host: &str, port: u16, key: &[u8]) -> Result<HostKeyMatch, Unusable> {
        let (text, key_type) = (self.text()?.0, key_type(key).unwrap_or_default());
        let base64 = blob_to_base64(key);
        Ok(known_hosts::authority(
            &text, host, port, key_type, &base64, &HmacSha1,
        ))
    }

    /// What is known about a key that this server offers. What a file says about the server
    /// counts before what memory says.
    ///
    /// # Errors
    /// [`Unusable`] when a file cannot be read.
    pub fn check(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> Result<Known, Unusable> {
        let look =
            |text: &str| known_hosts::lookup(text, host, port, key_type, key_base64, &HmacSha1);
        let (text, ends) = self.text()?;
        Ok(match look(&text) {
            HostKeyMatch::Match => Known::Pinned,
            HostKeyMatch::Revoked => Known::Revoked,
            HostKeyMatch::Changed { line } => {
                let file = ends.partition_point(|&end| end < line);
                let before = file.checked_sub(1).map_or(0, |before| ends[before]);
                let path = self.files[file].display();
                Known::Other(format!("{path} line {}", line - before))
            }
            HostKeyMatch::Unknown => match look(&self.run.0.borrow()) {
                HostKeyMatch::Match => Known::PinnedForThisRun,
                HostKeyMatch::Unknown => Known::Nothing,
                _ => Known::Other("memory, since the start of this process,".to_owned()),
            },
        })
    }

    /// Pins this server's key: in the first file that takes it, else in memory, from where a
    /// later call moves it to a file. A directory that is missing is made with mode 0700, a file
    /// with 0600; the line is on disk on return. The worker has its supervisor write it.
    ///
    /// # Errors
    /// [`Unusable`] while another process holds a file's lock, when a file cannot be read, and
    /// when memory is full too.
    pub fn pin(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> Result<Pinned, Unusable> {
        let mut line = String::new();
        let fits = known_hosts::write_entry(&mut line, host, port, key_type, key_base64);
        let written = match errands::pin(host, port, key_type, key_base64) {
            Some(answer) => told(answer),
            None => self.write(host, port, key_type, key_base64),
        };
        let mut pins = self.run.0.borrow_mut();
        let reason = match written? {
            Written::In(path) if !self.files.contains(&path) => {
                let error = io::Error::other("it was pinned there, and a caller named other files");
                Some(Unusable::new(&path, "use", error))
            }
            Written::In(path) => {
                *pins = pins.replace(&line, "");
                return Ok(Pinned::In(path));
            }
            Written::Meanwhile => {
                drop(pins);
                let known = self.check(host, port, key_type, key_base64)?;
                return Ok(Pinned::Meanwhile(known));
            }
            Written::Nowhere(reason) => reason,
        };
        if fits.is_err() || pins.len() + line.len() > RUN_PINS_BYTES {
            let full = || {
                Unusable::new(
                    Path::new("memory"),
                    "write",
                    io::ErrorKind::StorageFull.into(),
                )
            };
            return Err(reason.unwrap_or_else(full));
        }
        if !pins.contains(&line) {
            pins.push_str(&line);
        }
        let reason = reason.map(|unusable| unusable.short());
        Ok(Pinned::ForThisRun(reason.unwrap_or_else(|| {
            "there is no known_hosts file".to_owned()
        })))
    }

    /// Writes this server's key to the first file that takes it, unless one knows the server by now.
    fn write(
        &self,
        host: &str,
        port: u16,
        key_type: &str,
        key_base64: &str,
    ) -> Result<Written, Unusable> {
        let mut line = String::new();
        let _ = known_hosts::write_entry(&mut line, host, port, key_type, key_base64);
        let mut reason = None;
        for path in &self.files {
            let known = || self.check(host, port, key_type, key_base64);
            let stop = || match known()? {
                Known::Nothing | Known::PinnedForThisRun => Ok(false),
                _ => Ok(true),
            };
            match store::append(path, &line, &stop) {
                Ok(true) => return Ok(Written::In(path.clone())),
                Ok(false) => return Ok(Written::Meanwhile),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Unusable::new(path, "lock", error));
                }
                Err(error) => {
                    reason.get_or_insert(Unusable::new(path, "write", error));
                }
            }
        }
        Ok(Written::Nowhere(reason))
    }

    /// The text of all files, and the number of the last line of each.
    fn text(&self) -> Result<(String, Vec<u32>), Unusable> {
        let (mut text, mut ends, mut lines) = (String::new(), Vec::new(), 0);
        for path in &self.files {
            let one = read(path)?;
            lines += one.lines().count() as u32;
            ends.push(lines);
            text.push_str(&one);
            if !one.is_empty() && !one.ends_with('\n') {
                text.push('\n');
            }
        }
        Ok((text, ends))
    }
}

/// What came of writing.
enum Written {
    In(PathBuf),
    Meanwhile,
    Nowhere(Option<Unusable>),
}

fn read(path: &Path) -> Result<String, Unusable> {
    match file::read_bounded(path, KNOWN_HOSTS_BYTES) {
        // A comment in another encoding does not make the file unreadable, and what replaces it
        // matches no host name.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Unusable::new(path, "read", error)),
    }
}

#[cfg(test)]
mod tests;
