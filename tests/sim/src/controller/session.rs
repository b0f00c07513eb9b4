//! One connection that is up, as `src/session.rs` of the program, with targets that echo.

use std::collections::VecDeque;

use reachback_core::failure::Failure;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Happening, Watchdog};
use reachback_ssh::limits::INBOUND_BUFFER;
use reachback_ssh::{ChannelId, Client, Error, Event, Phase};

use super::{Deed, Net};
use crate::network::Io;

/// Reads of the socket in one turn, as in the program.
const READS_PER_TURN: usize = 4;

struct Echo {
    channel: ChannelId,
    bytes: VecDeque<u8>,
    ended: bool,
}

pub(super) struct Session {
    pub(super) socket: usize,
    pub(super) client: Client,
    connected: bool,
    echoes: Vec<Echo>,
}

/// Why a connection is over.
pub(super) struct Ended(pub(super) Failure);

/// What a session works with in one turn.
pub(super) struct Turn<'a> {
    pub(super) watchdog: &'a mut Watchdog,
    pub(super) deeds: &'a mut Vec<(u64, Deed)>,
    pub(super) pinned: &'a [u8],
    pub(super) targets_take: bool,
    pub(super) net: &'a mut dyn Net,
    pub(super) now_ms: u64,
}

impl Session {
    pub(super) fn new(socket: usize, client: Client) -> Session {
        Session {
            socket,
            client,
            connected: false,
            echoes: Vec::new(),
        }
    }

    /// Bytes that wait for targets.
    pub(super) fn waiting(&self) -> usize {
        self.echoes.iter().map(|echo| echo.bytes.len()).sum()
    }

    /// As `Session::drive` of the program.
    pub(super) fn drive(&mut self, mut turn: Turn<'_>) -> Result<bool, Ended> {
        let due = self.client.handle_timeout(turn.now_ms);
        due.map_err(|error| self.ended(&error))?;
        self.flush(turn.net)?;
        self.handle_events(&mut turn)?;
        let mut readable = true;
        for _ in 0..READS_PER_TURN {
            readable = self.read(&mut turn)?;
            if !readable {
                break;
            }
            self.handle_events(&mut turn)?;
        }
        let moved = self.relay(turn.targets_take);
        moved.map_err(|error| self.ended(&error))?;
        let blocked = self.client.waits_for_output();
        self.flush(turn.net)?;
        let released = blocked && !self.client.waits_for_output();
        let has_work = turn.targets_take
            && self
                .echoes
                .iter()
                .any(|echo| !echo.bytes.is_empty() && self.client.channel_takes_data(echo.channel));
        let space = self.client.input_space().len();
        assert!(space <= INBOUND_BUFFER, "the input buffer grew");
        Ok(released || has_work || (readable && space > 0))
    }

    fn read(&mut self, turn: &mut Turn<'_>) -> Result<bool, Ended> {
        let space = self.client.input_space();
        if space.is_empty() {
            return Ok(false);
        }
        match turn.net.read(self.socket, space) {
            Io::Moved(n) => {
                self.client.handle_input(n, turn.now_ms);
                turn.watchdog
                    .handle(Instant(turn.now_ms), Happening::Inbound);
                turn.deeds.push((turn.now_ms, Deed::Inbound));
                Ok(true)
            }
            Io::Blocked => Ok(false),
            Io::Ended => Err(Ended(match self.client.phase() {
                Phase::Identification | Phase::KeyExchange | Phase::Authentication => {
                    Failure::GoneAway
                }
                Phase::Connected | Phase::Ended => Failure::ServerClosed,
            })),
            Io::Reset => Err(Ended(Failure::Lost)),
        }
    }

    pub(super) fn flush(&mut self, net: &mut dyn Net) -> Result<(), Ended> {
        while !self.client.poll_output().is_empty() {
            match net.write(self.socket, self.client.poll_output()) {
                Io::Moved(n) => self.client.handle_written(n),
                Io::Blocked => break,
                Io::Ended | Io::Reset => return Err(Ended(Failure::Lost)),
            }
        }
        Ok(())
    }

    fn handle_events(&mut self, turn: &mut Turn<'_>) -> Result<(), Ended> {
        loop {
            match self.handle_event(turn) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Ok(ended)) => return Err(ended),
                Err(Err(error)) => return Err(self.ended(&error)),
            }
        }
    }

    fn handle_event(&mut self, turn: &mut Turn<'_>) -> Result<bool, Result<Ended, Error>> {
        let now = Instant(turn.now_ms);
        let Some(event) = self.client.poll_event().map_err(Err)? else {
            return Ok(false);
        };
        match event {
            Event::Identified(_) => turn.watchdog.handle(now, Happening::Identified),
            Event::HostKey { blob, .. } => {
                if blob != turn.pinned {
                    return Err(Ok(Ended(Failure::HostKeyChanged)));
                }
                self.client.accept_host_key().map_err(Err)?;
            }
            Event::KeysExchanged { first: true, .. } => {
                turn.watchdog.handle(now, Happening::KeysExchanged);
            }
            Event::Authenticated { .. } => {
                self.connected = true;
                turn.watchdog.handle(now, Happening::Authenticated);
            }
            Event::ForwardConfirmed { forward, port } => {
                if let Some(id) = turn.watchdog.forwards().by_number(forward.0) {
                    turn.watchdog
                        .handle(now, Happening::ForwardConfirmed { id, port });
                }
            }
            Event::ForwardRefused { forward } => {
                if let Some(id) = turn.watchdog.forwards().by_number(forward.0) {
                    turn.watchdog.handle(now, Happening::ForwardRefused { id });
                }
            }
            Event::ChannelOpened { channel, .. } => {
                self.echoes.push(Echo {
                    channel,
                    bytes: VecDeque::new(),
                    ended: false,
                });
                self.client.accept_channel(channel).map_err(Err)?;
            }
            Event::ChannelData { channel, data } => {
                if let Some(echo) = self.echoes.iter_mut().find(|e| e.channel == channel) {
                    echo.bytes.extend(data);
                }
            }
            Event::ChannelEof { channel } => {
                if let Some(echo) = self.echoes.iter_mut().find(|e| e.channel == channel) {
                    echo.ended = true;
                }
            }
            Event::ChannelClosed { channel } => self.echoes.retain(|e| e.channel != channel),
            _ => {}
        }
        Ok(true)
    }

    /// Two packets of each target's echo, as the program's relays do it in one turn.
    fn relay(&mut self, targets_take: bool) -> Result<(), Error> {
        for echo in &mut self.echoes {
            if !targets_take {
                continue;
            }
            for _ in 0..2 {
                if echo.bytes.is_empty() {
                    break;
                }
                let Some(space) = self.client.channel_space(echo.channel)? else {
                    break;
                };
                let n = space.len().min(echo.bytes.len());
                for (place, byte) in space.iter_mut().zip(echo.bytes.drain(..n)) {
                    *place = byte;
                }
                self.client.channel_filled(echo.channel, n)?;
                self.client.channel_taken(echo.channel, n)?;
            }
            if echo.bytes.is_empty() && echo.ended {
                echo.ended = false;
                self.client.channel_eof(echo.channel)?;
                self.client.channel_close(echo.channel)?;
            }
        }
        Ok(())
    }

    pub(super) fn ended(&self, error: &Error) -> Ended {
        Ended(match (error, self.connected) {
            (Error::AuthRefused { .. }, _) => Failure::AuthRefused,
            (Error::HostKeySwapped | Error::BadHostSignature, _) => Failure::HostKeyChanged,
            (Error::Disconnected { .. }, false) => Failure::GoneAway,
            (Error::Disconnected { .. }, true) => Failure::ServerClosed,
            (Error::Crypto(_) | Error::Rng, _) => Failure::Local,
            _ => Failure::Protocol,
        })
    }
}
