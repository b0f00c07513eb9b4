//! The whole: a controller, a path, and a server's machine, on one virtual clock.

use std::collections::BTreeMap;

use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;

use crate::controller::{Controller, Net, port_of};
use crate::dice::Dice;
use crate::invariants::Invariants;
use crate::network::{Dns, Io, Path, Stream};
use crate::server::{Answer, Knobs, Server};

/// Rounds of work at one moment after which it counts as a busy loop.
const ROUNDS: usize = 5_000;
/// Turns of the controller at one moment that do nothing.
const IDLE_TURNS: usize = 3;

/// The server's machine.
#[derive(Debug)]
pub struct Host {
    /// It runs.
    pub powered: bool,
    /// The SSH server runs on it.
    pub listening: bool,
    /// Its kernel answers, and its SSH server does nothing.
    pub hung: bool,
    /// How the server behaves towards connections that are made from now on.
    pub knobs: Knobs,
    /// After so long without a byte the server gives a session up (sshd's ClientAlive).
    pub patience_ms: u64,
    /// Ports that something else on the machine holds.
    pub foreign: Vec<u16>,
    /// Who holds which port: the number of the connection.
    pub ports: BTreeMap<u16, usize>,
    /// Connections taken.
    pub accepted: usize,
}

#[derive(Debug)]
enum Dial {
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

struct Connection {
    dial: Dial,
    stream: Stream,
    server: Option<Box<Server>>,
    /// Bytes of the server that its kernel has not taken.
    unsent: Vec<u8>,
    heard_ms: u64,
}

/// The controller's kernel, the path and the server's machine.
pub struct Outside {
    /// The path.
    pub path: Path,
    /// The server's machine.
    pub host: Host,
    /// Things that are left to chance.
    pub dice: Dice,
    now_ms: u64,
    connections: Vec<Option<Connection>>,
    touched: bool,
    /// Bytes and segments that the controller sent on connections that are over.
    sent_before: (u64, u64),
    /// What a client did wrong, as its servers saw it.
    pub breaches: Vec<String>,
}

/// Everything.
pub struct World {
    /// The controller.
    pub controller: Controller,
    /// All that is not the controller.
    pub outside: Outside,
    /// What must hold.
    pub invariants: Invariants,
    /// Turns of the controller so far.
    pub turns: u64,
    frozen: bool,
}

impl World {
    /// A good path and a decent server; the controller begins at 0 ms.
    pub fn new(policy: Policy, forwards: usize, rekey: Rekey, seed: u64) -> World {
        let knobs = Knobs {
            forward: Answer::Ask,
            keeps_log: false,
            ..Knobs::default()
        };
        World {
            controller: Controller::new(policy, forwards, rekey, seed, 0),
            outside: Outside {
                path: Path::good(),
                host: Host {
                    powered: true,
                    listening: true,
                    hung: false,
                    knobs,
                    patience_ms: 90_000,
                    foreign: Vec::new(),
                    ports: BTreeMap::new(),
                    accepted: 0,
                },
                dice: Dice::new(seed ^ 0x5eed),
                now_ms: 0,
                connections: Vec::new(),
                touched: false,
                sent_before: (0, 0),
                breaches: Vec::new(),
            },
            invariants: Invariants::new(policy),
            turns: 0,
            frozen: false,
        }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        self.outside.now_ms
    }

    /// Lets `ms` pass.
    pub fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms() + ms;
        self.run_until(end_ms, |_| false);
    }

    /// Runs until something holds, at most until `end_ms`; gives whether it came to hold.
    pub fn run_until(&mut self, end_ms: u64, mut enough: impl FnMut(&World) -> bool) -> bool {
        loop {
            self.settle();
            if enough(self) {
                return true;
            }
            let controller = if self.frozen {
                None
            } else {
                self.controller.poll_timeout()
            };
            let next = controller.into_iter().chain(self.outside.next_event());
            let next = next.min().unwrap_or(u64::MAX).max(self.now_ms() + 1);
            if next > end_ms {
                self.outside.now_ms = end_ms.max(self.now_ms());
                return false;
            }
            self.outside.now_ms = next;
        }
    }

    /// The program does not run for `ms`, while everything else goes on.
    pub fn freeze_for(&mut self, ms: u64) {
        self.frozen = true;
        self.run_for(ms);
        self.frozen = false;
        let now_ms = self.now_ms();
        self.invariants.held_up(now_ms);
    }

    /// The link comes or goes; the controller is told when it comes, if `told`.
    pub fn set_link(&mut self, up: bool, told: bool) {
        self.outside.path.link_up = up;
        if up && told {
            let now_ms = self.now_ms();
            self.invariants.link_came();
            self.controller.network_came(now_ms);
        }
    }

    /// The controller's address is another one from now on; it is told, if `told`.
    pub fn move_address(&mut self, told: bool) {
        for connection in self.outside.connections.iter_mut().flatten() {
            connection.stream.orphaned = true;
        }
        if told {
            let now_ms = self.now_ms();
            self.controller.address_removed(now_ms, &mut self.outside);
            self.invariants.link_came();
            self.controller.network_came(now_ms);
        }
    }

    /// A person asks for a new connection.
    pub fn reconnect(&mut self) {
        self.invariants.asked();
        let now_ms = self.now_ms();
        self.controller.reconnect(now_ms);
    }

    /// The server of the connection in use.
    pub fn server(&mut self) -> Option<&mut Server> {
        let socket = self.controller.socket()?;
        self.outside.server(socket)
    }

    /// Somebody connects to a forward and sends `bytes` that come back; gives whether they did
    /// within `ms`.
    pub fn exchange(&mut self, index: u8, bytes: usize, ms: u64) -> bool {
        let Some(channel) = self.begin_exchange(index, bytes) else {
            return false;
        };
        let end_ms = self.now_ms() + ms;
        let socket = self.controller.socket();
        while self.now_ms() < end_ms {
            self.run_for(50);
            if self.controller.socket() != socket {
                return false;
            }
            let Some(server) = self.server() else {
                return false;
            };
            if server.channel(channel).received_bytes == bytes as u64 {
                server.finish(channel);
                server.close(channel);
                return true;
            }
        }
        false
    }

    /// Somebody connects to a forward and sends `bytes`; gives the server's channel.
    pub fn begin_exchange(&mut self, index: u8, bytes: usize) -> Option<u32> {
        let port = port_of(index);
        let server = self.server()?;
        if !server
            .listeners
            .iter()
            .any(|listener| listener.port == port)
        {
            return None;
        }
        let channel = server.open("localhost", u32::from(port));
        server.write(channel, &vec![b'e'; bytes]);
        Some(channel)
    }

    /// Works until nothing is left to do at this moment.
    fn settle(&mut self) {
        let mut idle = 0;
        for round in 0.. {
            let mut moved = self.outside.work();
            if !self.frozen && !self.controller.is_finished() {
                self.outside.touched = false;
                let now_ms = self.outside.now_ms;
                let deeds = self.controller.deeds.len();
                let state = self.controller.watchdog.state();
                let more = self.controller.drive(&mut self.outside, now_ms);
                self.turns += 1;
                let did = self.outside.touched
                    || self.controller.deeds.len() > deeds
                    || self.controller.watchdog.state() != state;
                idle = if more && !did && !moved { idle + 1 } else { 0 };
                moved |= more || did;
            }
            if !moved {
                break;
            }
            if round > ROUNDS || idle > IDLE_TURNS {
                let now_ms = self.outside.now_ms;
                self.invariants.broken(now_ms, "a busy loop");
                break;
            }
        }
        if !self.frozen {
            let sockets = self.outside.client_sockets();
            let now_ms = self.outside.now_ms;
            self.invariants.look(now_ms, &mut self.controller, sockets);
        }
    }
}

impl Outside {
    /// The SSH server dies with all its connections, and may be back later.
    pub fn kill_server(&mut self) {
        self.host.listening = false;
        self.reset_all();
    }

    /// Every connection is reset by the server's machine.
    pub fn reset_all(&mut self) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.server.take().is_some() {
                connection.stream.reset_by_server(self.now_ms, &self.path);
            }
        }
        self.host.ports.clear();
    }

    /// The server's machine loses its power: nobody is told.
    pub fn cut_power(&mut self) {
        self.host.powered = false;
        for connection in self.connections.iter_mut().flatten() {
            connection.server = None;
            connection.stream.forgotten();
        }
        self.host.ports.clear();
    }

    /// The server ends every connection in an orderly way.
    pub fn end_all(&mut self, reason: u32) {
        for connection in self.connections.iter_mut().flatten() {
            if let Some(server) = &mut connection.server {
                server.disconnect(reason, "maintenance");
            }
        }
    }

    /// The server of a connection.
    pub fn server(&mut self, socket: usize) -> Option<&mut Server> {
        let connection = self.connections.get_mut(socket)?.as_mut()?;
        connection.server.as_deref_mut()
    }

    /// All servers of living connections.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        let connections = self.connections.iter_mut().flatten();
        connections.filter_map(|connection| connection.server.as_deref_mut())
    }

    /// Bytes and segments that the controller has sent.
    pub fn sent(&self) -> (u64, u64) {
        let living = self.connections.iter().flatten().map(|c| c.stream.sent());
        living.fold(self.sent_before, |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Bytes that the controller's kernel would still take on a connection.
    pub fn client_room(&self, socket: usize) -> usize {
        match self.connections.get(socket) {
            Some(Some(connection)) => connection.stream.client_room(),
            _ => 0,
        }
    }

    fn client_sockets(&self) -> usize {
        let open = |c: &&Connection| c.stream.client_open;
        self.connections.iter().flatten().filter(open).count()
    }

    fn next_event(&self) -> Option<u64> {
        let of = |c: &Connection| match c.dial {
            Dial::Trying { at_ms, .. } | Dial::Answered { at_ms, .. } => Some(at_ms),
            Dial::Refused => None,
            Dial::Made => {
                let patience = c
                    .server
                    .as_ref()
                    .filter(|_| !self.host.hung)
                    .map(|_| c.heard_ms.saturating_add(self.host.patience_ms));
                c.stream
                    .next_event(self.now_ms)
                    .into_iter()
                    .chain(patience)
                    .min()
            }
        };
        self.connections.iter().flatten().filter_map(of).min()
    }

    /// Everything that is due outside of the controller. True when anything moved.
    fn work(&mut self) -> bool {
        let mut moved = false;
        for number in 0..self.connections.len() {
            let Some(mut connection) = self.connections[number].take() else {
                continue;
            };
            moved |= match connection.dial {
                Dial::Made => self.serve(number, &mut connection),
                _ => self.dial_on(&mut connection),
            };
            if connection.stream.is_over() {
                let (bytes, segments) = connection.stream.sent();
                self.sent_before.0 += bytes;
                self.sent_before.1 += segments;
            } else {
                self.connections[number] = Some(connection);
            }
        }
        moved
    }

    fn dial_on(&mut self, connection: &mut Connection) -> bool {
        let now_ms = self.now_ms;
        match connection.dial {
            Dial::Trying { at_ms, wait_ms } if at_ms <= now_ms => {
                let lost = self.dice.chance(self.path.loss_percent);
                let passes = self.path.forth() && self.path.back() && self.host.powered;
                connection.dial = if !self.path.link_up {
                    Dial::Refused
                } else if passes && !lost {
                    Dial::Answered {
                        at_ms: now_ms + 2 * self.path.delay_ms,
                        taken: self.host.listening,
                    }
                } else {
                    Dial::Trying {
                        at_ms: now_ms + wait_ms,
                        wait_ms: 2 * wait_ms,
                    }
                };
                true
            }
            Dial::Answered { at_ms, taken } if at_ms <= now_ms => {
                connection.dial = if taken { Dial::Made } else { Dial::Refused };
                if taken {
                    self.host.accepted += 1;
                    connection.stream.server_open = true;
                    connection.server = Some(Box::new(Server::new(self.host.knobs.clone())));
                    connection.heard_ms = now_ms;
                }
                true
            }
            _ => false,
        }
    }

    fn serve(&mut self, number: usize, connection: &mut Connection) -> bool {
        let now_ms = self.now_ms;
        let powered = self.host.powered;
        let mut moved = connection
            .stream
            .tick(now_ms, &self.path, powered, &mut self.dice);
        let Some(server) = connection.server.as_mut().filter(|_| !self.host.hung) else {
            return moved;
        };
        let mut over = now_ms.saturating_sub(connection.heard_ms) >= self.host.patience_ms;
        let mut space = [0; 16 * 1024];
        loop {
            match connection.stream.server_read(&mut space) {
                Io::Moved(n) => {
                    moved = true;
                    connection.heard_ms = now_ms;
                    server.handle_input(&space[..n]);
                }
                Io::Blocked => break,
                Io::Ended | Io::Reset => {
                    over = true;
                    break;
                }
            }
        }
        while let Some(wanted) = server.asked.front() {
            let port = wanted.port;
            let free = !self.host.foreign.contains(&port) && !self.host.ports.contains_key(&port);
            if free {
                self.host.ports.insert(port, number);
            }
            server.answer_forward(free);
        }
        if connection.unsent.is_empty() && server.has_output() {
            connection.unsent = server.take_output();
        }
        while !connection.unsent.is_empty() {
            match connection.stream.server_write(&connection.unsent) {
                Io::Moved(n) => {
                    connection.unsent.drain(..n);
                    moved = true;
                }
                _ => break,
            }
        }
        server.tidy();
        self.breaches.append(&mut server.violations);
        over |= server.closed && connection.unsent.is_empty();
        if over {
            connection.server = None;
            connection.stream.server_end();
            self.host.ports.retain(|_, holder| *holder != number);
            moved = true;
        }
        // What was written goes on its way at once.
        moved
            | connection
                .stream
                .tick(now_ms, &self.path, powered, &mut self.dice)
    }
}

impl Net for Outside {
    fn resolve(&mut self, now_ms: u64) -> (u64, bool) {
        let passes = self.path.forth() && self.path.back();
        match self.path.dns {
            _ if !self.path.link_up => (now_ms + 1, false),
            Dns::Answers if passes => (now_ms + 2 * self.path.delay_ms, true),
            Dns::Fails if passes => (now_ms + 2 * self.path.delay_ms, false),
            _ => (u64::MAX, false),
        }
    }

    fn dial(&mut self, now_ms: u64) -> usize {
        self.connections.push(Some(Connection {
            dial: Dial::Trying {
                at_ms: now_ms,
                wait_ms: 1_000,
            },
            stream: Stream::dialling(),
            server: None,
            unsent: Vec::new(),
            heard_ms: now_ms,
        }));
        self.connections.len() - 1
    }

    fn dialled(&mut self, socket: usize) -> Option<Result<(), ()>> {
        match self.connections[socket].as_ref()?.dial {
            Dial::Made => Some(Ok(())),
            Dial::Refused => Some(Err(())),
            _ => None,
        }
    }

    fn read(&mut self, socket: usize, space: &mut [u8]) -> Io {
        let Some(Some(connection)) = self.connections.get_mut(socket) else {
            return Io::Reset;
        };
        let io = connection.stream.client_read(space);
        self.touched |= io != Io::Blocked;
        io
    }

    fn write(&mut self, socket: usize, bytes: &[u8]) -> Io {
        let Some(Some(connection)) = self.connections.get_mut(socket) else {
            return Io::Reset;
        };
        let io = connection.stream.client_write(bytes);
        self.touched |= io != Io::Blocked;
        io
    }

    fn close(&mut self, socket: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(socket) {
            connection.stream.client_close();
            self.touched = true;
        }
    }
}
