//! The forwards of one tunnel: one record for each, from its first mention to its last.

use core::time::Duration;

use heapless::Vec;

use crate::backoff::Row;
use crate::forward::{ForwardSpec, MAX_FORWARDS};
use crate::time::Instant;

mod checkup;
mod record;
pub(crate) use checkup::Checkup;
pub use checkup::Proof;
pub(crate) use record::ForwardAction;
use record::Todo;
pub use record::{Forward, ForwardId, ForwardState, Origin};

/// The forwards of one tunnel: at most [`MAX_FORWARDS`], those that a caller took away included.
#[derive(Clone, Debug, Default)]
pub struct Forwards(Vec<Forward, MAX_FORWARDS>);

impl Forwards {
    /// Those that the configuration names; what is beyond [`MAX_FORWARDS`] is left out.
    pub fn new(configured: &[ForwardSpec]) -> Self {
        let mut forwards = Self::default();
        for spec in configured {
            forwards.want(spec, Origin::Configuration);
        }
        forwards
    }

    /// A new connection: nothing has been asked for.
    pub fn reset(&mut self) {
        for forward in &mut self.0 {
            forward.state = ForwardState::Idle;
            forward.refusals = Row::NEW;
            forward.misled = false;
            forward.wait_told = false;
            forward.todo = Todo::default();
            forward.checkup = Checkup::default();
        }
    }

    /// Every record, those that are not wanted included.
    pub fn iter(&self) -> impl Iterator<Item = (ForwardId, &Forward)> {
        (0..).map(ForwardId).zip(&self.0)
    }

    /// Those that are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = (ForwardId, &Forward)> {
        self.iter().filter(|(_, forward)| forward.is_wanted())
    }

    /// The record of a forward.
    pub fn get(&self, id: ForwardId) -> Option<&Forward> {
        self.0.get(usize::from(id.0))
    }

    pub(crate) fn get_mut(&mut self, id: ForwardId) -> Option<&mut Forward> {
        self.0.get_mut(usize::from(id.0))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ForwardId, &mut Forward)> {
        (0..).map(ForwardId).zip(&mut self.0)
    }

    /// The forward whose [`ForwardId::number`] this is.
    pub fn by_number(&self, number: u8) -> Option<ForwardId> {
        let id = ForwardId(number);
        self.get(id).map(|_| id)
    }

    /// The forward with this listener and target.
    pub fn find(&self, spec: &ForwardSpec) -> Option<ForwardId> {
        let found = self.iter().find(|(_, forward)| forward.spec == *spec);
        found.map(|(id, _)| id)
    }

    /// Somebody wants a forward. Gives its identifier; none when every record is in use.
    pub fn want(&mut self, spec: &ForwardSpec, origin: Origin) -> Option<ForwardId> {
        let id = match self.find(spec) {
            Some(id) => id,
            None => self.enter(spec)?,
        };
        let forward = self.get_mut(id)?;
        match origin {
            Origin::Configuration => forward.configured = true,
            Origin::Service => (forward.of_service, forward.withdrawn) = (true, false),
            Origin::Caller | Origin::Script => {
                (forward.added, forward.withdrawn) = (true, false);
            }
        }
        Some(id)
    }

    fn enter(&mut self, spec: &ForwardSpec) -> Option<ForwardId> {
        let forward = Forward::new(spec.clone());
        let free = self.0.iter().position(Forward::is_free);
        let index = match free {
            Some(index) => {
                self.0[index] = forward;
                index
            }
            None => {
                self.0.push(forward).ok()?;
                self.0.len() - 1
            }
        };
        Some(ForwardId(index as u8))
    }

    /// Somebody does not want a forward any more. What a caller takes away stays away, even if
    /// the configuration names it; what a caller added stays, even if the configuration does not.
    /// A script takes away only what callers added.
    pub fn unwant(&mut self, id: ForwardId, origin: Origin) {
        let Some(forward) = self.get_mut(id) else {
            return;
        };
        match origin {
            Origin::Configuration => (forward.configured, forward.withdrawn) = (false, false),
            Origin::Service => forward.of_service = false,
            Origin::Caller => {
                (forward.of_service, forward.added) = (false, false);
                forward.withdrawn = forward.configured;
            }
            Origin::Script => forward.added = false,
        }
        if forward.is_wanted() {
            return;
        }
        forward.refusals = Row::NEW;
        forward.todo.waits = None;
        if let ForwardState::Refused { .. } = forward.state {
            forward.state = ForwardState::Idle;
        }
    }

    /// Asks for a forward, whose reply is due within `timeout`.
    pub fn request(&mut self, id: ForwardId, now: Instant, timeout: Duration) {
        if let Some(forward) = self.get_mut(id) {
            forward.state = ForwardState::Requested {
                until: now + timeout,
            };
            forward.todo.request = true;
            forward.todo.waits = None;
        }
    }

    /// Asks for all that are wanted.
    pub fn request_wanted(&mut self, now: Instant, timeout: Duration) {
        for number in 0..self.0.len() as u8 {
            let id = ForwardId(number);
            if self.get(id).is_some_and(Forward::is_wanted) {
                self.request(id, now, timeout);
            }
        }
    }

    /// Takes a confirmed forward back; the reply is due within `timeout`.
    pub fn cancel(&mut self, id: ForwardId, now: Instant, timeout: Duration) {
        if let Some(forward) = self.get_mut(id)
            && let ForwardState::Confirmed { port } = forward.state
        {
            let until = now + timeout;
            forward.state = ForwardState::Cancelling { port, until };
            forward.todo.cancel = true;
        }
    }

    /// A confirmed forward that is wanted leads elsewhere: to be cancelled, and then asked for
    /// again as if it had been refused ([`Forwards::take_misled`]). False if there is none.
    pub fn mislead(&mut self, id: ForwardId) -> bool {
        let Some(forward) = self.get_mut(id) else {
            return false;
        };
        let due = forward.is_confirmed() && forward.is_wanted();
        forward.misled |= due;
        due
    }

    /// The cancellation of [`Forwards::mislead`] was answered. True if that is what it was, and
    /// the server listens no more: the forward then waits to be asked for again.
    pub fn take_misled(&mut self, id: ForwardId, now: Instant, rng: u32) -> bool {
        let Some(forward) = self.get_mut(id) else {
            return false;
        };
        let misled = core::mem::take(&mut forward.misled);
        let waits = misled && forward.state == ForwardState::Idle && forward.is_wanted();
        if waits {
            forward.postpone(now, rng);
        }
        waits
    }

    /// The reply to a cancellation: `done` if the server listens no more. False if none was
    /// asked for.
    pub fn handle_cancelled(&mut self, id: ForwardId, done: bool) -> bool {
        let Some(forward) = self.get_mut(id) else {
            return false;
        };
        let ForwardState::Cancelling { port, .. } = forward.state else {
            return false;
        };
        forward.state = match done {
            true => ForwardState::Idle,
            false => ForwardState::Confirmed { port },
        };
        true
    }

    /// The server confirmed. False if it was not asked.
    pub fn handle_confirmed(&mut self, id: ForwardId, port: u16) -> bool {
        match self.requested(id) {
            Some(forward) => {
                forward.state = ForwardState::Confirmed { port };
                true
            }
            None => false,
        }
    }

    /// The server refused. True if the forward now waits to be asked for again.
    pub fn handle_refused(&mut self, id: ForwardId, now: Instant, rng: u32) -> bool {
        let Some(forward) = self.requested(id) else {
            return false;
        };
        if !forward.is_wanted() {
            forward.state = ForwardState::Idle;
            return false;
        }
        forward.postpone(now, rng);
        true
    }

    fn requested(&mut self, id: ForwardId) -> Option<&mut Forward> {
        let is = |forward: &&mut Forward| matches!(forward.state, ForwardState::Requested { .. });
        self.get_mut(id).filter(is)
    }

    /// The next refused forward whose time has come.
    pub fn poll_retry(&self, now: Instant) -> Option<ForwardId> {
        let due = |state| matches!(state, ForwardState::Refused { retry_at } if retry_at <= now);
        let mut all = self.iter();
        all.find(|(_, f)| due(f.state)).map(|(id, _)| id)
    }

    /// Somebody calls: what was refused is asked for again at once.
    pub fn hurry(&mut self, now: Instant) {
        for forward in &mut self.0 {
            if let ForwardState::Refused { retry_at } = &mut forward.state {
                *retry_at = now.min(*retry_at);
            }
        }
    }

    /// When the first outstanding reply is overdue, if one is outstanding.
    pub fn reply_due(&self) -> Option<Instant> {
        let due = |forward: &Forward| match forward.state {
            ForwardState::Requested { until } | ForwardState::Cancelling { until, .. } => {
                Some(until)
            }
            _ => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// When the first refused forward is to be asked for again, if there is one.
    pub fn retry_due(&self) -> Option<Instant> {
        let due = |forward: &Forward| match forward.state {
            ForwardState::Refused { retry_at } => Some(retry_at),
            _ => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// How many of those wanted the server has confirmed.
    pub fn confirmed(&self) -> usize {
        self.wanted().filter(|(_, f)| f.is_confirmed()).count()
    }

    /// Whether the server listens for one that nobody wants, and was told so.
    pub(crate) fn any_kept(&self) -> bool {
        let kept = |forward: &Forward| forward.is_confirmed() && !forward.is_wanted();
        self.0.iter().any(kept)
    }

    /// Whether the server has confirmed all that are wanted.
    pub fn all_confirmed(&self) -> bool {
        self.wanted().all(|(_, forward)| forward.is_confirmed())
    }

    /// All were confirmed: a forward that waits after this is told of anew.
    pub(crate) fn forget_told(&mut self) {
        for forward in &mut self.0 {
            forward.wait_told = false;
        }
    }

    /// The next thing to do about one of them: first all requests, then the cancellations.
    pub(crate) fn next_action(&mut self) -> Option<(ForwardId, ForwardAction)> {
        use core::mem::take;
        for (id, forward) in self.iter_mut() {
            if take(&mut forward.todo.request) {
                return Some((id, ForwardAction::Request));
            }
        }
        for (id, forward) in self.iter_mut() {
            if take(&mut forward.todo.cancel) {
                return Some((id, ForwardAction::Cancel));
            }
        }
        for (id, forward) in self.iter_mut() {
            if let Some(until) = forward.todo.waits.take() {
                let first = !core::mem::replace(&mut forward.wait_told, true);
                return Some((id, ForwardAction::Waits { until, first }));
            }
        }
        None
    }

    /// What was to be done belongs to a connection that is over, or ends.
    pub(crate) fn clear_actions(&mut self) {
        for forward in &mut self.0 {
            forward.todo = Todo::default();
        }
    }
}

#[cfg(test)]
mod tests;
