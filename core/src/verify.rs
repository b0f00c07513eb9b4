//! When a forward is checked from the server's side, and what the outcome means.
//!
//! A check opens a connection through the server to each place where the forward's listener is
//! to be ([`places`]), one after the other, and waits for it to arrive on the same SSH
//! connection. The caller makes and recognises these connections; what is decided here is when,
//! how long, and what follows. One check is under way at a time.
//!
//! "It did not arrive" is only concluded after a round trip that began at the deadline: SSH
//! keeps the order, so what the server sent before its answer has come before it. And only of a
//! server that really connects: one that has not let a check through yet is asked to connect to
//! port 0, where nothing listens. If it says that it did, its answers mean nothing.

use core::time::Duration;

use crate::forward::Listen;
pub use crate::forwards::Proof;
use crate::forwards::{Checkup, Forward, ForwardId, Forwards};
use crate::time::Instant;

mod types;
pub use types::{Action, Finding, Refused, has_spare, places};

/// From one check of a forward to the next, on average.
pub const INTERVAL: Duration = Duration::from_secs(600);
/// The interval is drawn evenly from this much shorter to this much longer.
pub const JITTER: Duration = Duration::from_secs(120);
/// How long the server may take to make a connection, and again how long that may take to arrive.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a check waits that found no room.
pub const POSTPONED: Duration = Duration::from_secs(60);

/// `SSH_OPEN_CONNECT_FAILED` (RFC 4254, 5.1).
const CONNECT_FAILED: u32 = 2;
/// `SSH_OPEN_RESOURCE_SHORTAGE`.
const RESOURCE_SHORTAGE: u32 = 4;

/// How many [`places`] a forward has, and whether the second is a spare one.
fn places_of(forward: &Forward) -> (u8, bool) {
    match &forward.spec.listen {
        Listen::Tcp { bind, .. } => (places(bind).len() as u8, has_spare(bind)),
        Listen::Unix(_) => (0, false),
    }
}

#[derive(Copy, Clone, Debug)]
enum Stage {
    /// The server is to connect until then.
    Opening(Instant),
    /// The connection is to arrive until then.
    Arriving(Instant),
    /// Too late, if the link is alive.
    Doubt { opened: bool },
    /// It is late; the server is to refuse to connect to nothing until then.
    Control(Instant),
}

#[derive(Copy, Clone, Debug)]
struct Check {
    id: ForwardId,
    place: u8,
    /// One of the places led here.
    found: bool,
    /// Why the server did not connect to an earlier place, if that was not for want of a listener.
    refused: Option<u32>,
    stage: Stage,
}

/// The checks of one SSH connection.
#[derive(Clone, Debug)]
pub struct Verify {
    enabled: bool,
    off: bool,
    /// A check came through: the server permits them.
    permitted: bool,
    check: Option<Check>,
    close: bool,
    ask: bool,
    finding: Option<(ForwardId, Finding)>,
    open: Option<Action>,
    rng: u64,
}

impl Verify {
    /// No forward, and checks not enabled. `seed` decides the jitter.
    pub fn new(seed: u64) -> Self {
        Self {
            enabled: false,
            off: false,
            permitted: false,
            check: None,
            close: false,
            ask: false,
            finding: None,
            open: None,
            rng: seed,
        }
    }

    /// `VerifyForward`. Turned on, every confirmed forward is checked at once; turned off, a
    /// check under way is given up.
    pub fn set_enabled(&mut self, enabled: bool, forwards: &mut Forwards, now: Instant) {
        if self.enabled == enabled {
            return;
        }
        self.enabled = enabled;
        if enabled {
            for (_, forward) in forwards.iter_mut() {
                forward.checkup.due = forward.checkup.due.map(|_| now);
            }
            self.handle_timeout(forwards, now);
        } else if let Some(id) = self.give_up(forwards) {
            set_due(forwards, id, now);
        }
    }

    /// The server listens for a forward. A Unix socket is not checked.
    pub fn handle_confirmed(&mut self, id: ForwardId, forwards: &mut Forwards, now: Instant) {
        if let Some(forward) = forwards.get_mut(id) {
            let (places, _) = places_of(forward);
            forward.checkup = Checkup {
                due: (places > 0).then_some(now),
                ..Checkup::default()
            };
            self.handle_timeout(forwards, now);
        }
    }

    /// The forward is being taken back: there is nothing to check until it is confirmed again.
    pub fn handle_cancelled(&mut self, id: ForwardId, forwards: &mut Forwards, now: Instant) {
        if let Some(forward) = forwards.get_mut(id) {
            let checkup = &mut forward.checkup;
            checkup.due = None;
            if let Proof::Here { .. } | Proof::Loopback { .. } = checkup.proof {
                checkup.proof = Proof::Unknown;
            }
        }
        if self.check.is_some_and(|check| check.id == id) {
            self.give_up(forwards);
            self.handle_timeout(forwards, now);
        }
    }

    /// The server made the connection.
    pub fn handle_opened(&mut self, now: Instant) {
        if let Some(check) = &mut self.check {
            match check.stage {
                Stage::Opening(_) => check.stage = Stage::Arriving(now + DEADLINE),
                // Late after all, but it may still arrive.
                Stage::Doubt { opened: false } => check.stage = Stage::Arriving(now + DEADLINE),
                Stage::Control(_) => {
                    let id = check.id;
                    self.close = true;
                    self.turn_off(id, Refused::Hollow);
                }
                _ => {}
            }
        }
    }

    /// The server did not make the connection, for this reason.
    pub fn handle_refused(&mut self, reason: u32, forwards: &mut Forwards, now: Instant) {
        let Some(check) = self.check else {
            return;
        };
        match reason {
            _ if matches!(check.stage, Stage::Control(_)) => {
                self.conclude_elsewhere(check, forwards, now);
            }
            CONNECT_FAILED => self.next_place(check, forwards, now),
            RESOURCE_SHORTAGE => self.handle_crowded(forwards, now),
            // It may permit the other place (sshd's permitopen).
            _ => {
                let refused = check.refused.or(Some(reason));
                self.next_place(Check { refused, ..check }, forwards, now);
            }
        }
    }

    /// The connection arrived where it should.
    pub fn handle_found(&mut self, forwards: &mut Forwards, now: Instant) {
        if let Some(mut check) = self.check {
            self.permitted = true;
            check.found = true;
            self.close = true;
            self.next_place(check, forwards, now);
        }
    }

    /// Somebody else answered on the check's connection, or it arrived on another forward.
    pub fn handle_stranger(&mut self, forwards: &mut Forwards, now: Instant) {
        if let Some(check) = self.check {
            self.conclude_elsewhere(check, forwards, now);
            self.close = true;
        }
    }

    /// The server answered an [`Action::Ask`].
    pub fn handle_alive(&mut self, forwards: &mut Forwards, now: Instant) {
        match self.check {
            Some(Check {
                stage: Stage::Doubt { opened: true },
                id,
                place,
                found,
                refused,
            }) if !self.permitted => {
                self.close = true;
                self.check = Some(Check {
                    id,
                    place,
                    found,
                    refused,
                    stage: Stage::Control(now + DEADLINE),
                });
                self.open = Some(Action::OpenNothing { id, place });
            }
            Some(Check {
                stage: Stage::Doubt { opened: true },
                ..
            }) => self.handle_stranger(forwards, now),
            Some(Check {
                stage: Stage::Doubt { opened: false },
                id,
                ..
            }) => {
                self.close = true;
                self.turn_off(id, Refused::Unanswered);
            }
            _ => {}
        }
    }

    /// There is no room for the check's connections: nothing follows from it, and it is tried
    /// again later.
    pub fn handle_crowded(&mut self, forwards: &mut Forwards, now: Instant) {
        let given_up = self.give_up(forwards);
        let later = now + POSTPONED;
        for (id, forward) in forwards.iter_mut() {
            let due = &mut forward.checkup.due;
            if given_up == Some(id) {
                *due = Some(later);
            }
            *due = due.map(|due| due.max(later));
        }
    }

    /// Does what is due at `now`. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, forwards: &mut Forwards, now: Instant) {
        if let Some(check) = &mut self.check {
            let opened = match check.stage {
                Stage::Opening(until) | Stage::Control(until) if until <= now => false,
                Stage::Arriving(until) if until <= now => true,
                _ => return,
            };
            check.stage = Stage::Doubt { opened };
            self.ask = true;
            return;
        }
        // The last finding may change what there is to check.
        if !self.enabled || self.off || self.finding.is_some() {
            return;
        }
        let due = |forward: &Forward| forward.checkup.due.is_some_and(|due| due <= now);
        let next = forwards.iter_mut().find(|(_, forward)| due(forward));
        if let Some((id, forward)) = next {
            forward.checkup.due = None;
            self.begin((id, 0), (false, None), now);
        }
    }

    /// When to call [`Verify::handle_timeout`] at the latest.
    pub fn poll_timeout(&self, forwards: &Forwards) -> Option<Instant> {
        match self.check {
            Some(check) => match check.stage {
                Stage::Opening(until) | Stage::Arriving(until) | Stage::Control(until) => {
                    Some(until)
                }
                // The watchdog decides whether the link is alive.
                Stage::Doubt { .. } => None,
            },
            None if !self.enabled || self.off => None,
            None => {
                let due = forwards.iter().filter_map(|(_, f)| f.checkup.due);
                due.min()
            }
        }
    }

    /// The next thing to do. Call until `None`.
    pub fn poll_action(&mut self, forwards: &mut Forwards) -> Option<Action> {
        use core::mem::take;
        if take(&mut self.close) {
            return Some(Action::Close);
        }
        if let Some((id, finding)) = self.finding.take() {
            let news = is_news(forwards, id, finding);
            return Some(Action::Found { id, finding, news });
        }
        if take(&mut self.ask) {
            return Some(Action::Ask);
        }
        self.open.take()
    }

    /// Whether a check is under way.
    pub fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// What is known of a forward.
    pub fn proof(&self, forward: &Forward) -> Proof {
        let checked = self.enabled && places_of(forward).0 > 0 && forward.port() > 0;
        match forward.checkup.proof {
            Proof::Unknown if checked && self.off => Proof::NotPermitted,
            proof if self.enabled => proof,
            _ => Proof::Unknown,
        }
    }

    fn begin(
        &mut self,
        (id, place): (ForwardId, u8),
        (found, refused): (bool, Option<u32>),
        now: Instant,
    ) {
        self.check = Some(Check {
            id,
            place,
            found,
            refused,
            stage: Stage::Opening(now + DEADLINE),
        });
        self.open = Some(Action::Open { id, place });
    }

    /// This place is done with, and nothing speaks against the forward so far.
    fn next_place(&mut self, check: Check, forwards: &mut Forwards, now: Instant) {
        let Check {
            id,
            place,
            found,
            refused,
            ..
        } = check;
        let (places, spare) = forwards.get(id).map_or((0, false), places_of);
        if place + 1 < places && !(spare && found) {
            self.begin((id, place + 1), (found, refused), now);
        } else if found && spare && place > 0 {
            self.conclude(id, Finding::Loopback, forwards, now);
        } else if found {
            self.conclude(id, Finding::Here, forwards, now);
        } else if let Some(reason) = refused {
            self.turn_off(id, Refused::Reason(reason));
        } else if self.permitted {
            self.conclude(id, Finding::Gone, forwards, now);
        } else {
            self.turn_off(id, Refused::Reason(CONNECT_FAILED));
        }
    }

    /// Who answers at a spare place may be anybody: nothing is at the forward's own.
    fn conclude_elsewhere(&mut self, check: Check, forwards: &mut Forwards, now: Instant) {
        let Check { id, place, .. } = check;
        let (_, spare) = forwards.get(id).map_or((0, false), places_of);
        let finding = match spare && place > 0 {
            true => Finding::Gone,
            false => Finding::Elsewhere { place },
        };
        self.conclude(id, finding, forwards, now);
    }

    fn conclude(&mut self, id: ForwardId, finding: Finding, forwards: &mut Forwards, now: Instant) {
        let next = now + self.interval();
        if let Some(forward) = forwards.get_mut(id) {
            forward.checkup.due = Some(next);
            forward.checkup.proof = match finding {
                Finding::Here => Proof::Here { at: now },
                Finding::Loopback => Proof::Loopback { at: now },
                _ => Proof::Elsewhere { at: now },
            };
        }
        self.check = None;
        self.ask = false;
        self.finding = Some((id, finding));
    }

    fn turn_off(&mut self, id: ForwardId, why: Refused) {
        self.off = true;
        self.check = None;
        self.ask = false;
        self.finding = Some((id, Finding::Off(why)));
    }

    /// Gives the forward whose check was under way.
    fn give_up(&mut self, forwards: &mut Forwards) -> Option<ForwardId> {
        let check = self.check.take()?;
        // What was not opened yet needs no closing.
        self.close |= self.open.take().is_none();
        self.ask = false;
        if let Some(forward) = forwards.get_mut(check.id) {
            forward.checkup.due = None;
        }
        Some(check.id)
    }

    /// [`INTERVAL`] and jitter; SplitMix64 as in the watchdog.
    fn interval(&mut self) -> Duration {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span_ms = 2 * JITTER.as_millis() as u64 + 1;
        INTERVAL - JITTER + Duration::from_millis((z >> 31) % span_ms)
    }
}

fn set_due(forwards: &mut Forwards, id: ForwardId, due: Instant) {
    if let Some(forward) = forwards.get_mut(id) {
        forward.checkup.due = Some(due);
    }
}

/// True for what leads here once per confirmation, and when it changes whether it does so on the
/// loopback address only; always true for the rest.
fn is_news(forwards: &mut Forwards, id: ForwardId, finding: Finding) -> bool {
    let loopback = match finding {
        Finding::Here => false,
        Finding::Loopback => true,
        _ => return true,
    };
    let Some(forward) = forwards.get_mut(id) else {
        return false;
    };
    forward.checkup.told.replace(loopback) != Some(loopback)
}

#[cfg(test)]
mod tests;
