//! A target's socket: TCP or Unix.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::sys::sockopt;

/// Where a target is, once its name has been looked up.
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A stream socket that does not block.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Begins to connect.
    ///
    /// # Errors
    /// connect(2)'s. A Unix socket connects at once or not at all; one whose backlog is full
    /// gives `WouldBlock` (unix(7)).
    pub fn connect(address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => TcpStream::connect(*address).map(Socket::Tcp),
            Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
        }
    }

    /// Why the connection did not come about; nothing when it did.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] while it is under way.
    pub fn outcome(&self) -> io::Result<()> {
        let (error, peer) = match self {
            Socket::Tcp(socket) => (socket.take_error()?, socket.peer_addr().map(|_| ())),
            Socket::Unix(socket) => (socket.take_error()?, socket.peer_addr().map(|_| ())),
        };
        error.map_or(peer, Err)
    }

    /// Small answers of a dashboard must not wait for more.
    pub fn prepare(&self) {
        if let Socket::Tcp(socket) = self {
            let _ = sockopt::prepare_target(socket);
        }
    }

    /// The target will get no more.
    pub fn end_writing(&self) {
        let _ = match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(space),
            Socket::Unix(socket) => socket.read(space),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(data),
            Socket::Unix(socket) => socket.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Socket {
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
