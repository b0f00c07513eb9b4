//! TCP as two programs see it, on virtual time: streams that are slow, lossy, swallowed or
//! reset.
//!
//! Bytes stay in order. A lost segment and a black hole look alike to the sender: nothing
//! arrives until a retransmission gets through, and each one waits twice as long as the last,
//! up to a minute (RFC 6298). Sent bytes fill the send buffer until they are acknowledged, so a
//! hole in either direction blocks the writer in the end. `TCP_USER_TIMEOUT` and TCP keepalive
//! are left out: the watchdog has to do without them.

use std::collections::VecDeque;

use reachback_tunnel::{Ready, Token};

use crate::dice::Dice;

/// Bytes that a sender's kernel holds, on their way or not.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes that a receiver's kernel holds.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Bytes of a segment on a slow link.
const SEGMENT: usize = 1460;
/// Shortest and longest time between retransmissions.
const RTO_MS: (u64, u64) = (200, 60_000);

/// What the name server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dns {
    /// Answers.
    Answers,
    /// Says that it failed.
    Fails,
    /// Says nothing.
    Silent,
}

/// The state of the path between controller and server.
#[derive(Clone, Debug)]
pub struct Path {
    /// The controller's own link. While it is down nothing passes and nothing can be begun.
    pub link_up: bool,
    /// What goes to the server vanishes.
    pub hole_to_server: bool,
    /// What comes from the server vanishes.
    pub hole_to_client: bool,
    /// Segments of a hundred that are lost, each way.
    pub loss_percent: u64,
    /// Time that a segment takes, one way.
    pub delay_ms: u64,
    /// Bytes a second, each way; what comes faster waits in a queue without end.
    pub rate: Option<u64>,
    /// The name server.
    pub dns: Dns,
}

impl Path {
    /// A good path.
    pub fn good() -> Path {
        Path {
            link_up: true,
            hole_to_server: false,
            hole_to_client: false,
            loss_percent: 0,
            delay_ms: 40,
            rate: None,
            dns: Dns::Answers,
        }
    }

    /// Segments reach the server.
    pub fn forth(&self) -> bool {
        self.link_up && !self.hole_to_server
    }

    /// Segments reach the controller.
    pub fn back(&self) -> bool {
        self.link_up && !self.hole_to_client
    }
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Half {
    outbox: VecDeque<u8>,
    /// Segments on their way, by the time of their arrival; `None` is the end of the stream.
    flying: VecDeque<(u64, Option<Vec<u8>>)>,
    flying_bytes: usize,
    inbox: VecDeque<u8>,
    /// Arrived, but the sender does not know.
    unacknowledged: usize,
    /// When the sender was last told of an arrival.
    acknowledged_ms: u64,
    /// How often something arrived.
    arrivals: u64,
    next_try_ms: u64,
    rto_ms: u64,
    end_wanted: bool,
    end_sent: bool,
    end_arrived: bool,
    /// Bytes put on the wire for the first time.
    carried: u64,
    segments: u64,
}

impl Half {
    fn held(&self) -> usize {
        self.outbox.len() + self.flying_bytes + self.unacknowledged
    }

    fn room(&self) -> usize {
        SEND_BUFFER.saturating_sub(self.held())
    }

    fn wants(&self) -> bool {
        !self.outbox.is_empty() || (self.end_wanted && !self.end_sent) || self.unacknowledged > 0
    }

    /// Lets arrive what is due. True when something did.
    fn arrive(&mut self, now_ms: u64, acknowledged: bool) -> bool {
        let mut any = false;
        while self.flying.front().is_some_and(|(at, _)| *at <= now_ms) {
            any = true;
            self.arrivals += 1;
            match self.flying.pop_front() {
                Some((_, Some(bytes))) => {
                    self.flying_bytes -= bytes.len();
                    if acknowledged {
                        self.acknowledged_ms = now_ms;
                    } else {
                        self.unacknowledged += bytes.len();
                    }
                    self.inbox.extend(bytes);
                }
                _ => self.end_arrived = true,
            }
        }
        any
    }

    /// Sends, or waits longer for the next try.
    fn transmit(
        &mut self,
        now_ms: u64,
        open: bool,
        acknowledged: bool,
        path: &Path,
        dice: &mut Dice,
    ) {
        if !self.wants() || now_ms < self.next_try_ms {
            return;
        }
        if !open || dice.chance(path.loss_percent) {
            self.rto_ms = self.rto_ms.max(RTO_MS.0 + 2 * path.delay_ms);
            self.next_try_ms = now_ms + self.rto_ms;
            self.rto_ms = (2 * self.rto_ms).min(RTO_MS.1);
            return;
        }
        if acknowledged {
            if std::mem::take(&mut self.unacknowledged) > 0 {
                self.acknowledged_ms = now_ms;
            }
        } else if self.unacknowledged > 0 && self.outbox.is_empty() {
            self.next_try_ms = now_ms + self.rto_ms.max(RTO_MS.0);
            return;
        }
        self.rto_ms = 0;
        let last = self.flying.back().map_or(0, |(at, _)| *at);
        let mut at = last.max(now_ms + path.delay_ms);
        let mut free = RECEIVE_BUFFER.saturating_sub(self.inbox.len() + self.flying_bytes);
        let largest = path.rate.map_or(usize::MAX, |_| SEGMENT);
        while !self.outbox.is_empty() && free > 0 {
            let n = self.outbox.len().min(free).min(largest);
            at += path.rate.map_or(0, |rate| n as u64 * 1_000 / rate);
            free -= n;
            let bytes: Vec<u8> = self.outbox.drain(..n).collect();
            self.flying_bytes += n;
            self.carried += n as u64;
            self.segments += 1;
            self.flying.push_back((at, Some(bytes)));
        }
        if self.outbox.is_empty() && self.end_wanted && !self.end_sent {
            self.end_sent = true;
            self.flying.push_back((at, None));
        }
    }

    fn next_event(&self, now_ms: u64) -> Option<u64> {
        let arrival = self.flying.front().map(|(at, _)| *at);
        let retry = (self.wants() && self.next_try_ms > now_ms).then_some(self.next_try_ms);
        arrival.into_iter().chain(retry).min()
    }
}

/// What a read or a write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// This many bytes were moved.
    Moved(usize),
    /// It would block.
    Blocked,
    /// The peer has ended its stream.
    Ended,
    /// The peer knows nothing of this connection.
    Reset,
}

/// One TCP connection with both its ends.
#[derive(Debug, Default)]
pub struct Stream {
    to_server: Half,
    to_client: Half,
    /// The controller still holds its socket.
    pub client_open: bool,
    /// The server still holds its socket.
    pub server_open: bool,
    client_reset: bool,
    /// The controller does not want sent what it has not sent by its end.
    discard: bool,
    /// The controller wrote more than was taken.
    client_blocked: bool,
    /// How much of what arrived the controller has been told of.
    told: (u64, bool),
    server_reset: bool,
    reset_flying: Option<u64>,
    /// The controller's address is another one now; nothing of this stream arrives any more.
    pub orphaned: bool,
}

impl Stream {
    /// A connection that only the controller knows of yet.
    pub fn dialling() -> Stream {
        Stream {
            client_open: true,
            ..Stream::default()
        }
    }

    /// Moves what is due; `host_up` is whether the server's machine runs. True when something
    /// arrived.
    pub fn tick(&mut self, now_ms: u64, path: &Path, host_up: bool, dice: &mut Dice) -> bool {
        let forth = path.forth() && host_up && !self.orphaned;
        let back = path.back() && host_up && !self.orphaned;
        self.to_server.transmit(now_ms, forth, back, path, dice);
        self.to_client.transmit(now_ms, back, forth, path, dice);
        let mut any = self.to_server.arrive(now_ms, back);
        if any && !self.server_open && back {
            // Nobody is there for it.
            self.reset_flying.get_or_insert(now_ms + path.delay_ms);
        }
        if self.to_client.arrive(now_ms, forth) {
            any = true;
            self.server_reset |= !self.client_open && forth;
        }
        if self.reset_flying.is_some_and(|at| at <= now_ms) {
            self.reset_flying = None;
            self.client_reset = true;
            any = true;
        }
        any
    }

    /// When something happens by itself.
    pub fn next_event(&self, now_ms: u64) -> Option<u64> {
        let halves = [
            self.to_server.next_event(now_ms),
            self.to_client.next_event(now_ms),
            self.reset_flying,
        ];
        halves.into_iter().flatten().min()
    }

    /// The server's machine forgets this connection without a word; who asks later is reset.
    pub fn forgotten(&mut self) {
        self.server_open = false;
        self.to_client = Half::default();
    }

    /// The server's process dies; its kernel resets the connection.
    pub fn reset_by_server(&mut self, now_ms: u64, path: &Path) {
        self.forgotten();
        if path.back() && !self.orphaned {
            self.reset_flying = Some(now_ms + path.delay_ms);
        }
    }

    /// The controller reads.
    pub fn client_read(&mut self, space: &mut [u8]) -> Io {
        if self.client_reset {
            return Io::Reset;
        }
        read(&mut self.to_client, space)
    }

    /// The controller looks at what it would read.
    pub fn client_peek(&self, space: &mut [u8]) -> Io {
        if self.client_reset {
            return Io::Reset;
        }
        let inbox = &self.to_client.inbox;
        for (place, byte) in space.iter_mut().zip(inbox) {
            *place = *byte;
        }
        match space.len().min(inbox.len()) {
            0 if self.to_client.end_arrived => Io::Ended,
            0 => Io::Blocked,
            n => Io::Moved(n),
        }
    }

    /// The controller writes.
    pub fn client_write(&mut self, bytes: &[u8]) -> Io {
        if self.client_reset {
            return Io::Reset;
        }
        let io = write(&mut self.to_server, bytes);
        self.client_blocked = io != Io::Moved(bytes.len());
        io
    }

    /// What has become readable and writable for the controller since this was last asked, as
    /// an edge-triggered epoll(7) tells it.
    pub fn client_edges(&mut self, token: Token) -> Ready {
        let (arrivals, reset) = (self.to_client.arrivals, self.client_reset);
        let broke = reset && !self.told.1;
        let arrived = self.told.0 != arrivals;
        let writable = broke || self.client_blocked && self.client_room() >= SEND_BUFFER / 3;
        self.told = (arrivals, reset);
        self.client_blocked &= !writable;
        Ready {
            token,
            readable: broke || arrived,
            writable,
            ended: broke || arrived && self.to_client.end_arrived,
        }
    }

    /// Nothing is under way in either direction, and both ends have read everything.
    pub fn is_quiet(&self) -> bool {
        let quiet =
            |half: &Half| half.outbox.is_empty() && half.flying.is_empty() && half.inbox.is_empty();
        quiet(&self.to_server) && quiet(&self.to_client) && self.reset_flying.is_none()
    }

    /// Bytes of the controller that its kernel holds, and when it was last told of an arrival.
    pub fn client_holds(&self) -> (usize, u64) {
        (self.to_server.held(), self.to_server.acknowledged_ms)
    }

    /// What was not sent by its end is not sent after it.
    pub fn client_discard(&mut self) {
        self.discard = true;
    }

    /// The controller closes its socket.
    pub fn client_close(&mut self) {
        self.client_open = false;
        self.to_server.end_wanted = true;
        if self.discard {
            self.to_server.outbox.clear();
        }
    }

    /// The server reads.
    pub fn server_read(&mut self, space: &mut [u8]) -> Io {
        if self.server_reset {
            return Io::Reset;
        }
        read(&mut self.to_server, space)
    }

    /// The server writes.
    pub fn server_write(&mut self, bytes: &[u8]) -> Io {
        write(&mut self.to_client, bytes)
    }

    /// The server ends its stream in an orderly way.
    pub fn server_end(&mut self) {
        self.server_open = false;
        self.to_client.end_wanted = true;
    }

    /// True when nothing of it can matter any more.
    pub fn is_over(&self) -> bool {
        !self.client_open && !self.server_open
    }

    /// Bytes that the controller can still write.
    pub fn client_room(&self) -> usize {
        self.to_server.room()
    }

    /// Bytes and segments that the controller sent.
    pub fn sent(&self) -> (u64, u64) {
        (self.to_server.carried, self.to_server.segments)
    }
}

fn read(half: &mut Half, space: &mut [u8]) -> Io {
    if half.inbox.is_empty() {
        return if half.end_arrived {
            Io::Ended
        } else {
            Io::Blocked
        };
    }
    let n = space.len().min(half.inbox.len());
    for (place, byte) in space.iter_mut().zip(half.inbox.drain(..n)) {
        *place = byte;
    }
    Io::Moved(n)
}

fn write(half: &mut Half, bytes: &[u8]) -> Io {
    let n = bytes.len().min(half.room());
    if n == 0 {
        return Io::Blocked;
    }
    half.outbox.extend(&bytes[..n]);
    Io::Moved(n)
}
