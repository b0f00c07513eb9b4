//! `reachback known-hosts`: the pins that there are, and taking one away.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use reachback_core::known_hosts::{self, Pin};
use reachback_ssh::hostkey::{base64_to_blob, fingerprint};

use super::{HmacSha1, HostKeys, Unusable, read};
use crate::exit::{self, Exit};
use crate::logging::escaped;
use crate::sys::file;

/// What `reachback known-hosts` is asked for.
#[derive(Debug)]
pub struct Order {
    /// The known_hosts files.
    pub files: Vec<PathBuf>,
    /// Host and port to forget; to list all pins, if none.
    pub forget: Option<(String, u16)>,
}

/// The lines to print: every pin, or those that were taken away.
///
/// # Errors
/// For a file that cannot be read or replaced, and [`exit::UNAVAILABLE`] when there was nothing to
/// forget.
pub fn known_hosts(order: &Order) -> Result<String, Exit> {
    let unusable = |unusable: Unusable| Exit::new(unusable.exit_code(), unusable.to_string());
    let mut text = String::new();
    for path in &order.files {
        match &order.forget {
            None => {
                let found = read(path).map_err(unusable)?;
                let pins = known_hosts::pins(&found);
                pins.for_each(|pin| text.push_str(&shown(path, &pin)));
            }
            Some((host, port)) => {
                let forgotten = forget(path, host, *port);
                text.push_str(&forgotten.map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => Exit::new(
                        exit::UNAVAILABLE,
                        format!("{} is being written: try again", path.display()),
                    ),
                    _ => unusable(Unusable::new(path, "write", error)),
                })?);
            }
        }
    }
    match (&order.forget, text.is_empty()) {
        (_, false) => Ok(text),
        (None, true) => Ok("no host key is pinned\n".to_owned()),
        (Some((host, port)), true) => {
            let files = order.files.iter().map(|file| file.display().to_string());
            let files = files.collect::<Vec<_>>().join(" or ");
            let message = format!(
                "nothing is pinned for {host} port {port}: {files}; see reachback known-hosts"
            );
            Err(Exit::new(exit::UNAVAILABLE, message))
        }
    }
}

impl HostKeys {
    /// Where a key is pinned for a server under its own name, `FILE line N`; else the files.
    pub fn place(&self, host: &str, port: u16, key_base64: &str) -> String {
        let line = |path: &PathBuf| {
            let text = read(path).ok()?;
            let mut pins = known_hosts::pins(&text);
            let pin =
                pins.find(|pin| pin.key_base64 == key_base64 && pin.is_for(host, port, &HmacSha1))?;
            Some(format!("{} line {}", path.display(), pin.line))
        };
        self.files
            .iter()
            .find_map(line)
            .unwrap_or_else(|| self.shown())
    }
}

/// Three short lines, for a phone.
fn shown(path: &Path, pin: &Pin<'_>) -> String {
    let names = match pin.names.starts_with('|') {
        true => "(hashed name)",
        false => pin.names,
    };
    let marker = match pin.marker {
        "" => String::new(),
        marker => format!("{marker} "),
    };
    let key = base64_to_blob(pin.key_base64).map_or("?".to_owned(), |blob| fingerprint(&blob));
    let (names, key_type, line) = (escaped(names), escaped(pin.key_type), pin.line);
    format!(
        "{marker}{names}\n  {key_type} {key}\n  {} line {line}\n",
        path.display()
    )
}

/// Takes the lines of one server away; what they were. The file is replaced whole: a reader sees
/// the one or the other, and who appends meanwhile is told that it is locked.
fn forget(path: &Path, host: &str, port: u16) -> io::Result<String> {
    // The file itself, not a link to it.
    let path = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        path => path?,
    };
    let locked = File::open(&path)?;
    let locked = Flock::lock(locked, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| io::Error::from(error))?;
    let bytes = file::read_bounded(&path, super::KNOWN_HOSTS_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut said = String::new();
    let mut lines = Vec::new();
    for pin in known_hosts::pins(&text).filter(|pin| pin.is_for(host, port, &HmacSha1)) {
        let _ = write!(said, "removed {}", shown(&path, &pin));
        lines.push(pin.line);
    }
    if lines.is_empty() {
        return Ok(said);
    }
    let kept = bytes.split_inclusive(|byte| *byte == b'\n').zip(1u32..);
    let kept = kept.filter(|(_, number)| !lines.contains(number));
    let kept: Vec<u8> = kept.flat_map(|(line, _)| line).copied().collect();
    let data = locked.metadata()?;
    file::replace(&path, &kept, |file| {
        // Root may tidy up another user's.
        if file.metadata()?.uid() != data.uid() {
            fchown(file, Some(data.uid()), Some(data.gid()))?;
        }
        // Not at its making: the umask would cut it.
        file.set_permissions(data.permissions())
    })?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(said)
}
