//! Host keys pinned in a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
//!
//! A server is known by its name alone at port 22 and as `[name]:port` at any other. dbclient
//! writes the plain name whatever the port was, so OpenSSH's rule holds here (seen in 9.2): if
//! nothing is pinned for `[name]:port`, a plain entry counts when it has the very same key; a
//! plain entry with another key says nothing about another port. Lines marked `@cert-authority`
//! are skipped (certificates are not supported). Malformed lines are skipped; [`malformed`]
//! counts them.

use core::fmt::{self, Write};

use heapless::{String, Vec};

use crate::pattern;

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
pub enum Verdict {
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
) -> Verdict {
    let find = |name: &Name| lookup_name(text, name, key_type, key_base64, hashed);
    match find(&Name::new(host, port)) {
        Verdict::Unknown if port != DEFAULT_PORT => match find(&Name::new(host, DEFAULT_PORT)) {
            verdict @ (Verdict::Match | Verdict::Revoked) => verdict,
            Verdict::Changed { .. } | Verdict::Unknown => Verdict::Unknown,
        },
        verdict => verdict,
    }
}

fn lookup_name(
    text: &str,
    name: &Name,
    key_type: &str,
    key_base64: &str,
    hashed: &dyn HashedName,
) -> Verdict {
    let mut verdict = Verdict::Unknown;
    for (line, entry) in entries(text) {
        let Some(entry) = entry else { continue };
        let same_key = entry.key_base64 == key_base64 && entry.key_type == key_type;
        let relevant = match entry.marker {
            Marker::None => true,
            Marker::Revoked => same_key,
            Marker::CertAuthority => false,
        };
        if !relevant || !entry.names(name, hashed) {
            continue;
        }
        match (entry.marker, verdict) {
            (Marker::Revoked, _) => return Verdict::Revoked,
            (_, _) if same_key => verdict = Verdict::Match,
            (_, Verdict::Unknown) => verdict = Verdict::Changed { line },
            _ => {}
        }
    }
    verdict
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
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
        (type_ok && entry.key_base64.bytes().all(is_base64)).then_some(entry)
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

#[cfg(test)]
mod tests;
