//! The whole: a controller, a path, and a server's machine, on one virtual clock.

use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;

use crate::controller::{Controller, port_of};
use crate::invariants::Invariants;
use crate::outside::Outside;
use crate::server::Server;

/// Rounds of work at one moment after which it counts as a busy loop.
const ROUNDS: usize = 5_000;
/// Turns of the controller at one moment that do nothing.
const IDLE_TURNS: usize = 3;

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
        World {
            controller: Controller::new(policy, forwards, rekey, seed, 0),
            outside: Outside::new(seed),
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
