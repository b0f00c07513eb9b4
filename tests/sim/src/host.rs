//! A server's machine: its SSH server, who holds which port, and connections from one process
//! on it to another.

use std::collections::BTreeMap;

use crate::network::Path;
use crate::server::numbers::CONNECT_FAILED;
use crate::server::{Answer, Knobs, Listener, Server};

/// Who holds a port of one loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The SSH session of this connection, with this port of its listener.
    Session(usize),
    /// Another program, which greets who comes or says nothing.
    Other {
        /// Sends a line of its own to who connects.
        greets: bool,
    },
}

/// Of IPv6, and the port.
pub type Port = (bool, u16);

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
    /// Who holds which port.
    pub ports: BTreeMap<Port, Holder>,
    /// Its kernel holds all the connections that wait for the server, and drops what begins one.
    pub full: bool,
    /// Connections taken.
    pub accepted: usize,
    /// Segments that came to begin one.
    pub knocks: usize,
    pipes: Vec<Pipe>,
}

/// One end of a connection within the machine: a channel of a session.
type End = (usize, u32);

/// A connection that a session made to a listener (`direct-tcpip`).
#[derive(Debug)]
struct Pipe {
    from: End,
    /// None leads to another program.
    to: Option<End>,
}

impl Default for Host {
    fn default() -> Host {
        Host {
            powered: true,
            listening: true,
            hung: false,
            full: false,
            knobs: Knobs {
                forward: Answer::Ask,
                direct: Answer::Ask,
                keeps_log: false,
                keeps_data: true,
                ..Knobs::default()
            },
            patience_ms: 90_000,
            ports: BTreeMap::new(),
            accepted: 0,
            knocks: 0,
            pipes: Vec::new(),
        }
    }
}

/// The loopback addresses on which a listener of this address listens: IPv6 or not.
fn families(bind: &str) -> &'static [bool] {
    match bind {
        "" | "localhost" => &[false, true],
        address if address.contains(':') => &[true],
        _ => &[false],
    }
}

impl Host {
    /// Another program holds a port on both addresses, or on none any more.
    pub fn set_foreign(&mut self, port: u16, held: bool) {
        for v6 in [false, true] {
            self.set_foreign_at((v6, port), held, false);
        }
    }

    /// Another program holds a port of one address, if nobody else does.
    pub fn set_foreign_at(&mut self, port: Port, held: bool, greets: bool) {
        match (self.ports.get(&port), held) {
            (None | Some(Holder::Other { .. }), true) => {
                self.ports.insert(port, Holder::Other { greets });
            }
            (Some(Holder::Other { .. }), false) => {
                self.ports.remove(&port);
            }
            _ => {}
        }
    }

    /// No other program holds a port any more.
    pub fn clear_foreign(&mut self) {
        let other = |holder: &Holder| matches!(holder, Holder::Other { .. });
        self.ports.retain(|_, holder| !other(holder));
    }

    /// No session is left.
    pub fn forget_sessions(&mut self) {
        let session = |holder: &Holder| matches!(holder, Holder::Session(_));
        self.ports.retain(|_, holder| !session(holder));
        self.pipes.clear();
    }

    /// A session is over.
    pub fn forget(&mut self, number: usize) {
        self.ports
            .retain(|_, holder| *holder != Holder::Session(number));
    }

    /// Whether a session holds a port anywhere.
    pub fn has_sessions(&self) -> bool {
        let session = |holder: &Holder| matches!(holder, Holder::Session(_));
        self.ports.values().any(session)
    }

    /// Answers the requests of a session for listeners.
    pub fn answer_forwards(&mut self, number: usize, server: &mut Server) {
        let held = |ports: &BTreeMap<Port, Holder>, port| ports.contains_key(&port);
        // What was taken back is free.
        let listeners: Vec<Listener> = server.listeners.clone();
        self.ports.retain(|(v6, port), holder| {
            *holder != Holder::Session(number)
                || listeners
                    .iter()
                    .any(|own| own.port == *port && families(&own.bind).contains(v6))
        });
        while let Some(wanted) = server.asked.front().cloned() {
            let ours: Vec<Port> = families(&wanted.bind)
                .iter()
                .map(|v6| (*v6, wanted.port))
                .filter(|port| !held(&self.ports, *port))
                .collect();
            for port in &ours {
                self.ports.insert(*port, Holder::Session(number));
            }
            server.answer_forward(!ours.is_empty());
        }
    }

    /// Connects a session to the listeners that it asked for; gives what is to be done to other
    /// sessions: the listener, its session, and the end that waits for it.
    pub fn connect_directs(
        &mut self,
        number: usize,
        server: &mut Server,
    ) -> Vec<(usize, u16, End)> {
        let mut wanted = Vec::new();
        while let Some((channel, host, port)) = server.asked_direct.pop_front() {
            let end = (number, channel);
            match self.ports.get(&(host.contains(':'), port)) {
                None => server.answer_direct(channel, Err(CONNECT_FAILED)),
                Some(Holder::Other { greets }) => {
                    server.answer_direct(channel, Ok(()));
                    if *greets {
                        server.write(channel, b"220 another program\r\n");
                    }
                    self.pipes.push(Pipe {
                        from: end,
                        to: None,
                    });
                }
                Some(Holder::Session(holder)) => {
                    server.answer_direct(channel, Ok(()));
                    wanted.push((*holder, port, end));
                }
            }
        }
        wanted
    }

    /// A connection within the machine was made.
    pub fn join(&mut self, from: End, to: End) {
        self.pipes.push(Pipe { from, to: Some(to) });
    }

    /// Moves what the ends of connections within the machine have sent. `with` gives access to
    /// the server of a session.
    pub fn pump(&mut self, mut with: impl FnMut(usize, &mut dyn FnMut(&mut Server))) {
        self.pipes.retain(|pipe| {
            let mut alive = true;
            match pipe.to {
                None => {
                    alive = false;
                    with(pipe.from.0, &mut |server| {
                        alive = server.find(pipe.from.1).is_some_and(|c| !c.is_over());
                        server.take_received(pipe.from.1);
                    });
                }
                Some(to) => {
                    for (from, to) in [(pipe.from, to), (to, pipe.from)] {
                        alive &= carry(from, to, &mut with);
                    }
                }
            }
            alive
        });
    }
}

/// Carries what came on one channel to another one. False when the connection is over.
fn carry(from: End, to: End, with: &mut impl FnMut(usize, &mut dyn FnMut(&mut Server))) -> bool {
    let (mut data, mut eof, mut over) = (Vec::new(), false, true);
    with(from.0, &mut |server| {
        data = server.take_received(from.1);
        if let Some(channel) = server.find(from.1) {
            eof = channel.eof_received;
            over = channel.is_over() || channel.close_received;
        }
    });
    with(to.0, &mut |server| {
        if !data.is_empty() {
            server.write(to.1, &data);
        }
        if eof {
            server.finish(to.1);
        }
        if over {
            server.close(to.1);
        }
    });
    !over
}

/// Whether a machine's answers reach the controller.
pub fn reaches(host: &Host, path: &Path) -> bool {
    host.powered && path.forth() && path.back()
}
