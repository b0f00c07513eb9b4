//! The seam of the tunnel, given with a simulated network ([`Net`]).

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::failure::Failure;
use reachback_core::time::Instant;
use reachback_ssh::Rng;
use reachback_ssh::limits::INBOUND_BUFFER;
use reachback_tunnel::{
    Ended, Outside, Resolution, ServerStream, Source, Stream, StreamOptions, TargetAddress, Token,
    Unacknowledged,
};

use crate::dice::Dice;
use crate::net::{Connection, Deed, Dial, Net};
use crate::network::{Dns, Io, Stream as Tcp};

/// How long a name server's answer is waited for before it is asked again.
const ASK_AGAIN_MS: u64 = 5_000;
/// Seconds since 1970 when the simulation begins.
const EPOCH_S: u64 = 1_800_000_000;

/// The controller's kernel, and the files that the program reads.
pub struct Kernel {
    pub(crate) net: Rc<RefCell<Net>>,
}

impl Outside for Kernel {
    type Resolution = Lookup;
    type Server = ServerSocket;
    type Target = TargetSocket;

    fn now(&self) -> Instant {
        let net = self.net.borrow();
        Instant(net.now_ms + net.reads * net.read_ms)
    }

    fn wall_s(&self) -> u64 {
        EPOCH_S + self.net.borrow().now_ms / 1_000
    }

    fn resolve(
        &mut self,
        name: &str,
        family: AddressFamily,
        tokens: [Token; 2],
        now: Instant,
    ) -> Lookup {
        let mut lookup = Lookup {
            net: self.net.clone(),
            name: name.to_owned(),
            family,
            answer: None,
            arrived: false,
            ask_again_ms: now.0,
            token: tokens[now.0 as usize % 2],
            over: false,
        };
        lookup.ask(now.0);
        lookup
    }

    fn connect(
        &mut self,
        address: SocketAddr,
        _source: &Source,
        token: Token,
    ) -> io::Result<ServerSocket> {
        let number = self.net.borrow_mut().connect(address, token)?;
        Ok(ServerSocket {
            net: self.net.clone(),
            number,
        })
    }

    fn reach(&mut self, address: &TargetAddress, token: Token) -> io::Result<TargetSocket> {
        let mut net = self.net.borrow_mut();
        net.touched = true;
        let number = net.targets.connect(address, token.0);
        Ok(TargetSocket {
            net: self.net.clone(),
            number,
        })
    }

    fn remembered(&self, host: &str, port: u16) -> Option<IpAddr> {
        let net = self.net.borrow();
        net.remembered.get(&(host.to_owned(), port)).copied()
    }

    fn remember(&mut self, host: &str, port: u16, address: IpAddr) {
        let mut net = self.net.borrow_mut();
        net.remembered.insert((host.to_owned(), port), address);
    }

    fn forget(&mut self, host: &str, port: u16) {
        let mut net = self.net.borrow_mut();
        net.remembered.remove(&(host.to_owned(), port));
    }

    fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Ended> {
        let net = self.net.borrow();
        let pinned = net.pins.contains_key(&(host.to_owned(), port));
        Ok(pinned
            .then(|| "ssh-ed25519".to_owned())
            .into_iter()
            .collect())
    }

    fn judge_host_key(
        &mut self,
        host: &str,
        port: u16,
        _key_type: &str,
        blob: &[u8],
    ) -> Result<(), Ended> {
        let mut net = self.net.borrow_mut();
        let place = (host.to_owned(), port);
        match net.pins.get(&place) {
            Some(pinned) if pinned == blob => Ok(()),
            Some(_) => Err(Ended::new(Failure::HostKeyChanged, "another host key")),
            None if net.accept_new => {
                net.pins.insert(place, blob.to_vec());
                Ok(())
            }
            None => Err(Ended::new(
                Failure::HostKeyUnknown,
                "the host key is unknown",
            )),
        }
    }

    /// The servers here have one key each, which stays.
    fn to_prove(&self, _: &str, _: u16, _: &[u8], _: &[Vec<u8>]) -> Option<Vec<usize>> {
        None
    }

    fn follow_host_keys(&mut self, _: &str, _: u16, _: &[u8], _: &[Vec<u8>], _: &[Vec<u8>]) {}

    /// Asked once at the beginning of each attempt.
    fn has_randomness(&mut self) -> bool {
        let mut net = self.net.borrow_mut();
        let now_ms = net.now_ms;
        net.deeds.push((now_ms, Deed::Attempt));
        net.touched = true;
        net.randomness
    }

    fn randomness(&mut self) -> Box<dyn Rng> {
        let seed = self.net.borrow_mut().dice.draw();
        Box::new(Dice::new(seed))
    }
}

impl Net {
    fn connect(&mut self, address: SocketAddr, token: Token) -> io::Result<usize> {
        self.touched = true;
        if !self.path.link_up {
            return Err(ErrorKind::NetworkUnreachable.into());
        }
        let connection = Connection::dialling(
            self.addresses.get(&address).copied(),
            IpAddr::V4(self.own),
            token,
            self.now_ms,
        );
        self.connections.push(Some(connection));
        Ok(self.connections.len() - 1)
    }

    fn connection(&mut self, number: usize) -> io::Result<&mut Connection> {
        let connection = self.connections.get_mut(number).and_then(Option::as_mut);
        connection.ok_or_else(|| ErrorKind::ConnectionReset.into())
    }
}

/// What a call on a socket gives.
fn outcome(io: Io) -> io::Result<usize> {
    match io {
        Io::Moved(n) => Ok(n),
        Io::Ended => Ok(0),
        Io::Blocked => Err(ErrorKind::WouldBlock.into()),
        Io::Reset => Err(ErrorKind::ConnectionReset.into()),
    }
}

/// A name on its way to its addresses.
pub struct Lookup {
    net: Rc<RefCell<Net>>,
    name: String,
    family: AddressFamily,
    /// The answer, which is given once it has arrived.
    answer: Option<Result<Vec<IpAddr>, String>>,
    arrived: bool,
    ask_again_ms: u64,
    token: Token,
    over: bool,
}

impl Lookup {
    fn ask(&mut self, now_ms: u64) {
        self.ask_again_ms = now_ms + ASK_AGAIN_MS;
        if let Ok(address) = self.name.parse::<IpAddr>() {
            (self.answer, self.arrived) = (Some(Ok(vec![address])), true);
            return;
        }
        let mut net = self.net.borrow_mut();
        let path = &net.path;
        let passes = path.forth() && path.back();
        let (after_ms, good) = match path.dns {
            _ if !path.link_up => (1, false),
            Dns::Answers if passes => (2 * path.delay_ms, true),
            Dns::Fails if passes => (2 * path.delay_ms, false),
            _ => return,
        };
        let mut addresses = net.names.get(&self.name).cloned().unwrap_or_default();
        addresses.retain(|address| self.family.admits(address));
        self.answer = Some(match good && !addresses.is_empty() {
            true => Ok(addresses),
            false => Err(format!("cannot resolve {}", self.name)),
        });
        net.answers.push((now_ms + after_ms, self.token));
    }
}

impl Resolution for Lookup {
    fn handle_ready(&mut self, token: Token, _now: Instant) {
        self.arrived |= token == self.token && self.answer.is_some();
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.answer.is_none() && !self.over && self.ask_again_ms <= now.0 {
            self.ask(now.0);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (self.answer.is_none() && !self.over).then_some(Instant(self.ask_again_ms))
    }

    fn result(&mut self) -> Option<Result<Vec<IpAddr>, String>> {
        let answer = self.answer.take_if(|_| self.arrived)?;
        self.over = true;
        self.net.borrow_mut().touched = true;
        Some(answer)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        let token = self.token;
        net.answers.retain(|(_, other)| *other != token);
        net.ready.retain(|ready| ready.token != token);
    }
}

/// A connection to a server. Closed when it is dropped.
pub struct ServerSocket {
    net: Rc<RefCell<Net>>,
    number: usize,
}

impl ServerSocket {
    fn tcp(&self, call: impl FnOnce(&mut Tcp) -> Io) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let io = call(&mut net.connection(self.number)?.stream);
        net.touched |= io != Io::Blocked;
        outcome(io)
    }
}

impl Stream for ServerSocket {
    fn outcome(&self) -> io::Result<()> {
        match self.net.borrow_mut().connection(self.number)?.dial {
            Dial::Made => Ok(()),
            Dial::Refused => Err(ErrorKind::ConnectionRefused.into()),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let too_much = space.len() > INBOUND_BUFFER;
        let read = self.tcp(|tcp| tcp.client_read(space));
        let mut net = self.net.borrow_mut();
        if too_much {
            net.breaches.push("the input buffer grew".into());
        }
        net.reads += 1;
        if let Ok(1..) = read {
            let now_ms = net.now_ms;
            net.deeds.push((now_ms, Deed::Inbound));
        }
        read
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.tcp(|tcp| tcp.client_write(bytes));
        self.net.borrow_mut().written += *written.as_ref().unwrap_or(&0) as u64;
        written
    }

    fn acknowledge(&self) {}

    fn end_writing(&self) {}

    /// Called once, before the SSH client begins.
    fn prepare(&mut self, _options: &StreamOptions) -> io::Result<()> {
        self.net.borrow_mut().connection(self.number)?.in_use = true;
        Ok(())
    }
}

impl ServerStream for ServerSocket {
    fn local_address(&self) -> Option<IpAddr> {
        let mut net = self.net.borrow_mut();
        Some(net.connection(self.number).ok()?.local)
    }

    fn peek(&self, space: &mut [u8]) -> io::Result<usize> {
        self.tcp(|tcp| tcp.client_peek(space))
    }

    fn unacknowledged(&self) -> Option<Unacknowledged> {
        let mut net = self.net.borrow_mut();
        let now_ms = net.now_ms;
        let (bytes, acknowledged_ms) = net.connection(self.number).ok()?.stream.client_holds();
        Some(Unacknowledged {
            bytes,
            sacked: 0,
            since: Duration::from_millis(now_ms.saturating_sub(acknowledged_ms)),
            retransmission: Duration::from_millis(200),
        })
    }

    fn limit_unsent(&self, _bytes: usize) {}

    fn discard_on_close(&self) {
        if let Ok(connection) = self.net.borrow_mut().connection(self.number) {
            connection.stream.client_discard();
        }
    }
}

impl Drop for ServerSocket {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        if let Ok(connection) = net.connection(self.number) {
            connection.stream.client_close();
            let token = connection.token;
            net.touched = true;
            net.ready.retain(|ready| ready.token != token);
        }
    }
}

/// A connection to a local target. Closed when it is dropped.
pub struct TargetSocket {
    net: Rc<RefCell<Net>>,
    number: usize,
}

impl Stream for TargetSocket {
    fn outcome(&self) -> io::Result<()> {
        self.net.borrow().targets.outcome(self.number)
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let read = net.targets.read(self.number, space);
        net.touched |= read.is_ok();
        read
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        let written = net.targets.write(self.number, bytes);
        net.touched |= written.is_ok();
        written
    }

    fn acknowledge(&self) {}

    fn end_writing(&self) {
        self.net.borrow_mut().shut_target(self.number);
    }

    fn prepare(&mut self, _options: &StreamOptions) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TargetSocket {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        net.touched = true;
        if let Some(conn) = net.targets.close(self.number) {
            let token = Token(conn.token);
            net.ready.retain(|ready| ready.token != token);
            net.target_left(&conn);
        }
    }
}
