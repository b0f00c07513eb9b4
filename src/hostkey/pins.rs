//! `reachback known-hosts`: the pins that there are, and taking one away.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use reachback_core::known_hosts::{self, Pin};
use reachback_ssh::hostkey::{base64_to_blob, fingerprint};

use super::{HmacSha1, HostKeys, Unusable, read, store};
use crate::exit::{self, Exit};
use crate::logging::escaped;

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

/// Takes the lines of one server away; what they were.
fn forget(path: &Path, host: &str, port: u16) -> io::Result<String> {
    let mut said = String::new();
    let done = store::rewrite(path, &mut |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = Vec::new();
        for pin in known_hosts::pins(&text).filter(|pin| pin.is_for(host, port, &HmacSha1)) {
            let _ = write!(said, "removed {}", shown(path, &pin));
            lines.push(pin.line);
        }
        (!lines.is_empty()).then(|| store::without(bytes, &lines))
    });
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(said),
    }
}
