//! What the server prints on the session channel that `SessionChannel` asks for (RFC 4254 section
//! 6): some services tell a tunnel's public address there, or serve nobody who opens none.

use std::mem;
use std::time::Duration;

use log::{info, warn};
use reachback_core::config::SessionChannel;
use reachback_core::escape::escaped;
use reachback_core::time::Instant;
use reachback_ssh::{ChannelId, Client, Error, Program};

/// Longest line that is said, bytes; what is longer is cut.
const LINE_BYTES: usize = 256;
/// Lines that are said in each [`SPAN`]; the others are counted.
const LINES: u32 = 20;
const SPAN: Duration = Duration::from_secs(60);
/// A line without an end is said once nothing more of it came for so long.
const UNFINISHED: Duration = Duration::from_secs(1);

/// The session channel of one connection, and the line that is being printed on it.
#[derive(Default)]
pub struct Printed {
    channel: Option<ChannelId>,
    /// Opened, or tried: once for a connection.
    asked: bool,
    line: Vec<u8>,
    /// When an unfinished line is said.
    due: Option<Instant>,
    /// The last bytes were part of a terminal's control sequence.
    control: Control,
    /// When the first line of this span was said.
    since: Option<Instant>,
    lines: u32,
    unsaid: u32,
}

/// A control sequence of ECMA-48: `ESC [`, parameters, and a letter.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Control {
    #[default]
    No,
    Escape,
    Sequence,
}

impl Printed {
    /// Opens the channel, if one is wanted and was not asked for.
    pub fn open(&mut self, wanted: SessionChannel, client: &mut Client) -> Result<(), Error> {
        if wanted == SessionChannel::No || mem::replace(&mut self.asked, true) {
            return Ok(());
        }
        self.channel = client.open_session_channel()?;
        Ok(())
    }

    /// The server opened it.
    pub fn opened(
        &mut self,
        channel: ChannelId,
        wanted: SessionChannel,
        client: &mut Client,
    ) -> Result<(), Error> {
        match wanted {
            SessionChannel::Shell if self.is(channel) => {
                client.request_program(channel, Program::Shell)
            }
            _ => Ok(()),
        }
    }

    /// Whether this is the channel.
    pub fn is(&self, channel: ChannelId) -> bool {
        self.channel == Some(channel)
    }

    /// The server did not open it, or closed it.
    pub fn ended(&mut self, why: &str) {
        self.say();
        self.channel = None;
        warn!("{why}; it is asked for again with the next connection");
    }

    /// The server printed this.
    pub fn data(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            match (self.control, byte) {
                (Control::No, 0x1b) => self.control = Control::Escape,
                (Control::Escape, b'[') => self.control = Control::Sequence,
                (Control::Sequence, 0x20..=0x3f) => {}
                (Control::Escape | Control::Sequence, _) => self.control = Control::No,
                (Control::No, b'\r' | b'\n') => self.line_ended(now),
                (Control::No, _) if self.line.len() < LINE_BYTES => self.line.push(byte),
                (Control::No, _) => {}
            }
        }
        self.due = (!self.line.is_empty()).then(|| now + UNFINISHED);
    }

    /// When [`Printed::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Says an unfinished line, if that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now >= due) {
            self.due = None;
            self.line_ended(now);
        }
    }

    fn line_ended(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.since(since) >= SPAN) {
            if self.unsaid > 0 {
                info!("the server printed {} more lines", self.unsaid);
            }
            (self.since, self.lines, self.unsaid) = (Some(now), 0, 0);
        }
        if self.lines < LINES {
            self.say();
        } else if !self.line.is_empty() {
            self.line.clear();
            self.unsaid = self.unsaid.saturating_add(1);
        }
    }

    fn say(&mut self) {
        let line = mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            self.lines += 1;
            info!("the server prints: {}", escaped(line.trim()));
        }
    }
}
