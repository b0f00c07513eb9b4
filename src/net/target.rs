//! A target's socket: TCP or Unix.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use reachback_tunnel::{Stream, StreamOptions, TargetAddress};

use crate::sys::sockopt;

/// A stream socket that does not block.
pub enum TargetSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl TargetSocket {
    /// Begins to connect.
    ///
    /// # Errors
    /// connect(2)'s. A Unix socket connects at once or not at all; one whose backlog is full
    /// gives `WouldBlock` (unix(7)).
    pub fn connect(address: &TargetAddress) -> io::Result<TargetSocket> {
        match address {
            TargetAddress::Tcp(address) => TcpStream::connect(*address).map(TargetSocket::Tcp),
            TargetAddress::Unix(path) => UnixStream::connect(path).map(TargetSocket::Unix),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            TargetSocket::Tcp(socket) => socket,
            TargetSocket::Unix(socket) => socket,
        }
    }
}

impl Stream for TargetSocket {
    fn outcome(&self) -> io::Result<()> {
        let (error, peer) = match self {
            TargetSocket::Tcp(socket) => (socket.take_error()?, socket.peer_addr().map(|_| ())),
            TargetSocket::Unix(socket) => (socket.take_error()?, socket.peer_addr().map(|_| ())),
        };
        error.map_or(peer, Err)
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            TargetSocket::Tcp(socket) => socket.read(space),
            TargetSocket::Unix(socket) => socket.read(space),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            TargetSocket::Tcp(socket) => socket.write(bytes),
            TargetSocket::Unix(socket) => socket.write(bytes),
        }
    }

    fn acknowledge(&self) {
        if let TargetSocket::Tcp(socket) = self {
            sockopt::acknowledge(socket);
        }
    }

    fn end_writing(&self) {
        let _ = match self {
            TargetSocket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            TargetSocket::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }

    fn prepare(&mut self, _: &StreamOptions) -> io::Result<()> {
        match self {
            TargetSocket::Tcp(socket) => sockopt::prepare_target(socket),
            TargetSocket::Unix(_) => Ok(()),
        }
    }
}

impl Source for TargetSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
