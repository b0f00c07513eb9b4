//! The user's private keys: their forms, their public halves and their signatures.

mod crt;
mod openssh;
mod text;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use ring::rand::SystemRandom;
use ring::rsa::{self, KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};
use zeroize::Zeroizing;

use self::crt::Crt;
use crate::algorithms::PublicKeyAlgorithm;
use crate::wire::{Put, magnitude, names};
use crate::{Error, hostkey};

/// Why a private key cannot be used. The text of each is one line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key needs a passphrase.
    Encrypted,
    /// No private key in a known form; the text says what was found.
    UnknownFormat(&'static str),
    /// A private key of a type that is not supported.
    UnsupportedType(String),
    /// The key's parts do not parse or do not fit together; the text names the part.
    Corrupt(&'static str),
    /// An RSA key of fewer than 2047 bits.
    TooSmall {
        /// Bits of the modulus.
        bits: usize,
    },
    /// An RSA key of more than 4096 bits.
    TooLarge {
        /// Bits of the modulus.
        bits: usize,
    },
    /// The signature could not be made.
    Signing,
}

/// What to do about a key that cannot be used at all.
const MAKE: &str = "make one with ssh-keygen -t ed25519 or dropbearkey -t ed25519";

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Encrypted => {
                f.write_str("the key is protected by a passphrase; remove it with ssh-keygen -p")
            }
            KeyError::UnknownFormat(found) => write!(f, "it is {found}"),
            KeyError::UnsupportedType(name) if name.starts_with("sk-") => write!(
                f,
                "keys of type {} sign inside a security key only; {MAKE}",
                name.escape_debug()
            ),
            KeyError::UnsupportedType(name) => write!(
                f,
                "keys of type {} are not supported; {MAKE}",
                name.escape_debug()
            ),
            KeyError::Corrupt(what) => write!(f, "the key is damaged ({what})"),
            KeyError::TooSmall { bits } => {
                write!(
                    f,
                    "the RSA key has {bits} bits; at least 2048 are needed; {MAKE}"
                )
            }
            KeyError::TooLarge { bits } => {
                write!(
                    f,
                    "the RSA key has {bits} bits; at most 4096 are supported; {MAKE}"
                )
            }
            KeyError::Signing => f.write_str("signing with the key failed"),
        }
    }
}

impl core::error::Error for KeyError {}

/// For the field readers, which key files share with messages.
impl From<Error> for KeyError {
    fn from(error: Error) -> Self {
        KeyError::Corrupt(match error {
            Error::Malformed(what) => what,
            _ => "a field that cannot be read",
        })
    }
}

/// A private key that can sign, with its public half.
pub struct UserKey {
    signer: Signer,
    /// Its algorithm; for RSA the first of several.
    algorithm: PublicKeyAlgorithm,
    public: Vec<u8>,
    comment: String,
}

enum Signer {
    Rsa(Box<rsa::KeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserKey({} {})", self.key_type(), self.fingerprint())
    }
}

impl UserKey {
    /// An RSA key of 2047 to 4096 bits from big-endian numbers, in any order of p and q, which
    /// are of 1024, 1536 or 2048 bits both. The values for the Chinese remainder theorem are
    /// computed here. (Dropbear made keys of 2047 bits until 2014.63.)
    pub fn rsa(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Result<UserKey, KeyError> {
        let (n, e) = (magnitude(n), magnitude(e));
        let bits = bits_of(n);
        if bits < 2047 {
            return Err(KeyError::TooSmall { bits });
        }
        if bits > 4096 {
            return Err(KeyError::TooLarge { bits });
        }
        // RFC 8017 allows smaller exponents; the signer takes 65537 and up.
        if e.len() < 3 {
            return Err(KeyError::UnsupportedType(String::from(
                "ssh-rsa with a public exponent below 65537",
            )));
        }
        let (half, of_p, of_q) = (bits.div_ceil(2), bits_of(p), bits_of(q));
        if of_p + of_q != bits && of_p + of_q != bits + 1 {
            return Err(KeyError::Corrupt("RSA primes"));
        }
        if half % 512 != 0 || of_p != half || of_q != half {
            return Err(KeyError::UnsupportedType(String::from(
                "ssh-rsa with primes that are not of 1024, 1536 or 2048 bits both",
            )));
        }
        // The signer never looks at d; a damaged one is to be told before the program goes to the
        // background.
        let crt = Crt::compute(e, d, p, q).map_err(KeyError::Corrupt)?;
        let pair = rsa::KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents { n, e },
            d: magnitude(d),
            p: crt.p,
            q: crt.q,
            dP: magnitude(&*crt.d_p),
            dQ: magnitude(&*crt.d_q),
            qInv: magnitude(&*crt.q_inv),
        })
        .map_err(|_| KeyError::Corrupt("RSA numbers"))?;

        let mut public = Vec::new();
        public.put_string(b"ssh-rsa");
        public.put_mpint(e);
        public.put_mpint(n);
        Ok(UserKey {
            signer: Signer::Rsa(Box::new(pair)),
            algorithm: PublicKeyAlgorithm::RsaSha512,
            public,
            comment: String::new(),
        })
    }

    /// An Ed25519 key from its seed; `public` must belong to it (RFC 8032 section 5.1.5).
    pub fn ed25519(seed: &[u8; 32], public: &[u8; 32]) -> Result<UserKey, KeyError> {
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
            .map_err(|_| KeyError::Corrupt("Ed25519 public key"))?;
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(public);
        Ok(UserKey {
            signer: Signer::Ed25519(Box::new(pair)),
            algorithm: PublicKeyAlgorithm::Ed25519,
            public: blob,
            comment: String::new(),
        })
    }

    /// An ECDSA key on `curve` (`nistp256` or `nistp384`) from its big-endian scalar and
    /// its uncompressed point, which must belong together (RFC 5656 section 3.1).
    pub fn ecdsa(curve: &str, d: &[u8], q_point: &[u8]) -> Result<UserKey, KeyError> {
        let (algorithm, signing, size) = match curve {
            "nistp256" => (
                PublicKeyAlgorithm::EcdsaP256,
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                32,
            ),
            "nistp384" => (
                PublicKeyAlgorithm::EcdsaP384,
                &ECDSA_P384_SHA384_FIXED_SIGNING,
                48,
            ),
            other => {
                let mut name = String::from("ecdsa-sha2-");
                name.push_str(other);
                return Err(KeyError::UnsupportedType(name));
            }
        };
        let mut scalar = Zeroizing::new([0u8; 48]);
        right_aligned(d, &mut scalar[..size]).ok_or(KeyError::Corrupt("ECDSA scalar"))?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            signing,
            &scalar[..size],
            q_point,
            &SystemRandom::new(),
        )
        .map_err(|_| KeyError::Corrupt("ECDSA numbers"))?;
        let mut public = Vec::new();
        public.put_string(algorithm.name().as_bytes());
        public.put_string(curve.as_bytes());
        public.put_string(q_point);
        Ok(UserKey {
            signer: Signer::Ecdsa(Box::new(pair)),
            algorithm,
            public,
            comment: String::new(),
        })
    }

    /// Reads an unencrypted key file: OpenSSH's own form (OpenSSH's `PROTOCOL.key`) or PEM
    /// with PKCS#1 (RFC 8017), PKCS#8 (RFC 5958) or SEC1 (RFC 5915). What comes before the key
    /// is skipped: text in whatever encoding, certificates, a public key. The caller wipes
    /// `file`.
    pub fn from_file(file: impl AsRef<[u8]>) -> Result<UserKey, KeyError> {
        text::parse(file.as_ref())
    }

    /// The public key blob.
    pub fn public_blob(&self) -> &[u8] {
        &self.public
    }

    /// The name of the key's type, `ssh-rsa` for every RSA key.
    pub fn key_type(&self) -> &'static str {
        self.algorithm.key_type()
    }

    /// The comment from the file; empty unless it is in OpenSSH's form.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The public key's fingerprint, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        hostkey::fingerprint(&self.public)
    }

    /// Signature algorithms to try, in order; never empty and never SHA-1.
    ///
    /// `server_sig_algs` is the server's list (RFC 8308 section 3.1) if it sent one. For
    /// RSA the choice is made from it. Without it, SHA-256 is first, since servers that
    /// know only one of both know that one. Keys with one algorithm are tried always.
    pub fn algorithms(&self, server_sig_algs: Option<&str>) -> &'static [PublicKeyAlgorithm] {
        use PublicKeyAlgorithm::*;
        match self.algorithm {
            RsaSha512 | RsaSha256 | RsaSha1 => {}
            Ed25519 => return &[Ed25519],
            EcdsaP256 => return &[EcdsaP256],
            EcdsaP384 => return &[EcdsaP384],
        }
        let lists = |algorithm: PublicKeyAlgorithm| {
            server_sig_algs.is_some_and(|l| names(l).any(|n| n == algorithm.name()))
        };
        match (lists(RsaSha512), lists(RsaSha256)) {
            (true, true) => &[RsaSha512, RsaSha256],
            (true, false) => &[RsaSha512],
            (false, true) => &[RsaSha256],
            (false, false) => &[RsaSha256, RsaSha512],
        }
    }

    /// Signs `message` and returns the signature blob: the algorithm's name and the value
    /// (RFC 8332 section 3, RFC 8709 section 6, RFC 5656 section 3.1.2).
    ///
    /// Fails with [`KeyError::UnsupportedType`] when the key cannot sign with `algorithm`.
    pub fn sign(&self, algorithm: PublicKeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let unsupported = || KeyError::UnsupportedType(String::from(algorithm.name()));
        let rng = SystemRandom::new();
        let mut blob = Vec::new();
        blob.put_string(algorithm.name().as_bytes());
        match &self.signer {
            Signer::Rsa(pair) => {
                let encoding: &dyn ring::signature::RsaEncoding = match algorithm {
                    PublicKeyAlgorithm::RsaSha512 => &RSA_PKCS1_SHA512,
                    PublicKeyAlgorithm::RsaSha256 => &RSA_PKCS1_SHA256,
                    _ => return Err(unsupported()),
                };
                let mut value = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &rng, message, &mut value)
                    .map_err(|_| KeyError::Signing)?;
                blob.put_string(&value);
            }
            _ if algorithm != self.algorithm => return Err(unsupported()),
            Signer::Ed25519(pair) => blob.put_string(pair.sign(message).as_ref()),
            Signer::Ecdsa(pair) => {
                let value = pair.sign(&rng, message).map_err(|_| KeyError::Signing)?;
                let (r, s) = value.as_ref().split_at(value.as_ref().len() / 2);
                let mut numbers = Vec::new();
                numbers.put_mpint(r);
                numbers.put_mpint(s);
                blob.put_string(&numbers);
            }
        }
        Ok(blob)
    }
}

/// Bits of a big-endian number.
fn bits_of(number: &[u8]) -> usize {
    let number = magnitude(number);
    number.len() * 8 - number.first().map_or(0, |b| b.leading_zeros() as usize)
}

/// The public key that belongs to an Ed25519 seed.
fn ed25519_public(seed: &[u8; 32]) -> Option<[u8; 32]> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    pair.public_key().as_ref().try_into().ok()
}

/// Copies the magnitude of `number` to the end of `out`; none when it does not fit.
fn right_aligned(number: &[u8], out: &mut [u8]) -> Option<()> {
    let number = magnitude(number);
    let start = out.len().checked_sub(number.len())?;
    out[..start].fill(0);
    out[start..].copy_from_slice(number);
    Some(())
}
