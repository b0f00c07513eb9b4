//! Host keys: verifying their signatures and naming them to people.

use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Base64Unpadded, Encoding};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::algorithms::PublicKeyAlgorithm;
use crate::wire::{Hasher, Put, Reader};
use crate::{Error, limits};

/// Bytes of the longest RSA modulus and signature (8192 bits).
const RSA_BYTES: usize = 1024;
/// Bytes of the longest ECDSA scalar (P-384).
const SCALAR: usize = 48;

/// Verifies `signature_blob` over `message` with the public key in `key_blob`.
///
/// The key's type and the signature's own name must be those of `algorithm`, so a server
/// cannot fall back to a weaker hash. RSA keys have 2048 to 8192 bits. Fails with
/// [`Error::BadHostSignature`], or [`Error::Malformed`] for blobs that do not parse.
/// Sources: RFC 8709 sections 4 and 6, RFC 5656 section 3.1, RFC 8332 section 3.
pub fn verify(
    algorithm: PublicKeyAlgorithm,
    key_blob: &[u8],
    signature_blob: &[u8],
    message: &[u8],
) -> Result<(), Error> {
    let mut key = Reader::new(key_blob);
    if key.string()? != algorithm.key_type().as_bytes() {
        return Err(Error::BadHostSignature);
    }
    let mut signature = Reader::new(signature_blob);
    if signature.string()? != algorithm.name().as_bytes() {
        return Err(Error::BadHostSignature);
    }
    let value = signature.string()?;
    signature.finish()?;

    match algorithm {
        PublicKeyAlgorithm::Ed25519 => {
            let point = key.string()?;
            key.finish()?;
            check(&ED25519, point, message, value)
        }
        PublicKeyAlgorithm::EcdsaP256 => {
            let point = curve_point(&mut key, "nistp256")?;
            let mut fixed = [0u8; 2 * 32];
            fixed_scalars(value, &mut fixed)?;
            check(&ECDSA_P256_SHA256_FIXED, point, message, &fixed)
        }
        PublicKeyAlgorithm::EcdsaP384 => {
            let point = curve_point(&mut key, "nistp384")?;
            let mut fixed = [0u8; 2 * SCALAR];
            fixed_scalars(value, &mut fixed)?;
            check(&ECDSA_P384_SHA384_FIXED, point, message, &fixed)
        }
        PublicKeyAlgorithm::RsaSha512
        | PublicKeyAlgorithm::RsaSha256
        | PublicKeyAlgorithm::RsaSha1 => {
            let e = key.mpint()?;
            let n = key.mpint()?;
            key.finish()?;
            // Some servers drop leading zeros of the signature; RFC 4253 section 6.6 wants
            // it unpadded, the verification at the modulus' length.
            let mut padded = [0u8; RSA_BYTES];
            let padded = padded
                .get_mut(..n.len())
                .filter(|buf| value.len() <= buf.len())
                .ok_or(Error::BadHostSignature)?;
            let start = padded.len() - value.len();
            padded[start..].copy_from_slice(value);
            let parameters = match algorithm {
                PublicKeyAlgorithm::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
                PublicKeyAlgorithm::RsaSha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                _ => &RSA_PKCS1_2048_8192_SHA256,
            };
            RsaPublicKeyComponents { n, e }
                .verify(parameters, message, padded)
                .map_err(|_| Error::BadHostSignature)
        }
    }
}

fn check(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    UnparsedPublicKey::new(algorithm, public)
        .verify(message, signature)
        .map_err(|_| Error::BadHostSignature)
}

/// The curve's name and Q of an ECDSA key (RFC 5656 section 3.1).
fn curve_point<'a>(key: &mut Reader<'a>, curve: &str) -> Result<&'a [u8], Error> {
    if key.string()? != curve.as_bytes() {
        return Err(Error::BadHostSignature);
    }
    let point = key.string()?;
    key.finish()?;
    Ok(point)
}

/// `mpint r, mpint s` to two numbers of half of `out` each.
fn fixed_scalars(value: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let mut reader = Reader::new(value);
    let half = out.len() / 2;
    for scalar in out.chunks_exact_mut(half) {
        let number = reader.mpint()?;
        let start = half
            .checked_sub(number.len())
            .ok_or(Error::BadHostSignature)?;
        scalar[start..].copy_from_slice(number);
    }
    reader.finish()
}

/// Whether an RSA key has the 2048 to 8192 bits that [`verify`] wants; true for other types.
pub(crate) fn has_good_length(blob: &[u8]) -> bool {
    let mut key = Reader::new(blob);
    if key.string() != Ok(b"ssh-rsa") {
        return true;
    }
    let modulus = key.mpint().and_then(|_| key.mpint()).unwrap_or_default();
    (257..=RSA_BYTES).contains(&modulus.len()) || modulus.len() == 256 && modulus[0] >= 0x80
}

/// The type that a key blob names, for example `ssh-ed25519`.
pub fn key_type(blob: &[u8]) -> Result<&str, Error> {
    Reader::new(blob).text()
}

/// A key's fingerprint as `ssh-keygen -l` prints it: `SHA256:` and unpadded base64.
pub fn fingerprint(blob: &[u8]) -> String {
    let mut hash = Hasher::new(&ring::digest::SHA256);
    hash.put(blob);
    let mut text = String::from("SHA256:");
    text.push_str(&Base64Unpadded::encode_string(hash.0.finish().as_ref()));
    text
}

/// A key blob as known_hosts and authorized_keys carry it (padded base64).
pub fn blob_to_base64(blob: &[u8]) -> String {
    Base64::encode_string(blob)
}

/// The blob behind padded base64. Fails with [`Error::Malformed`], or [`Error::Limit`]
/// when it is longer than any key is.
pub fn base64_to_blob(text: &str) -> Result<Vec<u8>, Error> {
    if text.len() > limits::HOST_KEY_BLOB.div_ceil(3) * 4 {
        return Err(Error::Limit("the size of a host key"));
    }
    Base64::decode_vec(text).map_err(|_| Error::Malformed("base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(modulus: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-rsa");
        blob.put_mpint(&[1, 0, 1]);
        blob.put_mpint(modulus);
        blob
    }

    #[test]
    fn rsa_has_2048_to_8192_bits_and_its_leading_zeros_count_for_none() {
        for (modulus, good) in [
            (&[0x80; 256][..], true),
            (&[0x7f; 256], false),
            (&[0xff; 255], false),
            (&[1; 257], true),
            (&[0xff; RSA_BYTES], true),
            (&[1; RSA_BYTES + 1], false),
            (&[], false),
        ] {
            assert_eq!(has_good_length(&rsa(modulus)), good, "{}", modulus.len());
        }
        assert!(!has_good_length(&[&[0, 0, 0, 7][..], b"ssh-rsa"].concat()));
        assert!(has_good_length(b"\0\0\0\x0bssh-ed25519"));
    }
}
