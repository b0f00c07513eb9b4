//! Identification lines (RFC 4253 section 4.2).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::message::printable;
use crate::{Error, limits};

/// What the client calls itself, without CR LF.
pub const CLIENT_IDENT: &str = concat!("SSH-2.0-reachback_", env!("CARGO_PKG_VERSION"));

const PREFIX: &[u8] = b"SSH-";
/// The versions that speak SSH 2; 1.99 also speaks version 1 (RFC 4253 section 5.1).
const VERSIONS: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

/// The server's identification line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    line: Vec<u8>,
    software: String,
}

impl Ident {
    /// The line without CR LF, as it enters the exchange hash.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Software version and comments for a log: printable ASCII, all else escaped.
    pub fn software(&self) -> &str {
        &self.software
    }

    fn parse(mut line: Vec<u8>) -> Result<Ident, Error> {
        while line.last().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
            line.pop();
        }
        let software = VERSIONS
            .iter()
            .find_map(|version| line.strip_prefix(*version))
            .ok_or(Error::Malformed("identification line (not SSH version 2)"))?;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", software.escape_ascii());
        Ok(Ident {
            line,
            software: text,
        })
    }
}

/// Finds the identification line at the front of the server's byte stream.
#[derive(Debug, Default)]
pub struct IdentReader {
    /// The current line, of which no more than [`limits::IDENT_LINE`] bytes are kept.
    line: Vec<u8>,
    /// The beginning of what came before, for whoever has to say why no identification did.
    said: Vec<u8>,
    lines: usize,
    bytes: usize,
}

impl IdentReader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the server said before its identification line, cut and escaped for a log; lines
    /// are joined by spaces.
    pub fn said(&self) -> String {
        let mut text = self.said.clone();
        let unfinished = self.line.get(..PREFIX.len()).is_none_or(|l| l != PREFIX);
        if unfinished {
            text.extend_from_slice(&self.line);
        }
        let lines = text.split(|byte| matches!(byte, b'\r' | b'\n'));
        let mut joined = Vec::with_capacity(text.len());
        for line in lines
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
        {
            if !joined.is_empty() {
                joined.push(b' ');
            }
            joined.extend_from_slice(line);
        }
        printable(&joined)
    }

    /// Takes in bytes up to and including the line feed of the identification line.
    ///
    /// Returns how many of `bytes` were taken, and the line once it is whole; what follows
    /// it belongs to the packets. Lines before it are skipped. Fails with
    /// [`Error::Limit`] when a cap of [`limits`] is passed and with [`Error::Malformed`]
    /// for a NUL byte or another protocol version.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Ident>), Error> {
        for (at, &byte) in bytes.iter().enumerate() {
            if byte == 0 {
                return Err(Error::Malformed("identification line (NUL byte)"));
            }
            self.bytes += 1;
            let full = self.line.len() == limits::IDENT_LINE;
            if !full {
                self.line.push(byte);
            }
            let known = self.line.len().min(PREFIX.len());
            let maybe_ident = self.line[..known] == PREFIX[..known];
            if maybe_ident && full {
                return Err(Error::Limit("the length of the identification line"));
            }
            if !maybe_ident && self.bytes > limits::PRE_IDENT_BYTES {
                return Err(Error::Limit("text before the identification line"));
            }
            if byte != b'\n' {
                continue;
            }
            if maybe_ident && known == PREFIX.len() {
                let line = core::mem::take(&mut self.line);
                return Ident::parse(line).map(|ident| (at + 1, Some(ident)));
            }
            self.lines += 1;
            if self.lines > limits::PRE_IDENT_LINES {
                return Err(Error::Limit("lines before the identification line"));
            }
            let room = limits::PEER_TEXT.saturating_sub(self.said.len());
            self.said.extend(self.line.drain(..).take(room));
        }
        Ok((bytes.len(), None))
    }
}
