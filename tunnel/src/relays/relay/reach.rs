//! How a relay reaches its target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reachback_core::dial::AddressFamily;
use reachback_core::forward::Target;
use reachback_core::time::Instant;
use reachback_ssh::{Client, Error};

use super::{CONNECT_DEADLINE, Relay, TargetState};
use crate::outside::{Outside, Resolution, Stream, StreamOptions, TargetAddress, Token};
use crate::readable::Readable;
use crate::relays::TOKENS_PER_RELAY;
use crate::relays::refused::Refused;

impl<O: Outside> Relay<O> {
    /// Begins to reach the target.
    ///
    /// # Errors
    /// Why it cannot be reached, when that is known at once; [`Relay::refuse`] tells the peer.
    pub fn start(
        &mut self,
        tokens: [Token; TOKENS_PER_RELAY],
        family: AddressFamily,
        outside: &mut O,
        now: Instant,
    ) -> io::Result<()> {
        self.deadline = Some(now + CONNECT_DEADLINE);
        let [socket, resolving @ ..] = tokens;
        let (host, port) = match &self.target {
            Target::Tcp { host, port } => (host, *port),
            Target::Unix(path) => {
                let address = TargetAddress::Unix(path.as_str().to_owned());
                return self.connect(vec![address], socket, outside);
            }
        };
        match known_addresses(host, port) {
            Some(addresses) => self.connect(addresses, socket, outside),
            None => {
                let resolution = outside.resolve(host, family, resolving, now);
                self.state = TargetState::Resolving(Box::new(resolution));
                self.resolved(socket, outside)
            }
        }
    }

    /// Begins to connect to the first address that allows it.
    fn connect(
        &mut self,
        addresses: Vec<TargetAddress>,
        token: Token,
        outside: &mut O,
    ) -> io::Result<()> {
        let mut rest = addresses.into_iter();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        while let Some(address) = rest.next() {
            match outside.reach(&address, token) {
                Ok(socket) => {
                    self.readable = Readable::not_yet();
                    self.writable = false;
                    self.state = TargetState::Connecting {
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

    pub(super) fn resolved(&mut self, token: Token, outside: &mut O) -> io::Result<()> {
        let (TargetState::Resolving(resolution), Target::Tcp { port, .. }) =
            (&mut self.state, &self.target)
        else {
            return Ok(());
        };
        match resolution.result() {
            None => Ok(()),
            Some(Ok(addresses)) => {
                let addresses = addresses
                    .iter()
                    .map(|ip| TargetAddress::Tcp(SocketAddr::new(*ip, *port)))
                    .collect();
                self.connect(addresses, token, outside)
            }
            Some(Err(error)) => Err(io::Error::other(error)),
        }
    }

    pub(super) fn drive_connecting(
        &mut self,
        late: bool,
        token: Token,
        client: &mut Client,
        outside: &mut O,
        refused: &mut Refused,
        now: Instant,
    ) -> Result<bool, Error> {
        let TargetState::Connecting { socket, rest } = &mut self.state else {
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
                if let TargetState::Connecting { mut socket, .. } =
                    std::mem::replace(&mut self.state, TargetState::TargetGone)
                {
                    // Without it there is only more delay.
                    let _ = socket.prepare(&StreamOptions::Target);
                    self.state = TargetState::Open(socket);
                }
                self.deadline = None;
                self.moved = true;
                if let Some(channel) = self.channel {
                    client.accept_channel(channel)?;
                }
                self.drive_open(client, now)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                Ok(true)
            }
            Err(error) => {
                let rest = std::mem::take(rest);
                match if late {
                    Err(error)
                } else {
                    self.connect(rest, token, outside).map_err(|_| error)
                } {
                    Ok(()) => Ok(true),
                    Err(error) => self.refuse(&error, client, refused, now).map(|()| false),
                }
            }
        }
    }
}

/// Addresses that need no look-up: literals, and `localhost`, IPv4 first because that is where
/// small services listen.
fn known_addresses(name: &str, port: u16) -> Option<Vec<TargetAddress>> {
    let at = |ip: &IpAddr| TargetAddress::Tcp(SocketAddr::new(*ip, port));
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
