//! All that is not the controller's program: its kernel, the path, the servers' machines and
//! the people on them, and the targets beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reachback_tunnel::{Ready, Token};

use crate::dice::Dice;
use crate::host::Host;
use crate::network::{Path, Stream};
use crate::server::{Knobs, Server, host_key_blob};
use crate::targets::Targets;
use crate::users::User;

mod people;
mod work;

/// Name of the first server, and its port.
pub const HUB: (&str, u16) = ("hub.example.net", 22);
/// Name of the fallback, and its port.
pub const SPARE: (&str, u16) = ("spare.example.net", 22);

const HUB_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How far a TCP connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// The next SYN goes out then.
    Trying {
        at_ms: u64,
        wait_ms: u64,
    },
    /// The answer arrives then.
    Answered {
        at_ms: u64,
        taken: bool,
    },
    Refused,
    Made,
}

pub(crate) struct Connection {
    pub(crate) token: Token,
    pub(crate) local: IpAddr,
    host: Option<usize>,
    pub(crate) dial: Dial,
    /// The kernel told of its being made or refused.
    told: bool,
    pub(crate) stream: Stream,
    pub(crate) server: Option<Box<Server>>,
    /// Bytes of the server that its kernel has not taken.
    unsent: Vec<u8>,
    heard_ms: u64,
    /// The controller logs in on it.
    pub(crate) in_use: bool,
}

impl Connection {
    pub(crate) fn dialling(
        host: Option<usize>,
        local: IpAddr,
        token: Token,
        now_ms: u64,
    ) -> Connection {
        Connection {
            token,
            local,
            host,
            dial: Dial::Trying {
                at_ms: now_ms,
                wait_ms: 1_000,
            },
            told: false,
            stream: Stream::dialling(),
            server: None,
            unsent: Vec::new(),
            heard_ms: now_ms,
            in_use: false,
        }
    }
}

/// Something that the controller did, for the invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// An attempt began.
    Attempt,
    /// Bytes were read from the server.
    Inbound,
}

/// Everything outside of a tunnel.
pub struct Net {
    /// The path.
    pub path: Path,
    /// The servers' machines: the first server, and its fallback.
    pub hosts: Vec<Host>,
    /// The name server's records.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Which machine listens where. Nobody answers elsewhere.
    pub addresses: BTreeMap<SocketAddr, usize>,
    /// Known hosts: name and port, and the host key.
    pub pins: BTreeMap<(String, u16), Vec<u8>>,
    /// Unknown host keys are accepted and pinned.
    pub accept_new: bool,
    /// Addresses that are remembered.
    pub remembered: BTreeMap<(String, u16), IpAddr>,
    /// The kernel has randomness.
    pub randomness: bool,
    /// The targets.
    pub targets: Targets,
    /// People who use the forwards.
    pub users: Vec<User>,
    /// Things that are left to chance.
    pub dice: Dice,
    /// What the controller did since the last look, by time.
    pub deeds: Vec<(u64, Deed)>,
    /// What a client did wrong, as its servers saw it, and what people and targets complain of.
    pub breaches: Vec<String>,
    /// Milliseconds that each read of the server's socket takes the controller.
    pub read_ms: u64,
    /// Reads in this turn.
    pub(crate) reads: u64,
    pub(crate) now_ms: u64,
    pub(crate) own: Ipv4Addr,
    pub(crate) connections: Vec<Option<Connection>>,
    pub(crate) ready: Vec<Ready>,
    /// Answers of the name server on their way, by the time of their arrival.
    pub(crate) answers: Vec<(u64, Token)>,
    /// The controller read, wrote, connected or closed.
    pub(crate) touched: bool,
    /// Bytes and segments that the controller sent on connections that are over.
    sent_before: (u64, u64),
    /// Bytes that the controller wrote to servers.
    pub(crate) written: u64,
}

impl Net {
    /// A good path to two decent servers.
    pub(crate) fn new(seed: u64) -> Net {
        let (hub, spare) = (HUB_ADDRESS, Ipv4Addr::new(192, 0, 2, 2));
        let names = [(HUB.0, hub), (SPARE.0, spare)];
        let mut spare_host = Host::default();
        spare_host.knobs.host_key = 3;
        let mut net = Net {
            path: Path::good(),
            hosts: vec![Host::default(), spare_host],
            names: names
                .map(|(name, address)| (name.to_owned(), vec![IpAddr::V4(address)]))
                .into(),
            addresses: [
                (SocketAddr::from((hub, HUB.1)), 0),
                (SocketAddr::from((spare, SPARE.1)), 1),
            ]
            .into(),
            pins: BTreeMap::new(),
            accept_new: false,
            remembered: BTreeMap::new(),
            randomness: true,
            targets: Targets::default(),
            users: Vec::new(),
            dice: Dice::new(seed ^ 0x5eed),
            deeds: Vec::new(),
            breaches: Vec::new(),
            read_ms: 0,
            reads: 0,
            now_ms: 0,
            own: Ipv4Addr::new(10, 0, 0, 1),
            connections: Vec::new(),
            ready: Vec::new(),
            answers: Vec::new(),
            touched: false,
            sent_before: (0, 0),
            written: 0,
        };
        net.pin_all();
        net
    }

    /// The first server's machine.
    pub fn hub(&mut self) -> &mut Host {
        &mut self.hosts[0]
    }

    /// Turns a knob of every server, also of those that have a connection.
    pub fn set_knobs(&mut self, turn: impl Fn(&mut Knobs)) {
        for host in &mut self.hosts {
            turn(&mut host.knobs);
        }
        for server in self.servers() {
            turn(&mut server.knobs);
        }
    }

    /// The name server has addresses of the first server where nobody is, so many before its own
    /// and behind it.
    pub fn set_addresses(&mut self, before: u64, behind: u64) {
        let nobody = |n: u64| match n % 2 {
            0 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, n as u8)),
            _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16)),
        };
        let own = IpAddr::V4(HUB_ADDRESS);
        let addresses = (1..=before).map(nobody).chain([own]);
        let addresses = addresses.chain((10..10 + behind).map(nobody));
        self.names.insert(HUB.0.to_owned(), addresses.collect());
    }

    /// The known hosts are those of both servers.
    pub fn pin_all(&mut self) {
        for ((name, port), key) in [(HUB, 1), (SPARE, 3)] {
            self.pins
                .insert((name.to_owned(), port), host_key_blob(key));
        }
    }

    /// The SSH server of a machine dies with all its connections, and may be back later.
    pub fn kill_server(&mut self, host: usize) {
        self.hosts[host].listening = false;
        self.reset_all(host);
    }

    /// Every connection is reset by the server's machine.
    pub fn reset_all(&mut self, host: usize) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.host == Some(host) && connection.server.take().is_some() {
                connection.stream.reset_by_server(self.now_ms, &self.path);
            }
        }
        self.hosts[host].forget_sessions();
    }

    /// The server of a machine ends every connection without a word.
    pub fn turn_away(&mut self, host: usize) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.host == Some(host) && connection.server.take().is_some() {
                connection.stream.server_end();
            }
        }
        self.hosts[host].forget_sessions();
    }

    /// A server's machine loses its power: nobody is told.
    pub fn cut_power(&mut self, host: usize) {
        self.hosts[host].powered = false;
        for connection in self.connections.iter_mut().flatten() {
            if connection.host == Some(host) {
                connection.server = None;
                connection.stream.forgotten();
            }
        }
        self.hosts[host].forget_sessions();
    }

    /// A server ends every connection in an orderly way.
    pub fn end_all(&mut self, host: usize, reason: u32, text: &str) {
        for connection in self.connections.iter_mut().flatten() {
            if let Some(server) = &mut connection.server
                && connection.host == Some(host)
            {
                server.disconnect(reason, text);
            }
        }
    }

    /// The connection that the controller uses, while it holds one.
    pub fn in_use(&self) -> Option<usize> {
        let used = |c: &Connection| c.in_use && c.stream.client_open;
        self.connections
            .iter()
            .position(|c| c.as_ref().is_some_and(used))
    }

    /// The machine of the connection in use.
    pub fn host_in_use(&self) -> Option<usize> {
        self.connections[self.in_use()?].as_ref()?.host
    }

    /// The server of the connection in use.
    pub fn server(&mut self) -> Option<&mut Server> {
        let number = self.in_use()?;
        self.connections[number].as_mut()?.server.as_deref_mut()
    }

    /// All servers of living connections.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        let connections = self.connections.iter_mut().flatten();
        connections.filter_map(|connection| connection.server.as_deref_mut())
    }

    /// Sessions of the program at one moment: sockets on which it has begun to log in.
    pub(crate) fn sessions(&self) -> usize {
        let held = |c: &&Connection| c.in_use && c.stream.client_open;
        self.connections.iter().flatten().filter(held).count()
    }

    /// Sockets to servers that the controller holds.
    pub(crate) fn sockets(&self) -> usize {
        let open = |c: &&Connection| c.stream.client_open;
        self.connections.iter().flatten().filter(open).count()
    }

    /// Bytes that the kernel would take from the controller for the server in use.
    pub fn send_room(&self) -> Option<usize> {
        let connection = self.connections[self.in_use()?].as_ref()?;
        Some(connection.stream.client_room())
    }

    /// When the server in use last acknowledged anything.
    pub(crate) fn acknowledged_ms(&self) -> u64 {
        let connection = self.in_use().and_then(|n| self.connections[n].as_ref());
        connection.map_or(0, |connection| connection.stream.client_holds().1)
    }

    /// Bytes and segments that the controller has sent.
    pub fn sent(&self) -> (u64, u64) {
        let streams = self.connections.iter().flatten();
        streams.fold(self.sent_before, |(bytes, segments), connection| {
            let (more, packets) = connection.stream.sent();
            (bytes + more, segments + packets)
        })
    }

    /// Nothing is under way between the controller and the server that it uses, and that one
    /// owes it nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        let Some(Some(connection)) = self.in_use().map(|number| &self.connections[number]) else {
            return false;
        };
        let hung = connection.host.is_some_and(|host| self.hosts[host].hung);
        let server = connection.server.as_ref();
        connection.stream.is_quiet()
            && connection.unsent.is_empty()
            && !hung
            && server.is_some_and(|server| !server.owes_reply())
    }

    /// The controller has another address; gives the one that is gone.
    pub(crate) fn move_address(&mut self) -> Ipv4Addr {
        for connection in self.connections.iter_mut().flatten() {
            connection.stream.orphaned = true;
        }
        let gone = self.own;
        self.own = Ipv4Addr::from(u32::from(gone) + 1);
        gone
    }
}
