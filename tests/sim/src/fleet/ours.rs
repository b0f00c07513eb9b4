//! The tunnel that ships, as one of a fleet.

use std::cell::RefCell;
use std::rc::Rc;

use reachback_core::time::Instant;
use reachback_core::watchdog::State;
use reachback_tunnel::Tunnel;

use super::Member;
use super::sshd::{Login, Sshd};
use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::net::{Connection, Dial, Net};
use crate::setup::Setup;

/// As the program has it.
const FIRST_TOKEN: usize = 2;
/// The first server's machine.
const HUB: usize = 0;

/// A controller with its network.
pub struct Ours {
    tunnel: Option<Tunnel<Kernel>>,
    setup: Setup,
    kernel: Kernel,
    net: Rc<RefCell<Net>>,
    number: usize,
    seed: u64,
    accepted: usize,
    /// The login under way, and the number of its connection.
    login: Option<(Login, usize)>,
    /// A login since the last harm.
    is_in: bool,
    awake: bool,
}

impl Ours {
    /// One that does not run yet. Its way to the server takes 20 to 150 ms.
    pub fn new(setup: &Setup, number: usize, seed: u64) -> Ours {
        let mut dice = Dice::new(seed ^ ((number as u64) << 20));
        let mut net = Net::new(dice.draw());
        net.path.delay_ms = dice.between(20, 150);
        net.accept_new = true;
        let net = Rc::new(RefCell::new(net));
        Ours {
            tunnel: None,
            setup: setup.clone(),
            kernel: Kernel { net: net.clone() },
            net,
            number,
            seed: dice.draw(),
            accepted: 0,
            login: None,
            is_in: false,
            awake: true,
        }
    }

    /// What the server's machine does about a connection that has just been made.
    fn admit(&mut self, sshd: &mut Sshd, now_ms: u64) {
        let accepted = self.net.borrow().hosts[HUB].accepted;
        if std::mem::replace(&mut self.accepted, accepted) == accepted {
            return;
        }
        if let Some((login, _)) = self.login.take() {
            sshd.end(login, false);
        }
        let mut net = self.net.borrow_mut();
        let made = |c: &Option<Connection>| c.as_ref().is_some_and(|c| c.dial == Dial::Made);
        let newest = net.connections.iter().rposition(made);
        let login = sshd.arrive(self.number, now_ms);
        self.login = login.zip(newest);
        if self.login.is_none() {
            net.turn_away(HUB);
        }
        // It says nothing before it has had its processor time.
        net.hosts[HUB].hung = self.login.is_some();
    }

    /// Looks how far the login has come. True when the server begins to speak.
    fn attend(&mut self, sshd: &mut Sshd) -> bool {
        let Some((login, number)) = self.login else {
            return false;
        };
        let mut net = self.net.borrow_mut();
        let hung = &mut net.hosts[HUB].hung;
        let wakes = *hung && sshd.is_ready(login);
        *hung &= !wakes;
        let connection = net.connections[number].as_ref();
        let server = connection.and_then(|connection| connection.server.as_ref());
        let is_in = server.is_some_and(|server| server.authenticated);
        if is_in || server.is_none() {
            sshd.end(login, is_in);
            self.login = None;
            self.is_in |= is_in;
        }
        wakes
    }

    fn turn(&mut self, now: Instant) -> bool {
        let Some(tunnel) = &mut self.tunnel else {
            return false;
        };
        let ready = std::mem::take(&mut self.net.borrow_mut().ready);
        let due = tunnel.poll_timeout().is_some_and(|at| at <= now);
        if !self.awake && !due && ready.is_empty() {
            return false;
        }
        for ready in ready {
            tunnel.handle_ready(ready, &mut self.kernel, now);
        }
        self.awake = tunnel.drive(&mut self.kernel, now);
        true
    }
}

impl Member for Ours {
    fn step(&mut self, sshd: &mut Sshd, now_ms: u64) -> Option<u64> {
        let now = Instant(now_ms);
        self.net.borrow_mut().now_ms = now_ms;
        if self.tunnel.is_none() {
            let plan = self.setup.plan();
            self.tunnel = Some(Tunnel::new(plan, self.seed, FIRST_TOKEN, &self.kernel, now));
        }
        loop {
            self.net.borrow_mut().hosts[HUB].full = sshd.is_full(now_ms);
            let mut moved = self.net.borrow_mut().work();
            self.admit(sshd, now_ms);
            moved |= self.attend(sshd);
            moved |= self.turn(now);
            if !moved {
                break;
            }
        }
        let mut net = self.net.borrow_mut();
        net.deeds.clear();
        assert!(net.breaches.is_empty(), "{:?}", net.breaches);
        while net.connections.last().is_some_and(Option::is_none) {
            net.connections.pop();
        }
        let tunnel = self
            .tunnel
            .as_ref()
            .and_then(|tunnel| tunnel.poll_timeout());
        tunnel
            .map(|at| at.0)
            .into_iter()
            .chain(net.next_event())
            .min()
    }

    fn reset(&mut self, listening: bool, now_ms: u64) {
        let mut net = self.net.borrow_mut();
        net.now_ms = now_ms;
        net.kill_server(HUB);
        net.hosts[HUB].listening = listening;
        (self.login, self.is_in) = (None, false);
    }

    fn listen(&mut self) {
        self.net.borrow_mut().hosts[HUB].listening = true;
    }

    fn path(&mut self, passes: bool, _now_ms: u64) {
        let mut net = self.net.borrow_mut();
        (net.path.hole_to_server, net.path.hole_to_client) = (!passes, !passes);
        self.is_in &= passes;
    }

    fn cut(&mut self, _now_ms: u64) {
        let mut net = self.net.borrow_mut();
        net.move_address();
        net.hosts[HUB].forget_sessions();
        self.is_in = false;
    }

    fn late(&mut self, _now_ms: u64) {
        self.login = None;
        self.net.borrow_mut().turn_away(HUB);
    }

    fn is_back(&self) -> bool {
        let state = self.tunnel.as_ref().map(Tunnel::state);
        self.is_in
            && matches!(state, Some(State::Up { confirmed, forwards, .. }) if confirmed == forwards)
    }

    fn knocks(&self) -> u64 {
        self.net.borrow().hosts[HUB].knocks as u64
    }
}
