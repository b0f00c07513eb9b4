//! All that is not the controller: its kernel, the path and the server's machine.

use std::collections::BTreeMap;

use crate::controller::Net;
use crate::dice::Dice;
use crate::network::{Dns, Io, Path, Stream};
use crate::server::{Answer, Knobs, Server};

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

pub(crate) struct Connection {
    dial: Dial,
    pub(crate) stream: Stream,
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
    pub(crate) now_ms: u64,
    pub(crate) connections: Vec<Option<Connection>>,
    /// The controller read, wrote or closed.
    pub(crate) touched: bool,
    /// Bytes and segments that the controller sent on connections that are over.
    sent_before: (u64, u64),
    /// What a client did wrong, as its servers saw it.
    pub breaches: Vec<String>,
}

impl Outside {
    /// A good path to a decent server.
    pub(crate) fn new(seed: u64) -> Outside {
        let knobs = Knobs {
            forward: Answer::Ask,
            keeps_log: false,
            ..Knobs::default()
        };
        Outside {
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
        }
    }

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

    pub(crate) fn client_sockets(&self) -> usize {
        let open = |c: &&Connection| c.stream.client_open;
        self.connections.iter().flatten().filter(open).count()
    }

    pub(crate) fn next_event(&self) -> Option<u64> {
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
    pub(crate) fn work(&mut self) -> bool {
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
