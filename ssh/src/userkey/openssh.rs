//! OpenSSH's own private key form (OpenSSH's `PROTOCOL.key`), without a passphrase.

use alloc::string::String;

use super::{KeyError, UserKey};
use crate::message::printable;
use crate::wire::Reader;

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Reads the decoded body of an `OPENSSH PRIVATE KEY` block.
pub(super) fn parse(bytes: &[u8]) -> Result<UserKey, KeyError> {
    let damaged = KeyError::Corrupt("OpenSSH format");
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged.clone())?;
    let mut outer = Reader::new(body);
    let cipher = outer.string()?;
    let kdf = outer.string()?;
    outer.string()?;
    if cipher != b"none" || kdf != b"none" {
        return Err(KeyError::Encrypted);
    }
    if outer.u32()? != 1 {
        return Err(KeyError::UnknownFormat("more than one key in the file"));
    }
    let public = outer.string()?;
    let private = outer.string()?;
    outer.finish()?;

    let mut fields = Reader::new(private);
    if fields.u32()? != fields.u32()? {
        return Err(damaged);
    }
    let mut key = key_pair(&mut fields)?;
    let comment = printable(fields.string()?);
    // To a multiple of 8 bytes when nothing is encrypted; PuTTY pads to 16.
    let padding = fields.rest();
    if padding.len() > 255 || !padding.iter().zip(1..=255).all(|(byte, n)| *byte == n) {
        return Err(damaged);
    }
    if key.public_blob() != public {
        return Err(KeyError::Corrupt("the public half is another key's"));
    }
    key.comment = comment;
    Ok(key)
}

/// The fields that the agent protocol also uses (draft-ietf-sshm-ssh-agent section 3.2).
fn key_pair(fields: &mut Reader<'_>) -> Result<UserKey, KeyError> {
    let key_type = fields.text()?;
    match key_type {
        "ssh-rsa" => {
            let n = fields.mpint()?;
            let e = fields.mpint()?;
            let d = fields.mpint()?;
            // q's inverse is computed anew, as for the forms that lack it.
            fields.mpint()?;
            let p = fields.mpint()?;
            let q = fields.mpint()?;
            UserKey::rsa(n, e, d, p, q)
        }
        "ssh-ed25519" => {
            let public = fields.string()?;
            // The seed with the public key behind it.
            let both = fields.string()?;
            let (seed, again) = both
                .split_first_chunk::<32>()
                .ok_or(KeyError::Corrupt("Ed25519 private key"))?;
            let public = <&[u8; 32]>::try_from(public)
                .ok()
                .filter(|_| again == public)
                .ok_or(KeyError::Corrupt("Ed25519 public key"))?;
            UserKey::ed25519(seed, public)
        }
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => {
            let curve = fields.text()?;
            let point = fields.string()?;
            UserKey::ecdsa(curve, fields.mpint()?, point)
        }
        other => Err(KeyError::UnsupportedType(String::from(other))),
    }
}
