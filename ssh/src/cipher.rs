//! Sealing and opening of packets in place.
//!
//! A packet here is RFC 4253 section 6's binary packet: four bytes of length, the padding
//! length, payload and padding, then the tag.

use alloc::boxed::Box;
use core::fmt;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey, chacha20_poly1305_openssh as chacha};

use crate::Error;
use crate::algorithms::Cipher;

/// Bytes of the length field, which the AEAD ciphers treat apart.
const LENGTH: usize = 4;
/// Bytes of every tag.
const TAG: usize = 16;

/// Bytes of key that a cipher takes.
pub fn key_len(cipher: Cipher) -> usize {
    match cipher {
        Cipher::ChaCha20Poly1305 => chacha::KEY_LEN,
        Cipher::Aes256Gcm => 32,
        Cipher::Aes128Gcm => 16,
    }
}

/// Bytes of initial IV that a cipher takes.
pub fn iv_len(cipher: Cipher) -> usize {
    match cipher {
        Cipher::ChaCha20Poly1305 => 0,
        Cipher::Aes256Gcm | Cipher::Aes128Gcm => aead::NONCE_LEN,
    }
}

fn chacha_key(key: &[u8]) -> Result<&[u8; chacha::KEY_LEN], Error> {
    key.try_into()
        .map_err(|_| Error::Crypto("setting a cipher key"))
}

/// AES-GCM with the nonce of RFC 5647 section 7.1: 4 fixed bytes and a 64-bit counter of
/// packets that starts where the derived IV says.
pub struct Gcm {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl Gcm {
    fn new(algorithm: &'static aead::Algorithm, key: &[u8], iv: &[u8]) -> Result<Self, Error> {
        let wrong = Error::Crypto("setting a cipher key");
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong.clone())?;
        let (fixed, counter) = iv.split_first_chunk::<4>().ok_or_else(|| wrong.clone())?;
        let counter = <[u8; 8]>::try_from(counter).map_err(|_| wrong)?;
        Ok(Gcm {
            key: LessSafeKey::new(key),
            fixed: *fixed,
            counter: u64::from_be_bytes(counter),
        })
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = [0; aead::NONCE_LEN];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        // Rekeying comes long before this wraps (RFC 5647 section 7.1).
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Builds the three variants for both directions, which differ in ring's key type only.
macro_rules! direction {
    ($name:ident, $chacha:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Default)]
        pub enum $name {
            /// Before the first key exchange: nothing is protected.
            #[default]
            Plain,
            /// `chacha20-poly1305@openssh.com`.
            ChaCha(Box<$chacha>),
            /// `aes256-gcm@openssh.com` and `aes128-gcm@openssh.com`.
            Gcm(Box<Gcm>),
        }

        impl $name {
            /// Sets the key up. `key` has [`key_len`] and `iv` [`iv_len`] bytes, else this
            /// fails with [`Error::Crypto`]. The caller wipes both afterwards.
            pub fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Result<Self, Error> {
                Ok(match cipher {
                    Cipher::ChaCha20Poly1305 => {
                        Self::ChaCha(Box::new(<$chacha>::new(chacha_key(key)?)))
                    }
                    Cipher::Aes256Gcm => {
                        Self::Gcm(Box::new(Gcm::new(&aead::AES_256_GCM, key, iv)?))
                    }
                    Cipher::Aes128Gcm => {
                        Self::Gcm(Box::new(Gcm::new(&aead::AES_128_GCM, key, iv)?))
                    }
                })
            }

            /// Bytes that padding aligns to.
            pub fn block(&self) -> usize {
                match self {
                    Self::Plain | Self::ChaCha(_) => 8,
                    Self::Gcm(_) => 16,
                }
            }

            /// Bytes of the tag behind a packet.
            pub fn tag_len(&self) -> usize {
                match self {
                    Self::Plain => 0,
                    Self::ChaCha(_) | Self::Gcm(_) => TAG,
                }
            }

            /// Bytes at the front that do not count when padding is aligned.
            pub fn aad_len(&self) -> usize {
                match self {
                    Self::Plain => 0,
                    Self::ChaCha(_) | Self::Gcm(_) => LENGTH,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::Plain => concat!(stringify!($name), "::Plain"),
                    Self::ChaCha(_) => concat!(stringify!($name), "::ChaCha(..)"),
                    Self::Gcm(_) => concat!(stringify!($name), "::Gcm(..)"),
                })
            }
        }
    };
}

direction!(
    Sealer,
    chacha::SealingKey,
    "Protects packets on their way to the server."
);
direction!(
    Opener,
    chacha::OpeningKey,
    "Checks and opens packets from the server."
);

impl Sealer {
    /// Encrypts `packet` (length field to padding) in place and writes the tag.
    ///
    /// `seq` is the packet's sequence number; `tag` has [`Sealer::tag_len`] bytes. Fails
    /// with [`Error::Crypto`] when a length is wrong.
    pub fn seal(&mut self, seq: u32, packet: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        let failed = Error::Crypto("sealing a packet");
        if packet.len() < LENGTH || tag.len() != self.tag_len() {
            return Err(failed);
        }
        match self {
            Sealer::Plain => {}
            Sealer::ChaCha(key) => {
                let tag = tag.try_into().map_err(|_| failed)?;
                key.seal_in_place(seq, packet, tag);
            }
            Sealer::Gcm(gcm) => {
                let nonce = gcm.next_nonce();
                let (length, body) = packet.split_at_mut(LENGTH);
                let made = gcm
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*length), body)
                    .map_err(|_| failed)?;
                tag.copy_from_slice(made.as_ref());
            }
        }
        Ok(())
    }
}

impl Opener {
    /// The length field of the packet that begins with `first4`. It is not authenticated
    /// yet, so the caller bounds it.
    pub fn length(&self, seq: u32, first4: [u8; 4]) -> u32 {
        u32::from_be_bytes(match self {
            Opener::Plain | Opener::Gcm(_) => first4,
            Opener::ChaCha(key) => key.decrypt_packet_length(seq, first4),
        })
    }

    /// Checks and decrypts `packet` (length field to tag) in place; afterwards the bytes
    /// between length field and tag are plain. The length field keeps its encrypted form.
    ///
    /// Fails with [`Error::BadTag`]; the contents are then unspecified.
    pub fn open(&mut self, seq: u32, packet: &mut [u8]) -> Result<(), Error> {
        let body = packet
            .len()
            .checked_sub(self.tag_len())
            .filter(|&n| n >= LENGTH)
            .ok_or(Error::Malformed("packet length"))?;
        match self {
            Opener::Plain => {}
            Opener::ChaCha(key) => {
                let (sealed, tag) = packet.split_at_mut(body);
                let tag = (&*tag).try_into().map_err(|_| Error::BadTag)?;
                key.open_in_place(seq, sealed, tag)
                    .map_err(|_| Error::BadTag)?;
            }
            Opener::Gcm(gcm) => {
                let nonce = gcm.next_nonce();
                let (length, sealed) = packet.split_at_mut(LENGTH);
                gcm.key
                    .open_in_place(nonce, Aad::from(&*length), sealed)
                    .map_err(|_| Error::BadTag)?;
            }
        }
        Ok(())
    }
}
