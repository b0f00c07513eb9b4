//! The key exchanges: secrets, messages, exchange hash and derived keys.
//!
//! All of them have the shape of RFC 5656 section 4 (one string each way); they differ in the
//! secret and in the hash.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ml_kem::MlKem768;
use ml_kem::kem::{Ciphertext, Decapsulate, KeyExport};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
use zeroize::{Zeroize, Zeroizing};

use crate::algorithms::Kex;
use crate::wire::{Hasher, Put, Reader};
use crate::{Error, Rng, limits};

/// `SSH_MSG_KEX_ECDH_INIT` (RFC 5656 section 7.1) and `SSH_MSG_KEX_HYBRID_INIT`.
pub const MSG_INIT: u8 = 30;
/// `SSH_MSG_KEX_ECDH_REPLY` and `SSH_MSG_KEX_HYBRID_REPLY`.
pub const MSG_REPLY: u8 = 31;

/// Bytes of an X25519 public key and of its shared secret (RFC 7748 section 5).
const X25519: usize = 32;
/// Bytes of an ML-KEM-768 ciphertext (FIPS 203 table 3).
const ML_KEM_CIPHERTEXT: usize = 1088;
/// Bytes of the longest shared secret (P-384).
const SECRET: usize = 48;
/// Longest encoding of a shared secret: length, sign byte, number.
const ENCODED_SECRET: usize = 4 + 1 + SECRET;

/// What both sides said before the exchange, as it enters the exchange hash.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// The client's identification line without CR LF.
    pub client_ident: &'a [u8],
    /// The server's identification line without CR LF.
    pub server_ident: &'a [u8],
    /// The client's whole `SSH_MSG_KEXINIT` payload.
    pub client_kexinit: &'a [u8],
    /// The server's whole `SSH_MSG_KEXINIT` payload.
    pub server_kexinit: &'a [u8],
}

/// An exchange hash.
#[derive(Clone, Copy)]
pub struct Hash(digest::Digest);

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// The shared secret K in the encoding that is hashed.
///
/// This copy is wiped when dropped, as are those made on the way to it here. Others are not: hash
/// contexts, digests and the ephemeral private key are ring's, which offers no way to wipe them.
pub struct Secret(Zeroizing<Encoded>);

#[derive(Clone, Copy)]
struct Encoded {
    bytes: [u8; ENCODED_SECRET],
    len: usize,
}

impl Zeroize for Encoded {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl Put for Encoded {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

impl Secret {
    fn empty() -> Self {
        Secret(Zeroizing::new(Encoded {
            bytes: [0; ENCODED_SECRET],
            len: 0,
        }))
    }

    /// K as an `mpint` (RFC 5656 section 4, RFC 8731 section 3.1), of at most [`SECRET`] bytes.
    fn number(k: &[u8]) -> Self {
        let mut secret = Self::empty();
        secret.0.put_mpint(k);
        secret
    }

    /// K as a `string` (mlkem768x25519-sha256), of at most [`SECRET`] bytes.
    fn string(k: &[u8]) -> Self {
        let mut secret = Self::empty();
        secret.0.put_string(k);
        secret
    }

    /// The encoded K.
    fn encoded(&self) -> &[u8] {
        &self.0.bytes[..self.0.len]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One exchange under way: the client's ephemeral secrets and its first message.
pub struct Exchange {
    hash: &'static digest::Algorithm,
    own: Own,
    init: Vec<u8>,
}

enum Own {
    Classic(EphemeralPrivateKey),
    Hybrid(EphemeralPrivateKey, Box<ml_kem::DecapsulationKey<MlKem768>>),
}

/// What a finished exchange gives. The signature is not verified yet.
#[derive(Debug)]
pub struct Reply {
    /// The server's host key blob K_S.
    pub host_key: Vec<u8>,
    /// The server's signature over the exchange hash.
    pub signature: Vec<u8>,
    /// The exchange hash H; the first one is the session identifier.
    pub exchange_hash: Hash,
    /// The shared secret K.
    pub secret: Secret,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange(..)")
    }
}

impl Exchange {
    /// Makes fresh ephemeral keys. Fails when a random source does.
    pub fn start(kex: Kex, rng: &mut dyn Rng) -> Result<Exchange, Error> {
        let curve = match kex {
            Kex::EcdhNistp256 => &agreement::ECDH_P256,
            Kex::EcdhNistp384 => &agreement::ECDH_P384,
            Kex::MlKem768X25519 | Kex::Curve25519 | Kex::Curve25519LibSsh => &agreement::X25519,
        };
        let private = EphemeralPrivateKey::generate(curve, &ring::rand::SystemRandom::new())
            .map_err(|_| Error::Rng)?;
        let public = private
            .compute_public_key()
            .map_err(|_| Error::Crypto("making a key exchange key"))?;

        let mut init = Vec::new();
        init.put_u8(MSG_INIT);
        let own = if kex == Kex::MlKem768X25519 {
            let mut seed = Zeroizing::new([0u8; 64]);
            rng.fill(seed.as_mut_slice())?;
            let decapsulation = Box::new(ml_kem::DecapsulationKey::<MlKem768>::from_seed(
                (*seed).into(),
            ));
            let encapsulation = decapsulation.encapsulation_key().to_bytes();
            init.put_u32((encapsulation.len() + X25519) as u32);
            init.put(&encapsulation);
            init.put(public.as_ref());
            Own::Hybrid(private, decapsulation)
        } else {
            init.put_string(public.as_ref());
            Own::Classic(private)
        };
        let hash = match kex {
            Kex::EcdhNistp384 => &digest::SHA384,
            _ => &digest::SHA256,
        };
        Ok(Exchange { hash, own, init })
    }

    /// The whole payload of the client's exchange message.
    pub fn init_payload(&self) -> &[u8] {
        &self.init
    }

    /// Takes the server's whole reply payload and computes secret and exchange hash.
    ///
    /// Fails with [`Error::Malformed`], [`Error::Limit`], or [`Error::Crypto`] when the
    /// server's key is no valid public key or leads to an all-zero secret (RFC 8731
    /// section 3, RFC 5656 section 4).
    pub fn finish(self, reply: &[u8], transcript: &Transcript<'_>) -> Result<Reply, Error> {
        let mut reader = Reader::new(reply);
        if reader.u8()? != MSG_REPLY {
            return Err(Error::Malformed("key exchange reply"));
        }
        let host_key = reader.string()?;
        let server_share = reader.string()?;
        let signature = reader.string()?;
        reader.finish()?;
        if host_key.len() > limits::HOST_KEY_BLOB {
            return Err(Error::Limit("the size of a host key"));
        }
        if signature.len() > limits::SIGNATURE_BLOB {
            return Err(Error::Limit("the size of a host key signature"));
        }
        let client_share = Reader::new(&self.init[1..]).string()?;

        let secret = match self.own {
            Own::Classic(private) => agree(private, server_share, Secret::number)?,
            Own::Hybrid(private, decapsulation) => hybrid(private, &decapsulation, server_share)?,
        };

        let hash = Hasher::new(self.hash);
        let exchange_hash = exchange_hash(
            hash,
            transcript,
            host_key,
            client_share,
            server_share,
            &secret,
        );
        Ok(Reply {
            host_key: host_key.to_vec(),
            signature: signature.to_vec(),
            exchange_hash,
            secret,
        })
    }
}

/// H of RFC 5656 section 4; the hybrid exchange hashes the same fields.
fn exchange_hash(
    mut hash: Hasher,
    transcript: &Transcript<'_>,
    host_key: &[u8],
    client_share: &[u8],
    server_share: &[u8],
    secret: &Secret,
) -> Hash {
    hash.put_string(transcript.client_ident);
    hash.put_string(transcript.server_ident);
    hash.put_string(transcript.client_kexinit);
    hash.put_string(transcript.server_kexinit);
    hash.put_string(host_key);
    hash.put_string(client_share);
    hash.put_string(server_share);
    hash.put(secret.encoded());
    Hash(hash.0.finish())
}

/// Elliptic-curve Diffie-Hellman; checks the point and refuses an all-zero secret. `use_secret`
/// gets what was agreed on.
fn agree<T>(
    private: EphemeralPrivateKey,
    peer: &[u8],
    use_secret: impl FnOnce(&[u8]) -> T,
) -> Result<T, Error> {
    let peer = UnparsedPublicKey::new(private.algorithm(), peer);
    agreement::agree_ephemeral(private, &peer, use_secret)
        .map_err(|_| Error::Crypto("key agreement"))
}

/// mlkem768x25519-sha256: K is SHA-256 over the ML-KEM secret and the X25519 secret, and
/// goes into the hashes as a string, not as a number.
fn hybrid(
    private: EphemeralPrivateKey,
    decapsulation: &ml_kem::DecapsulationKey<MlKem768>,
    share: &[u8],
) -> Result<Secret, Error> {
    if share.len() != ML_KEM_CIPHERTEXT + X25519 {
        return Err(Error::Malformed("hybrid key exchange share"));
    }
    let (ciphertext, public) = share.split_at(ML_KEM_CIPHERTEXT);
    let ciphertext = Ciphertext::<MlKem768>::try_from(ciphertext)
        .map_err(|_| Error::Malformed("hybrid key exchange share"))?;
    let mut post_quantum = decapsulation.decapsulate(&ciphertext);
    let mut hash = Hasher::new(&digest::SHA256);
    hash.put(&post_quantum);
    post_quantum.zeroize();
    agree(private, public, |classic| hash.put(classic))?;
    Ok(Secret::string(hash.0.finish().as_ref()))
}

/// Fills `out` with the key that `letter` names (`b'A'` to `b'F'`, RFC 4253 section 7.2).
///
/// `out` may have any length; `session_id` is the connection's first exchange hash.
pub fn derive(secret: &Secret, hash: &Hash, session_id: &[u8], letter: u8, out: &mut [u8]) {
    let mut start = Hasher::new(hash.0.algorithm());
    start.put(secret.encoded());
    start.put(hash.as_ref());

    let mut done = 0;
    while done < out.len() {
        let mut block = start.clone();
        if done == 0 {
            block.put_u8(letter);
            block.put(session_id);
        } else {
            // Every block hashes all the blocks before it.
            block.put(&out[..done]);
        }
        let digest = block.0.finish();
        let digest = digest.as_ref();
        let n = digest.len().min(out.len() - done);
        out[done..done + n].copy_from_slice(&digest[..n]);
        done += n;
    }
}

#[cfg(test)]
mod tests;
