//! The seam: everything of the outside that a tunnel needs. The program gives it with mio and the
//! kernel, the simulation with a network on virtual time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::ipqos::IpQos;
use reachback_core::time::Instant;
use reachback_ssh::Rng;

use crate::Ended;

/// Names a socket: the tunnel gives it out, readiness comes back with it. The tunnel's tokens are
/// consecutive numbers from the one that [`crate::Tunnel::new`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub usize);

/// A socket is ready (edge-triggered: it stays so until it says [`io::ErrorKind::WouldBlock`], or
/// gives or takes less than it was asked to).
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which socket.
    pub token: Token,
    /// Data, the end of the stream, or an error can be read.
    pub readable: bool,
    /// Data can be written, or a connection was made or refused.
    pub writable: bool,
    /// The end of the stream, or an error, waits behind what can be read.
    pub ended: bool,
}

/// How the connection to the server leaves this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `BindAddress`: the address to come from.
    pub address: Option<IpAddr>,
    /// `BindInterface`: the interface to leave by.
    pub interface: Option<String>,
    /// `IPQoS`: marking, from the first packet on.
    pub qos: IpQos,
}

/// Where a target is, once its name has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(String),
}

/// Everything outside of a tunnel.
///
/// Nothing here waits: what takes time is under way when a call returns, and readiness is handed to
/// [`crate::Tunnel::handle_ready`]. Sockets are closed when they are dropped.
pub trait Outside {
    /// A name that is being looked up.
    type Resolution: Resolution;
    /// A connection to the server.
    type Server: ServerStream;
    /// A connection to a local target.
    type Target: Stream;

    /// The time; moves on within a turn.
    fn now(&self) -> Instant;

    /// Seconds since 1970 on the wall clock, which may be wrong: for people only.
    fn wall_s(&self) -> u64;

    /// Begins to look a name up. The tokens are for at most two sockets.
    fn resolve(
        &mut self,
        name: &str,
        family: AddressFamily,
        tokens: [Token; 2],
        now: Instant,
    ) -> Self::Resolution;

    /// Begins a connection to a server.
    ///
    /// # Errors
    /// The kernel's, and what is wrong with the source.
    fn connect(
        &mut self,
        address: SocketAddr,
        source: &Source,
        token: Token,
    ) -> io::Result<Self::Server>;

    /// Begins a connection to a local target.
    ///
    /// # Errors
    /// The kernel's.
    fn reach(&mut self, address: &TargetAddress, token: Token) -> io::Result<Self::Target>;

    /// The address at which a server was last reached.
    fn remembered(&self, host: &str, port: u16) -> Option<IpAddr>;

    /// A server was reached at this address and let us in.
    fn remember(&mut self, host: &str, port: u16, address: IpAddr);

    /// What is remembered of a server is wrong.
    fn forget(&mut self, host: &str, port: u16);

    /// The key types that are pinned for a server, to be asked for first.
    ///
    /// # Errors
    /// Why no host key can be judged now: a server is not to be troubled then.
    fn pinned_types(&self, host: &str, port: u16) -> Result<Vec<String>, Ended>;

    /// Judges a host key whose signature was verified, or the certificate that it came in. Pins it where that
    /// is allowed.
    ///
    /// # Errors
    /// Why the server is not to be trusted.
    fn judge_host_key(
        &mut self,
        host: &str,
        port: u16,
        key_type: &str,
        blob: &[u8],
    ) -> Result<(), Ended>;

    /// Which of the host keys that a server announces it has to prove before they are pinned, by their
    /// place. `login` is the key that it showed. None where pins do not follow what it announces.
    fn to_prove(
        &self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
    ) -> Option<Vec<usize>>;

    /// Lets the server's pins follow what it announced: `proven` are those of the keys that it proved.
    fn follow_host_keys(
        &mut self,
        host: &str,
        port: u16,
        login: &[u8],
        announced: &[Vec<u8>],
        proven: &[Vec<u8>],
    );

    /// Whether there is randomness yet: early after boot there may be none.
    fn has_randomness(&mut self) -> bool;

    /// Cryptographically secure randomness, for one SSH connection or for the tokens of checks.
    fn randomness(&mut self) -> Box<dyn Rng>;
}

/// A stream socket that does not block.
pub trait Stream {
    /// Why the connection did not come about; nothing when it did.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] while it is under way.
    fn outcome(&self) -> io::Result<()>;

    /// Reads; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing yet.
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What was read is acknowledged at once, and not only with the next bytes that are written: a
    /// peer with Nagle's algorithm (RFC 9293 section 3.7.4) holds the rest of its message back until
    /// then, 40 ms with Linux.
    fn acknowledge(&self);

    /// The peer will get no more.
    fn end_writing(&self);

    /// Connected: sets what the kernel is to do with this stream.
    ///
    /// # Errors
    /// The kernel's.
    fn prepare(&mut self, options: &StreamOptions) -> io::Result<()>;
}

/// What the kernel is to do with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOptions {
    /// A target: small answers do not wait for more.
    Target,
    /// The server.
    Server {
        /// `TCPKeepAlive`.
        keep_alive: bool,
    },
}

/// A connection to the server.
pub trait ServerStream: Stream {
    /// This machine's address of the connection.
    fn local_address(&self) -> Option<IpAddr>;

    /// As [`Stream::read`], and the bytes stay there.
    ///
    /// # Errors
    /// Those of [`Stream::read`].
    fn peek(&self, space: &mut [u8]) -> io::Result<usize>;

    /// What of the bytes written the server does not have yet; none where that cannot be said.
    /// Asked for before the server is probed or judged, not while bytes are moved.
    fn unacknowledged(&self) -> Option<Unacknowledged>;

    /// The kernel takes no more once so many bytes wait to be sent, where it can keep to that.
    fn limit_unsent(&self, bytes: usize);

    /// What the server does not have by the time this is dropped is not sent to it after that: a
    /// connection that was given up would take the next one's place on a slow link for minutes.
    fn discard_on_close(&self);
}

/// What of the bytes written to a TCP connection the peer does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Bytes that it has not acknowledged, those that were not sent yet included.
    pub bytes: usize,
    /// How many of them it has all the same, out of order (RFC 2018), about.
    pub sacked: usize,
    /// How long ago it last acknowledged any.
    pub since: Duration,
    /// The retransmission timeout (RFC 6298), without its backoff.
    pub retransmission: Duration,
}

/// A name on its way to its addresses. Dropping it gives it up.
pub trait Resolution {
    /// One of its sockets is ready. Tokens of others are ignored.
    fn handle_ready(&mut self, token: Token, now: Instant);

    /// To be called when [`Resolution::poll_timeout`] is due; earlier calls do nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`Resolution::handle_timeout`] is due at the latest; none from the result on.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The addresses, 1 to 8, or in words why there are none. Given out once.
    fn result(&mut self) -> Option<Result<Vec<IpAddr>, String>>;
}
