//! How a relay reaches its target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::{Interest, Registry, Token};
use reachback_core::dial::AddressFamily;
use reachback_core::forward::Target;
use reachback_core::time::Instant;
use reachback_ssh::{Client, Error};

use super::{Relay, Stage};
use crate::net::resolve::Resolution;
use crate::relay::TOKENS_PER_RELAY;
use crate::relay::socket::{Address, Socket};

impl Relay {
    /// Begins to reach the target.
    ///
    /// # Errors
    /// Why it cannot be reached, when that is known at once; [`Relay::refuse`] tells the peer.
    pub fn start(
        &mut self,
        tokens: [Token; TOKENS_PER_RELAY],
        family: AddressFamily,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        let [socket, resolving @ ..] = tokens;
        let (host, port) = match &self.target {
            Target::Tcp { host, port } => (host, *port),
            Target::Unix(path) => {
                let address = Address::Unix(path.as_str().into());
                return self.connect(vec![address], socket, registry);
            }
        };
        match known_addresses(host, port) {
            Some(addresses) => self.connect(addresses, socket, registry),
            None => {
                let resolution = Resolution::start(host, family, registry, resolving, now);
                self.stage = Stage::Resolving(Box::new(resolution));
                self.resolved(socket, registry)
            }
        }
    }

    /// Begins to connect to the first address that allows it.
    fn connect(
        &mut self,
        addresses: Vec<Address>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        let mut rest = addresses.into_iter();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        while let Some(address) = rest.next() {
            match Socket::connect(&address) {
                Ok(mut socket) => {
                    registry.register(
                        &mut socket,
                        token,
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    self.readable = false;
                    self.writable = false;
                    self.stage = Stage::Connecting {
                        socket,
                        rest: rest.collect(),
                    };
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn resolved(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
        let (Stage::Resolving(resolution), Target::Tcp { port, .. }) =
            (&mut self.stage, &self.target)
        else {
            return Ok(());
        };
        match resolution.result() {
            None => Ok(()),
            Some(Ok(addresses)) => {
                let addresses = addresses
                    .iter()
                    .map(|ip| Address::Tcp(SocketAddr::new(*ip, *port)))
                    .collect();
                self.connect(addresses, token, registry)
            }
            Some(Err(error)) => Err(io::Error::other(error.to_string())),
        }
    }

    pub(super) fn drive_connecting(
        &mut self,
        late: bool,
        token: Token,
        client: &mut Client,
        registry: &Registry,
    ) -> Result<bool, Error> {
        let Stage::Connecting { socket, rest } = &mut self.stage else {
            return Ok(true);
        };
        let outcome = if late {
            Err(io::ErrorKind::TimedOut.into())
        } else if !self.writable {
            return Ok(true);
        } else {
            socket.outcome()
        };
        match outcome {
            Ok(()) => {
                if let Stage::Connecting { socket, .. } =
                    std::mem::replace(&mut self.stage, Stage::TargetGone)
                {
                    socket.prepare();
                    self.stage = Stage::Open(socket);
                }
                self.deadline = None;
                if let Some(channel) = self.channel {
                    client.accept_channel(channel)?;
                }
                self.drive_open(client)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                Ok(true)
            }
            Err(error) => {
                let rest = std::mem::take(rest);
                self.finish(registry);
                match if late {
                    Err(error)
                } else {
                    self.connect(rest, token, registry).map_err(|_| error)
                } {
                    Ok(()) => Ok(true),
                    Err(error) => self.refuse(&error, client).map(|()| false),
                }
            }
        }
    }
}

/// Addresses that need no look-up: literals, and `localhost`, IPv4 first because that is where
/// small services listen.
fn known_addresses(name: &str, port: u16) -> Option<Vec<Address>> {
    let at = |ip: &IpAddr| Address::Tcp(SocketAddr::new(*ip, port));
    if name.eq_ignore_ascii_case("localhost") {
        let both = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        return Some(both.iter().map(at).collect());
    }
    let address: IpAddr = name.parse().ok()?;
    Some(vec![at(&address)])
}
