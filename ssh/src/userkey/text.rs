//! Private keys as text files hold them.

use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use pkcs8::ObjectIdentifier;
use pkcs8::der::asn1::{AnyRef, BitStringRef, ContextSpecific, OctetStringRef, UintRef};
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
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

/// prime-field (RFC 3279 section 2.3.5).
const OID_PRIME_FIELD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.1.1");
/// 2^256 - 2^224 + 2^192 + 2^96 - 1 (FIPS 186-4, D.1.2.3).
const P256_PRIME: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];
/// 2^384 - 2^128 - 2^96 + 2^32 - 1 (FIPS 186-4, D.1.2.4).
const P384_PRIME: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

pub(super) fn parse(file: &[u8]) -> Result<UserKey, KeyError> {
    if file.len() > limits::KEY_TEXT {
        return Err(KeyError::UnknownFormat("too long for a private key"));
    }
    if let Some(found) = no_text(file) {
        return Err(KeyError::UnknownFormat(found));
    }
    // Whatever is not ASCII is no part of the key, but may stand in front of it.
    let text = Zeroizing::new(String::from_utf8_lossy(file).into_owned());
    let mut found = None;
    let mut rest = text.as_str();
    while let Some((label, body, after)) = block(rest)? {
        rest = after;
        match label {
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ if body.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
            "OPENSSH PRIVATE KEY" => return openssh::parse(&decode(body)?),
            "RSA PRIVATE KEY" => return pkcs1(&decode(body)?),
            "EC PRIVATE KEY" => return sec1(&decode(body)?, None),
            "PRIVATE KEY" => return pkcs8(&decode(body)?),
            "DSA PRIVATE KEY" => return Err(unsupported("ssh-dss")),
            // A certificate, or the curve, which OpenSSL writes before the key.
            "PUBLIC KEY" | "RSA PUBLIC KEY" => found = Some(PUBLIC),
            _ => {
                found.get_or_insert("a PEM file without a private key");
            }
        }
    }
    Err(KeyError::UnknownFormat(
        found.unwrap_or_else(|| other_text(&text)),
    ))
}

const PUBLIC: &str = "a public key; name the private key file beside it";

fn unsupported(name: &str) -> KeyError {
    KeyError::UnsupportedType(String::from(name))
}

/// What a file is that holds no text in an encoding that extends ASCII.
fn no_text(file: &[u8]) -> Option<&'static str> {
    match file {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, 0, _, ..] | [_, 0, _, 0, ..] => {
            Some("UTF-16 text; save it as plain text, with iconv -f UTF-16 -t ASCII")
        }
        [0x30, 0x81 | 0x82, ..] => Some(DER),
        [0x30, length, rest @ ..] if rest.len() == usize::from(*length) => Some(DER),
        _ => None,
    }
}

const DER: &str = "DER without PEM; convert it with openssl pkey -inform DER";

/// What a text without a PEM block is.
fn other_text(text: &str) -> &'static str {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let starts = |with: &[&str]| with.iter().any(|start| text.starts_with(start));
    if text.is_empty() {
        "empty"
    } else if starts(&["PuTTY-User-Key-File"]) {
        "a PuTTY key; convert it with puttygen -O private-openssh-new"
    } else if starts(&["---- BEGIN SSH2 PUBLIC KEY"]) {
        PUBLIC
    } else if starts(&["---- BEGIN SSH2 "]) {
        "a key in ssh.com's format; convert it with ssh-keygen -i"
    } else if starts(&["SSH PRIVATE KEY FILE FORMAT 1"]) {
        "a key for version 1 of the protocol; make one with ssh-keygen -t ed25519"
    } else if starts(&["ssh-", "ecdsa-sha2-", "sk-"]) {
        match text
            .split(' ')
            .next()
            .is_some_and(|name| name.contains("-cert-v0"))
        {
            true => "a certificate; name the private key file beside it",
            false => PUBLIC,
        }
    } else {
        "no private key in Dropbear's, OpenSSH's or PEM format"
    }
}

/// The next PEM block (RFC 7468 section 2), if there is one: its label, its body and what
/// follows.
fn block(text: &str) -> Result<Option<(&str, &str, &str)>, KeyError> {
    let Some((_, from_label)) = text.split_once(BEGIN) else {
        return Ok(None);
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
    Ok(Some((label, body, after)))
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
fn sec1(der: &[u8], outer: Option<&'static str>) -> Result<UserKey, KeyError> {
    let (scalar, parameters, point) =
        sec1_fields(der).map_err(|_| KeyError::Corrupt("SEC1 structure"))?;
    let curve = match (outer, parameters) {
        (Some(curve), _) => curve,
        (None, Some(parameters)) => curve(parameters)?,
        (None, None) => return Err(KeyError::Corrupt("the curve is not named")),
    };
    match point.ok_or(KeyError::Corrupt("the public half is missing"))? {
        [2 | 3, ..] => Err(KeyError::UnknownFormat(
            "a key with a compressed point; convert it with openssl ec -conv_form uncompressed",
        )),
        point => UserKey::ecdsa(curve, scalar, point),
    }
}

/// Private scalar, parameters and public point (RFC 5915 section 3).
type Sec1<'a> = (&'a [u8], Option<AnyRef<'a>>, Option<&'a [u8]>);

fn sec1_fields(der: &[u8]) -> der::Result<Sec1<'_>> {
    let mut reader = SliceReader::new(der)?;
    let fields = reader.sequence(|fields| {
        if u8::decode(fields)? != 1 {
            return Err(Tag::Integer.value_error());
        }
        let scalar = OctetStringRef::decode(fields)?.as_bytes();
        let parameters = ContextSpecific::<AnyRef<'_>>::decode_explicit(fields, TagNumber::N0)?;
        let point = ContextSpecific::<BitStringRef<'_>>::decode_explicit(fields, TagNumber::N1)?;
        let point = point.map(|bits| bits.value.as_bytes().ok_or(Tag::BitString.value_error()));
        Ok((
            scalar,
            parameters.map(|field| field.value),
            point.transpose()?,
        ))
    })?;
    reader.finish(fields)
}

/// The curve that ECParameters mean (RFC 3279 section 2.3.5): by name, or in numbers. Of the
/// numbers, the field's prime tells: a key of another curve over it would not be that of its
/// public point.
fn curve(parameters: AnyRef<'_>) -> Result<&'static str, KeyError> {
    let other = || unsupported("ECDSA on a curve other than P-256 and P-384");
    if parameters.tag() == Tag::ObjectIdentifier {
        return match ObjectIdentifier::try_from(parameters) {
            Ok(OID_P256) => Ok("nistp256"),
            Ok(OID_P384) => Ok("nistp384"),
            _ => Err(other()),
        };
    }
    let prime = parameters.sequence(|fields| {
        u8::decode(fields)?;
        let prime = fields.sequence(|field| {
            let kind = ObjectIdentifier::decode(field)?;
            let value = AnyRef::decode(field)?;
            Ok((kind == OID_PRIME_FIELD).then_some(value))
        })?;
        while !fields.is_finished() {
            AnyRef::decode(fields)?;
        }
        prime.map(UintRef::try_from).transpose()
    });
    match prime.map_err(|_| KeyError::Corrupt("the curve's parameters"))? {
        Some(prime) if prime.as_bytes() == P256_PRIME => Ok("nistp256"),
        Some(prime) if prime.as_bytes() == P384_PRIME => Ok("nistp384"),
        _ => Err(other()),
    }
}

fn pkcs8(der: &[u8]) -> Result<UserKey, KeyError> {
    let damaged = KeyError::Corrupt("PKCS#8 structure");
    let info = pkcs8::PrivateKeyInfo::try_from(der).map_err(|_| damaged.clone())?;
    match info.algorithm.oid {
        OID_RSA => pkcs1(info.private_key),
        OID_EC => {
            let parameters = info.algorithm.parameters.ok_or(damaged)?;
            sec1(info.private_key, Some(curve(parameters)?))
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
