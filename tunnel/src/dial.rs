//! Addresses to one connection: Happy Eyeballs (RFC 8305), in the order and at the pace
//! of [`reachback_core::dial`], and from a proxy on to the server.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};

use reachback_core::cause::Cause;
use reachback_core::dial::{AddressFamily, Dialler, Doubts, MAX_ADDRESSES};
use reachback_core::failure::Failure;
use reachback_core::time::Instant;

use crate::ended::{Ended, reason};
use crate::outside::{Outside, ServerStream, Source, Stream, Token};
use crate::plan::Server;
use crate::proxy::{Exchange, Proxy};

/// Tokens of a [`Dial`], from its first one on: one for each address.
pub const TOKENS: usize = MAX_ADDRESSES;

/// How a server is reached.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The server.
    pub server: &'a Server,
    /// `Proxy`.
    pub proxy: Option<&'a Proxy>,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `BindAddress` and its like.
    pub source: &'a Source,
}

impl<'a> Way<'a> {
    /// Host and port of whom to connect to: of the proxy where there is one, which then looks the
    /// server's name up.
    pub fn next(&self) -> (&'a str, u16) {
        match self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.server.host, self.server.port),
        }
    }
}

/// A connection that was made.
pub struct Dialled<S> {
    /// The connection, which keeps its token.
    pub stream: S,
    /// Its token.
    pub token: Token,
    /// Whom it leads to: the server, or the proxy.
    pub address: IpAddr,
}

/// Connections on their way, at most one for each address. Dropping it closes them.
pub struct Dial<O: Outside> {
    dialler: Dialler,
    port: u16,
    source: Source,
    first_token: usize,
    attempts: [Option<(O::Server, SocketAddr)>; TOKENS],
    /// What is to be said to the proxy.
    exchange: Option<Exchange>,
    /// A proxy that was reached and is being asked.
    asked: Option<Dialled<O::Server>>,
    /// Its address, also when it has answered.
    reached: Option<IpAddr>,
    failures: String,
    /// Of several addresses, the most telling.
    cause: Option<Cause>,
    /// No further address is tried.
    ended: bool,
    result: Option<Result<Dialled<O::Server>, Ended>>,
}

impl<O: Outside> Dial<O> {
    /// Begins with the first address. Addresses of another family than asked for, or than the
    /// source's address, are left out; those in doubt go last.
    /// Uses the tokens `first_token..first_token + TOKENS`. A failure shows in the result.
    pub fn start(
        addresses: &[IpAddr],
        way: &Way<'_>,
        doubts: &Doubts,
        first_token: usize,
        outside: &mut O,
        now: Instant,
    ) -> Self {
        let mut addresses = addresses.to_vec();
        if let Some(own) = way.source.address {
            addresses.retain(|address| address.is_ipv4() == own.is_ipv4());
        }
        let mut dial = Dial {
            dialler: Dialler::new(&addresses, way.family, doubts),
            port: way.next().1,
            source: way.source.clone(),
            first_token,
            attempts: [const { None }; TOKENS],
            exchange: way.proxy.map(|proxy| Exchange::new(proxy, way.server)),
            asked: None,
            reached: None,
            failures: String::new(),
            cause: None,
            ended: false,
            result: None,
        };
        dial.proceed(outside, now);
        dial
    }

    /// One of the sockets is ready. Tokens of others are ignored.
    pub fn handle_ready(&mut self, token: Token, outside: &mut O, now: Instant) {
        let Some(index) = token.0.checked_sub(self.first_token) else {
            return;
        };
        if self
            .asked
            .as_ref()
            .is_some_and(|asked| asked.token == token)
        {
            return self.ask();
        }
        let Some(Some((stream, address))) = self.attempts.get(index) else {
            return;
        };
        let address = *address;
        match stream.outcome() {
            Ok(()) => self.succeed(index),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => {
                self.attempts[index] = None;
                self.failed(index, address, &error);
                self.proceed(outside, now);
            }
        }
    }

    /// To be called when [`Dial::poll_timeout`] is due; earlier calls do nothing.
    pub fn handle_timeout(&mut self, outside: &mut O, now: Instant) {
        self.proceed(outside, now);
    }

    /// When the next address is due; `None` when all are tried and from the result on. The
    /// caller's own deadline ends a dial whose last addresses stay silent.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        self.dialler.poll_timeout()
    }

    /// The first connection made, through the proxy if there is one, or why there is none. Given
    /// out once; the losers are closed by then.
    pub fn result(&mut self) -> Option<Result<Dialled<O::Server>, Ended>> {
        self.result.take()
    }

    /// The address of a proxy that was reached, whatever it says.
    pub fn reached(&self) -> Option<IpAddr> {
        self.reached
    }

    /// Why there is no connection by its deadline.
    pub fn late(&self, why: String) -> Ended {
        self.unreachable(why, Some(Cause::TimedOut))
    }

    fn unreachable(&self, why: String, cause: Option<Cause>) -> Ended {
        let of_proxy = |cause| match cause {
            Cause::NoRoute => cause,
            _ => Cause::ProxyUnreachable,
        };
        let (who, cause) = match (&self.exchange, self.reached) {
            (None, _) => ("", cause),
            (_, None) => ("no way to the proxy: ", cause.map(of_proxy)),
            (_, Some(_)) => ("the proxy is silent: ", Some(Cause::ProxySilent)),
        };
        Ended::new(Failure::Unreachable, who.to_owned() + &why).because(cause)
    }

    fn proceed(&mut self, outside: &mut O, now: Instant) {
        while !self.ended {
            let Some(next) = self.dialler.poll(now) else {
                break;
            };
            let index = next.index;
            let address = SocketAddr::new(next.address, self.port);
            log::debug!("trying {address}");
            let token = Token(self.first_token + index);
            match outside.connect(address, &self.source, token) {
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
            self.result = Some(Err(self.unreachable(why, self.cause)));
        }
    }

    fn failed(&mut self, index: usize, address: SocketAddr, error: &io::Error) {
        let cause = match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Cause::Refused),
            io::ErrorKind::TimedOut => Some(Cause::TimedOut),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Some(Cause::NoRoute)
            }
            _ => None,
        };
        self.cause = self.cause.into_iter().chain(cause).min();
        let reason = reason(error);
        log::debug!("{address}: {reason}");
        if !self.failures.is_empty() {
            self.failures.push_str("; ");
        }
        // A String takes everything.
        let _ = write!(self.failures, "{address}: {reason}");
        self.dialler.handle_failed(index);
    }

    fn succeed(&mut self, index: usize) {
        let Some((stream, address)) = self.attempts[index].take() else {
            return;
        };
        self.ended = true;
        self.attempts = [const { None }; TOKENS];
        let dialled = Dialled {
            stream,
            token: Token(self.first_token + index),
            address: address.ip(),
        };
        if self.exchange.is_none() {
            self.result = Some(Ok(dialled));
            return;
        }
        self.reached = Some(dialled.address);
        self.asked = Some(dialled);
        self.ask();
    }

    /// Goes on with the proxy.
    fn ask(&mut self) {
        let (Some(exchange), Some(asked)) = (&mut self.exchange, &mut self.asked) else {
            return;
        };
        let open = match converse(exchange, &mut asked.stream) {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(ended) => Err(ended),
        };
        self.result = self.asked.take().map(|dialled| open.map(|()| dialled));
    }
}

/// Moves bytes between a proxy and the exchange with it, as far as that goes; whether the way is
/// open. What follows the proxy's answer stays in the socket.
fn converse(exchange: &mut Exchange, stream: &mut impl ServerStream) -> Result<bool, Ended> {
    let step = |result: io::Result<usize>| match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => {
            let why = format!("the connection to the proxy broke: {}", reason(&error));
            Err(Ended::new(Failure::Unreachable, why).because(Some(Cause::ProxyNoHttp)))
        }
    };
    while !exchange.poll_output().is_empty() {
        match step(stream.write(exchange.poll_output()))? {
            Some(n) => exchange.handle_written(n),
            None => break,
        }
    }
    let mut space = [0; 512];
    while let Some(n) = step(stream.peek(&mut space))? {
        if n == 0 {
            return Err(exchange.handle_end());
        }
        let (taken, open) = exchange.handle_input(&space[..n])?;
        // They are there.
        step(stream.read(&mut space[..taken]))?;
        if open {
            return Ok(true);
        }
    }
    Ok(false)
}
