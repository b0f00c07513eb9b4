//! What happens outside of the controller as time passes.

use reachback_tunnel::Ready;

use super::{Connection, Dial, Net};
use crate::host::reaches;
use crate::network::Io;
use crate::server::Server;

impl Net {
    pub(crate) fn next_event(&self) -> Option<u64> {
        let of = |c: &Connection| match c.dial {
            Dial::Trying { at_ms, .. } | Dial::Answered { at_ms, .. } => Some(at_ms),
            Dial::Refused => None,
            Dial::Made => {
                let host = &self.hosts[c.host?];
                let patience = c.server.as_ref().filter(|_| !host.hung);
                let patience = patience.map(|_| c.heard_ms.saturating_add(host.patience_ms));
                let stream = c.stream.next_event(self.now_ms);
                stream.into_iter().chain(patience).min()
            }
        };
        let connections = self.connections.iter().flatten().filter_map(of);
        let answers = self.answers.iter().map(|(at, _)| *at);
        connections
            .chain(answers)
            .chain(self.targets.next_event(self.now_ms))
            .min()
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
            self.tell(&mut connection);
            if connection.stream.is_over() {
                let (bytes, segments) = connection.stream.sent();
                self.sent_before.0 += bytes;
                self.sent_before.1 += segments;
            } else {
                self.connections[number] = Some(connection);
            }
        }
        self.pump();
        self.serve_users();
        let now_ms = self.now_ms;
        for (_, token) in self.answers.extract_if(.., |(at, _)| *at <= now_ms) {
            self.ready.push(Ready {
                token,
                readable: true,
                writable: false,
                ended: false,
            });
        }
        moved |= self.targets.work(self.now_ms);
        self.ready.extend(self.targets.edges());
        for breach in self.targets.breaches.drain(..) {
            crate::log::say(format_args!("VIOLATION: {breach}"));
            self.breaches.push(breach);
        }
        moved
    }

    /// What the kernel tells the controller of a connection.
    fn tell(&mut self, connection: &mut Connection) {
        if !connection.stream.client_open {
            return;
        }
        let outcome = matches!(connection.dial, Dial::Made | Dial::Refused);
        let first = outcome && !std::mem::replace(&mut connection.told, outcome);
        let mut ready = connection.stream.client_edges(connection.token);
        ready.ended |= first && connection.dial == Dial::Refused;
        ready.readable |= ready.ended;
        ready.writable |= first;
        if ready.readable || ready.writable {
            self.ready.push(ready);
        }
    }

    fn dial_on(&mut self, connection: &mut Connection) -> bool {
        let now_ms = self.now_ms;
        match connection.dial {
            Dial::Trying { at_ms, wait_ms } if at_ms <= now_ms => {
                let lost = self.dice.chance(self.path.loss_percent);
                let host = connection.host.map(|host| &mut self.hosts[host]);
                let host = host.filter(|host| reaches(host, &self.path) && !lost);
                let answers = host.map(|host| {
                    host.knocks += 1;
                    (!host.full).then_some(host.listening)
                });
                connection.dial = if !self.path.link_up {
                    Dial::Refused
                } else if let Some(taken) = answers.flatten() {
                    Dial::Answered {
                        at_ms: now_ms + 2 * self.path.delay_ms,
                        taken,
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
                if let Some(host) = connection.host.filter(|_| taken) {
                    let host = &mut self.hosts[host];
                    host.accepted += 1;
                    connection.stream.server_open = true;
                    connection.server = Some(Box::new(Server::new(host.knobs.clone())));
                    connection.heard_ms = now_ms;
                }
                true
            }
            _ => false,
        }
    }

    fn serve(&mut self, number: usize, connection: &mut Connection) -> bool {
        let now_ms = self.now_ms;
        let Some(at) = connection.host else {
            return false;
        };
        let host = &mut self.hosts[at];
        let (powered, path, dice) = (host.powered, &self.path, &mut self.dice);
        let mut moved = connection.stream.tick(now_ms, path, powered, dice);
        let Some(server) = connection.server.as_mut().filter(|_| !host.hung) else {
            return moved;
        };
        let mut over = now_ms.saturating_sub(connection.heard_ms) >= host.patience_ms;
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
        host.answer_forwards(number, server);
        let directs = host.connect_directs(number, server);
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
        self.breaches.append(&mut server.violations);
        over |= server.closed && connection.unsent.is_empty();
        // To a listener of its own, or of an older session.
        for (holder, port, from) in directs {
            let to = match holder == number {
                true => Some(&mut *server),
                false => self.connections[holder]
                    .as_mut()
                    .and_then(|other| other.server.as_mut()),
            };
            let bind = |server: &Server| {
                let own = server.listeners.iter().find(|own| own.port == port);
                own.map(|own| own.bind.clone())
            };
            match to.and_then(|to| Some((bind(to)?, to))) {
                Some((bind, to)) => {
                    let channel = to.open(&bind, u32::from(port));
                    host.join(from, (holder, channel));
                }
                None => server.close(from.1),
            }
            moved = true;
        }
        if over {
            connection.server = None;
            connection.stream.server_end();
            host.forget(number);
            moved = true;
        }
        // What was written goes on its way at once.
        moved | connection.stream.tick(now_ms, path, powered, dice)
    }

    /// Connections within the servers' machines.
    fn pump(&mut self) {
        let connections = &mut self.connections;
        for host in &mut self.hosts {
            host.pump(|number, act| {
                let connection = connections[number].as_mut();
                if let Some(server) = connection.and_then(|c| c.server.as_deref_mut()) {
                    act(server);
                }
            });
        }
    }

    fn serve_users(&mut self) {
        let Net {
            users, connections, ..
        } = self;
        for user in users.iter_mut().filter(|user| !user.over) {
            let connection = connections[user.connection].as_mut();
            match connection.and_then(|connection| connection.server.as_deref_mut()) {
                Some(server) => self.breaches.extend(user.work(server)),
                None => user.over = true,
            }
        }
        for server in self.servers() {
            server.tidy();
        }
    }
}
