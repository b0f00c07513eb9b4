//! Packets sealed where they were built.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use super::{HEADER, LENGTH_FIELD, MAX_PADDING, MIN_PADDING};
use crate::cipher::{MAX_TAG, Sealer};
use crate::limits::{CONTROL_RESERVE, OUTBOUND_BUFFER, OUTBOUND_HIGH};
use crate::{Error, Rng};

/// What is to be written to the network.
///
/// One fixed buffer of [`OUTBOUND_BUFFER`] bytes: channel data stops at `high`, at most
/// [`OUTBOUND_HIGH`]; the rest is kept for control messages.
pub(crate) struct Outbound {
    buf: Vec<u8>,
    sent: usize,
    high: usize,
    /// Where the packet under construction begins, while there is one.
    packet: usize,
    open: bool,
    sealer: Sealer,
    sequence: u32,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

impl Outbound {
    pub(crate) fn new() -> Outbound {
        Outbound {
            buf: Vec::with_capacity(OUTBOUND_BUFFER),
            sent: 0,
            high: OUTBOUND_HIGH,
            packet: 0,
            open: false,
            sealer: Sealer::Plain,
            sequence: 0,
            bytes: 0,
            packets: 0,
        }
    }

    /// Sealed and not yet written; a packet under construction is not part of it.
    pub(crate) fn pending(&self) -> &[u8] {
        let end = if self.open {
            self.packet
        } else {
            self.buf.len()
        };
        &self.buf[self.sent..end]
    }

    pub(crate) fn written(&mut self, n: usize) {
        self.abandon();
        self.sent = (self.sent + n).min(self.buf.len());
        if self.sent == self.buf.len() {
            self.buf.clear();
            self.sent = 0;
        }
    }

    /// What of the buffer holds nothing.
    pub(crate) fn unused(&mut self) -> &mut [MaybeUninit<u8>] {
        self.buf.spare_capacity_mut()
    }

    fn abandon(&mut self) {
        if self.open {
            self.buf.truncate(self.packet);
            self.open = false;
        }
    }

    fn room(&self) -> usize {
        OUTBOUND_BUFFER - (self.buf.len() - self.sent)
    }

    /// False when a peer that asks without reading the answers has filled the reserve; the
    /// client then takes no further packet until the output drains.
    pub(crate) fn has_reserve(&self) -> bool {
        self.room() >= CONTROL_RESERVE
    }

    /// True while channel data may be added.
    pub(crate) fn takes_data(&self) -> bool {
        self.buf.len() - self.sent < self.high
    }

    pub(crate) fn set_high(&mut self, bytes: usize) {
        self.high = bytes.clamp(1, OUTBOUND_HIGH);
    }

    pub(crate) fn set_sealer(&mut self, sealer: Sealer, reset: bool) {
        self.sealer = sealer;
        self.bytes = 0;
        self.packets = 0;
        if reset {
            self.sequence = 0;
        }
    }

    /// Sequence number of the packet that [`Outbound::finish`] seals next.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence
    }

    /// Bytes outside of packets: the identification line.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Starts a packet whose payload will not pass `payload` bytes; the payload is then appended
    /// to the vector given back, and [`Outbound::finish`] seals it.
    pub(crate) fn begin(&mut self, payload: usize) -> Result<&mut Vec<u8>, Error> {
        // Block size, tag and header never add more than this.
        const OVERHEAD: usize = HEADER + 32 + MAX_TAG;
        let needed = payload + OVERHEAD;
        self.abandon();
        if self.room() < needed {
            return Err(Error::Limit("unsent control messages"));
        }
        if self.buf.capacity() - self.buf.len() < needed {
            self.buf.drain(..self.sent);
            self.sent = 0;
        }
        self.packet = self.buf.len();
        self.open = true;
        self.buf.extend_from_slice(&[0; HEADER]);
        Ok(&mut self.buf)
    }

    /// Pads and seals the packet begun last (RFC 4253 section 6).
    pub(crate) fn finish(&mut self, rng: &mut dyn Rng) -> Result<(), Error> {
        self.finish_padded(0, rng)
    }

    /// The same with payload and padding of at least `least` bytes together, as far as the longest
    /// padding goes: how long the payload is does not show then.
    pub(crate) fn finish_padded(&mut self, least: usize, rng: &mut dyn Rng) -> Result<(), Error> {
        let block = self.sealer.block();
        let payload = self.buf.len() - self.packet - HEADER;
        let covered = self.buf.len() - self.packet - self.sealer.aad_len();
        let mut padding = block - covered % block;
        if padding < MIN_PADDING {
            padding += block;
        }
        while payload + padding < least && padding + block <= MAX_PADDING {
            padding += block;
        }
        let length = 1 + payload + padding;
        self.buf.resize(self.buf.len() + padding, 0);
        // Padding under encryption hides nothing that zeros would show; in the clear it must be
        // random (RFC 4253 section 6).
        let at = self.buf.len() - padding;
        if matches!(self.sealer, Sealer::Plain) {
            rng.fill(&mut self.buf[at..])?;
        }
        let packet = &mut self.buf[self.packet..];
        packet[..LENGTH_FIELD].copy_from_slice(&(length as u32).to_be_bytes());
        packet[LENGTH_FIELD] = padding as u8;
        let mut tag = [0; MAX_TAG];
        let tag_len = self.sealer.tag_len();
        self.sealer
            .seal(self.sequence, packet, &mut tag[..tag_len])?;
        self.buf.extend_from_slice(&tag[..tag_len]);
        self.open = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += (self.buf.len() - self.packet) as u64;
        self.packets += 1;
        Ok(())
    }

    /// Starts a data packet in place: `header` is the message up to the data, `space` zeroed
    /// bytes follow it for the caller to fill. [`Outbound::commit_data`] ends it.
    pub(crate) fn data_space(&mut self, header: &[u8], space: usize) -> Result<&mut [u8], Error> {
        let space = space.min(self.high);
        self.begin(header.len() + space)?.extend_from_slice(header);
        let at = self.buf.len();
        self.buf.resize(at + space, 0);
        Ok(&mut self.buf[at..])
    }

    /// Keeps `n` bytes of data behind a header of `header` bytes whose last field is the data's
    /// length, and seals; with 0 the packet is taken back.
    pub(crate) fn commit_data(
        &mut self,
        header: usize,
        n: usize,
        rng: &mut dyn Rng,
    ) -> Result<(), Error> {
        if !self.open || n == 0 {
            self.abandon();
            return Ok(());
        }
        let data = self.packet + HEADER + header;
        self.buf.truncate(data + n);
        self.buf[data - 4..data].copy_from_slice(&(n as u32).to_be_bytes());
        self.finish(rng)
    }
}
