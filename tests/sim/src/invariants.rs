//! What must hold at every moment, whatever the network does. The crate's page lists it.

use std::collections::BTreeMap;

use reachback_core::backoff;
use reachback_core::control::{Link, Snapshot};
use reachback_core::dial::MAX_ADDRESSES;
use reachback_core::failure::{Failure, Stage};
use reachback_core::forwards::ForwardState;
use reachback_core::places::HOLDERS;
use reachback_core::time::Instant;
use reachback_core::watchdog::{ATTEMPT_GAP, DRAIN, REPLY_LIMIT, State};
use reachback_tunnel::Tunnel;

use crate::kernel::Kernel;
use crate::net::{Deed, Net};
use crate::setup::{Setup, Wanted};

mod agreement;
use agreement::Left;

/// Everything at one moment at which something happened.
pub(crate) struct View<'a> {
    pub(crate) now_ms: u64,
    pub(crate) tunnel: &'a Tunnel<Kernel>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) setup: &'a Setup,
    pub(crate) wanted: &'a Wanted,
    pub(crate) net: &'a mut Net,
}

/// Watches a tunnel.
#[derive(Debug)]
pub struct Invariants {
    /// What did not hold.
    pub violations: Vec<String>,
    /// Attempts, by time.
    pub attempts: Vec<u64>,
    /// Ends of attempts and connections, with the time of the next attempt.
    pub waits: Vec<(u64, Failure, u64)>,
    /// Times at which every forward came to be confirmed.
    pub ups: Vec<u64>,
    /// The most that a user could send before the target had taken it, bytes.
    pub widest_window: u64,
    whole: bool,
    /// The wait that was seen last.
    wait: Option<(Instant, Failure)>,
    /// Stage or state, and since when it lasts.
    lasting: (u8, u64),
    last_inbound_ms: u64,
    /// A wait may be cut short from now on, by a link, or a person.
    link_came: bool,
    asked: bool,
    /// The program was held up until then.
    held_up_until_ms: u64,
    /// Of which one end is gone, and since when that is known.
    left: BTreeMap<Left, u64>,
}

fn ms(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}

impl Invariants {
    /// A watch that begins now.
    pub(crate) fn new() -> Invariants {
        Invariants {
            violations: Vec::new(),
            attempts: Vec::new(),
            waits: Vec::new(),
            ups: Vec::new(),
            widest_window: 0,
            whole: false,
            wait: None,
            lasting: (u8::MAX, 0),
            last_inbound_ms: 0,
            link_came: false,
            asked: false,
            held_up_until_ms: 0,
            left: BTreeMap::new(),
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

    /// The program did not run until now, or kept to another policy: it asks before it judges.
    pub fn held_up(&mut self, now_ms: u64) {
        self.held_up_until_ms = now_ms;
    }

    /// The process was replaced: the new one knows of no attempt.
    pub fn restarted(&mut self) {
        (self.wait, self.whole, self.asked) = (None, false, true);
        self.left.clear();
        // The gap between attempts is the process's own.
        self.attempts.push(0);
    }

    /// Notes that something does not hold.
    pub fn broken(&mut self, now_ms: u64, text: impl std::fmt::Display) {
        crate::log::say(format_args!("VIOLATION: {text}"));
        if self.violations.len() < 20 {
            self.violations.push(format!("{now_ms} ms: {text}"));
        }
    }

    /// Judges what was done since the last look, and the state that came of it.
    pub(crate) fn look(&mut self, view: &mut View<'_>) {
        for (at, deed) in std::mem::take(&mut view.net.deeds) {
            match deed {
                Deed::Attempt => self.judge_attempt(at, view),
                Deed::Inbound => self.last_inbound_ms = at,
            }
        }
        self.judge_wait(view);
        self.judge_sockets(view);
        self.judge_state(view);
        self.judge_up(view);
        self.judge_agreement(view);
        let now_ms = view.now_ms;
        let never_probed = view.setup.policy.alive_interval.is_zero();
        match view.tunnel.poll_timeout() {
            Some(at) if at.0 <= now_ms => {
                let text = format!("a deadline at {} ms lies behind its handling", at.0);
                self.broken(now_ms, text);
            }
            None if !view.tunnel.is_finished() && !never_probed => {
                self.broken(now_ms, "a state without a timer");
            }
            _ => {}
        }
    }

    fn judge_attempt(&mut self, now_ms: u64, view: &View<'_>) {
        let gap = ms(ATTEMPT_GAP);
        if self
            .attempts
            .last()
            .is_some_and(|&last| last > 0 && now_ms < last + gap)
        {
            self.broken(now_ms, "two attempts within the gap");
        }
        // With several destinations, each has its own wait.
        if let Some(&(since, why, until)) = self.waits.last()
            && self.attempts.last().is_some_and(|last| *last <= since)
            && !self.asked
            && view.setup.servers.len() == 1
        {
            let floor = ms(backoff::range(why.class()).floor);
            let earliest = if self.link_came { since + floor } else { until };
            if now_ms < earliest.min(until) {
                self.broken(now_ms, format!("an attempt before {earliest} ms ({why})"));
            }
        }
        self.attempts.push(now_ms);
        self.link_came = false;
        self.asked = false;
    }

    fn judge_wait(&mut self, view: &View<'_>) {
        let State::Waiting { until, why } = view.tunnel.state() else {
            self.wait = None;
            return;
        };
        let now_ms = view.now_ms;
        if until.0 < now_ms {
            self.broken(now_ms, "a wait that is over and goes on");
        }
        if self.wait.replace((until, why)) == Some((until, why)) {
            return;
        }
        let longest = ms(backoff::range(why.class()).cap.max(ATTEMPT_GAP));
        if until.0 > now_ms + longest && view.setup.servers.len() == 1 {
            self.broken(now_ms, format!("a wait until {} ms for {why}", until.0));
        }
        // Cut short: still the same wait.
        match self.waits.last_mut() {
            Some((since, _, last_until))
                if self.attempts.last().is_some_and(|last| *last <= *since)
                    && until.0 <= *last_until
                    && (self.link_came || self.asked) =>
            {
                *last_until = until.0;
            }
            _ => self.waits.push((now_ms, why, until.0)),
        }
    }

    fn judge_sockets(&mut self, view: &View<'_>) {
        let (now_ms, net) = (view.now_ms, &view.net);
        let (sessions, sockets) = (net.sessions(), net.sockets());
        if sessions > 1 {
            self.broken(now_ms, format!("{sessions} sessions at once"));
        }
        let most = match view.tunnel.state() {
            State::Waiting { .. } | State::Stopped => 0,
            _ => MAX_ADDRESSES + 1,
        };
        if sockets > most {
            self.broken(now_ms, format!("{sockets} sockets, more than {most}"));
        }
        let targets = net.targets.open().count();
        if targets > HOLDERS {
            self.broken(now_ms, format!("{targets} targets at once"));
        }
        if sessions == 0 && targets > 0 {
            self.broken(now_ms, format!("{targets} targets without a session"));
        }
    }

    fn judge_up(&mut self, view: &View<'_>) {
        let up = matches!(view.tunnel.state(), State::Up { .. });
        let whole = match view.tunnel.state() {
            State::Up {
                confirmed,
                forwards,
                ..
            } => confirmed == forwards,
            _ => false,
        };
        if whole && !self.whole {
            self.ups.push(view.now_ms);
        }
        self.whole = whole;
        if up != matches!(view.snapshot.link, Link::Up(_)) {
            self.broken(view.now_ms, "status and state differ");
        }
    }

    fn judge_state(&mut self, view: &View<'_>) {
        let (now_ms, policy) = (view.now_ms, view.setup.policy);
        let state = view.tunnel.state();
        let (number, bound) = match state {
            State::Connecting(stage) => match stage {
                Stage::Resolve => (0, ms(policy.resolve_timeout)),
                Stage::Tcp | Stage::Ident => (1, ms(policy.connect_timeout)),
                Stage::KeyExchange => (2, ms(policy.kex_timeout)),
                Stage::Authentication | Stage::Forward => (3, ms(policy.auth_timeout)),
            },
            State::Up { .. } => (4, u64::MAX),
            State::Waiting { .. } => (5, u64::MAX),
            State::Stopping => (6, ms(DRAIN)),
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
        if view.wanted.stopped && !matches!(state, State::Stopping | State::Stopped) {
            self.broken(now_ms, "the order to end was lost");
        }
        let State::Up { since, .. } = state else {
            return;
        };
        self.judge_silence(view, since.0);
        let extended = ms(REPLY_LIMIT.saturating_sub(view.setup.policy.forward_timeout));
        for forward in &view.snapshot.forwards {
            match forward.state {
                ForwardState::Requested { until } if until.0 + extended < now_ms => {
                    self.broken(now_ms, "a forward's reply is overdue");
                }
                ForwardState::Refused { retry_at } if retry_at.0 < now_ms => {
                    self.broken(now_ms, "a refused forward is not asked for again");
                }
                _ => {}
            }
        }
    }

    fn judge_silence(&mut self, view: &View<'_>, since_ms: u64) {
        let policy = view.setup.policy;
        if policy.alive_interval.is_zero() {
            return;
        }
        let gap = ms(policy.alive_interval).min(5_000);
        let silence = ms(policy.alive_interval) + u64::from(policy.alive_count_max) * gap;
        let acknowledged_ms = view.net.acknowledged_ms();
        let heard = self.last_inbound_ms.max(acknowledged_ms).max(since_ms);
        // A program that was held up still asks, so often, before it judges.
        let asked_from = self.held_up_until_ms + u64::from(policy.alive_count_max) * gap;
        if view.now_ms > (heard + silence).max(asked_from) {
            let text = format!("up, and nothing heard since {heard} ms");
            self.broken(view.now_ms, text);
        }
    }
}
