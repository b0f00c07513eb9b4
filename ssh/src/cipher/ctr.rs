//! AES in counter mode (RFC 4344 section 4) with an HMAC (RFC 6668), encrypt-and-MAC as in
//! RFC 4253 section 6.4 or encrypt-then-MAC as in OpenSSH's `PROTOCOL`, section 1.5.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};
use ctr::Ctr128BE;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::{Keys, LENGTH};
use crate::Error;
use crate::algorithms::{Cipher, Mac};

/// The keystream of one direction. It runs on from packet to packet.
enum Stream {
    Aes128(Ctr128BE<Aes128>),
    Aes192(Ctr128BE<Aes192>),
    Aes256(Ctr128BE<Aes256>),
}

impl Stream {
    fn new(cipher: Cipher, keys: &Keys<'_>) -> Option<Stream> {
        let (key, iv) = (keys.key, keys.iv);
        Some(match cipher {
            Cipher::Aes128Ctr => Stream::Aes128(Ctr128BE::new_from_slices(key, iv).ok()?),
            Cipher::Aes192Ctr => Stream::Aes192(Ctr128BE::new_from_slices(key, iv).ok()?),
            Cipher::Aes256Ctr => Stream::Aes256(Ctr128BE::new_from_slices(key, iv).ok()?),
            _ => return None,
        })
    }

    /// Rekeying comes long before the counter wraps (RFC 4344 section 3.2).
    fn apply(&mut self, bytes: &mut [u8]) {
        match self {
            Stream::Aes128(stream) => stream.apply_keystream(bytes),
            Stream::Aes192(stream) => stream.apply_keystream(bytes),
            Stream::Aes256(stream) => stream.apply_keystream(bytes),
        }
    }
}

/// One direction's keys.
pub struct Ctr {
    stream: Stream,
    mac: hmac::Key,
    etm: bool,
    /// The length field of the packet that is coming in, once it was decrypted: the keystream
    /// goes forwards only.
    length: Option<[u8; LENGTH]>,
}

impl Ctr {
    pub(super) fn new(cipher: Cipher, mac: Option<Mac>, keys: &Keys<'_>) -> Result<Ctr, Error> {
        let wrong = Error::Crypto("setting a cipher key");
        let mac = mac.ok_or_else(|| wrong.clone())?;
        let stream = Stream::new(cipher, keys).ok_or_else(|| wrong.clone())?;
        if keys.mac.len() != super::mac_key_len(mac) {
            return Err(wrong);
        }
        let algorithm = match mac {
            Mac::HmacSha256Etm | Mac::HmacSha256 => hmac::HMAC_SHA256,
            Mac::HmacSha512Etm | Mac::HmacSha512 => hmac::HMAC_SHA512,
        };
        Ok(Ctr {
            stream,
            mac: hmac::Key::new(algorithm, keys.mac),
            etm: matches!(mac, Mac::HmacSha256Etm | Mac::HmacSha512Etm),
            length: None,
        })
    }

    pub(super) fn tag_len(&self) -> usize {
        self.mac.algorithm().digest_algorithm().output_len()
    }

    /// Bytes at the front that stay in the clear.
    pub(super) fn clear(&self) -> usize {
        if self.etm { LENGTH } else { 0 }
    }

    /// The sequence number enters the MAC, and nothing else of the packet's place does.
    fn sign(&self, sequence: u32, packet: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&sequence.to_be_bytes());
        context.update(packet);
        context.sign()
    }

    pub(super) fn seal(&mut self, sequence: u32, packet: &mut [u8], tag: &mut [u8]) {
        let made = if self.etm {
            self.stream.apply(&mut packet[LENGTH..]);
            self.sign(sequence, packet)
        } else {
            let made = self.sign(sequence, packet);
            self.stream.apply(packet);
            made
        };
        tag.copy_from_slice(made.as_ref());
    }

    /// The length field in the clear.
    pub(super) fn length(&mut self, mut field: [u8; LENGTH]) -> [u8; LENGTH] {
        if self.etm {
            return field;
        }
        if self.length.is_none() {
            self.stream.apply(&mut field);
            self.length = Some(field);
        }
        self.length.unwrap_or(field)
    }

    pub(super) fn open(
        &mut self,
        sequence: u32,
        packet: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Error> {
        if !self.etm {
            if let Some(&field) = packet.first_chunk() {
                packet[..LENGTH].copy_from_slice(&self.length(field));
            }
            self.length = None;
            self.stream.apply(&mut packet[LENGTH..]);
        }
        let made = self.sign(sequence, packet);
        if !bool::from(made.as_ref().ct_eq(tag)) {
            return Err(Error::BadTag);
        }
        if self.etm {
            self.stream.apply(&mut packet[LENGTH..]);
        }
        Ok(())
    }
}
