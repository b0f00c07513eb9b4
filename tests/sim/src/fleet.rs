//! A whole fleet on one server: thousands of tunnels that ship, each on a kernel of its own, or
//! models of what people use instead ([`others`]), against a model of an sshd ([`sshd`]).
//!
//! Of reachback everything runs: state machine, jitter, SSH client with its cryptography. The
//! processor time of a login is spent before the server identifies itself; listeners are
//! sockets, which a new session takes over at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dice::Dice;

pub mod others;
pub mod ours;
pub mod sshd;

use sshd::{Limits, Sshd};

/// One controller with what keeps its tunnel up.
pub trait Member {
    /// Does what is due, and gives when it is to be called again; earlier calls are harmless.
    fn step(&mut self, sshd: &mut Sshd, now_ms: u64) -> Option<u64>;
    /// The server's processes are gone, and it may be gone itself; the kernel tells all ends.
    fn reset(&mut self, listening: bool, now_ms: u64);
    /// The server is started again.
    fn listen(&mut self);
    /// Nothing passes from now on, or everything does.
    fn path(&mut self, passes: bool, now_ms: u64);
    /// The carrier's NAT forgets what is established.
    fn cut(&mut self, now_ms: u64);
    /// The time for its login is up.
    fn late(&mut self, now_ms: u64);
    /// It is logged in, by a login after the last reset, cut or loss of the path.
    fn is_back(&self) -> bool;
    /// Segments that reached the server's machine to begin a connection.
    fn knocks(&self) -> u64;
}

/// What happens to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Power comes back to all: each is booted within so many ms.
    Cold(u64),
    /// The server's machine is away so long, and tells that nobody listens.
    Restart(u64),
    /// Nothing passes for so long.
    Outage(u64),
    /// The path goes and comes, so long each, so many times; who is connected when it goes is
    /// reset.
    Flapping(u64, u32),
    /// The carrier's NAT forgets all at once.
    Cut,
}

/// What one second of a phase was like, counted from its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Segments that came to begin a connection.
    pub knocks: u64,
    /// Connections that `MaxStartups` dropped.
    pub drops: u64,
    /// Logins.
    pub logins: u64,
    /// Controllers that are back.
    pub back: usize,
}

/// What came of a phase.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The harm was over so many ms after the beginning.
    pub over_ms: u64,
    /// When each came back after that, sorted.
    pub back_ms: Vec<u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
}

impl Outcome {
    /// After the end of the harm so many of a hundred were back, the last of `count` for 100.
    pub fn share_ms(&self, count: usize, percent: usize) -> Option<u64> {
        let needed = (count * percent).div_ceil(100).max(1);
        self.back_ms.get(needed - 1).copied()
    }

    /// The most in one second.
    pub fn peak(&self, of: impl Fn(&Second) -> u64) -> u64 {
        let first = self.seconds.first().map(&of).unwrap_or(0);
        let pairs = self.seconds.windows(2);
        let steps = pairs.map(|pair| of(&pair[1]) - of(&pair[0]));
        steps.chain([first]).max().unwrap_or(0)
    }

    /// All that was counted.
    pub fn total(&self) -> Second {
        self.seconds.last().copied().unwrap_or_default()
    }
}

/// A fleet and its server.
pub struct Fleet<M> {
    members: Vec<M>,
    sshd: Sshd,
    now_ms: u64,
    /// When each is due; whoever is called earlier has an older entry besides.
    agenda: BinaryHeap<Reverse<(u64, usize)>>,
    due: Vec<Option<u64>>,
    back: Vec<Option<u64>>,
    dice: Dice,
    /// The phase under way: its beginning, and what was counted before it.
    began: (u64, Second),
    seconds: Vec<Second>,
}

impl<M: Member> Fleet<M> {
    /// Nobody runs yet.
    pub fn new(members: Vec<M>, limits: Limits, seed: u64) -> Fleet<M> {
        let count = members.len();
        Fleet {
            members,
            sshd: Sshd::new(limits, seed),
            now_ms: 0,
            agenda: BinaryHeap::new(),
            due: vec![None; count],
            back: vec![None; count],
            dice: Dice::new(seed),
            began: (0, Second::default()),
            seconds: Vec::new(),
        }
    }

    /// Harm is done, and all are waited for, at most `limit_ms` after its end.
    pub fn run(&mut self, phase: Phase, limit_ms: u64) -> Outcome {
        self.begin();
        match phase {
            Phase::Cold(spread_ms) => {
                for number in 0..self.members.len() {
                    let at = self.now_ms + self.dice.between(0, spread_ms);
                    self.set_due(number, Some(at));
                }
            }
            Phase::Restart(away_ms) => {
                self.sshd.stop();
                self.all(|member, now_ms| member.reset(false, now_ms));
                self.pass(away_ms);
                self.sshd.listening = true;
                self.all(|member, _| member.listen());
            }
            Phase::Outage(away_ms) => {
                self.all(|member, now_ms| member.path(false, now_ms));
                self.pass(away_ms);
                self.all(|member, now_ms| member.path(true, now_ms));
            }
            Phase::Flapping(away_ms, times) => {
                for flap in 0..times {
                    if flap > 0 {
                        self.pass(away_ms);
                    }
                    self.sshd.stop();
                    self.sshd.listening = true;
                    self.all(|member, now_ms| {
                        member.reset(true, now_ms);
                        member.path(false, now_ms);
                    });
                    self.pass(away_ms);
                    self.all(|member, now_ms| member.path(true, now_ms));
                }
            }
            Phase::Cut => self.all(|member, now_ms| member.cut(now_ms)),
        }
        let over_ms = self.now_ms;
        let end_ms = over_ms + limit_ms;
        while self.now_ms < end_ms && self.back.contains(&None) {
            self.pass(1_000);
        }
        let mut back_ms: Vec<u64> = self.back.iter().flatten().map(|at| at - over_ms).collect();
        back_ms.sort_unstable();
        Outcome {
            over_ms: over_ms - self.began.0,
            back_ms,
            seconds: std::mem::take(&mut self.seconds),
        }
    }

    /// Nothing happens for so long.
    pub fn settle(&mut self, ms: u64) {
        self.begin();
        self.pass(ms);
    }

    fn count(&self) -> Second {
        Second {
            knocks: self.members.iter().map(Member::knocks).sum(),
            drops: self.sshd.drops,
            logins: self.sshd.logins,
            back: self.back.iter().flatten().count(),
        }
    }

    fn begin(&mut self) {
        self.back.fill(None);
        self.seconds.clear();
        self.began = (self.now_ms, self.count());
    }

    fn all(&mut self, act: impl Fn(&mut M, u64)) {
        for number in 0..self.members.len() {
            act(&mut self.members[number], self.now_ms);
            if self.due[number].is_some() {
                self.set_due(number, Some(self.now_ms));
            }
            self.look(number);
        }
    }

    fn set_due(&mut self, number: usize, at: Option<u64>) {
        if self.due[number] != at {
            self.due[number] = at;
            self.agenda.extend(at.map(|at| Reverse((at, number))));
        }
    }

    fn look(&mut self, number: usize) {
        match self.members[number].is_back() {
            true => self.back[number] = self.back[number].or(Some(self.now_ms)),
            false => self.back[number] = None,
        }
    }

    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            let second_ms = self.began.0 + 1_000 * (self.seconds.len() as u64 + 1);
            let member = self.agenda.peek().map(|Reverse((at, _))| *at);
            let next = member.into_iter().chain(self.sshd.next_event());
            let next = next.min().unwrap_or(u64::MAX).max(self.now_ms);
            let next = next.min(second_ms).min(end_ms);
            self.now_ms = next;
            let (ready, late) = self.sshd.pass(next);
            for number in late.iter().copied() {
                self.members[number].late(next);
            }
            for number in ready.into_iter().chain(late) {
                self.step(number);
            }
            while let Some(Reverse((at, number))) = self.agenda.peek().copied()
                && at <= next
            {
                self.agenda.pop();
                if self.due[number] == Some(at) {
                    self.step(number);
                }
            }
            if next == second_ms {
                let (now, before) = (self.count(), self.began.1);
                self.seconds.push(Second {
                    knocks: now.knocks - before.knocks,
                    drops: now.drops - before.drops,
                    logins: now.logins - before.logins,
                    back: now.back,
                });
            }
            if next == end_ms {
                return;
            }
        }
    }

    fn step(&mut self, number: usize) {
        let next = self.members[number].step(&mut self.sshd, self.now_ms);
        // What is left to do at this moment has been done.
        self.due[number] = None;
        self.set_due(number, next.map(|at| at.max(self.now_ms + 1)));
        self.look(number);
    }
}
