//! The outside of a tunnel, with mio and the kernel.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::rc::Rc;

use mio::net::TcpStream;
use mio::{Interest, Registry};
use reachback_core::dial::AddressFamily;
use reachback_core::time::Instant;
use reachback_ssh::Rng;
use reachback_tunnel::{
    Ended, Outside, ServerStream, Source, Stream, StreamOptions, TargetAddress, Token,
    Unacknowledged,
};

use super::remember::Remembered;
use super::resolve::{Paths, Resolution};
use super::target::TargetSocket;
use crate::sys::random::{self, KernelRandom};
use crate::sys::{clock, sockopt};
use crate::trust::Trust;

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The kernel, as one tunnel sees it.
pub struct Net {
    registry: Rc<Registry>,
    paths: Paths,
    remembered: Remembered,
    trust: Trust,
}

impl Net {
    /// Sockets are registered with `registry`.
    ///
    /// # Errors
    /// The kernel's, when there is no descriptor left for the poll.
    pub fn new(registry: &Registry, remembered: Remembered, trust: Trust) -> io::Result<Net> {
        Ok(Net {
            registry: Rc::new(registry.try_clone()?),
            paths: Paths::default(),
            remembered,
            trust,
        })
    }

    /// Host keys are judged by this from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    #[cfg(test)]
    pub fn with_paths(mut self, paths: Paths) -> Net {
        self.paths = paths;
        self
    }

    fn token(token: Token) -> mio::Token {
        mio::Token(token.0)
    }
}

impl Outside for Net {
    type Resolution = NameLookup;
    type Server = ServerSocket;
    type Target = TargetSocket;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn wall_s(&self) -> u64 {
        clock::wall_s()
    }

    fn resolve(
        &mut self,
        name: &str,
        family: AddressFamily,
        tokens: [Token; 2],
        now: Instant,
    ) -> NameLookup {
        let registry = Rc::clone(&self.registry);
        let tokens = tokens.map(Net::token);
        NameLookup {
            resolution: Resolution::start(&self.paths, name, family, &registry, tokens, now),
            registry,
        }
    }

    fn connect(
        &mut self,
        to: SocketAddr,
        source: &Source,
        token: Token,
    ) -> io::Result<ServerSocket> {
        let mut stream = TcpStream::from_std(sockopt::begin_connect(to, source)?);
        self.registry
            .register(&mut stream, Net::token(token), BOTH)?;
        Ok(ServerSocket(stream))
    }

    fn reach(&mut self, address: &TargetAddress, token: Token) -> io::Result<TargetSocket> {
        let mut target = TargetSocket::connect(address)?;
        self.registry
            .register(&mut target, Net::token(token), BOTH)?;
        Ok(target)
    }

    fn remembered(&self, host: &str, port: u16) -> Option<IpAddr> {
        self.remembered.address(host, port)
    }

    fn remember(&mut self, host: &str, port: u16, address: IpAddr) {
        self.remembered.keep(host, port, address);
    }

    fn forget(&mut self, host: &str, port: u16) {
        self.remembered.forget(host, port);
    }

    fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Ended> {
        self.trust.pinned_types(host, port)
    }

    fn judge_host_key(
        &mut self,
        host: &str,
        port: u16,
        key_type: &str,
        blob: &[u8],
    ) -> Result<(), Ended> {
        self.trust.judge(host, port, key_type, blob)
    }

    fn to_prove(
        &self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
    ) -> Option<Vec<usize>> {
        self.trust.to_prove(host, port, login, announced)
    }

    fn follow_host_keys(
        &mut self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
        proven: &[Vec<u8>],
    ) {
        self.trust.follow(host, port, login, announced, proven);
    }

    fn has_randomness(&mut self) -> bool {
        random::is_ready()
    }

    fn randomness(&mut self) -> Box<dyn Rng> {
        Box::new(KernelRandom::new())
    }
}

/// A name that is being looked up, and where its sockets are registered.
pub struct NameLookup {
    resolution: Resolution,
    registry: Rc<Registry>,
}

impl NameLookup {
    /// The name server that gave the addresses, if one did.
    pub fn answered(&self) -> Option<SocketAddr> {
        self.resolution.answered()
    }
}

impl reachback_tunnel::Resolution for NameLookup {
    fn handle_ready(&mut self, token: Token, now: Instant) {
        self.resolution
            .handle_ready(Net::token(token), now, &self.registry);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.resolution.handle_timeout(now, &self.registry);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.resolution.poll_timeout()
    }

    fn result(&mut self) -> Option<Result<Vec<IpAddr>, String>> {
        let result = self.resolution.result()?;
        Some(result.map_err(|error| error.to_string()))
    }
}

/// The TCP connection to the server.
pub struct ServerSocket(TcpStream);

impl Stream for ServerSocket {
    fn outcome(&self) -> io::Result<()> {
        match self.0.take_error()? {
            Some(error) => Err(error),
            None => self.0.peer_addr().map(|_| ()),
        }
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.0.read(space)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn acknowledge(&self) {
        sockopt::acknowledge(&self.0);
    }

    fn end_writing(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn prepare(&mut self, options: &StreamOptions) -> io::Result<()> {
        match *options {
            StreamOptions::Server { keep_alive } => sockopt::prepare_tunnel(&self.0, keep_alive),
            StreamOptions::Target => Ok(()),
        }
    }
}

impl ServerStream for ServerSocket {
    fn local_address(&self) -> Option<IpAddr> {
        Some(self.0.local_addr().ok()?.ip())
    }

    fn peek(&self, space: &mut [u8]) -> io::Result<usize> {
        self.0.peek(space)
    }

    fn limit_unsent(&self, bytes: usize) {
        sockopt::limit_unsent(&self.0, bytes as u32);
    }

    fn unacknowledged(&self) -> Option<Unacknowledged> {
        sockopt::unacknowledged(&self.0).ok()
    }

    fn discard_on_close(&self) {
        let _ = sockopt::discard_on_close(&self.0);
    }
}
