//! Framing on the server's side (RFC 4253 section 6), with ways to frame wrongly.

use reachback_ssh::cipher::{Opener, Sealer};

/// Longest packet taken from the client.
const PACKET_LENGTH: usize = 256 * 1024;

/// Both directions of the binary packet protocol.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    input: Vec<u8>,
    start: usize,
    pub(crate) output: Vec<u8>,
    sealer: Sealer,
    opener: Opener,
    sequence_in: u32,
    pub(crate) sequence_out: u32,
}

impl Packets {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.start);
        self.start = 0;
        self.input.extend_from_slice(bytes);
    }

    /// A line of the identification exchange, without its end.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.input[self.start..];
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line = rest[..end].trim_ascii_end().to_vec();
        self.start += end + 1;
        Some(line)
    }

    /// The next packet of the client: its sequence number and payload.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Vec<u8>)>, String> {
        let rest = &mut self.input[self.start..];
        let Some(first) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = self.opener.length(self.sequence_in, *first) as usize;
        let covered = length + 4 - self.opener.aad_len();
        if !(6..=PACKET_LENGTH).contains(&length) || !covered.is_multiple_of(self.opener.block()) {
            return Err(format!("packet length {length}"));
        }
        let whole = 4 + length + self.opener.tag_len();
        if rest.len() < whole {
            return Ok(None);
        }
        let packet = &mut rest[..whole];
        self.opener
            .open(self.sequence_in, packet)
            .map_err(|error| error.to_string())?;
        let padding = usize::from(packet[4]);
        if padding < 4 || padding + 2 > length {
            return Err(format!("padding of {padding} bytes"));
        }
        let payload = packet[5..4 + length - padding].to_vec();
        let sequence = self.sequence_in;
        self.start += whole;
        self.sequence_in = self.sequence_in.wrapping_add(1);
        Ok(Some((sequence, payload)))
    }

    /// Frames and seals a payload as it should be.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        let block = self.sealer.block();
        let covered = 5 + payload.len() - self.sealer.aad_len();
        let mut padding = block - covered % block;
        if padding < 4 {
            padding += block;
        }
        let mut body = payload.to_vec();
        body.resize(payload.len() + padding, 0x5a);
        self.push_crafted((1 + body.len()) as u32, padding as u8, &body);
    }

    /// Seals a packet whose length fields say what the caller wants them to say.
    pub(crate) fn push_crafted(&mut self, length: u32, padding: u8, body: &[u8]) {
        let at = self.output.len();
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.push(padding);
        self.output.extend_from_slice(body);
        let mut tag = vec![0; self.sealer.tag_len()];
        // The sealer checks nothing but the tag's own length.
        let sealed = self
            .sealer
            .seal(self.sequence_out, &mut self.output[at..], &mut tag);
        debug_assert!(sealed.is_ok());
        self.output.extend_from_slice(&tag);
        self.sequence_out = self.sequence_out.wrapping_add(1);
    }

    pub(crate) fn set_sealer(&mut self, sealer: Sealer, reset: bool) {
        self.sealer = sealer;
        if reset {
            self.sequence_out = 0;
        }
    }

    pub(crate) fn set_opener(&mut self, opener: Opener, reset: bool) {
        self.opener = opener;
        if reset {
            self.sequence_in = 0;
        }
    }
}
