//! Packets opened where they were read.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use super::{HEADER, LENGTH_FIELD, MIN_PADDING};
use crate::Error;
use crate::cipher::Opener;
use crate::limits::{INBOUND_BUFFER, PACKET_LENGTH};

/// What was read from the network and not yet handed on.
///
/// One buffer of [`INBOUND_BUFFER`] bytes, but for a long banner. When it is full,
/// [`Inbound::space`] is empty and the caller stops reading.
pub(crate) struct Inbound {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    opener: Opener,
    sequence: u32,
    /// Where the payload of the packet taken last is.
    payload: Range<usize>,
    /// Largest `packet_length` taken.
    longest: usize,
    /// Bytes and packets since the last change of keys, for RFC 4344's limits.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

impl Inbound {
    pub(crate) fn new() -> Inbound {
        Inbound {
            buf: vec![0; INBOUND_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            opener: Opener::Plain,
            sequence: 0,
            payload: 0..0,
            longest: PACKET_LENGTH,
            bytes: 0,
            packets: 0,
        }
    }

    /// Where the caller may read to.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.payload = 0..0;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buf.len() > INBOUND_BUFFER {
                self.buf = vec![0; INBOUND_BUFFER].into_boxed_slice();
            }
        } else if self.buf.len() - self.end < self.buf.len() / 4 && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }

    /// The caller read `n` bytes into [`Inbound::space`].
    pub(crate) fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buf.len());
    }

    /// Bytes that are not a packet: the identification exchange.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    pub(crate) fn consume_raw(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// Sequence number of the packet that [`Inbound::next`] opened last.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.sequence.wrapping_sub(1)
    }

    /// True when no packet came before the one opened last since the connection began.
    pub(crate) fn last_was_first(&self) -> bool {
        self.sequence == 1
    }

    /// New keys from the next packet on. `reset` starts the sequence at 0 (strict key exchange).
    pub(crate) fn set_opener(&mut self, opener: Opener, reset: bool) {
        self.opener = opener;
        self.bytes = 0;
        self.packets = 0;
        if reset {
            self.sequence = 0;
        }
    }

    /// Opens the next whole packet; false when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<bool, Error> {
        let have = self.end - self.start;
        let Some(first) = self.buf[self.start..self.end].first_chunk::<LENGTH_FIELD>() else {
            return Ok(false);
        };
        let length = self.opener.length(self.sequence, *first) as usize;
        // Bounded first: the sum below must not overflow where `usize` has 32 bits.
        let bounded = (1 + 1 + MIN_PADDING..=self.longest).contains(&length);
        let skipped = self.opener.aad_len();
        if !bounded || !(length + LENGTH_FIELD - skipped).is_multiple_of(self.opener.block()) {
            return Err(Error::Malformed("packet length"));
        }
        let whole = LENGTH_FIELD + length + self.opener.tag_len();
        if have < whole {
            self.make_room(whole);
            return Ok(false);
        }
        let packet = &mut self.buf[self.start..self.start + whole];
        self.opener.open(self.sequence, packet)?;
        let padding = usize::from(packet[LENGTH_FIELD]);
        if padding < MIN_PADDING || padding + 2 > length {
            return Err(Error::Malformed("padding length"));
        }
        self.payload = self.start + HEADER..self.start + LENGTH_FIELD + length - padding;
        self.start += whole;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += whole as u64;
        self.packets += 1;
        Ok(true)
    }

    /// Takes packets of up to `longest` bytes from now on. What does not fit the buffer is given
    /// a larger one, until it was handled.
    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    fn make_room(&mut self, whole: usize) {
        if whole > self.buf.len() {
            let mut larger = vec![0; whole].into_boxed_slice();
            let have = self.end - self.start;
            larger[..have].copy_from_slice(&self.buf[self.start..self.end]);
            (self.start, self.end) = (0, have);
            self.buf = larger;
        }
    }

    /// The payload of the packet that [`Inbound::next`] opened last, until there is room for
    /// more bytes; then empty.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.buf[self.payload.clone()]
    }
}
