//! One question put to the name servers in turn, over UDP, and over TCP when it must be.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use reachback_core::time::Instant;

use super::message::{Answer, Question, Record};
use super::system::ResolvConf;
use crate::sys::random::KernelRandom;

/// Longest answer taken over TCP, bytes.
const TCP_ANSWER_BYTES: usize = 16 * 1024;
/// Datagrams looked at per wake, so that a flood cannot hold the loop.
const DATAGRAMS_PER_WAKE: usize = 16;

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; possibly without an address of this kind.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// Every server was asked as often as allowed; the last failure.
    Failed(String),
}

enum Transport {
    Closed,
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        sent: usize,
        received: Vec<u8>,
    },
}

/// A question on its way. Its one socket is registered under its token and leaves the poll
/// when it is closed.
pub struct Query {
    token: Token,
    name: String,
    record: Record,
    question: Option<Question>,
    tries: usize,
    transport: Transport,
    deadline: Instant,
    last_failure: String,
    outcome: Option<Outcome>,
}

impl Query {
    /// Asks the first server.
    pub fn start(
        name: &str,
        record: Record,
        token: Token,
        conf: &ResolvConf,
        registry: &Registry,
        now: Instant,
    ) -> Self {
        let mut query = Query {
            token,
            name: name.to_owned(),
            record,
            question: None,
            tries: 0,
            transport: Transport::Closed,
            deadline: now,
            last_failure: String::new(),
            outcome: None,
        };
        query.ask_next(conf, registry, now);
        query
    }

    /// The token of its socket.
    pub fn token(&self) -> Token {
        self.token
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// When [`Query::handle_timeout`] is due; `None` when it has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.outcome.is_none().then_some(self.deadline)
    }

    /// The server did not answer in time: asks the next one.
    pub fn handle_timeout(&mut self, conf: &ResolvConf, registry: &Registry, now: Instant) {
        if self.outcome.is_none() && now >= self.deadline {
            self.last_failure = format!("no answer from {}", self.server(conf));
            self.ask_next(conf, registry, now);
        }
    }

    /// The socket is ready.
    pub fn handle_ready(&mut self, conf: &ResolvConf, registry: &Registry, now: Instant) {
        match self.exchange() {
            Ok(None) => {}
            Ok(Some(Answer::Truncated)) if matches!(self.transport, Transport::Udp(_)) => {
                if let Err(error) = self.ask_over_tcp(conf, registry) {
                    self.server_failed(&crate::sys::file::reason(&error), conf, registry, now);
                } else {
                    self.deadline = now + conf.timeout;
                }
            }
            Ok(Some(Answer::Addresses(addresses))) => self.end(Outcome::Addresses(addresses)),
            Ok(Some(Answer::NoSuchName)) => self.end(Outcome::NoSuchName),
            Ok(Some(Answer::Refused(code))) => {
                self.server_failed(&format!("answers {code}"), conf, registry, now);
            }
            Ok(Some(Answer::NotOurs | Answer::Truncated)) => {
                self.server_failed("answers nonsense", conf, registry, now);
            }
            Err(error) => {
                let reason = crate::sys::file::reason(&error);
                self.server_failed(&reason, conf, registry, now);
            }
        }
    }

    /// The server that was asked last.
    pub fn server(&self, conf: &ResolvConf) -> SocketAddr {
        conf.servers[self.tries.saturating_sub(1) % conf.servers.len()]
    }

    fn server_failed(&mut self, why: &str, conf: &ResolvConf, registry: &Registry, now: Instant) {
        self.last_failure = format!("{} {why}", self.server(conf));
        self.ask_next(conf, registry, now);
    }

    fn end(&mut self, outcome: Outcome) {
        self.transport = Transport::Closed;
        self.outcome = Some(outcome);
    }

    /// A fresh socket, and so a fresh random source port, and a fresh identifier for each try.
    fn ask_next(&mut self, conf: &ResolvConf, registry: &Registry, now: Instant) {
        self.transport = Transport::Closed;
        while self.tries < conf.servers.len() * usize::from(conf.attempts) {
            self.tries += 1;
            let server = self.server(conf);
            match self.ask_over_udp(server, registry) {
                Ok(()) => {
                    self.deadline = now + conf.timeout;
                    return;
                }
                Err(error) => {
                    self.last_failure = format!("{server}: {}", crate::sys::file::reason(&error));
                }
            }
        }
        let failure = std::mem::take(&mut self.last_failure);
        self.end(Outcome::Failed(failure));
    }

    fn ask_over_udp(&mut self, server: SocketAddr, registry: &Registry) -> io::Result<()> {
        let number = KernelRandom::new()
            .u64()
            .map_err(|error| io::Error::other(error.to_string()))?;
        // The low bits are as random as the others.
        let question = Question::new(number as u16, &self.name, self.record)
            .ok_or_else(|| io::Error::other("this is no name of the DNS"))?;
        let any: IpAddr = if server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        // Connected: the kernel drops what comes from anyone else, and says when nobody is there.
        socket.connect(server)?;
        registry.register(&mut socket, self.token, Interest::READABLE)?;
        socket.send(question.bytes())?;
        self.question = Some(question);
        self.transport = Transport::Udp(socket);
        Ok(())
    }

    fn ask_over_tcp(&mut self, conf: &ResolvConf, registry: &Registry) -> io::Result<()> {
        self.transport = Transport::Closed;
        let mut stream = TcpStream::connect(self.server(conf))?;
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, self.token, both)?;
        self.transport = Transport::Tcp {
            stream,
            sent: 0,
            received: Vec::new(),
        };
        Ok(())
    }

    fn exchange(&mut self) -> io::Result<Option<Answer>> {
        let Some(question) = &self.question else {
            return Ok(None);
        };
        let answer = match &mut self.transport {
            Transport::Closed => Ok(None),
            Transport::Udp(socket) => receive(socket, question),
            Transport::Tcp {
                stream,
                sent,
                received,
            } => converse(stream, sent, received, question),
        };
        match answer {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other,
        }
    }
}

fn receive(socket: &UdpSocket, question: &Question) -> io::Result<Option<Answer>> {
    // Without EDNS no answer has more than 512 bytes (RFC 1035 section 4.2.1).
    let mut datagram = [0; 1500];
    for _ in 0..DATAGRAMS_PER_WAKE {
        let length = retry(|| socket.recv(&mut datagram))?;
        match question.read(&datagram[..length]) {
            Answer::NotOurs => {}
            answer => return Ok(Some(answer)),
        }
    }
    Err(io::Error::other("floods us with wrong answers"))
}

fn converse(
    stream: &mut TcpStream,
    sent: &mut usize,
    received: &mut Vec<u8>,
    question: &Question,
) -> io::Result<Option<Answer>> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    // A length of two bytes goes before each message (RFC 1035 section 4.2.2).
    let length = u16::try_from(question.bytes().len()).unwrap_or(u16::MAX);
    let request = [&length.to_be_bytes()[..], question.bytes()].concat();
    while *sent < request.len() {
        match retry(|| stream.write(&request[*sent..])) {
            Ok(written) => *sent += written,
            // Not connected yet.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let mut piece = [0; 1024];
    loop {
        if let [high, low, message @ ..] = received.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > TCP_ANSWER_BYTES {
                return Err(io::Error::other("answers too much"));
            }
            if message.len() >= length {
                return Ok(Some(question.read(&message[..length])));
            }
        }
        match retry(|| stream.read(&mut piece))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received.extend_from_slice(&piece[..length]),
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
