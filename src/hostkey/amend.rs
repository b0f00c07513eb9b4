//! Pins that follow the host keys which a server announces (`UpdateHostKeys`): in the first file, or in
//! memory where they are there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reachback_core::known_hosts::{self, Rotation};
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, key_type};

use super::{
    HmacSha1, HostKeys, KNOWN_HOSTS_BYTES, RUN_PINS_BYTES, Unusable, Written, read, store, told,
};
use crate::errands;

/// What an announcement means for a server's pins.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes {
    /// The announced keys that are not pinned, by their place; the one of the login may be among them.
    pub new: Vec<usize>,
    /// The pinned keys that were not announced, in base64.
    pub gone: Vec<String>,
    /// They are pinned in memory, and not in a file.
    in_memory: bool,
}

/// One change: the key in base64.
#[derive(Debug)]
pub enum Change {
    /// It is pinned beside the others.
    Add(String),
    /// Its pin goes.
    Remove(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Add(key) => write!(f, "+{key}"),
            Change::Remove(key) => write!(f, "-{key}"),
        }
    }
}

impl Change {
    /// What [`Change`]'s `Display` wrote.
    pub fn parse(text: &str) -> Option<Change> {
        let (sign, key) = text.split_at_checked(1)?;
        match sign {
            "+" => Some(Change::Add(key.to_owned())),
            "-" => Some(Change::Remove(key.to_owned())),
            _ => None,
        }
    }

    /// The text with this change made, if there is anything to change.
    fn of(&self, rotation: &Rotation<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        let key = match self {
            Change::Add(key) => {
                let line = line(rotation.host, rotation.port, key)?;
                return Some([bytes, line.as_bytes()].concat());
            }
            Change::Remove(key) => key,
        };
        let mut lines = Vec::new();
        rotation.pins(&mut |pin, alone| {
            if alone && pin.key_base64 == key {
                lines.push(pin.line);
            }
        });
        (!lines.is_empty()).then(|| store::without(bytes, &lines))
    }
}

/// The pins of one text.
fn of<'a>(text: &'a str, (host, port): (&'a str, u16)) -> Rotation<'a> {
    Rotation {
        text,
        file: text,
        host,
        port,
        hashed: &HmacSha1,
    }
}

/// The line that pins a key.
fn line(host: &str, port: u16, base64: &str) -> Option<String> {
    let blob = base64_to_blob(base64).ok()?;
    let mut line = String::new();
    known_hosts::write_entry(&mut line, host, port, key_type(&blob).ok()?, base64).ok()?;
    Some(line)
}

impl HostKeys {
    /// What changes for a server that showed the key `login` and announced these. None where its pins do not
    /// follow: it is not pinned under its own name in the first file or in memory.
    ///
    /// # Errors
    /// [`Unusable`] when a file cannot be read.
    pub fn changes(
        &self,
        (host, port): (&str, u16),
        login: &[u8],
        announced: &[Vec<u8>],
    ) -> Result<Option<Changes>, Unusable> {
        let login = blob_to_base64(login);
        let keys: Vec<String> = announced.iter().map(|key| blob_to_base64(key)).collect();
        let first = self
            .files
            .first()
            .map_or(Ok(String::new()), |path| read(path))?;
        let files = self.text()?.0;
        let run = self.run.0.borrow();
        // What a file says about the server counts before what memory says.
        let all = [files.as_str(), run.as_str()].concat();
        let within = |text, file| Rotation {
            text,
            ..of(file, (host, port))
        };
        let homes = [(within(&files, &first), false), (within(&all, &run), true)];
        for (rotation, in_memory) in homes {
            let (mut follows, mut gone) = (false, Vec::new());
            rotation.pins(&mut |pin, alone| {
                follows |= pin.key_base64 == login;
                if alone && !keys.iter().any(|key| key == pin.key_base64) {
                    gone.push(pin.key_base64.to_owned());
                }
            });
            if follows {
                let is_new = |at: &usize| {
                    let key_type = key_type(&announced[*at]).unwrap_or_default();
                    rotation.is_new(key_type, &keys[*at])
                };
                return Ok(Some(Changes {
                    new: (0..keys.len()).filter(is_new).collect(),
                    gone,
                    in_memory,
                }));
            }
        }
        Ok(None)
    }

    /// Makes one change; where. The worker has its supervisor write a file.
    ///
    /// # Errors
    /// [`Unusable`] where that cannot be.
    pub fn amend(
        &self,
        (host, port): (&str, u16),
        changes: &Changes,
        change: &Change,
    ) -> Result<String, Unusable> {
        if changes.in_memory {
            let mut run = self.run.0.borrow_mut();
            if let Some(text) = change.of(&of(&run, (host, port)), run.as_bytes()) {
                if text.len() > RUN_PINS_BYTES {
                    let full = io::ErrorKind::StorageFull.into();
                    return Err(Unusable::new(Path::new("memory"), "write", full));
                }
                *run = String::from_utf8_lossy(&text).into_owned();
            }
            return Ok("memory".to_owned());
        }
        let path = match errands::amend(host, port, change) {
            None => self.amend_file(host, port, change)?,
            Some(answer) => match told(answer)? {
                Written::In(path) => path,
                Written::Nowhere(Some(why)) => return Err(why),
                _ => {
                    return Err(Unusable::new(
                        Path::new("known_hosts"),
                        "write",
                        io::ErrorKind::Other.into(),
                    ));
                }
            },
        };
        Ok(path.display().to_string())
    }

    /// Makes one change in the first file; which that is. A pin is added only beside others of the server.
    ///
    /// # Errors
    /// [`Unusable`], and the file is as it was.
    pub(super) fn amend_file(
        &self,
        host: &str,
        port: u16,
        change: &Change,
    ) -> Result<PathBuf, Unusable> {
        let path = self.files.first().cloned().unwrap_or_default();
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => Unusable::new(&path, "lock", error),
            _ => Unusable::new(&path, "write", error),
        };
        let done = match change {
            Change::Add(key) => {
                let line = line(host, port, key).unwrap_or_default();
                let is_there = || {
                    let text = read(&path)?;
                    let mut known = false;
                    of(&text, (host, port)).pins(&mut |_, _| known = !line.is_empty());
                    let no = |error| Unusable::new(&path, "write", error);
                    if text.len() + line.len() >= KNOWN_HOSTS_BYTES {
                        return Err(no(io::ErrorKind::FileTooLarge.into()));
                    }
                    if !known {
                        return Err(no(io::ErrorKind::InvalidInput.into()));
                    }
                    Ok(text.lines().any(|known| known == line.trim_end()))
                };
                store::append(&path, &line, &is_there).map(drop)
            }
            Change::Remove(_) => store::rewrite(&path, &mut |bytes| {
                let text = String::from_utf8_lossy(bytes);
                change.of(&of(&text, (host, port)), bytes)
            }),
        };
        done.map(|()| path.clone()).map_err(unusable)
    }
}
