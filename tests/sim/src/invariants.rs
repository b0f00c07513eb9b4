//! What must hold at every moment, whatever the network does. The crate's page lists it.

use reachback_core::backoff;
use reachback_core::failure::{Failure, Stage};
use reachback_core::forwards::ForwardState;
use reachback_core::watchdog::{ATTEMPT_GAP, Policy, State};

use crate::controller::{Controller, Deed};

/// Watches a controller.
#[derive(Debug)]
pub struct Invariants {
    /// What did not hold.
    pub violations: Vec<String>,
    /// Attempts, by time.
    pub attempts: Vec<u64>,
    /// Ends of attempts and connections, with the time of the next attempt.
    pub waits: Vec<(u64, Failure, u64)>,
    /// Times at which every forward was confirmed.
    pub ups: Vec<u64>,
    /// Times at which a probe was sent.
    pub probes: Vec<u64>,
    policy: Policy,
    /// Stage or state, and since when it lasts.
    lasting: (u8, u64),
    last_inbound_ms: u64,
    /// A wait may be cut short from now on, by a link, or a person.
    link_came: bool,
    asked: bool,
    /// The controller was held up until then.
    held_up_until_ms: u64,
}

impl Invariants {
    /// A watch that begins now.
    pub fn new(policy: Policy) -> Invariants {
        Invariants {
            violations: Vec::new(),
            attempts: Vec::new(),
            waits: Vec::new(),
            ups: Vec::new(),
            probes: Vec::new(),
            policy,
            lasting: (u8::MAX, 0),
            last_inbound_ms: 0,
            link_came: false,
            asked: false,
            held_up_until_ms: 0,
        }
    }

    /// A link came, as the kernel said.
    pub fn link_came(&mut self) {
        self.link_came = true;
    }

    /// A person asked for a new connection.
    pub fn asked(&mut self) {
        self.asked = true;
    }

    /// The program did not run until now.
    pub fn held_up(&mut self, now_ms: u64) {
        self.held_up_until_ms = now_ms;
    }

    /// Notes that something does not hold.
    pub fn broken(&mut self, now_ms: u64, text: impl std::fmt::Display) {
        if self.violations.len() < 20 {
            self.violations.push(format!("{now_ms} ms: {text}"));
        }
    }

    /// Judges what was done since the last look, and the state that came of it.
    pub fn look(&mut self, now_ms: u64, controller: &mut Controller, sockets: usize) {
        for (at, deed) in std::mem::take(&mut controller.deeds) {
            self.judge(at, deed);
        }
        if sockets > 1 {
            self.broken(now_ms, format!("{sockets} connections at once"));
        }
        let (held, bound) = controller.memory();
        if held > bound {
            self.broken(now_ms, format!("{held} bytes kept, more than {bound}"));
        }
        self.judge_state(now_ms, controller);
        match controller.poll_timeout() {
            Some(at) if at <= now_ms => {
                self.broken(
                    now_ms,
                    format!("a deadline at {at} ms lies behind its handling"),
                );
            }
            None if !controller.is_finished() => self.broken(now_ms, "a state without a timer"),
            _ => {}
        }
    }

    fn judge(&mut self, now_ms: u64, deed: Deed) {
        match deed {
            Deed::Attempt => {
                let gap = ATTEMPT_GAP.as_millis() as u64;
                if self.attempts.last().is_some_and(|last| now_ms < last + gap) {
                    self.broken(now_ms, "two attempts within the gap");
                }
                if let Some(&(since, why, until)) = self.waits.last()
                    && self.attempts.last().is_some_and(|last| *last <= since)
                    && !self.asked
                {
                    let floor = backoff::range(why.class()).floor.as_millis() as u64;
                    let earliest = if self.link_came { since + floor } else { until };
                    if now_ms < earliest.min(until) {
                        self.broken(now_ms, format!("an attempt before {earliest} ms ({why})"));
                    }
                }
                self.attempts.push(now_ms);
                self.link_came = false;
                self.asked = false;
            }
            Deed::Waits { why, until_ms } => {
                let bounds = backoff::range(why.class());
                let longest = bounds.cap.max(ATTEMPT_GAP).as_millis() as u64;
                if until_ms > now_ms + longest {
                    self.broken(now_ms, format!("a wait until {until_ms} ms for {why}"));
                }
                // Cut short: still the same wait.
                match self.waits.last_mut() {
                    Some((since, _, until))
                        if self.attempts.last().is_some_and(|last| *last <= *since)
                            && until_ms <= *until
                            && (self.link_came || self.asked) =>
                    {
                        *until = until_ms;
                    }
                    _ => self.waits.push((now_ms, why, until_ms)),
                }
            }
            Deed::TunnelUp => self.ups.push(now_ms),
            Deed::Probe => self.probes.push(now_ms),
            Deed::Inbound => self.last_inbound_ms = now_ms,
            Deed::ForwardWaits { .. } => {}
        }
    }

    fn judge_state(&mut self, now_ms: u64, controller: &Controller) {
        let policy = self.policy;
        let ms = |duration: std::time::Duration| duration.as_millis() as u64;
        let (number, bound) = match controller.watchdog.state() {
            State::Connecting(stage) => match stage {
                Stage::Resolve => (0, ms(policy.resolve_timeout)),
                Stage::Tcp | Stage::Ident => (1, ms(policy.connect_timeout)),
                Stage::KeyExchange => (2, ms(policy.kex_timeout)),
                Stage::Authentication | Stage::Forward => (3, ms(policy.auth_timeout)),
            },
            State::Up { .. } => (4, u64::MAX),
            State::Waiting { .. } => (5, u64::MAX),
            State::Stopping => (6, 2_000),
            State::Stopped => (7, u64::MAX),
        };
        // Each attempt has its stages anew.
        let attempt = self.attempts.last().copied().unwrap_or(0);
        if self.lasting.0 != number || (number < 4 && self.lasting.1 < attempt) {
            self.lasting = (number, now_ms);
        }
        let since = self.lasting.1.max(self.held_up_until_ms);
        if now_ms - since > bound {
            self.broken(now_ms, format!("state {number} since {since} ms"));
        }
        if let State::Waiting { until, .. } = controller.watchdog.state()
            && until.0 < now_ms
        {
            self.broken(now_ms, "a wait that is over and goes on");
        }
        if let State::Up { since, .. } = controller.watchdog.state() {
            let gap = ms(policy.alive_interval).min(5_000);
            let silence = ms(policy.alive_interval) + u64::from(policy.alive_count_max) * gap;
            let heard = self.last_inbound_ms.max(since.0);
            // A program that was held up still asks, so often, before it judges.
            let asked_from = self.held_up_until_ms + u64::from(policy.alive_count_max) * gap;
            if now_ms > (heard + silence).max(asked_from) {
                self.broken(now_ms, format!("up, and nothing heard since {heard} ms"));
            }
        }
        for (_, forward) in controller.watchdog.forwards().iter() {
            let state = &forward.state();
            match *state {
                ForwardState::Requested { until } if until.0 < now_ms => {
                    self.broken(now_ms, "a forward's reply is overdue");
                }
                ForwardState::Refused { retry_at } if retry_at.0 < now_ms => {
                    self.broken(now_ms, "a refused forward is not asked for again");
                }
                _ => {}
            }
        }
    }
}
