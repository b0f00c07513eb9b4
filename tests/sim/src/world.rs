//! The whole: the tunnel that ships, and all that is outside of it, on one virtual clock.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use reachback_core::control::{Reply, Snapshot};
use reachback_core::forward::{ForwardSpec, Listen};
use reachback_core::forwards::Origin;
use reachback_core::time::Instant;
use reachback_core::watchdog::State;
use reachback_tunnel::{Program, Tunnel};

use crate::invariants::{Invariants, View};
use crate::kernel::Kernel;
use crate::log;
use crate::net::Net;
use crate::pattern::HEADER;
use crate::setup::{Setup, Wanted};
use crate::users::User;

/// Rounds of work at one moment after which it counts as a busy loop.
const ROUNDS: usize = 5_000;
/// Turns of the tunnel at one moment that do nothing.
const IDLE_TURNS: usize = 3;
/// As in the program, others come before.
const FIRST_TOKEN: usize = 2;

/// Everything.
pub struct World {
    /// The tunnel.
    pub tunnel: Tunnel<Kernel>,
    /// What must hold.
    pub invariants: Invariants,
    /// Turns of the tunnel so far.
    pub turns: u64,
    /// Most reads of the server's socket in one turn.
    pub most_reads: u64,
    /// The configuration.
    pub setup: Setup,
    /// What is wanted of the tunnel.
    pub wanted: Wanted,
    kernel: Kernel,
    net: Rc<RefCell<Net>>,
    /// Orders that the program keeps for a restart of its process.
    kept_orders: String,
    seed: u64,
    next_user: u64,
    frozen: bool,
    /// The tunnel is to be driven at this moment.
    awake: bool,
}

impl World {
    /// A good path and decent servers; the tunnel begins at 0 ms.
    pub fn new(setup: Setup, seed: u64) -> World {
        log::set_now(0);
        let net = Rc::new(RefCell::new(Net::new(seed)));
        let kernel = Kernel { net: net.clone() };
        let mut wanted = Wanted::default();
        wanted.configure(&setup.forwards);
        World {
            tunnel: Tunnel::new(setup.plan(), seed, FIRST_TOKEN, &kernel, Instant(0)),
            invariants: Invariants::new(),
            turns: 0,
            most_reads: 0,
            setup,
            wanted,
            kernel,
            net,
            kept_orders: String::new(),
            seed,
            next_user: 1,
            frozen: false,
            awake: true,
        }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        self.net.borrow().now_ms
    }

    fn now(&self) -> Instant {
        Instant(self.now_ms())
    }

    /// Everything that is not the tunnel.
    pub fn net(&self) -> RefMut<'_, Net> {
        self.net.borrow_mut()
    }

    /// Every forward is confirmed.
    pub fn is_whole(&self) -> bool {
        matches!(self.tunnel.state(), State::Up { confirmed, forwards, .. } if confirmed == forwards)
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
            let tunnel = match self.frozen || self.tunnel.is_finished() {
                true => None,
                false => self.tunnel.poll_timeout().map(|at| at.0),
            };
            let next = tunnel.into_iter().chain(self.net.borrow().next_event());
            let next = next.min().unwrap_or(u64::MAX).max(self.now_ms() + 1);
            if next > end_ms {
                self.set_now(end_ms.max(self.now_ms()));
                return false;
            }
            self.set_now(next);
        }
    }

    fn set_now(&mut self, now_ms: u64) {
        self.net.borrow_mut().now_ms = now_ms;
        log::set_now(now_ms);
    }

    /// The program does not run for `ms`, while everything else goes on.
    pub fn freeze_for(&mut self, ms: u64) {
        self.frozen = true;
        self.run_for(ms);
        self.frozen = false;
        let now_ms = self.now_ms();
        self.invariants.held_up(now_ms);
    }

    /// The link comes or goes; the tunnel is told when it comes, if `told`.
    pub fn set_link(&mut self, up: bool, told: bool) {
        self.net().path.link_up = up;
        if up && told {
            self.invariants.link_came();
            self.tunnel.network_came(self.now());
            self.awake = true;
        }
    }

    /// The controller's address is another one from now on; the tunnel is told, if `told`.
    pub fn move_address(&mut self, told: bool) {
        let gone = self.net().move_address();
        if told {
            let now = self.now();
            if self.tunnel.local_address() == Some(gone.into()) {
                self.tunnel.local_address_gone(&mut self.kernel, now);
            }
            self.invariants.link_came();
            self.tunnel.network_came(now);
            self.awake = true;
        }
    }

    /// A person asks for a new connection.
    pub fn reconnect(&mut self) {
        self.invariants.asked();
        self.tunnel.reconnect(&self.kernel, self.now());
        self.awake = true;
    }

    /// Somebody calls for the tunnel again.
    pub fn call(&mut self) {
        self.invariants.asked();
        self.tunnel.call(self.now());
        self.awake = true;
    }

    /// A caller adds a forward; true if that was acknowledged.
    pub fn add_forward(&mut self, spec: &ForwardSpec) -> bool {
        let reply = self
            .tunnel
            .add_forward(spec, Origin::Caller, &self.kernel, self.now());
        let done = matches!(reply, Reply::Done(_));
        if done {
            self.wanted.add(spec);
        }
        self.keep_orders();
        done
    }

    /// A caller takes a forward away (`-O cancel`); true if that was acknowledged.
    pub fn remove_forward(&mut self, spec: &ForwardSpec) -> bool {
        let reply = self
            .tunnel
            .remove_forward(spec, Origin::Caller, &self.kernel, self.now());
        let done = matches!(reply, Reply::Done(_));
        if done {
            self.wanted.remove(spec);
        }
        self.keep_orders();
        done
    }

    /// A script takes away what callers added, and ends the tunnel with the last (`off`).
    pub fn withdraw(&mut self, spec: &ForwardSpec) {
        self.tunnel
            .remove_forward(spec, Origin::Script, &self.kernel, self.now());
        self.wanted.withdraw(spec);
        self.keep_orders();
        if self.tunnel.is_unused() {
            self.stop();
        }
    }

    /// A person wants the end.
    pub fn stop(&mut self) {
        self.wanted.stopped = true;
        self.tunnel.stop("asked to", &self.kernel, self.now());
        self.awake = true;
    }

    /// The configuration is read again, and is this one now.
    pub fn reload(&mut self, setup: Setup) {
        let now = self.now();
        self.wanted.configure(&setup.forwards);
        self.invariants.asked();
        if setup.policy != self.setup.policy {
            self.invariants.held_up(now.0);
        }
        self.tunnel.reload(setup.plan(), &self.kernel, now);
        self.setup = setup;
        self.keep_orders();
    }

    /// The process replaces itself, and goes on with orders and lifetime.
    pub fn restart(&mut self) {
        let (now, since) = (self.now(), self.tunnel.since());
        let mut tunnel = Tunnel::new(
            self.setup.plan(),
            self.seed ^ now.0,
            FIRST_TOKEN,
            &self.kernel,
            now,
        );
        tunnel.go_on(&self.kept_orders, since, &self.kernel, now);
        self.tunnel = tunnel;
        self.net().ready.clear();
        self.invariants.restarted();
        self.keep_orders();
    }

    /// As the program does before anything else.
    fn keep_orders(&mut self) {
        if let Some(orders) = self.tunnel.changed_orders(false) {
            self.kept_orders = orders;
        }
        self.awake = true;
    }

    /// Somebody connects to a forward and sends `bytes`, at least the header, which are to come
    /// back. None if the server does not listen for it.
    pub fn connect(&mut self, spec: &ForwardSpec, bytes: u64) -> Option<u64> {
        self.arrive(spec, bytes.max(HEADER))
    }

    /// Somebody connects to a forward and says nothing.
    pub fn visit(&mut self, spec: &ForwardSpec) -> Option<u64> {
        self.arrive(spec, 0)
    }

    fn arrive(&mut self, spec: &ForwardSpec, bytes: u64) -> Option<u64> {
        let Listen::Tcp { bind, port } = &spec.listen else {
            return None;
        };
        let id = self.next_user;
        let mut net = self.net.borrow_mut();
        let connection = net.in_use()?;
        let server = net.server()?;
        let listens = |own: &crate::server::Listener| own.port == *port && own.bind == bind.wire();
        if !server.listeners.iter().any(listens) {
            return None;
        }
        let user = User::connect(id, connection, server, (bind.wire(), *port), bytes);
        net.users.push(user);
        self.next_user += 1;
        Some(id)
    }

    /// A user, by number.
    pub fn user(&self, id: u64) -> Option<User> {
        let net = self.net.borrow();
        net.users.iter().find(|user| user.id == id).cloned()
    }

    /// Users on the connection in use who have not hung up, whose target still serves them, and
    /// whose bytes have not all come back.
    pub fn unserved(&self) -> Vec<User> {
        let net = self.net.borrow();
        let used = net.in_use();
        let users = net.users.iter().filter(|user| {
            let waits = !user.over && !user.hung_up && !user.is_answered();
            waits && Some(user.connection) == used && net.is_orderly(user.id)
        });
        users.cloned().collect()
    }

    /// A user hangs up, once everything has gone.
    pub fn hang_up(&mut self, id: u64) {
        self.net().with_user(id, User::hang_up);
    }

    /// Somebody connects to a forward and sends `bytes` that come back; gives whether they did
    /// within `ms`.
    pub fn exchange(&mut self, spec: &ForwardSpec, bytes: u64, ms: u64) -> bool {
        let Some(id) = self.connect(spec, bytes) else {
            return false;
        };
        let end_ms = self.now_ms() + ms;
        let answered = |world: &World| {
            let user = world.user(id);
            user.is_none_or(|user| user.over || user.is_answered())
        };
        self.run_until(end_ms, answered);
        let good = self.user(id).is_some_and(|user| user.is_answered());
        self.hang_up(id);
        good
    }

    /// What status says.
    ///
    /// # Panics
    /// If it is no snapshot.
    pub fn status(&self) -> Box<Snapshot> {
        let program = Program {
            pid: 1,
            version: "simulated",
        };
        let lines = self.tunnel.status(program, &self.kernel, self.now());
        let mut snapshot = Box::<Snapshot>::default();
        let ended = lines.lines().any(|line| match snapshot.handle_line(line) {
            Ok(last) => last,
            Err(error) => panic!("{line}: {error}"),
        });
        assert!(ended, "a snapshot without its end");
        snapshot
    }

    /// Works until nothing is left to do at this moment.
    fn settle(&mut self) {
        let mut idle = 0;
        for round in 0.. {
            let mut moved = self.net.borrow_mut().work();
            if !self.frozen && !self.tunnel.is_finished() {
                moved |= self.turn(&mut idle);
            }
            if !moved {
                break;
            }
            if round > ROUNDS || idle > IDLE_TURNS {
                let now_ms = self.now_ms();
                self.invariants.broken(now_ms, "a busy loop");
                break;
            }
        }
        if !self.frozen {
            let (snapshot, now_ms) = (self.status(), self.now_ms());
            self.invariants.look(&mut View {
                now_ms,
                tunnel: &self.tunnel,
                snapshot: &snapshot,
                setup: &self.setup,
                wanted: &self.wanted,
                net: &mut self.net.borrow_mut(),
            });
        }
    }

    /// One turn, if anything woke the program. True when anything was done.
    fn turn(&mut self, idle: &mut usize) -> bool {
        let now = self.now();
        let ready = std::mem::take(&mut self.net.borrow_mut().ready);
        let due = self.tunnel.poll_timeout().is_some_and(|at| at <= now);
        if !self.awake && !due && ready.is_empty() {
            return false;
        }
        let woken = !ready.is_empty();
        for ready in ready {
            self.tunnel.handle_ready(ready, &mut self.kernel, now);
        }
        {
            let mut net = self.net.borrow_mut();
            (net.touched, net.reads) = (false, 0);
        }
        let state = self.tunnel.state();
        self.awake = self.tunnel.drive(&mut self.kernel, now);
        self.turns += 1;
        let mut net = self.net.borrow_mut();
        self.most_reads = self.most_reads.max(net.reads);
        net.reads = 0;
        let did = net.touched || woken || self.tunnel.state() != state;
        *idle = if did { 0 } else { *idle + 1 };
        did || self.awake
    }
}
