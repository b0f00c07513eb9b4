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

use crate::forward::MAX_FORWARDS;
use crate::time::Instant;

mod types;
pub use types::{Action, Proof, Refused, Verdict, has_spare, places};

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

#[derive(Copy, Clone, Debug, Default)]
struct Slot {
    due: Option<Instant>,
    places: u8,
    /// The second place is a spare one.
    spare: bool,
    proof: Proof,
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
    index: u8,
    place: u8,
    /// One of the places led here.
    found: bool,
    stage: Stage,
}

/// The checks of one SSH connection.
#[derive(Clone, Debug)]
pub struct Verify {
    enabled: bool,
    off: bool,
    /// A check came through: the server permits them.
    permitted: bool,
    slots: [Slot; MAX_FORWARDS],
    check: Option<Check>,
    close: bool,
    ask: bool,
    verdict: Option<(u8, Verdict)>,
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
            slots: [Slot::default(); MAX_FORWARDS],
            check: None,
            close: false,
            ask: false,
            verdict: None,
            open: None,
            rng: seed,
        }
    }

    /// `VerifyForward`. Turned on, every confirmed forward is checked at once; turned off, a
    /// check under way is given up.
    pub fn set_enabled(&mut self, enabled: bool, now: Instant) {
        if self.enabled == enabled {
            return;
        }
        self.enabled = enabled;
        if enabled {
            for slot in &mut self.slots {
                slot.due = slot.due.map(|_| now);
            }
            self.handle_timeout(now);
        } else {
            let index = self.check.map(|check| usize::from(check.index));
            self.give_up();
            if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
                slot.due = Some(now);
            }
        }
    }

    /// The server listens for a forward that is to be found at so many places (at least 1), or
    /// at the last of them if it is not at the first.
    pub fn handle_confirmed(&mut self, index: u8, places: u8, spare: bool, now: Instant) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            *slot = Slot {
                due: Some(now),
                places: places.max(1),
                spare,
                proof: Proof::Unknown,
            };
            self.handle_timeout(now);
        }
    }

    /// The forward is being taken back: there is nothing to check until it is confirmed again.
    pub fn handle_cancelled(&mut self, index: u8, now: Instant) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.due = None;
            if let Proof::Here { .. } | Proof::Loopback { .. } = slot.proof {
                slot.proof = Proof::Unknown;
            }
        }
        if self.check.is_some_and(|check| check.index == index) {
            self.give_up();
            self.handle_timeout(now);
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
                    let index = check.index;
                    self.close = true;
                    self.turn_off(index, Refused::Hollow);
                }
                _ => {}
            }
        }
    }

    /// The server did not make the connection, for this reason.
    pub fn handle_refused(&mut self, reason: u32, now: Instant) {
        let Some(check) = self.check else {
            return;
        };
        match reason {
            _ if matches!(check.stage, Stage::Control(_)) => {
                self.conclude_elsewhere(check, now);
            }
            CONNECT_FAILED => self.next_place(check, now),
            RESOURCE_SHORTAGE => self.handle_crowded(now),
            _ => self.turn_off(check.index, Refused::Reason(reason)),
        }
    }

    /// The connection arrived where it should.
    pub fn handle_found(&mut self, now: Instant) {
        if let Some(mut check) = self.check {
            self.permitted = true;
            check.found = true;
            self.close = true;
            self.next_place(check, now);
        }
    }

    /// Somebody else answered on the check's connection, or it arrived on another forward.
    pub fn handle_stranger(&mut self, now: Instant) {
        if let Some(check) = self.check {
            self.conclude_elsewhere(check, now);
            self.close = true;
        }
    }

    /// The server answered an [`Action::Ask`].
    pub fn handle_alive(&mut self, now: Instant) {
        match self.check {
            Some(Check {
                stage: Stage::Doubt { opened: true },
                index,
                place,
                found,
            }) if !self.permitted => {
                self.close = true;
                self.check = Some(Check {
                    index,
                    place,
                    found,
                    stage: Stage::Control(now + DEADLINE),
                });
                self.open = Some(Action::OpenNothing { index, place });
            }
            Some(Check {
                stage: Stage::Doubt { opened: true },
                ..
            }) => self.handle_stranger(now),
            Some(Check {
                stage: Stage::Doubt { opened: false },
                index,
                ..
            }) => {
                self.close = true;
                self.turn_off(index, Refused::Unanswered);
            }
            _ => {}
        }
    }

    /// There is no room for the check's connections: nothing follows from it, and it is tried
    /// again later.
    pub fn handle_crowded(&mut self, now: Instant) {
        let index = self.check.map(|check| usize::from(check.index));
        self.give_up();
        let later = now + POSTPONED;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if index == Some(at) {
                slot.due = Some(later);
            }
            slot.due = slot.due.map(|due| due.max(later));
        }
    }

    /// Does what is due at `now`. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
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
        // The last verdict may change what there is to check.
        if !self.enabled || self.off || self.verdict.is_some() {
            return;
        }
        let due = |slot: &Slot| slot.due.is_some_and(|due| due <= now);
        if let Some(index) = self.slots.iter().position(due) {
            self.slots[index].due = None;
            self.begin(index as u8, 0, false, now);
        }
    }

    /// When to call [`Verify::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.check {
            Some(check) => match check.stage {
                Stage::Opening(until) | Stage::Arriving(until) | Stage::Control(until) => {
                    Some(until)
                }
                // The watchdog decides whether the link is alive.
                Stage::Doubt { .. } => None,
            },
            None if !self.enabled || self.off => None,
            None => self.slots.iter().filter_map(|slot| slot.due).min(),
        }
    }

    /// The next thing to do. Call until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        use core::mem::take;
        if take(&mut self.close) {
            return Some(Action::Close);
        }
        if let Some((index, verdict)) = self.verdict.take() {
            return Some(Action::Verdict { index, verdict });
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
    pub fn proof(&self, index: usize) -> Proof {
        match self.slots.get(index) {
            Some(slot) if self.enabled && slot.places > 0 => match (slot.proof, self.off) {
                (Proof::Unknown, true) => Proof::NotPermitted,
                (proof, _) => proof,
            },
            _ => Proof::Unknown,
        }
    }

    fn begin(&mut self, index: u8, place: u8, found: bool, now: Instant) {
        self.check = Some(Check {
            index,
            place,
            found,
            stage: Stage::Opening(now + DEADLINE),
        });
        self.open = Some(Action::Open { index, place });
    }

    /// This place is done with, and nothing speaks against the forward so far.
    fn next_place(&mut self, check: Check, now: Instant) {
        let Check {
            index,
            place,
            found,
            ..
        } = check;
        let Slot { places, spare, .. } = self.slots[usize::from(index)];
        if place + 1 < places && !(spare && found) {
            self.begin(index, place + 1, found, now);
        } else if found && spare && place > 0 {
            self.conclude(index, Verdict::Loopback, now);
        } else if found {
            self.conclude(index, Verdict::Here, now);
        } else if self.permitted {
            self.conclude(index, Verdict::Gone, now);
        } else {
            self.turn_off(index, Refused::Reason(CONNECT_FAILED));
        }
    }

    /// Who answers at a spare place may be anybody: nothing is at the forward's own.
    fn conclude_elsewhere(&mut self, check: Check, now: Instant) {
        let Check { index, place, .. } = check;
        let verdict = match self.slots[usize::from(index)].spare && place > 0 {
            true => Verdict::Gone,
            false => Verdict::Elsewhere { place },
        };
        self.conclude(index, verdict, now);
    }

    fn conclude(&mut self, index: u8, verdict: Verdict, now: Instant) {
        let next = now + self.interval();
        let slot = &mut self.slots[usize::from(index)];
        slot.due = Some(next);
        slot.proof = match verdict {
            Verdict::Here => Proof::Here { at: now },
            Verdict::Loopback => Proof::Loopback { at: now },
            _ => Proof::Elsewhere { at: now },
        };
        self.check = None;
        self.ask = false;
        self.verdict = Some((index, verdict));
    }

    fn turn_off(&mut self, index: u8, why: Refused) {
        self.off = true;
        self.check = None;
        self.ask = false;
        self.verdict = Some((index, Verdict::Off(why)));
    }

    fn give_up(&mut self) {
        if let Some(check) = self.check.take() {
            // What was not opened yet needs no closing.
            self.close |= self.open.take().is_none();
            self.ask = false;
            self.slots[usize::from(check.index)].due = None;
        }
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

#[cfg(test)]
mod tests;
