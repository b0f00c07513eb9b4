//! The host keys that a server announces, and its proofs that it has them (OpenSSH's PROTOCOL,
//! section 2.5). What breaks the rules changes nothing and is told; the connection goes on.

use alloc::vec::Vec;

use super::Connection;
use super::requests::Asked;
use crate::algorithms::PublicKeyAlgorithm;
use crate::certificate::is_certificate;
use crate::limits::{HOST_KEY_BLOB, HOST_KEYS, HOST_KEYS_BYTES};
use crate::message as msg;
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Error, Event, hostkey};

/// The server's request, after the login.
pub(super) const ANNOUNCE: &[u8] = b"hostkeys-00@openssh.com";
/// Ours, and the first field of what the server signs.
const PROVE: &[u8] = b"hostkeys-prove-00@openssh.com";

/// The announcement of a connection.
#[derive(Default)]
pub(super) struct HostKeys {
    /// How many came; one is looked at.
    announcements: u8,
    /// The keys whose proofs were asked for, in this order.
    asked: Vec<Vec<u8>>,
}

impl Connection {
    /// The server announced its host keys. `None` for what is no news.
    pub(super) fn announced(&mut self, transport: &Transport) -> Option<Event<'static>> {
        // Who trusts an authority follows that.
        if is_certificate(transport.host_key()) {
            return None;
        }
        self.host_keys.announcements = self.host_keys.announcements.saturating_add(1);
        Some(match self.host_keys.announcements {
            1 => match read(transport) {
                Ok(keys) => Event::HostKeysAnnounced { keys },
                Err(why) => Event::HostKeysRefused(why),
            },
            2 => Event::HostKeysRefused("it announces them a second time"),
            _ => return None,
        })
    }

    /// Asks for proofs of announced keys; once on a connection.
    pub(crate) fn prove_host_keys(
        &mut self,
        keys: Vec<Vec<u8>>,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let mut payload = Vec::with_capacity(64 + HOST_KEYS_BYTES);
        payload.put_u8(msg::GLOBAL_REQUEST);
        payload.put_string(PROVE);
        payload.put_boolean(true);
        keys.iter().for_each(|key| payload.put_string(key));
        self.host_keys.asked = keys;
        self.ask(Asked::Proofs, &payload, transport)
    }

    /// The server's answer: a signature for each key that was asked for, in the same order.
    pub(super) fn proofs(&mut self, transport: &Transport) -> Event<'static> {
        let asked = core::mem::take(&mut self.host_keys.asked);
        let mut reply = Reader::new(&transport.inbound.payload()[1..]);
        let mut keys = Vec::new();
        for key in asked {
            match proves(&key, &mut reply, transport.session_id()) {
                Ok(true) => keys.push(key),
                Ok(false) => {}
                Err(_) => return Event::HostKeysRefused("its proof is wrong"),
            }
        }
        match reply.finish() {
            Ok(()) => Event::HostKeysProven { keys },
            Err(_) => Event::HostKeysRefused("it proves more than it was asked for"),
        }
    }
}

/// The keys of an announcement: each a `string`, to the end of the message.
fn read(transport: &Transport) -> Result<Vec<Vec<u8>>, &'static str> {
    let payload = transport.inbound.payload();
    let mut reader = Reader::new(&payload[1..]);
    let header = reader.string().and_then(|_| reader.u8());
    if header.is_err() || reader.rest().len() > HOST_KEYS_BYTES {
        return Err("it announces too much");
    }
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while !reader.is_empty() {
        let key = reader.string().map_err(|_| "its announcement is cut off")?;
        if keys.len() == HOST_KEYS || key.len() > HOST_KEY_BLOB {
            return Err("it announces too much");
        }
        if keys.iter().any(|known| known == key) {
            return Err("it announces a key twice");
        }
        keys.push(key.to_vec());
    }
    match keys.iter().any(|key| key == transport.host_key()) {
        true => Ok(keys),
        false => Err("the key of this login is not among them"),
    }
}

/// Whether the next signature of `reply` is one that counts: RSA with SHA-1 does not, as older
/// servers sign where another key was used for the login.
fn proves(key: &[u8], reply: &mut Reader<'_>, session: &[u8]) -> Result<bool, Error> {
    let signature = reply.string()?;
    let name = Reader::new(signature).string()?;
    let algorithm = PublicKeyAlgorithm::ALL
        .iter()
        .find(|algorithm| algorithm.name().as_bytes() == name);
    let mut signed = Vec::with_capacity(128 + key.len());
    signed.put_string(PROVE);
    signed.put_string(session);
    signed.put_string(key);
    match algorithm {
        Some(PublicKeyAlgorithm::RsaSha1) => Ok(false),
        Some(algorithm) => hostkey::verify(*algorithm, key, signature, &signed).map(|()| true),
        None => Err(Error::BadHostSignature),
    }
}
