//! One channel's windows and ends (RFC 4254 section 5).

use alloc::string::String;

use crate::Error;
use crate::forward::ForwardId;
use crate::limits::{CHANNEL_PACKET, CHANNEL_WINDOW, WIDEST_WINDOW};

/// Names a channel while it is open. The number is used again only after both sides closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelId(pub(crate) u8);

impl ChannelId {
    /// Position in a table of [`crate::limits::CHANNELS`] entries.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How far an open has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// To be told to the caller.
    Announce,
    /// The caller has yet to say yes or no.
    AwaitingCaller,
    /// Opened by this side, and not answered yet.
    AwaitingServer,
    Open,
}

/// What runs on a session channel (RFC 4254 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// The account's shell.
    Shell,
    /// This command, by the account's shell.
    Exec(&'a str),
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) remote: u32,
    pub(crate) forward: ForwardId,
    pub(crate) opening: Opening,
    pub(crate) originator: String,
    pub(crate) originator_port: u32,
    /// A session channel of ours (RFC 4254 section 6.1).
    pub(crate) is_session: bool,
    /// Its program was asked for and not answered.
    pub(crate) asked: bool,
    /// What the peer may send before the target has taken it.
    pub(crate) window: u32,
    /// What the peer may still send.
    in_window: u32,
    /// Taken by the target and not yet granted anew.
    credit: u32,
    /// What we may still send.
    out_window: u32,
    out_packet: u32,
    pub(crate) eof_in: bool,
    pub(crate) eof_out: bool,
    pub(crate) close_out: bool,
}

impl Channel {
    pub(crate) fn new(
        remote: u32,
        forward: ForwardId,
        out_window: u32,
        out_packet: u32,
    ) -> Channel {
        Channel {
            remote,
            forward,
            opening: Opening::Announce,
            originator: String::new(),
            originator_port: 0,
            is_session: false,
            asked: false,
            window: CHANNEL_WINDOW,
            in_window: CHANNEL_WINDOW,
            credit: 0,
            out_window,
            out_packet: out_packet.min(CHANNEL_PACKET),
            eof_in: false,
            eof_out: false,
            close_out: false,
        }
    }

    /// Data came in. More than the window allows, or after an end, breaks the protocol
    /// (RFC 4254 sections 5.2 and 5.3).
    pub(crate) fn received(&mut self, n: usize) -> Result<(), Error> {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        if self.opening != Opening::Open || self.eof_in {
            return Err(Error::Malformed("order of channel data"));
        }
        if n > CHANNEL_PACKET || n > self.in_window {
            return Err(Error::Limit("a channel's window"));
        }
        self.in_window -= n;
        Ok(())
    }

    /// The target took `n` bytes. Gives the adjustment to send once a packet, and an eighth of the
    /// window, has gathered: later, the peer would stand still with room to go on.
    pub(crate) fn taken(&mut self, n: usize) -> Option<u32> {
        let outstanding = self.window - self.in_window - self.credit;
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(outstanding);
        self.credit += n;
        if outstanding - n > self.window / 2 {
            // The target falls behind: what a wide window has too much is not granted again.
            let less = self.credit.min(self.window - CHANNEL_WINDOW);
            self.window -= less;
            self.credit -= less;
        }
        if self.eof_in || self.close_out || self.credit < CHANNEL_PACKET.max(self.window / 8) {
            return None;
        }
        self.in_window += self.credit;
        Some(core::mem::take(&mut self.credit))
    }

    /// Doubles the window, with at most `most` bytes more; they go out with the next adjustment.
    pub(crate) fn widen(&mut self, most: u32) {
        let more = self.window.min(WIDEST_WINDOW - self.window).min(most);
        if more >= CHANNEL_PACKET {
            self.window += more;
            self.credit += more;
        }
    }

    /// The peer grants `n` more bytes; past 2^32 - 1 breaks the protocol (RFC 4254 section 5.2).
    pub(crate) fn granted(&mut self, n: u32) -> Result<(), Error> {
        self.out_window = self
            .out_window
            .checked_add(n)
            .ok_or(Error::Malformed("window adjustment"))?;
        Ok(())
    }

    /// Bytes that one data packet may carry now; 0 while nothing may be sent.
    pub(crate) fn may_send(&self) -> usize {
        if self.opening != Opening::Open || self.eof_out || self.close_out {
            return 0;
        }
        self.out_window.min(self.out_packet) as usize
    }

    pub(crate) fn sent(&mut self, n: usize) {
        self.out_window = self
            .out_window
            .saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
    }
}
