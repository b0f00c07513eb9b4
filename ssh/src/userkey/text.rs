//! Private keys as text files hold them.

use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

use super::{KeyError, UserKey, openssh};
use crate::limits;

/// rsaEncryption (RFC 8017 appendix C).
const OID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480 section 2.1.1).
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// id-Ed25519 (RFC 8410 section 3).
const OID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// secp256r1 (RFC 5480 section 2.1.1.1).
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// secp384r1.
const OID_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

pub(super) fn parse(text: &str) -> Result<UserKey, KeyError> {
    if text.len() > limits::KEY_TEXT {
        return Err(KeyError::UnknownFormat("the file is too long"));
    }
    let mut rest = text;
    loop {
        let (label, body, after) = block(rest)?;
        rest = after;
        match label {
            // OpenSSL writes the curve in a block of its own before the key.
            "EC PARAMETERS" => continue,
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ if body.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
            "OPENSSH PRIVATE KEY" => return openssh::parse(&decode(body)?),
            "RSA PRIVATE KEY" => return pkcs1(&decode(body)?),
            "EC PRIVATE KEY" => return sec1(&decode(body)?, None),
            "PRIVATE KEY" => return pkcs8(&decode(body)?),
            "DSA PRIVATE KEY" => return Err(unsupported("ssh-dss")),
            "PUBLIC KEY" | "RSA PUBLIC KEY" | "SSH2 PUBLIC KEY" => {
                return Err(KeyError::UnknownFormat("this is a public key"));
            }
            _ => return Err(KeyError::UnknownFormat("a PEM file without a private key")),
        }
    }
}

fn unsupported(name: &str) -> KeyError {
    KeyError::UnsupportedType(String::from(name))
}

/// The next PEM block (RFC 7468 section 2): its label, its body and what follows.
fn block(text: &str) -> Result<(&str, &str, &str), KeyError> {
    let Some((_, from_label)) = text.split_once(BEGIN) else {
        let first = text.trim_start();
        return Err(KeyError::UnknownFormat(
            if first.starts_with("PuTTY-User-Key-File") {
                "a PuTTY key; export it in OpenSSH's format"
            } else if first.starts_with("ssh-") || first.starts_with("ecdsa-") {
                "this is a public key"
            } else if first.is_empty() {
                "the file is empty"
            } else {
                "no PEM header found"
            },
        ));
    };
    let cut = KeyError::Corrupt("the PEM frame");
    let (label, from_body) = from_label.split_once(DASHES).ok_or_else(|| cut.clone())?;
    let (body, from_end) = from_body
        .split_once("-----END ")
        .ok_or_else(|| cut.clone())?;
    let after = from_end
        .strip_prefix(label)
        .and_then(|t| t.strip_prefix(DASHES))
        .ok_or(cut)?;
    Ok((label, body, after))
}

/// Base64 with line breaks wherever they are.
fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut der = Zeroizing::new(alloc::vec![0; packed.len() / 4 * 3]);
    let len = Base64::decode(packed.as_slice(), der.as_mut_slice())
        .map_err(|_| KeyError::Corrupt("base64"))?
        .len();
    der.truncate(len);
    Ok(der)
}

fn pkcs1(der: &[u8]) -> Result<UserKey, KeyError> {
    let key =
        pkcs1::RsaPrivateKey::try_from(der).map_err(|_| KeyError::Corrupt("PKCS#1 structure"))?;
    UserKey::rsa(
        key.modulus.as_bytes(),
        key.public_exponent.as_bytes(),
        key.private_exponent.as_bytes(),
        key.prime1.as_bytes(),
        key.prime2.as_bytes(),
    )
}

/// `outer` is the curve that a surrounding PKCS#8 structure names.
fn sec1(der: &[u8], outer: Option<ObjectIdentifier>) -> Result<UserKey, KeyError> {
    let key = sec1::EcPrivateKey::try_from(der).map_err(|_| KeyError::Corrupt("SEC1 structure"))?;
    let curve = outer
        .or_else(|| key.parameters.and_then(|p| p.named_curve()))
        .ok_or(KeyError::Corrupt("the curve is not named"))?;
    let curve = match curve {
        OID_P256 => "nistp256",
        OID_P384 => "nistp384",
        _ => return Err(unsupported("ECDSA on a curve other than P-256 and P-384")),
    };
    let public = key
        .public_key
        .ok_or(KeyError::Corrupt("the public half is missing"))?;
    UserKey::ecdsa(curve, key.private_key, public)
}

fn pkcs8(der: &[u8]) -> Result<UserKey, KeyError> {
    let damaged = KeyError::Corrupt("PKCS#8 structure");
    let info = pkcs8::PrivateKeyInfo::try_from(der).map_err(|_| damaged.clone())?;
    match info.algorithm.oid {
        OID_RSA => pkcs1(info.private_key),
        OID_EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| damaged)?;
            sec1(info.private_key, Some(curve))
        }
        OID_ED25519 => {
            // CurvePrivateKey is an OCTET STRING in the OCTET STRING (RFC 8410 section 7).
            let seed = info
                .private_key
                .strip_prefix(&[0x04, 0x20])
                .and_then(|seed| <&[u8; 32]>::try_from(seed).ok())
                .ok_or_else(|| damaged.clone())?;
            let public = super::ed25519_public(seed).ok_or(damaged)?;
            UserKey::ed25519(seed, &public)
        }
        _ => Err(unsupported("other than RSA, Ed25519 and ECDSA")),
    }
}
