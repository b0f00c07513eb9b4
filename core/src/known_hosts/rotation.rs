//! What an announcement of host keys changes in known_hosts (ssh_config(5), `UpdateHostKeys`).
//!
//! A server that is known by a pin of its own says after the login which host keys it has. New ones
//! are pinned beside the old one once they were proven, and pins of keys that it no longer has go:
//! so a host key can be replaced without a controller that refuses the new one. Lines with a marker,
//! with a pattern or with several names, and those of other servers, stay as they are.

use super::{DEFAULT_PORT, HashedName, HostKeyMatch, Marker, Name, Pin, lookup_name, pins};

/// A server's pins, as they are before the change.
#[derive(Copy, Clone)]
pub struct Rotation<'a> {
    /// All that is known.
    pub text: &'a str,
    /// The file that may be changed, which is part of it.
    pub file: &'a str,
    /// The server's name in it.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Compares hashed names.
    pub hashed: &'a dyn HashedName,
}

impl Rotation<'_> {
    /// Hands every line of the file over that pins a key for this server: under its own name or, as dbclient
    /// writes it, under that without the port. True for one that pins it under its own name and for no other
    /// server.
    pub fn pins(&self, take: &mut dyn FnMut(&Pin<'_>, bool)) {
        for pin in pins(self.file) {
            let own = pin.is_for(self.host, self.port, self.hashed);
            if own || pin.is_for(self.host, DEFAULT_PORT, self.hashed) {
                take(&pin, own && !pin.names.contains(','));
            }
        }
    }

    /// Whether a key that the server has is to be pinned under its name: it is neither pinned so far
    /// nor revoked.
    pub fn is_new(&self, key_type: &str, key_base64: &str) -> bool {
        let name = Name::new(self.host, self.port);
        let found = lookup_name(
            self.text,
            &name,
            key_type,
            key_base64,
            self.hashed,
            Marker::None,
        );
        matches!(found, HostKeyMatch::Unknown | HostKeyMatch::Changed { .. })
    }
}
