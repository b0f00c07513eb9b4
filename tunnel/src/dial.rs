//! Addresses to one TCP connection: Happy Eyeballs (RFC 8305), in the order and at the pace
//! of [`reachback_core::dial`].

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};

use reachback_core::cause::Cause;
use reachback_core::dial::{AddressFamily, Dialler, Doubts, MAX_ADDRESSES};
use reachback_core::time::Instant;

use crate::ended::reason;
use crate::outside::{Outside, Source, Stream, Token};

/// Tokens of a [`Dial`], from its first one on: one for each address.
pub const TOKENS: usize = MAX_ADDRESSES;

/// A connection that was made.
pub struct Dialled<S> {
    /// The connection, which keeps its token.
    pub stream: S,
    /// Its token.
    pub token: Token,
    /// Whom it leads to.
    pub address: IpAddr,
}

/// Connections on their way, at most one for each address. Dropping it closes them.
pub struct Dial<O: Outside> {
    dialler: Dialler,
    port: u16,
    source: Source,
    first_token: usize,
    attempts: [Option<(O::Server, SocketAddr)>; TOKENS],
    failures: String,
    /// Of several addresses, the most telling.
    cause: Option<Cause>,
    ended: bool,
    result: Option<Result<Dialled<O::Server>, String>>,
}

impl<O: Outside> Dial<O> {
    /// Begins with the first address. Addresses of another family than asked for, or than the
    /// source's address, are left out; those in doubt go last.
    /// Uses the tokens `first_token..first_token + TOKENS`. A failure shows in the result.
    pub fn start(
        addresses: &[IpAddr],
        port: u16,
        (family, source, doubts): (AddressFamily, &Source, &Doubts),
        first_token: usize,
        outside: &mut O,
        now: Instant,
    ) -> Self {
        let mut addresses = addresses.to_vec();
        if let Some(own) = source.address {
            addresses.retain(|address| address.is_ipv4() == own.is_ipv4());
        }
        let mut dial = Dial {
            dialler: Dialler::new(&addresses, family, doubts),
            port,
            source: source.clone(),
            first_token,
            attempts: [const { None }; TOKENS],
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

    /// The first connection made, or in words why there is none. Given out once; the losers are
    /// closed by then.
    pub fn result(&mut self) -> Option<Result<Dialled<O::Server>, String>> {
        self.result.take()
    }

    /// What an unhappy result comes from, if that is known.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
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
            self.result = Some(Err(why));
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
        self.result = Some(Ok(Dialled {
            stream,
            token: Token(self.first_token + index),
            address: address.ip(),
        }));
    }
}
