//! What the control socket asks of a tunnel, and the limits after which it ends by itself.

use std::fmt::Write;

use log::info;
use reachback_core::control::{Refusal, Reply, Request};
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::{ForwardId, ForwardState, Origin};
use reachback_core::history::Kind;
use reachback_core::lifetime::Since;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Input, State};

use super::{Connection, Tunnel};
use crate::outside::Outside;

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

impl<O: Outside> Tunnel<O> {
    /// What the call that began the tunnel named beside the configuration.
    pub fn begin_with(&mut self, forwards: &[ForwardSpec], now: Instant) {
        for spec in forwards {
            // There are no more of them than records, the configuration's included.
            self.watchdog.want(now, spec, Origin::Caller);
            self.orders_changed = true;
        }
    }

    /// Adds a forward for a caller or the service.
    pub fn add_forward(
        &mut self,
        spec: &ForwardSpec,
        origin: Origin,
        outside: &O,
        now: Instant,
    ) -> Reply {
        if let Some(reply) = self.clash(spec) {
            return reply;
        }
        let reply = match self.want(spec, origin, outside, now) {
            None => {
                let full = "the tunnel carries as many forwards as it can; take one away first: \
                            reachback -O cancel -R ...";
                return Reply::refused(Refusal::Full, full);
            }
            Some(false) => Reply::done("already there"),
            Some(true) => {
                info!("forward {spec} was added by another call");
                Reply::done("added")
            }
        };
        self.orders_changed = true;
        self.lifetime.handle_call(now);
        reply
    }

    /// The refusal of a forward whose listener has another target already.
    fn clash(&self, spec: &ForwardSpec) -> Option<Reply> {
        let mut wanted = self.watchdog.forwards().wanted();
        let (_, other) = wanted.find(|(_, forward)| forward.spec.clashes(spec))?;
        let place = spec.listen.on(spec.listen.port());
        let (to, other) = (&spec.target, &other.spec);
        let text = format!(
            "server {place} cannot lead to {to}: {other} has it; take that away first \
             (reachback -O cancel -R {other} ...), or use another"
        );
        Some(Reply::refused(Refusal::Unfit, text))
    }

    /// Takes a forward away for a caller or a script.
    pub fn remove_forward(
        &mut self,
        spec: &ForwardSpec,
        origin: Origin,
        outside: &O,
        now: Instant,
    ) -> Reply {
        let Some(id) = self.wanted_id(spec) else {
            return Reply::refused(Refusal::Absent, format!("there is no forward {spec}"));
        };
        let words = self.taken_away(id);
        self.orders_changed = true;
        if !self.watchdog.unwant(now, id, origin) {
            return Reply::done("stays: it is the configuration's or the service's");
        }
        info!("forward {spec} is taken away, as asked");
        self.note(Kind::ForwardRemoved, spec, outside, now);
        Reply::done(words)
    }

    /// Whether no forward is wanted, nor any that the operator named and a caller took away.
    pub fn is_unused(&self) -> bool {
        let mut all = self.watchdog.forwards().iter();
        !all.any(|(_, forward)| forward.is_wanted() || forward.is_operators())
    }

    /// What the caller of an order is told, in view of what the server does about a cancellation.
    fn taken_away(&self, id: ForwardId) -> String {
        let forward = self.watchdog.forwards().get(id);
        let listens = forward.is_some_and(|f| matches!(f.state(), ForwardState::Confirmed { .. }));
        match &self.connection {
            Connection::Up(session) if listens && session.keeps_listeners() => {
                let when = match session.serving() {
                    0 => "is renewed now".to_owned(),
                    n => format!("is renewed when no other is served ({n} now), within an hour"),
                };
                format!(
                    "taken away; this server goes on listening, so connections to it are refused \
                     and the connection to the server {when}"
                )
            }
            _ => "taken away".to_owned(),
        }
    }

    /// The forwards that are wanted.
    pub fn forwards(&self) -> Vec<ForwardSpec> {
        let wanted = self.watchdog.forwards().wanted();
        wanted.map(|(_, forward)| forward.spec.clone()).collect()
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
        let gone = specs.iter().find(|spec| self.wanted_id(spec).is_none());
        if let Some(spec) = gone {
            return not_yet(format!("forward {spec} was taken away"), false);
        }
        for (_, forward) in self.watchdog.forwards().wanted() {
            let spec = &forward.spec;
            if !specs.is_empty() && !specs.contains(spec) {
                continue;
            }
            match forward.state() {
                ForwardState::Confirmed { .. } => {}
                ForwardState::Refused { retry_at } => {
                    let why = format!("the server refuses forward {spec}");
                    return not_yet(why, retry_at <= limit);
                }
                _ => return not_yet(format!("no reply for forward {spec}"), true),
            }
        }
        Progress::Confirmed
    }

    /// Somebody calls for the tunnel: what waits is tried now, at the rate that the watchdog keeps.
    pub fn call(&mut self, now: Instant) {
        let waited = matches!(self.watchdog.state(), State::Waiting { .. });
        self.watchdog.handle(now, Input::Called);
        if waited && matches!(self.watchdog.state(), State::Connecting(_)) {
            info!("called again: trying now");
        }
    }

    /// Connects anew at once.
    pub fn reconnect(&mut self, outside: &O, now: Instant) {
        self.note(Kind::Reconnect, "", outside, now);
        self.watchdog.handle(now, Input::ReconnectNow);
    }

    /// Ends with manners; `why` is for log and status.
    pub fn stop(&mut self, why: &str, outside: &O, now: Instant) {
        info!("ending: {why}");
        self.note(Kind::Ending, why, outside, now);
        self.watchdog.handle(now, Input::Stop);
    }
}

impl<O: Outside> Tunnel<O> {
    /// Wants a forward. True if it was not wanted before; none when every record is in use.
    pub(super) fn want(
        &mut self,
        spec: &ForwardSpec,
        origin: Origin,
        outside: &O,
        now: Instant,
    ) -> Option<bool> {
        let added = self.watchdog.want(now, spec, origin)?;
        if added {
            self.note(Kind::ForwardAdded, spec, outside, now);
        }
        Some(added)
    }

    fn wanted_id(&self, spec: &ForwardSpec) -> Option<ForwardId> {
        let forwards = self.watchdog.forwards();
        let id = forwards.find(spec)?;
        forwards.get(id).filter(|forward| forward.is_wanted())?;
        Some(id)
    }

    /// The callers' orders that stand, when they have changed since this was last asked, or
    /// `anyway`.
    pub fn changed_orders(&mut self, anyway: bool) -> Option<String> {
        if !std::mem::take(&mut self.orders_changed) && !anyway {
            return None;
        }
        let mut lines = String::new();
        for (_, forward) in self.watchdog.forwards().iter() {
            let spec = &forward.spec;
            let added = forward.added().map(|origin| match origin {
                Origin::Service => Request::ForwardService(spec.clone()),
                _ => Request::Forward(spec.clone()),
            });
            let removed = forward
                .is_withdrawn()
                .then(|| Request::Cancel(spec.clone()));
            for order in added.chain(removed) {
                // A String takes everything.
                let _ = writeln!(lines, "{order}");
            }
        }
        Some(lines)
    }

    /// Goes on after a restart of the process: follows what [`Tunnel::changed_orders`] gave before,
    /// and counts from when it counted before. Nobody asked for the tunnel anew.
    pub fn go_on(&mut self, orders: &str, since: Since, outside: &O, now: Instant) {
        for line in orders.lines() {
            match Request::parse(line) {
                Ok(Request::Forward(spec)) => {
                    self.add_forward(&spec, Origin::Caller, outside, now);
                }
                Ok(Request::ForwardService(spec)) => {
                    self.add_forward(&spec, Origin::Service, outside, now);
                }
                Ok(Request::Cancel(spec)) => {
                    self.remove_forward(&spec, Origin::Caller, outside, now);
                }
                _ => {}
            }
        }
        self.lifetime.go_on(since);
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
