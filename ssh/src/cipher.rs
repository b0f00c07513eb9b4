//! Sealing and opening of packets in place.
//!
//! A packet here is RFC 4253 section 6's binary packet: four bytes of length, the padding
//! length, payload and padding, then the tag.

use alloc::boxed::Box;
use core::fmt;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey, chacha20_poly1305_openssh as chacha};

use crate::Error;
use crate::algorithms::{Cipher, Mac};

mod ctr;
use ctr::Ctr;

/// Bytes of the length field, which most ciphers treat apart.
const LENGTH: usize = 4;
/// Bytes of an AEAD cipher's tag.
const TAG: usize = 16;

/// Bytes of the longest cipher key (`chacha20-poly1305@openssh.com`).
pub const MAX_KEY: usize = 64;
/// Bytes of the longest initial IV (counter mode).
pub const MAX_IV: usize = 16;
/// Bytes of the longest MAC key, and of the longest tag (SHA-512).
pub const MAX_TAG: usize = 64;

/// The keys of one direction (RFC 4253 section 7.2).
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Encryption key, of [`key_len`] bytes.
    pub key: &'a [u8],
    /// Initial IV, of [`iv_len`] bytes.
    pub iv: &'a [u8],
    /// Integrity key, of [`mac_key_len`] bytes; not looked at by an authenticated cipher.
    pub mac: &'a [u8],
}

/// Bytes of key that a cipher takes.
pub fn key_len(cipher: Cipher) -> usize {
    match cipher {
        Cipher::ChaCha20Poly1305 => chacha::KEY_LEN,
        Cipher::Aes256Gcm | Cipher::Aes256Ctr => 32,
        Cipher::Aes192Ctr => 24,
        Cipher::Aes128Gcm | Cipher::Aes128Ctr => 16,
    }
}

/// Bytes of initial IV that a cipher takes.
pub fn iv_len(cipher: Cipher) -> usize {
    match cipher {
        Cipher::ChaCha20Poly1305 => 0,
        Cipher::Aes256Gcm | Cipher::Aes128Gcm => aead::NONCE_LEN,
        Cipher::Aes256Ctr | Cipher::Aes192Ctr | Cipher::Aes128Ctr => 16,
    }
}

/// Bytes of key that a MAC takes, which are also those of its tag (RFC 6668 section 2).
pub fn mac_key_len(mac: Mac) -> usize {
    match mac {
        Mac::HmacSha256Etm | Mac::HmacSha256 => 32,
        Mac::HmacSha512Etm | Mac::HmacSha512 => 64,
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
    fn new(algorithm: &'static aead::Algorithm, keys: &Keys<'_>) -> Result<Self, Error> {
        let wrong = Error::Crypto("setting a cipher key");
        let key = UnboundKey::new(algorithm, keys.key).map_err(|_| wrong.clone())?;
        let (fixed, counter) = keys
            .iv
            .split_first_chunk::<4>()
            .ok_or_else(|| wrong.clone())?;
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
            /// AES in counter mode with a MAC.
            Ctr(Box<Ctr>),
        }

        impl $name {
            /// Sets the keys up; `mac` goes with the ciphers that do not authenticate by
            /// themselves. Fails with [`Error::Crypto`] when a length is wrong. The caller
            /// wipes `keys` afterwards.
            pub fn new(cipher: Cipher, mac: Option<Mac>, keys: &Keys<'_>) -> Result<Self, Error> {
                Ok(match cipher {
                    Cipher::ChaCha20Poly1305 => {
                        Self::ChaCha(Box::new(<$chacha>::new(chacha_key(keys.key)?)))
                    }
                    Cipher::Aes256Gcm => Self::Gcm(Box::new(Gcm::new(&aead::AES_256_GCM, keys)?)),
                    Cipher::Aes128Gcm => Self::Gcm(Box::new(Gcm::new(&aead::AES_128_GCM, keys)?)),
                    Cipher::Aes256Ctr | Cipher::Aes192Ctr | Cipher::Aes128Ctr => {
                        Self::Ctr(Box::new(Ctr::new(cipher, mac, keys)?))
                    }
                })
            }

            /// Bytes that padding aligns to.
            pub fn block(&self) -> usize {
                match self {
                    Self::Plain | Self::ChaCha(_) => 8,
                    Self::Gcm(_) | Self::Ctr(_) => 16,
                }
            }

            /// Bytes of the tag behind a packet.
            pub fn tag_len(&self) -> usize {
                match self {
                    Self::Plain => 0,
                    Self::ChaCha(_) | Self::Gcm(_) => TAG,
                    Self::Ctr(ctr) => ctr.tag_len(),
                }
            }

            /// Bytes at the front that do not count when padding is aligned.
            pub fn aad_len(&self) -> usize {
                match self {
                    Self::Plain => 0,
                    Self::ChaCha(_) | Self::Gcm(_) => LENGTH,
                    Self::Ctr(ctr) => ctr.clear(),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::Plain => concat!(stringify!($name), "::Plain"),
                    Self::ChaCha(_) => concat!(stringify!($name), "::ChaCha(..)"),
                    Self::Gcm(_) => concat!(stringify!($name), "::Gcm(..)"),
                    Self::Ctr(_) => concat!(stringify!($name), "::Ctr(..)"),
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
            Sealer::Ctr(ctr) => ctr.seal(seq, packet, tag),
        }
        Ok(())
    }
}

impl Opener {
    /// The length field of the packet that begins with `first4`, which is the next one to be
    /// opened. It is not authenticated yet, so the caller bounds it.
    pub fn length(&mut self, seq: u32, first4: [u8; 4]) -> u32 {
        u32::from_be_bytes(match self {
            Opener::Plain | Opener::Gcm(_) => first4,
            Opener::ChaCha(key) => key.decrypt_packet_length(seq, first4),
            Opener::Ctr(ctr) => ctr.length(first4),
        })
    }

    /// Checks and decrypts `packet` (length field to tag) in place; afterwards the bytes
    /// between length field and tag are plain. The length field may keep its encrypted form.
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
            Opener::Ctr(ctr) => {
                let (sealed, tag) = packet.split_at_mut(body);
                ctr.open(seq, sealed, tag)?;
            }
        }
        Ok(())
    }
}
