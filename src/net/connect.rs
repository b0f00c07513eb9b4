//! Addresses to one TCP connection: Happy Eyeballs (RFC 8305), in the order and at the pace
//! of [`reachback_core::dial`].

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reachback_core::dial::{AddressFamily, Dialler, MAX_ADDRESSES};
use reachback_core::time::Instant;

use crate::sys::file;
use crate::sys::sockopt::{self, Source};

/// Tokens a [`Dial`] uses, from its first one on: one for each address.
pub const TOKENS: usize = MAX_ADDRESSES;

/// Why no address could be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    why: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for ConnectError {}

/// Connections on their way, at most one for each address. Dropping it closes them.
pub struct Dial {
    dialler: Dialler,
    port: u16,
    source: Source,
    first_token: usize,
    registry: io::Result<Registry>,
    attempts: [Option<(TcpStream, SocketAddr)>; TOKENS],
    failures: String,
    ended: bool,
    result: Option<Result<(TcpStream, SocketAddr), ConnectError>>,
}

impl Dial {
    /// Begins with the first address. Addresses of another family than asked for, or than the
    /// source's address, are left out.
    /// Uses the tokens `first_token..first_token + TOKENS`. A failure shows in the result.
    pub fn start(
        addresses: &[IpAddr],
        port: u16,
        registry: &Registry,
        first_token: usize,
        now: Instant,
        family: AddressFamily,
        source: Source,
    ) -> Self {
        let mut addresses = addresses.to_vec();
        if let Some(own) = source.address {
            addresses.retain(|address| address.is_ipv4() == own.is_ipv4());
        }
        let mut dial = Dial {
            dialler: Dialler::with_family(&addresses, family),
            port,
            source,
            first_token,
            registry: registry.try_clone(),
            attempts: Default::default(),
            failures: String::new(),
            ended: false,
            result: None,
        };
        dial.proceed(now);
        dial
    }

    /// One of the sockets is ready. Tokens of others are ignored.
    pub fn handle_ready(&mut self, token: Token, now: Instant) {
        let Some(index) = token.0.checked_sub(self.first_token) else {
            return;
        };
        let Some(Some((stream, address))) = self.attempts.get(index) else {
            return;
        };
        let address = *address;
        match outcome(stream) {
            Ok(false) => {}
            Ok(true) => self.succeed(index),
            Err(error) => {
                self.attempts[index] = None;
                self.failed(index, address, &error);
                self.proceed(now);
            }
        }
    }

    /// To be called when [`Dial::poll_timeout`] is due; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.proceed(now);
    }

    /// When the next address is due; `None` when all are tried and from the result on. The
    /// caller's own deadline ends a dial whose last addresses stay silent.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        self.dialler.poll_timeout()
    }

    /// The first connection made, not registered any more, and whom it leads to; or why there
    /// is none. Given out once; the losers are closed by then.
    pub fn result(&mut self) -> Option<Result<(TcpStream, SocketAddr), ConnectError>> {
        self.result.take()
    }

    fn proceed(&mut self, now: Instant) {
        while !self.ended {
            let Some(next) = self.dialler.poll(now) else {
                break;
            };
            let index = next.index;
            let address = SocketAddr::new(next.address, self.port);
            log::debug!("trying {address}");
            match self.connect(index, address) {
                Ok(stream) => self.attempts[index] = Some((stream, address)),
                Err(error) => self.failed(index, address, &error),
            }
        }
        if !self.ended && self.dialler.exhausted() {
            let why = match (self.failures.as_str(), self.source.address) {
                ("", None) => "no address of the family that AddressFamily asks for".to_owned(),
                ("", Some(own)) => format!("no address of the family of BindAddress {own}"),
                (failures, _) => failures.to_owned(),
            };
            self.ended = true;
            self.result = Some(Err(ConnectError { why }));
        }
    }

    fn connect(&self, index: usize, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::from_std(sockopt::begin_connect(address, &self.source)?);
        let token = Token(self.first_token + index);
        self.registry()?
            .register(&mut stream, token, Interest::WRITABLE)?;
        Ok(stream)
    }

    fn registry(&self) -> io::Result<&Registry> {
        self.registry
            .as_ref()
            .map_err(|error| io::Error::other(file::reason(error)))
    }

    fn failed(&mut self, index: usize, address: SocketAddr, error: &io::Error) {
        let reason = file::reason(error);
        log::debug!("{address}: {reason}");
        if !self.failures.is_empty() {
            self.failures.push_str("; ");
        }
        self.failures.push_str(&format!("{address}: {reason}"));
        self.dialler.handle_failed(index);
    }

    fn succeed(&mut self, index: usize) {
        let Some((mut stream, address)) = self.attempts[index].take() else {
            return;
        };
        self.ended = true;
        self.attempts = Default::default();
        // So that the caller can register it under a token of its own.
        let outcome = match self
            .registry()
            .and_then(|registry| registry.deregister(&mut stream))
        {
            Ok(()) => Ok((stream, address)),
            Err(error) => Err(ConnectError {
                why: format!("{address}: {}", file::reason(&error)),
            }),
        };
        self.result = Some(outcome);
    }
}

/// Whether the connection is made; an error when it has failed.
fn outcome(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sys::clock;
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    const FIRST: usize = 100;

    fn run(
        addresses: &[IpAddr],
        port: u16,
        family: AddressFamily,
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        run_from(addresses, port, family, Source::default())
    }

    fn run_from(
        addresses: &[IpAddr],
        port: u16,
        family: AddressFamily,
        source: Source,
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let mut poll = mio::Poll::new().unwrap();
        let start = clock::now();
        let registry = poll.registry();
        let mut dial = Dial::start(addresses, port, registry, FIRST, start, family, source);
        let mut events = mio::Events::with_capacity(16);
        loop {
            if let Some(result) = dial.result() {
                // Nothing more is dialled.
                dial.handle_timeout(clock::now() + Duration::from_secs(60));
                assert_eq!(dial.poll_timeout(), None);
                assert!(dial.result().is_none() && dial.attempts.iter().all(Option::is_none));
                return result;
            }
            let now = clock::now();
            assert!(now.since(start) < Duration::from_secs(10), "no result");
            let wait = dial.poll_timeout().map(|at| at.since(now));
            let wait = wait.unwrap_or(Duration::from_secs(1));
            poll.poll(&mut events, Some(wait)).unwrap();
            for event in &events {
                dial.handle_ready(event.token(), clock::now());
            }
            dial.handle_timeout(clock::now());
        }
    }

    fn loopback(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn an_address_that_refuses_is_passed_over_at_once() {
        let listener = TcpListener::bind((loopback(2), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let begin = std::time::Instant::now();
        let addresses = [loopback(1), loopback(2)];
        let (stream, address) = run(&addresses, port, AddressFamily::Any).unwrap();
        assert_eq!(address, SocketAddr::new(loopback(2), port));
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(
            begin.elapsed() < Duration::from_millis(200),
            "waited for a refusal"
        );
    }

    #[test]
    fn an_address_that_stays_silent_loses_and_is_closed() {
        // A listener whose queue is full drops further requests: silence without a packet
        // leaving the machine.
        let silent = silent_listener();
        let port = silent.port;
        let listener = TcpListener::bind((loopback(2), port)).unwrap();
        let addresses = [silent.address, loopback(2)];
        let (stream, address) = run(&addresses, port, AddressFamily::Any).unwrap();
        assert_eq!(address.ip(), loopback(2));
        let (mut accepted, _) = listener.accept().unwrap();
        drop(stream);
        assert_eq!(accepted.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn when_every_address_fails_each_is_named_with_its_reason() {
        let listener = TcpListener::bind((loopback(1), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let addresses = [loopback(1), loopback(2)];
        let error = run(&addresses, port, AddressFamily::Any).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("127.0.0.1:{port}: Connection refused; 127.0.0.2:{port}: Connection refused")
        );
    }

    #[test]
    fn addresses_of_another_family_are_not_tried() {
        let error = run(&[loopback(1)], 1, AddressFamily::V6).unwrap_err();
        assert!(error.to_string().contains("AddressFamily"), "{error}");
    }

    #[test]
    fn an_address_of_another_family_than_the_source_is_not_tried() {
        let source = Source {
            address: Some("::1".parse().unwrap()),
            ..Source::default()
        };
        let error = run_from(&[loopback(1)], 1, AddressFamily::Any, source).unwrap_err();
        assert!(error.to_string().contains("BindAddress ::1"), "{error}");
    }

    #[test]
    fn a_source_that_is_missing_fails_the_attempt_and_is_named() {
        let source = Source {
            interface: Some("nosuchlink0".to_owned()),
            ..Source::default()
        };
        let error = run_from(&[loopback(1)], 1, AddressFamily::Any, source).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("127.0.0.1:1: BindInterface nosuchlink0"));
    }

    struct Silent {
        address: IpAddr,
        port: u16,
        _kept: Vec<mio::net::TcpStream>,
        _listener: std::os::fd::OwnedFd,
    }

    fn silent_listener() -> Silent {
        use nix::sys::socket::{
            AddressFamily as Af, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname,
            listen, socket,
        };
        use std::os::fd::AsRawFd;
        let fd = socket(Af::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 3, 0)).unwrap();
        listen(&fd, Backlog::new(0).unwrap()).unwrap();
        let port = getsockname::<SockaddrIn>(fd.as_raw_fd()).unwrap().port();
        let target = SocketAddr::new(loopback(3), port);
        let mut kept = Vec::new();
        loop {
            let stream = mio::net::TcpStream::connect(target).unwrap();
            let deadline = std::time::Instant::now() + Duration::from_millis(100);
            let connected = loop {
                if stream.peer_addr().is_ok() {
                    break true;
                }
                if std::time::Instant::now() > deadline {
                    break false;
                }
            };
            kept.push(stream);
            if !connected {
                break;
            }
            assert!(kept.len() < 16, "the queue never fills");
        }
        Silent {
            address: loopback(3),
            port,
            _kept: kept,
            _listener: fd,
        }
    }
}
