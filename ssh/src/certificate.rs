//! Host certificates (OpenSSH's PROTOCOL.certkeys): reading one, and its authority's signature. What it is
//! worth, and for whom, is for the caller to say.

use alloc::string::String;
use alloc::vec::Vec;

use crate::algorithms::PublicKeyAlgorithm;
use crate::message::printable;
use crate::wire::{Put, Reader};
use crate::{Error, hostkey};

/// How the names of certified types and algorithms end.
pub const CERTIFIED: &str = "-cert-v01@openssh.com";

/// `SSH_CERT_TYPE_HOST`.
const HOST: u32 = 2;

/// A certificate whose signature is its authority's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certified key as RFC 4253 section 6.6 encodes it.
    pub key: Vec<u8>,
    /// It is for a host, and not for a user.
    pub is_host: bool,
    /// Its name (key ID), fit for a log.
    pub name: String,
    /// Names of the host, or patterns of them.
    pub principals: Vec<String>,
    /// Seconds since 1970 from which on it is valid.
    pub valid_after: u64,
    /// Seconds since 1970 from which on it is no longer valid; [`u64::MAX`] for never.
    pub valid_before: u64,
    /// It has critical options: none is known, so it must not be accepted.
    pub is_limited: bool,
    /// The key of its authority, as [`Certificate::key`]; never a certificate itself.
    pub authority: Vec<u8>,
}

/// Whether a host key is a certificate.
pub fn is_certificate(blob: &[u8]) -> bool {
    hostkey::key_type(blob).is_ok_and(|name| name.ends_with(CERTIFIED))
}

/// Reads a certificate and verifies its signature; SHA-1 is none.
///
/// # Errors
/// [`Error::Malformed`] for what is no certificate of a key that is spoken here, whole and with nothing
/// behind it; [`Error::BadHostSignature`] for another signature than that of the authority that it names.
pub fn read(blob: &[u8]) -> Result<Certificate, Error> {
    let mut reader = Reader::new(blob);
    let key_type = reader.text()?.strip_suffix(CERTIFIED);
    let key_type = key_type.ok_or(Error::Malformed("host certificate"))?;
    // The nonce.
    reader.string()?;
    let mut key = Vec::with_capacity(blob.len());
    key.put_string(key_type.as_bytes());
    // Q of RFC 8709; curve and Q of RFC 5656; e and n.
    let fields = match key_type {
        "ssh-ed25519" => 1,
        _ => 2,
    };
    for _ in 0..fields {
        key.put_string(reader.string()?);
    }
    // The serial number.
    reader.take(8)?;
    let is_host = reader.u32()? == HOST;
    let name = printable(reader.string()?);
    let mut names = Reader::new(reader.string()?);
    let mut principals = Vec::new();
    while !names.is_empty() {
        principals.push(names.text()?.into());
    }
    let [valid_after, valid_before] = [time(&mut reader)?, time(&mut reader)?];
    let is_limited = !reader.string()?.is_empty();
    // Extensions, which may be passed over, and what is reserved.
    reader.string()?;
    reader.string()?;
    let authority = reader.string()?;
    let signed = &blob[..blob.len() - reader.rest().len()];
    let signature = reader.string()?;
    reader.finish()?;
    let signed_by = Reader::new(signature).string()?;
    let algorithm = PublicKeyAlgorithm::SHA2
        .iter()
        .find(|algorithm| algorithm.name().as_bytes() == signed_by)
        .ok_or(Error::BadHostSignature)?;
    hostkey::verify(*algorithm, authority, signature, signed)?;
    Ok(Certificate {
        key,
        is_host,
        name,
        principals,
        valid_after,
        valid_before,
        is_limited,
        authority: authority.to_vec(),
    })
}

/// A `uint64`.
fn time(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let (high, low) = (reader.u32()?, reader.u32()?);
    Ok(u64::from(high) << 32 | u64::from(low))
}
