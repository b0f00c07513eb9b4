//! One channel and its target.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use log::{debug, info};
use reachback_core::forward::Target;
use reachback_core::forwards::ForwardId;
use reachback_core::places::PATIENCE;
use reachback_core::time::Instant;
use reachback_ssh::{ChannelId, Client, Error, Refusal};

use crate::checks::{Held, Suspicion};
use crate::ended::reason;
use crate::outside::{Outside, Ready, Resolution, Stream, TargetAddress, Token};
use crate::readable::Readable;
use crate::relays::refused::{Refused, Why};
use crate::relays::width::Pace;

mod place;
mod reach;

/// How long a target may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a target may refuse to take the last bytes of a peer that left.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a channel that is closed here counts as in use while the server has not closed it: it
/// may still be handing the last bytes to its user.
const CLOSE_DEADLINE: Duration = Duration::from_secs(300);
/// Packets that one target may send in one turn of the loop.
const PACKETS_PER_TURN: usize = 2;
/// What is read at once of a target that says less at a time, bytes.
const BITE: usize = 1024;

/// How far the target is.
enum TargetState<O: Outside> {
    /// Waiting for a place, until the deadline.
    Waiting,
    /// It may be a check (`VerifyForward`): accepted, its target untouched.
    Held(Suspicion),
    /// The target's name is being looked up.
    Resolving(Box<O::Resolution>),
    /// Waiting for the target to accept; `rest` are addresses not yet tried.
    Connecting {
        socket: O::Target,
        rest: Vec<TargetAddress>,
    },
    /// Bytes flow.
    Open(O::Target),
    /// The target is gone; waiting for the peer to close the channel.
    TargetGone,
}

/// A channel, its target, and what the target has not taken yet.
pub struct Relay<O: Outside> {
    /// `None` once both sides of the channel closed.
    channel: Option<ChannelId>,
    state: TargetState<O>,
    /// The forward that it came through.
    id: ForwardId,
    target: Target,
    readable: Readable,
    writable: bool,
    /// What the target has not taken; never more than the channel's window.
    unsent: VecDeque<u8>,
    /// How fast bytes of the peer come.
    pub pace: Pace,
    peer_ended: bool,
    target_ended: bool,
    write_shut: bool,
    /// The target takes nothing any more; what it said before is still to be read.
    write_dead: bool,
    deadline: Option<Instant>,
    /// Bytes of the target since they were last taken account of.
    sent: u64,
    /// How much is read at once: the space for it is cleared first, which costs more than a
    /// keystroke does.
    bite: usize,
    /// When bytes last moved, or waited only for the server to take them.
    active: Instant,
    /// They have since then.
    moved: bool,
}

impl<O: Outside> Relay<O> {
    /// A relay that waits for a place.
    pub fn new((channel, id): (ChannelId, ForwardId), target: &Target, now: Instant) -> Relay<O> {
        Relay {
            channel: Some(channel),
            state: TargetState::Waiting,
            id,
            target: target.clone(),
            readable: Readable::not_yet(),
            writable: false,
            unsent: VecDeque::new(),
            pace: Pace::default(),
            peer_ended: false,
            target_ended: false,
            write_shut: false,
            write_dead: false,
            deadline: Some(now + PATIENCE),
            sent: 0,
            bite: BITE,
            active: now,
            moved: false,
        }
    }

    /// The forward that it came through.
    pub fn id(&self) -> ForwardId {
        self.id
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is known of a channel that is held.
    pub fn as_held(&mut self) -> Option<Held<'_>> {
        let TargetState::Held(suspicion) = self.state else {
            return None;
        };
        Some(Held {
            id: self.id,
            suspicion,
            first: self.unsent.make_contiguous(),
            ended: self.peer_ended,
        })
    }

    /// How many bytes wait for the target.
    pub fn waiting(&self) -> usize {
        self.unsent.len()
    }

    /// Closes the channel and serves it no more; the place is free once the peer has closed too.
    pub fn leave(&mut self, client: &mut Client, now: Instant) -> Result<(), Error> {
        self.state = TargetState::TargetGone;
        self.unsent = VecDeque::new();
        self.deadline = Some(now + CLOSE_DEADLINE);
        self.channel
            .map_or(Ok(()), |channel| client.channel_close(channel))
    }

    /// Whether this relay serves the channel.
    pub fn serves(&self, channel: ChannelId) -> bool {
        self.channel == Some(channel)
    }

    /// The target's socket (`own`), or one of the resolver's, is ready.
    pub fn handle_ready(&mut self, ready: Ready, own: bool, now: Instant) {
        if own {
            self.readable.note(ready);
            self.writable |= ready.writable;
        } else if let TargetState::Resolving(resolution) = &mut self.state {
            resolution.handle_ready(ready.token, now);
        }
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resolving = match &self.state {
            TargetState::Resolving(resolution) => resolution.poll_timeout(),
            _ => None,
        };
        resolving.into_iter().chain(self.deadline).min()
    }

    /// Data of the peer: written to the target at once, and what it does not take is kept.
    /// Gives the bytes that the target took.
    pub fn data(&mut self, data: &[u8], now: Instant) -> usize {
        let taken = if self.unsent.is_empty() {
            self.write(data)
        } else {
            0
        };
        self.unsent.extend(&data[taken..]);
        self.pace.count(data.len(), taken < data.len(), now);
        self.moved = true;
        taken
    }

    /// The peer will send no more.
    pub fn peer_eof(&mut self) {
        self.peer_ended = true;
    }

    /// The channel is closed both ways; the target still gets what it has not taken yet.
    pub fn peer_closed(&mut self, now: Instant) {
        self.channel = None;
        self.peer_ended = true;
        self.deadline = Some(now + DRAIN_DEADLINE);
    }

    /// One turn; false when the relay is done with.
    pub fn drive(
        &mut self,
        token: Token,
        client: &mut Client,
        outside: &mut O,
        refused: &mut Refused,
        now: Instant,
    ) -> Result<bool, Error> {
        if self.channel.is_none() && !matches!(self.state, TargetState::Open(_)) {
            return Ok(false);
        }
        let late = self.deadline.is_some_and(|at| now >= at);
        match &mut self.state {
            TargetState::Waiting if late => {
                self.refuse_crowded(client, refused, now).map(|()| false)
            }
            TargetState::Waiting | TargetState::Held(_) => Ok(true),
            TargetState::Resolving(resolution) => {
                resolution.handle_timeout(now);
                let outcome = if late {
                    Err(io::ErrorKind::TimedOut.into())
                } else {
                    self.resolved(token, outside)
                };
                match outcome {
                    Ok(()) => Ok(true),
                    Err(error) => self.refuse(&error, client, refused, now).map(|()| false),
                }
            }
            TargetState::Connecting { .. } => {
                self.drive_connecting(late, token, client, outside, refused, now)
            }
            TargetState::Open(_) if late => {
                debug!(
                    "{} did not take the last {} bytes",
                    self.target,
                    self.unsent.len()
                );
                Ok(false)
            }
            TargetState::Open(_) => self.drive_open(client, now),
            TargetState::TargetGone => Ok(!late),
        }
    }

    /// Moves bytes both ways; false when the relay is done with.
    fn drive_open(&mut self, client: &mut Client, now: Instant) -> Result<bool, Error> {
        self.flush(client)?;
        self.read(client, now)?;
        self.note_activity(client, now);
        let delivered = self.write_dead || self.unsent.is_empty() && self.peer_ended;
        if delivered && !self.write_shut {
            self.write_shut = true;
            if let TargetState::Open(socket) = &self.state {
                socket.end_writing();
            }
        }
        match self.channel {
            Some(_) if delivered && self.target_ended => self.leave(client, now)?,
            Some(_) => {}
            None => return Ok(!delivered),
        }
        Ok(true)
    }

    fn flush(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut taken = 0;
        while (self.writable || self.write_dead) && !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let n = self.write(unsent.as_slices().0);
            self.unsent = unsent;
            self.unsent.drain(..n);
            self.moved |= n > 0;
            taken += n;
        }
        if self.unsent.is_empty() {
            // A relay that once lagged does not keep its ring.
            self.unsent = VecDeque::new();
        }
        if let (1.., Some(channel)) = (taken, self.channel) {
            client.channel_taken(channel, taken)?;
        }
        Ok(())
    }

    /// Writes to the target; gives what it took. A target that takes nothing any more takes
    /// everything: there is nobody left to wait for.
    fn write(&mut self, data: &[u8]) -> usize {
        let mut taken = 0;
        while self.writable && taken < data.len() {
            let TargetState::Open(socket) = &mut self.state else {
                break;
            };
            match socket.write(&data[taken..]) {
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!("{} took no more: {}", self.target, reason(&error));
                    self.write_dead = true;
                    self.writable = false;
                    self.readable = Readable::unknown();
                }
            }
        }
        if self.write_dead { data.len() } else { taken }
    }

    /// Reads from the target straight into packets, as long as the peer's window and the output
    /// have room.
    fn read(&mut self, client: &mut Client, now: Instant) -> Result<(), Error> {
        let (TargetState::Open(socket), Some(channel)) = (&mut self.state, self.channel) else {
            return Ok(());
        };
        let mut is_short = false;
        for _ in 0..PACKETS_PER_TURN {
            if !self.readable.get() || self.target_ended {
                break;
            }
            let Some(space) = client.channel_space(channel, self.bite)? else {
                break;
            };
            let outcome = socket.read(space);
            self.readable.after(&outcome, space.len());
            // Of what came, not of whether there is more.
            if let Ok(n) = outcome {
                is_short = n < space.len();
                self.bite = if n < BITE { BITE } else { usize::MAX };
            }
            client.channel_filled(channel, *outcome.as_ref().unwrap_or(&0))?;
            match outcome {
                Ok(0) => {
                    self.target_ended = true;
                    client.channel_eof(channel)?;
                }
                Ok(n) => {
                    self.sent += n as u64;
                    self.moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!("{} broke off: {}", self.target, reason(&error));
                    return self.leave(client, now);
                }
            }
        }
        if is_short {
            socket.acknowledge();
        }
        Ok(())
    }

    /// How many bytes of the target went into packets since this was last asked.
    pub fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Whether another turn would move bytes.
    pub fn has_work(&self, client: &Client) -> bool {
        let readable = self.readable.get() && !self.target_ended;
        match (&self.state, self.channel) {
            (TargetState::Open(_), Some(channel)) => readable && client.channel_takes_data(channel),
            (TargetState::Connecting { .. }, _) => self.writable,
            _ => false,
        }
    }

    /// Tells the peer that the target cannot be reached, and the log unless it was told so lately.
    pub fn refuse(
        &mut self,
        error: &io::Error,
        client: &mut Client,
        refused: &mut Refused,
        now: Instant,
    ) -> Result<(), Error> {
        if refused.note((self.id, Why::Target(error.kind())), now) {
            info!(
                "cannot connect to {}: {}; the connection from the server is refused",
                self.target,
                reason(error)
            );
        }
        self.turn_away(Refusal::ConnectFailed, "target unreachable", client)
    }

    /// Tells peer and log that there was no place.
    fn refuse_crowded(
        &mut self,
        client: &mut Client,
        refused: &mut Refused,
        now: Instant,
    ) -> Result<(), Error> {
        if refused.note((self.id, Why::Crowded), now) {
            info!("connection to {} {}", self.target, Why::Crowded);
        }
        self.turn_away(Refusal::ResourceShortage, "too many connections", client)
    }

    fn turn_away(&mut self, why: Refusal, text: &str, client: &mut Client) -> Result<(), Error> {
        match self.channel.take() {
            Some(channel) => client.refuse_channel(channel, why, text),
            None => Ok(()),
        }
    }
}
