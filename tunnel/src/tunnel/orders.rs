//! What the control socket asks of a tunnel, and the limits after which it ends by itself.

use log::info;
use reachback_core::control::{Refusal, Request, Verdict};
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::ForwardState;
use reachback_core::history::Kind;
use reachback_core::lifetime::Since;
use reachback_core::time::Instant;
use reachback_core::verify::Proof;
use reachback_core::watchdog::{Happening, State};

use super::{Connection, Tunnel};
use crate::outside::Outside;
use crate::stats::Program;

/// How far forwards have come.
#[derive(Debug)]
pub enum Progress {
    /// The server listens for all of them.
    Confirmed,
    /// Not yet; why, and whether that may change before the limit.
    NotYet {
        /// In words.
        why: String,
        /// False when nothing will be tried before the limit.
        hope: bool,
    },
}

/// What callers ordered about forwards. It stands against the configuration: reading that again
/// neither takes back what a caller handed over nor opens again what a caller closed.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// What the configuration names.
    configured: Vec<ForwardSpec>,
    handed: Vec<ForwardSpec>,
    /// Of those configured.
    withdrawn: Vec<ForwardSpec>,
    changed: bool,
}

impl Orders {
    pub(super) fn new(configured: &[ForwardSpec]) -> Orders {
        Orders {
            configured: configured.to_vec(),
            ..Orders::default()
        }
    }

    /// Turns the forwards of a configuration into those that are wanted.
    pub(super) fn apply(&mut self, forwards: &mut Vec<ForwardSpec>) {
        self.configured.clone_from(forwards);
        self.withdrawn.retain(|spec| forwards.contains(spec));
        forwards.retain(|spec| !self.withdrawn.contains(spec));
        for spec in &self.handed {
            if !forwards.contains(spec) {
                forwards.push(spec.clone());
            }
        }
    }

    fn handed(&mut self, spec: &ForwardSpec) {
        self.withdrawn.retain(|withdrawn| withdrawn != spec);
        if !self.handed.contains(spec) {
            self.handed.push(spec.clone());
        }
        self.changed = true;
    }

    fn withdrawn(&mut self, spec: &ForwardSpec) {
        self.handed.retain(|handed| handed != spec);
        if self.configured.contains(spec) && !self.withdrawn.contains(spec) {
            self.withdrawn.push(spec.clone());
        }
        self.changed = true;
    }

    /// As requests of the control protocol, a line each.
    fn lines(&self) -> String {
        let handed = self.handed.iter().cloned().map(Request::Forward);
        let withdrawn = self.withdrawn.iter().cloned().map(Request::Cancel);
        let lines = handed.chain(withdrawn);
        lines.map(|request| format!("{request}\n")).collect()
    }
}

impl<O: Outside> Tunnel<O> {
    /// Adds a forward for a caller.
    pub fn add_forward(&mut self, spec: &ForwardSpec, outside: &O, now: Instant) -> Verdict {
        let verdict = match self.want(spec, outside, now) {
            None => {
                let full = "the tunnel carries as many forwards as it can";
                return Verdict::refused(Refusal::Full, full);
            }
            Some(false) => Verdict::done("already there"),
            Some(true) => {
                info!("forward {spec} was added by another call");
                Verdict::done("added")
            }
        };
        self.orders.handed(spec);
        self.lifetime.handle_call(now);
        verdict
    }

    /// Takes a forward away for a caller.
    pub fn remove_forward(&mut self, spec: &ForwardSpec, outside: &O, now: Instant) -> Verdict {
        let Some(index) = self.wanted_index(spec) else {
            return Verdict::refused(Refusal::Absent, format!("there is no forward {spec}"));
        };
        self.orders.withdrawn(spec);
        info!("forward {spec} is taken away, as asked");
        self.note(Kind::ForwardRemoved, spec, outside, now);
        let index = index as u8;
        self.watchdog
            .handle(now, Happening::ForwardUnwanted { index });
        Verdict::done("taken away")
    }

    /// The forwards that are wanted.
    pub fn forwards(&self) -> Vec<ForwardSpec> {
        let forwards = self.plan.forwards.iter().enumerate();
        let wanted = forwards.filter(|(index, _)| self.watchdog.is_wanted(*index));
        wanted.map(|(_, spec)| spec.clone()).collect()
    }

    /// Whether these forwards (all, if none is named) are confirmed; what they wait for if not.
    /// `limit` is when the asker goes away.
    pub fn confirmed(&self, specs: &[ForwardSpec], limit: Instant) -> Progress {
        let not_yet = |why: String, hope| Progress::NotYet { why, hope };
        match self.watchdog.state() {
            State::Up { .. } => {}
            State::Waiting { until, why } => {
                let why = match self.stats.failure() {
                    "" => why.to_string(),
                    words => words.to_owned(),
                };
                return not_yet(why, until <= limit);
            }
            State::Connecting(stage) => {
                let why = match self.stats.failure() {
                    "" => format!("still in {stage}"),
                    words => format!("still in {stage}, after: {words}"),
                };
                return not_yet(why, true);
            }
            // Those who wait are told when it has ended.
            State::Stopping | State::Stopped => return not_yet("ending".to_owned(), true),
        }
        let gone = specs.iter().find(|spec| self.wanted_index(spec).is_none());
        if let Some(spec) = gone {
            return not_yet(format!("forward {spec} was taken away"), false);
        }
        for (index, spec) in self.plan.forwards.iter().enumerate() {
            let asked_about = specs.is_empty() || specs.contains(spec);
            if !asked_about || !self.watchdog.is_wanted(index) {
                continue;
            }
            match self.watchdog.forwards().get(index) {
                Some(ForwardState::Confirmed { .. }) => {}
                Some(ForwardState::Refused { retry_at }) => {
                    let why = format!("the server refuses forward {spec}");
                    return not_yet(why, *retry_at <= limit);
                }
                _ => return not_yet(format!("no reply for forward {spec}"), true),
            }
        }
        Progress::Confirmed
    }

    /// The lines of a snapshot (`docs/control-protocol.md`).
    pub fn status(&self, program: Program<'_>, outside: &O, now: Instant) -> String {
        let snapshot = self.stats.snapshot(self, program, now, outside.wall_s());
        snapshot.to_string()
    }

    /// What `VerifyForward` knows of a forward.
    pub(crate) fn proof(&self, index: usize) -> Proof {
        match &self.connection {
            Connection::Up(session) => session.proof(index),
            _ => Proof::Unknown,
        }
    }

    /// Connects anew at once.
    pub fn reconnect(&mut self, outside: &O, now: Instant) {
        self.note(Kind::Reconnect, "", outside, now);
        self.watchdog.handle(now, Happening::ReconnectNow);
    }

    /// Ends with manners; `why` is for log and status.
    pub fn stop(&mut self, why: &str, outside: &O, now: Instant) {
        info!("ending: {why}");
        self.note(Kind::Ending, why, outside, now);
        self.watchdog.handle(now, Happening::Stop);
    }
}

impl<O: Outside> Tunnel<O> {
    /// Wants a forward. True if it was not wanted before; none when there is no number left.
    pub(super) fn want(&mut self, spec: &ForwardSpec, outside: &O, now: Instant) -> Option<bool> {
        if self.wanted_index(spec).is_some() {
            return Some(false);
        }
        let known = self.plan.forwards.iter().position(|own| own == spec);
        let index = known.or_else(|| self.watchdog.vacant())?;
        match self.plan.forwards.get_mut(index) {
            Some(slot) => *slot = spec.clone(),
            None => self.plan.forwards.push(spec.clone()),
        }
        self.note(Kind::ForwardAdded, spec, outside, now);
        let index = index as u8;
        self.watchdog
            .handle(now, Happening::ForwardWanted { index });
        Some(true)
    }

    fn wanted_index(&self, spec: &ForwardSpec) -> Option<usize> {
        let forwards = self.plan.forwards.iter().enumerate();
        forwards
            .filter(|(index, own)| *own == spec && self.watchdog.is_wanted(*index))
            .map(|(index, _)| index)
            .next()
    }

    /// The callers' orders that stand, when they have changed since this was last asked.
    pub fn changed_orders(&mut self) -> Option<String> {
        std::mem::take(&mut self.orders.changed).then(|| self.orders.lines())
    }

    /// Goes on after a restart of the process: follows what [`Tunnel::changed_orders`] gave before,
    /// and counts from when it counted before. Nobody asked for the tunnel anew.
    pub fn go_on(&mut self, orders: &str, since: Option<Since>, outside: &O, now: Instant) {
        for line in orders.lines() {
            match Request::parse(line) {
                Ok(Request::Forward(spec)) => drop(self.add_forward(&spec, outside, now)),
                Ok(Request::Cancel(spec)) => drop(self.remove_forward(&spec, outside, now)),
                _ => {}
            }
        }
        if let Some(since) = since {
            self.lifetime.go_on(since);
        }
    }

    /// From when `MaxLifetime` and `IdleTimeout` count, to be kept for [`Tunnel::go_on`].
    pub fn since(&self) -> Since {
        self.lifetime.since()
    }

    /// Ends the tunnel when `MaxLifetime` or `IdleTimeout` is over.
    pub(super) fn end_if_over(&mut self, outside: &O, now: Instant) {
        let up = matches!(self.watchdog.state(), State::Up { .. });
        self.lifetime.handle_state(up, self.stats.serving(), now);
        let ending = self.is_ending();
        if let Some(over) = self.lifetime.poll(now).filter(|_| !ending) {
            self.stop(&over.to_string(), outside, now);
        }
    }
}
