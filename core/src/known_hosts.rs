//! Host keys pinned in a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
//!
//! A server is known by its name alone at port 22 and as `[name]:port` at any other. dbclient
//! writes the plain name whatever the port was, so OpenSSH's rule holds here (seen in 9.2): if
//! nothing is pinned for `[name]:port`, a plain entry counts when it has the very same key; a
//! plain entry with another key says nothing about another port. Lines marked `@cert-authority` pin
//! nothing; they name who may certify the server's key ([`authority`]). Malformed lines are skipped, those among them
//! whose key was cut short by a full disk; [`malformed`] counts them.

use core::fmt::{self, Write};

use base64ct::{Base64, Decoder};
use heapless::{String, Vec};

use crate::pattern;

mod rotation;
pub use rotation::Rotation;

/// Longest line in bytes; a longer one is malformed.
pub const MAX_LINE: usize = 16 * 1024;
/// Most key types that [`pinned_types`] names.
pub const MAX_PINNED_TYPES: usize = 8;
/// The port at which a server is known by its name alone.
const DEFAULT_PORT: u16 = 22;

/// Compares names with hashed ones (`HashKnownHosts`), which takes HMAC-SHA1 and base64.
pub trait HashedName {
    /// Whether base64 of `HMAC-SHA1(key = decoded salt, name)` is `hash_b64`. False if one of
    /// the two texts is not base64.
    fn matches(&self, salt_b64: &str, hash_b64: &str, name: &str) -> bool;
}

/// What a known_hosts file says about a host key.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HostKeyMatch {
    /// It is pinned for this server.
    Match,
    /// It is revoked for this server, whatever else is pinned.
    Revoked,
    /// Other keys are pinned for this server, of whatever type; the first is on this line.
    Changed {
        /// Line in the file, from 1.
        line: u32,
    },
    /// Nothing is pinned for this server.
    Unknown,
}

/// Lines that are not in the format.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// How many.
    pub count: u32,
    /// The first of them, from 1.
    pub first_line: u32,
}

/// What the file `text` says about the key that the server `host` at `port` offers: its type
/// (`ssh-ed25519`) and its wire form in base64. Names are compared without regard to case.
pub fn lookup(
    text: &str,
    host: &str,
    port: u16,
    key_type: &str,
    key_base64: &str,
    hashed: &dyn HashedName,
) -> HostKeyMatch {
    let find = |name: &Name| lookup_name(text, name, key_type, key_base64, hashed, Marker::None);
    match find(&Name::new(host, port)) {
        HostKeyMatch::Unknown if port != DEFAULT_PORT => match find(&Name::new(host, DEFAULT_PORT))
        {
            found @ (HostKeyMatch::Match | HostKeyMatch::Revoked) => found,
            HostKeyMatch::Changed { .. } | HostKeyMatch::Unknown => HostKeyMatch::Unknown,
        },
        found => found,
    }
}

/// What the file `text` says about a key that certified the key of a server: never
/// [`HostKeyMatch::Changed`].
pub fn authority(
    text: &str,
    host: &str,
    port: u16,
    key_type: &str,
    key_base64: &str,
    hashed: &dyn HashedName,
) -> HostKeyMatch {
    let kind = Marker::CertAuthority;
    let find = |port| {
        let name = Name::new(host, port);
        match lookup_name(text, &name, key_type, key_base64, hashed, kind) {
            HostKeyMatch::Changed { .. } => HostKeyMatch::Unknown,
            found => found,
        }
    };
    match find(port) {
        HostKeyMatch::Unknown => find(DEFAULT_PORT),
        found => found,
    }
}

/// Whether a line names an authority for a server, under its name with or without the port.
pub fn has_authority(text: &str, host: &str, port: u16, hashed: &dyn HashedName) -> bool {
    let names = [Name::new(host, port), Name::new(host, DEFAULT_PORT)];
    entries(text).any(|(_, entry)| {
        entry.is_some_and(|entry| {
            entry.marker == Marker::CertAuthority
                && names.iter().any(|name| entry.names(name, hashed))
        })
    })
}

/// The lines without a marker count, or those with that of an authority; with either, `@revoked`.
fn lookup_name(
    text: &str,
    name: &Name,
    key_type: &str,
    key_base64: &str,
    hashed: &dyn HashedName,
    kind: Marker,
) -> HostKeyMatch {
    let mut found = HostKeyMatch::Unknown;
    for (line, entry) in entries(text) {
        let Some(entry) = entry else { continue };
        let same_key = entry.key_base64 == key_base64 && entry.key_type == key_type;
        let relevant = match entry.marker {
            Marker::Revoked => same_key,
            marker => marker == kind,
        };
        if !relevant || !entry.names(name, hashed) {
            continue;
        }
        match (entry.marker, found) {
            (Marker::Revoked, _) => return HostKeyMatch::Revoked,
            (_, _) if same_key => found = HostKeyMatch::Match,
            (_, HostKeyMatch::Unknown) => found = HostKeyMatch::Changed { line },
            _ => {}
        }
    }
    found
}

/// The types of the keys pinned for a server, each once, in the order of the file; at most
/// [`MAX_PINNED_TYPES`]. A key of one of these is asked for first.
pub fn pinned_types<'a>(
    text: &'a str,
    host: &str,
    port: u16,
    hashed: &dyn HashedName,
) -> Vec<&'a str, MAX_PINNED_TYPES> {
    let types = types_of(text, &Name::new(host, port), hashed);
    if types.is_empty() && port != DEFAULT_PORT {
        return types_of(text, &Name::new(host, DEFAULT_PORT), hashed);
    }
    types
}

fn types_of<'a>(
    text: &'a str,
    name: &Name,
    hashed: &dyn HashedName,
) -> Vec<&'a str, MAX_PINNED_TYPES> {
    let mut types = Vec::new();
    for (_, entry) in entries(text) {
        let Some(entry) = entry else { continue };
        if entry.marker == Marker::None
            && !types.contains(&entry.key_type)
            && entry.names(name, hashed)
            && types.push(entry.key_type).is_err()
        {
            break;
        }
    }
    types
}

/// The lines of `text` that are not in the format, if any.
pub fn malformed(text: &str) -> Option<Malformed> {
    let mut found: Option<Malformed> = None;
    for (line, entry) in entries(text) {
        if entry.is_none() {
            found
                .get_or_insert(Malformed {
                    count: 0,
                    first_line: line,
                })
                .count += 1;
        }
    }
    found
}

/// One line that pins or revokes a key.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pin<'a> {
    /// In the file, from 1.
    pub line: u32,
    /// `@revoked`, `@cert-authority` or nothing.
    pub marker: &'a str,
    /// Names and patterns with commas between them, or a hashed name.
    pub names: &'a str,
    /// The key's type.
    pub key_type: &'a str,
    /// The key's wire form in base64.
    pub key_base64: &'a str,
}

/// Every line with a key.
pub fn pins(text: &str) -> impl Iterator<Item = Pin<'_>> {
    entries(text).filter_map(|(line, entry)| {
        let Entry {
            marker,
            names,
            key_type,
            key_base64,
        } = entry?;
        let marker = match marker {
            Marker::None => "",
            Marker::Revoked => "@revoked",
            Marker::CertAuthority => "@cert-authority",
        };
        Some(Pin {
            line,
            marker,
            names,
            key_type,
            key_base64,
        })
    })
}

impl Pin<'_> {
    /// Whether it pins a key under this very name of a server: neither by a pattern, nor revoked.
    pub fn is_for(&self, host: &str, port: u16, hashed: &dyn HashedName) -> bool {
        let Name(Some(name)) = Name::new(host, port) else {
            return false;
        };
        let own = match self
            .names
            .strip_prefix("|1|")
            .and_then(|hash| hash.split_once('|'))
        {
            Some((salt, hash)) => hashed.matches(salt, hash, &name),
            None => self
                .names
                .split(',')
                .any(|known| known.eq_ignore_ascii_case(&name)),
        };
        own && self.marker.is_empty()
    }
}

/// Writes the line that pins a key, with its line feed. A file that does not end in a line
/// feed needs one first.
///
/// # Errors
/// Those of `out`.
pub fn write_entry(
    out: &mut impl Write,
    host: &str,
    port: u16,
    key_type: &str,
    key_base64: &str,
) -> fmt::Result {
    write_name(out, host, port)?;
    writeln!(out, " {key_type} {key_base64}")
}

fn write_name(out: &mut impl Write, host: &str, port: u16) -> fmt::Result {
    let (open, close) = if port == DEFAULT_PORT {
        ("", "")
    } else {
        ("[", "]")
    };
    out.write_str(open)?;
    for c in host.chars() {
        out.write_char(c.to_ascii_lowercase())?;
    }
    out.write_str(close)?;
    if port == DEFAULT_PORT {
        return Ok(());
    }
    write!(out, ":{port}")
}

/// A server's name as it stands in the file; 255 bytes of host, brackets, colon, five digits.
/// None for a longer host, which is in no file.
struct Name(Option<String<263>>);

impl Name {
    fn new(host: &str, port: u16) -> Self {
        let mut name = String::new();
        Self(write_name(&mut name, host, port).is_ok().then_some(name))
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    CertAuthority,
}

/// One line with a key.
struct Entry<'a> {
    marker: Marker,
    names: &'a str,
    key_type: &'a str,
    key_base64: &'a str,
}

/// Line numbers and entries; none for a malformed line. Blank lines and comments are left out.
fn entries(text: &str) -> impl Iterator<Item = (u32, Option<Entry<'_>>)> {
    text.lines()
        .zip(1u32..)
        .filter(|(line, _)| {
            let line = line.trim_ascii_start();
            !line.is_empty() && !line.starts_with('#')
        })
        .map(|(line, number)| (number, Entry::parse(line)))
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if line.len() > MAX_LINE {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let mut names = words.next()?;
        let marker = match names {
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::CertAuthority,
            _ if names.starts_with('@') => return None,
            _ => Marker::None,
        };
        if marker != Marker::None {
            names = words.next()?;
        }
        let entry = Self {
            marker,
            names,
            key_type: words.next()?,
            key_base64: words.next()?,
        };
        // A type is never a number: that would be a key of protocol version 1.
        let type_ok = entry
            .key_type
            .starts_with(|c: char| c.is_ascii_alphabetic());
        (type_ok && is_whole_key(entry.key_type, entry.key_base64)).then_some(entry)
    }

    fn names(&self, name: &Name, hashed: &dyn HashedName) -> bool {
        let Name(Some(name)) = name else {
            return false;
        };
        if let Some(hash) = self.names.strip_prefix("|1|") {
            return match hash.split_once('|') {
                Some((salt, hash)) => hashed.matches(salt, hash, name),
                None => false,
            };
        }
        pattern::list_matches(self.names.split(','), name)
    }
}

/// Whether this is base64 of a public key of this type (RFC 4253, 6.6): the type in it is the
/// same, and its fields are as many as they should be and end where it ends. What a full disk
/// cut short is none, wherever the cut is.
fn is_whole_key(key_type: &str, key_base64: &str) -> bool {
    let Ok(mut key) = Decoder::<Base64>::new(key_base64.as_bytes()) else {
        return false;
    };
    if field(&mut key, Some(key_type.as_bytes())).is_none() {
        return false;
    }
    let mut fields = 0;
    while !key.is_finished() {
        if field(&mut key, None).is_none() {
            return false;
        }
        fields += 1;
    }
    match key_type {
        "ssh-ed25519" => fields == 1,
        "ssh-dss" => fields == 4,
        "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => {
            fields == 2
        }
        _ => fields > 0,
    }
}

/// Reads over one string (RFC 4251, 5), which is the expected one if there is one.
fn field(key: &mut Decoder<'_, Base64>, expected: Option<&[u8]>) -> Option<()> {
    let mut chunk = [0; 64];
    key.decode(&mut chunk[..4]).ok()?;
    let [a, b, c, d, ..] = chunk;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    if length > key.remaining_len() || expected.is_some_and(|text| text.len() != length) {
        return None;
    }
    let mut at = 0;
    while at < length {
        let part = key.decode(&mut chunk[..(length - at).min(64)]).ok()?;
        if expected.is_some_and(|text| &text[at..at + part.len()] != part) {
            return None;
        }
        at += part.len();
    }
    Some(())
}

#[cfg(test)]
mod tests;
