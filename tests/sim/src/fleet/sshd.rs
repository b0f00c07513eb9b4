//! What an sshd can bear: a queue of new connections, `MaxStartups`, `LoginGraceTime`, and so
//! many logins a second as its processors carry.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::dice::Dice;

/// The limits of an sshd and of the machine under it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `MaxStartups`: from so many logins under way some new connections are dropped, ...
    pub begin: usize,
    /// ... so many of a hundred, and linearly more, ...
    pub rate: u64,
    /// ... up to all of them from here.
    pub full: usize,
    /// `LoginGraceTime`.
    pub grace_ms: u64,
    /// Connections that wait in the kernel for the listener; sshd asks for 128.
    pub backlog: usize,
    /// Processors.
    pub processors: u64,
    /// Processor time of one login, with the processes that it begins.
    pub login_us: u64,
    /// What the listener needs to take a connection, ...
    pub take_us: u64,
    /// ... and to drop it.
    pub drop_us: u64,
}

/// A login that is under way.
pub type Login = u64;

#[derive(Debug)]
struct Job {
    member: usize,
    until_ms: u64,
    /// Its processor time is spent.
    ready: bool,
}

/// The model. All times are of the virtual clock.
#[derive(Debug)]
pub struct Sshd {
    limits: Limits,
    /// It runs.
    pub listening: bool,
    /// Connections that were dropped because of `MaxStartups`.
    pub drops: u64,
    /// Logins that came to their end.
    pub logins: u64,
    dice: Dice,
    next: Login,
    jobs: BTreeMap<Login, Job>,
    /// Processor time that each unfinished login has had since the beginning, in ns: all have the same share.
    share_ns: u64,
    /// The share at which a login has what it needs. Those that are gone stay in here: their process runs all the same.
    due: BinaryHeap<Reverse<(u64, Login)>>,
    now_ms: u64,
    /// When the listener is done with each of the connections that wait for it.
    waiting_us: VecDeque<u64>,
}

impl Sshd {
    /// It runs, and nobody is there.
    pub fn new(limits: Limits, seed: u64) -> Sshd {
        Sshd {
            limits,
            listening: true,
            drops: 0,
            logins: 0,
            dice: Dice::new(seed),
            next: 0,
            jobs: BTreeMap::new(),
            share_ns: 0,
            due: BinaryHeap::new(),
            now_ms: 0,
            waiting_us: VecDeque::new(),
        }
    }

    /// The kernel has no room for one more connection.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        let waits = |us: &u64| *us > now_ms * 1_000;
        while self.waiting_us.front().is_some_and(|us| !waits(us)) {
            self.waiting_us.pop_front();
        }
        self.waiting_us.len() >= self.limits.backlog
    }

    /// One more waits for the listener, which needs so long for it.
    fn queue(&mut self, needs_us: u64, now_ms: u64) {
        let before_us = self.waiting_us.back().copied().unwrap_or(0);
        let done_us = before_us.max(now_ms * 1_000) + needs_us;
        self.waiting_us.push_back(done_us);
    }

    /// A connection was made. None when it is dropped.
    pub fn arrive(&mut self, member: usize, now_ms: u64) -> Option<Login> {
        let startups = self.jobs.len();
        // As in sshd's should_drop_connection().
        let Limits {
            begin, rate, full, ..
        } = self.limits;
        let percent = match startups {
            few if few < begin => 0,
            many if many >= full => 100,
            some => rate + (100 - rate) * (some - begin) as u64 / (full - begin) as u64,
        };
        if self.dice.chance(percent) {
            self.drops += 1;
            self.queue(self.limits.drop_us, now_ms);
            return None;
        }
        self.queue(self.limits.take_us, now_ms);
        self.next += 1;
        let job = Job {
            member,
            until_ms: now_ms + self.limits.grace_ms,
            ready: false,
        };
        self.jobs.insert(self.next, job);
        let needs = self.share_ns + self.limits.login_us * 1_000;
        self.due.push(Reverse((needs, self.next)));
        Some(self.next)
    }

    /// A login is over: its user is in, or its connection is gone.
    pub fn end(&mut self, login: Login, is_in: bool) {
        if self.jobs.remove(&login).is_some() && is_in {
            self.logins += 1;
        }
    }

    /// The server and all its processes end.
    pub fn stop(&mut self) {
        self.listening = false;
        self.jobs.clear();
        self.due.clear();
        self.waiting_us.clear();
    }

    /// Nanoseconds of the clock until each unfinished login has had `share_ns`.
    fn clock_ns(&self, share_ns: u64) -> u64 {
        let together = (self.due.len() as u64).max(self.limits.processors);
        share_ns * together / self.limits.processors
    }

    /// When something happens by itself.
    pub fn next_event(&self) -> Option<u64> {
        let due = self.due.peek().map(|Reverse((at, _))| {
            let ns = self.clock_ns(at.saturating_sub(self.share_ns));
            self.now_ms + ns.div_ceil(1_000_000).max(1)
        });
        let grace = self.jobs.values().next().map(|job| job.until_ms);
        due.into_iter().chain(grace).min()
    }

    /// Lets the time pass: gives whose server begins to speak now, and whose time is up.
    pub fn pass(&mut self, now_ms: u64) -> (Vec<usize>, Vec<usize>) {
        let mut left_ns = (now_ms - self.now_ms) * 1_000_000;
        self.now_ms = now_ms;
        let mut ready = Vec::new();
        while let Some(Reverse((at, login))) = self.due.peek().copied() {
            let ns = self.clock_ns(at - self.share_ns);
            if ns > left_ns {
                let together = (self.due.len() as u64).max(self.limits.processors);
                self.share_ns += left_ns * self.limits.processors / together;
                break;
            }
            left_ns -= ns;
            self.share_ns = at;
            self.due.pop();
            if let Some(job) = self.jobs.get_mut(&login) {
                job.ready = true;
                ready.push(job.member);
            }
        }
        let mut late = Vec::new();
        while let Some(first) = self.jobs.first_entry()
            && first.get().until_ms <= now_ms
        {
            late.push(first.remove().member);
        }
        (ready, late)
    }

    /// Whether a login has had the processor time that it needs.
    pub fn is_ready(&self, login: Login) -> bool {
        self.jobs.get(&login).is_some_and(|job| job.ready)
    }
}
