//! What the forwards lead to: services beside the controller, good and bad.
//!
//! Each checks what it gets against [`pattern::up`] and answers with as many bytes of
//! [`pattern::down`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use reachback_tunnel::{Ready, TargetAddress, Token};

use crate::pattern::{self, HEADER};

/// Bytes that a kernel keeps for each end.
const BUFFER: u64 = 64 * 1024;
/// How often a slow target does something.
const TRICKLE_MS: u64 = 100;

/// What a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Sends back as many bytes as come.
    Echoes,
    /// Refuses every connection.
    Refuses,
    /// Does not answer to connections.
    Stalls,
    /// Accepts, and takes nothing.
    TakesNothing,
    /// Resets after so many bytes.
    Resets(u64),
    /// Sends no more after so many bytes, and goes on taking.
    Ends(u64),
    /// Closes after so many bytes: what still comes is answered with a reset.
    Closes(u64),
    /// Takes so many bytes a second, and sends as many.
    Trickles(u64),
}

/// One connection to a target.
#[derive(Debug)]
pub(crate) struct Conn {
    key: String,
    pub(crate) token: usize,
    connected: Option<Result<(), ErrorKind>>,
    /// Bytes written by the controller, and of those taken by the target.
    pub(crate) written: u64,
    taken: u64,
    /// Bytes sent by the target, and of those read by the controller.
    pub(crate) said: u64,
    pub(crate) read: u64,
    header: [u8; HEADER as usize],
    /// The controller writes no more.
    pub(crate) shut: bool,
    /// The target sends no more.
    pub(crate) ended: bool,
    /// It is gone: writing is an error. Reading is one too if it reset.
    pub(crate) gone: bool,
    reset: bool,
    blocked: bool,
    next_ms: u64,
    /// What the controller has been told: connected or refused, readable bytes, the end.
    told: (bool, u64, bool),
}

impl Conn {
    /// Who sends, once that is known.
    pub(crate) fn user(&self) -> Option<u64> {
        (self.written >= HEADER).then(|| u64::from_be_bytes(self.header))
    }
}

/// All targets.
#[derive(Debug, Default)]
pub struct Targets {
    /// What each does, by port or path; without a word, it echoes.
    pub manners: BTreeMap<String, Manner>,
    pub(crate) conns: Vec<Option<Conn>>,
    /// What did not hold.
    pub(crate) breaches: Vec<String>,
    /// Bytes written to and read from targets, in all.
    moved: (u64, u64),
}

/// The name of a target in [`Targets::manners`].
fn key(address: &TargetAddress) -> String {
    match address {
        TargetAddress::Tcp(address) => address.port().to_string(),
        TargetAddress::Unix(path) => path.clone(),
    }
}

impl Targets {
    /// All that have something to say about themselves do it from now on.
    pub fn set_all(&mut self, manner: Manner) {
        for slot in self.manners.values_mut() {
            *slot = manner;
        }
    }

    /// Bytes that went to targets and came from them.
    pub fn moved(&self) -> (u64, u64) {
        self.moved
    }

    fn manner(&self, key: &str) -> Manner {
        self.manners.get(key).copied().unwrap_or(Manner::Echoes)
    }

    pub(crate) fn connect(&mut self, address: &TargetAddress, token: usize) -> usize {
        self.conns.push(Some(Conn {
            key: key(address),
            token,
            connected: None,
            written: 0,
            taken: 0,
            said: 0,
            read: 0,
            header: [0; HEADER as usize],
            shut: false,
            ended: false,
            gone: false,
            reset: false,
            blocked: false,
            next_ms: 0,
            told: (false, 0, false),
        }));
        self.conns.len() - 1
    }

    /// Sockets that the controller holds.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Conn> {
        self.conns.iter().flatten()
    }

    pub(crate) fn close(&mut self, number: usize) -> Option<Conn> {
        self.conns.get_mut(number)?.take()
    }

    fn conn(&mut self, number: usize) -> io::Result<&mut Conn> {
        let conn = self.conns.get_mut(number).and_then(Option::as_mut);
        conn.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    pub(crate) fn outcome(&self, number: usize) -> io::Result<()> {
        match self.conns.get(number).and_then(Option::as_ref) {
            Some(Conn {
                connected: Some(outcome),
                ..
            }) => outcome.map_err(Into::into),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn read(&mut self, number: usize, space: &mut [u8]) -> io::Result<usize> {
        let conn = self.conn(number)?;
        let n = space.len().min((conn.said - conn.read) as usize);
        if n == 0 {
            return match () {
                () if conn.reset => Err(ErrorKind::ConnectionReset.into()),
                () if conn.ended || space.is_empty() => Ok(0),
                () => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let user = u64::from_be_bytes(conn.header);
        for (place, at) in space[..n].iter_mut().zip(conn.read..) {
            *place = pattern::down(user, at);
        }
        conn.read += n as u64;
        self.moved.1 += n as u64;
        Ok(n)
    }

    pub(crate) fn write(&mut self, number: usize, bytes: &[u8]) -> io::Result<usize> {
        let conn = self.conn(number)?;
        if conn.gone {
            conn.reset = true;
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = BUFFER - (conn.written - conn.taken);
        let n = bytes.len().min(room as usize);
        conn.blocked = n < bytes.len();
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut wrong = None;
        for (byte, at) in bytes[..n].iter().zip(conn.written..) {
            if at < HEADER {
                conn.header[at as usize] = *byte;
            }
            let user = u64::from_be_bytes(conn.header);
            if *byte != pattern::up(user, at) && wrong.is_none() {
                wrong = Some((user, at));
            }
        }
        conn.written += n as u64;
        let shut = conn.shut;
        self.moved.0 += n as u64;
        if let Some((user, at)) = wrong {
            self.breaches
                .push(format!("a target got a wrong byte {at} of user {user}"));
        }
        if shut {
            self.breaches.push("data for a target after its end".into());
        }
        Ok(n)
    }

    /// Everything that targets do at this moment; true when anything moved.
    pub(crate) fn work(&mut self, now_ms: u64) -> bool {
        let mut moved = false;
        for number in 0..self.conns.len() {
            let Some(mut conn) = self.conns[number].take() else {
                continue;
            };
            moved |= conn.work(self.manner(&conn.key), now_ms);
            self.conns[number] = Some(conn);
        }
        moved
    }

    pub(crate) fn next_event(&self, now_ms: u64) -> Option<u64> {
        let trickling = |conn: &&Conn| {
            matches!(self.manner(&conn.key), Manner::Trickles(_)) && conn.taken < conn.written
        };
        let slow = self.open().filter(trickling);
        slow.map(|conn| conn.next_ms.max(now_ms + 1)).min()
    }

    /// What has become ready since this was last asked, as an edge-triggered epoll(7) tells it.
    pub(crate) fn edges(&mut self) -> Vec<Ready> {
        let mut edges = Vec::new();
        for conn in self.conns.iter_mut().flatten() {
            let now = (
                conn.connected.is_some(),
                conn.said,
                conn.ended || conn.gone || conn.reset,
            );
            let made = now.0 && !conn.told.0;
            let readable = now.1 != conn.told.1 || now.2 != conn.told.2;
            let room = BUFFER - (conn.written - conn.taken);
            let writable = made || conn.blocked && (room >= BUFFER / 3 || conn.gone);
            conn.told = now;
            conn.blocked &= !writable;
            if readable || writable {
                edges.push(Ready {
                    token: Token(conn.token),
                    readable,
                    writable,
                    ended: now.2,
                });
            }
        }
        edges
    }
}

impl Conn {
    fn work(&mut self, manner: Manner, now_ms: u64) -> bool {
        if self.connected.is_none() {
            self.connected = match manner {
                Manner::Stalls => return false,
                Manner::Refuses => Some(Err(ErrorKind::ConnectionRefused)),
                _ => Some(Ok(())),
            };
            return true;
        }
        if self.gone || self.connected != Some(Ok(())) {
            return false;
        }
        let before = (self.taken, self.said, self.ended, self.gone);
        let waiting = self.written - self.taken;
        let room = BUFFER - (self.said - self.read);
        let n = match manner {
            // Who it is comes first, and whole.
            _ if self.written < HEADER => 0,
            Manner::TakesNothing | Manner::Stalls => 0,
            Manner::Trickles(rate) if now_ms >= self.next_ms => {
                self.next_ms = now_ms + TRICKLE_MS;
                (rate * TRICKLE_MS / 1_000 + 1).min(waiting)
            }
            Manner::Trickles(_) => 0,
            Manner::Resets(after) | Manner::Closes(after) => {
                waiting.min(after.saturating_sub(self.taken))
            }
            _ => waiting,
        };
        let n = if self.ended { n } else { n.min(room) };
        self.taken += n;
        if !self.ended {
            self.said += n;
        }
        match manner {
            Manner::Resets(after) if self.taken >= after => (self.gone, self.reset) = (true, true),
            Manner::Closes(after) if self.taken >= after => (self.gone, self.ended) = (true, true),
            Manner::Ends(after) if self.taken >= after => self.ended = true,
            _ => {}
        }
        // An orderly service: who has heard everything says all that it has to say.
        self.ended |= self.shut && self.taken == self.written && manner != Manner::TakesNothing;
        before != (self.taken, self.said, self.ended, self.gone)
    }
}
