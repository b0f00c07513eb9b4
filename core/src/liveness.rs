//! Whether the peer is alive.
//!
//! Two things are signs of life: any byte from the peer, and any byte of ours that its TCP
//! acknowledged. `interval` after the last byte from it the peer is probed.
//!
//! *Silence.* While there is no sign of life at all, it is probed again every
//! `min(interval, 5 s)`, `count_max` times in all; one such gap after the last probe it counts
//! as dead. At the defaults (60 s, 3) a silent loss is noticed 75 s after the last sign of life,
//! and an idle connection still costs one probe a minute. With a shorter interval, a path whose round
//! trip is long gets up to that time as well, by its retransmission timeout: where packets are lost, a
//! probe may have to be sent several times.
//!
//! *No answer.* A probe may wait for minutes behind our own data, in the kernel and in a
//! modem. Its clock starts when the peer's TCP has acknowledged it: then the answer is due
//! within `count_max` gaps. On a path that loses packets the answer may have to be sent again,
//! so 15 retransmission timeouts are granted (RFC 6298 section 5.5: four transmissions), at most
//! [`ANSWER_MAX`].
//!
//! Everything is measured against the clock. A caller that comes late sends the probe late: a
//! peer is never declared dead without having been asked `count_max` times. A caller that cannot
//! say what was acknowledged gets the first rule alone, with bytes from the peer as the sign.

use core::time::Duration;

use crate::time::Instant;

/// Longest gap between probes that get no answer.
pub const PROBE_GAP: Duration = Duration::from_secs(5);
/// Most of the silence that is granted to a path with a long round trip.
pub const SILENCE_MAX: Duration = Duration::from_secs(75);
/// Retransmission timeouts that a probe, or its answer, is given (RFC 6298 section 5.5: four
/// transmissions).
const REPEATED: u32 = 15;
/// Longest time that a delivered probe may go unanswered, unless `count_max` gaps are longer.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// Ask the peer for a sign of life.
    Probe,
    /// The peer is to be taken for dead.
    Dead,
}

/// How far our bytes have come on one connection. Numbers of bytes count from its beginning.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that were put out, those included that still wait here.
    pub queued: u64,
    /// Bytes that the peer's TCP has acknowledged.
    pub acknowledged: u64,
    /// Bytes that it has beyond them, out of order (RFC 2018): one packet that was lost holds
    /// `acknowledged` up until it has been sent again through all that is queued on the way.
    pub sacked: u64,
    /// When its last acknowledgement came; a time to come counts as now.
    pub at: Instant,
    /// The retransmission timeout (RFC 6298), without its backoff.
    pub retransmission: Duration,
}

/// What an acknowledgement has to go beyond to be news.
#[derive(Copy, Clone, Debug)]
enum Known {
    /// Acknowledged, in order or not, when it was last looked at.
    Taken(u64),
    /// Written when the last byte came from the peer. Some of it may have been acknowledged since.
    Written(u64),
}

/// A probe without an answer.
#[derive(Copy, Clone, Debug)]
struct Probe {
    /// The bytes that were queued before it; none where that is not known.
    behind: Option<u64>,
    /// When the peer's TCP had it, and how long the answer may take from then.
    delivered: Option<(Instant, Duration)>,
}

/// Watches one connection.
#[derive(Clone, Debug)]
pub struct Liveness {
    interval: Duration,
    count_max: u32,
    /// The first probe since the last byte from the peer.
    probe: Option<Probe>,
    /// Probes since the last sign of life.
    asked: u32,
    due: Option<Instant>,
    /// From when on the absence of a sign of life is silence.
    silent_from: Instant,
    /// The sign of life that the silence follows; none if it follows a doubt.
    heard_at: Option<Instant>,
    /// The path's retransmission timeout, as far as it is known.
    retransmission: Duration,
    /// Acknowledgements up to then say nothing.
    since: Instant,
    /// The last sign of life.
    alive_at: Instant,
    known: Known,
    queued: Option<u64>,
}

impl Liveness {
    /// A watch that has not begun. `interval` zero turns it off; with a
    /// `count_max` of zero the peer counts as dead after it, unasked.
    pub fn new(interval: Duration, count_max: u32) -> Self {
        Self {
            interval,
            count_max,
            probe: None,
            asked: 0,
            due: None,
            silent_from: Instant(0),
            heard_at: None,
            retransmission: Duration::ZERO,
            since: Instant(0),
            alive_at: Instant(0),
            known: Known::Taken(0),
            queued: None,
        }
    }

    /// Begins, as if a byte had just come.
    pub fn start(&mut self, now: Instant) {
        self.probe = None;
        self.asked = 0;
        self.alive_at = now;
        self.since = now;
        self.heard_at = Some(now);
        self.silent_from = now + self.interval;
        self.due = (!self.interval.is_zero()).then_some(self.silent_from);
    }

    /// Bytes came from the peer, when `written` bytes had been written to it. Does nothing before
    /// [`Liveness::start`].
    pub fn handle_inbound(&mut self, now: Instant, written: u64) {
        self.known = Known::Written(written);
        if self.due.is_some() {
            self.start(now);
        }
        self.alive_at = now;
    }

    /// What the kernel says before something is judged.
    pub fn handle_progress(&mut self, now: Instant, progress: Progress) {
        let Progress {
            queued,
            acknowledged,
            sacked,
            at,
            retransmission,
        } = progress;
        let taken = acknowledged.saturating_add(sacked);
        let at = at.min(now);
        self.queued = Some(queued);
        self.retransmission = retransmission;
        let (Known::Taken(known) | Known::Written(known)) = self.known;
        let first = matches!(self.known, Known::Written(_));
        self.known = Known::Taken(taken);
        let news = taken > known;
        if news || first {
            self.alive_at = self.alive_at.max(at);
        }
        // Once it has a probe, its TCP alone is not enough: the answer is waited for.
        let delivered = self.probe.is_some_and(|probe| probe.delivered.is_some());
        if !news || at <= self.since || delivered {
            return;
        }
        self.asked = 0;
        self.heard_at = Some(at);
        self.silent_from = at + self.interval;
        if let Some(probe) = &mut self.probe
            && probe.behind.is_some_and(|behind| acknowledged > behind)
        {
            self.asked = 1;
            let gaps = self.interval.min(PROBE_GAP) * self.count_max;
            let repeated = (retransmission * REPEATED).min(ANSWER_MAX);
            probe.delivered = Some((at, gaps.max(repeated)));
        }
    }

    /// There is reason for doubt (a link came back): the next probe is due now, and what came
    /// before says nothing, unless it is in doubt already.
    pub fn handle_doubt(&mut self, now: Instant) {
        if self.due.is_some() && now < self.silent_from {
            self.since = now;
            self.heard_at = None;
            self.silent_from = now;
            self.asked = 0;
            self.due = Some(now);
        }
    }

    /// What is due at `now`. Counts a probe as sent.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        if self.count_max == 0 {
            let dead = now >= self.silent_from;
            self.due = (!dead).then_some(self.silent_from);
            return dead.then_some(Due::Dead);
        }
        let enough = self.asked >= self.count_max;
        let next = now + self.interval.min(PROBE_GAP);
        if self.probe.is_none() && now < self.silent_from && self.silent_from < next {
            // What was written just after the last byte came was acknowledged just after it.
            self.due = Some(self.silent_from);
            return None;
        }
        if let Some(probe) = self.probe {
            // Until when there is nothing to say, and whether the peer is dead then.
            let (patient, dead) = match probe.delivered {
                Some((at, answer)) if enough => (at + answer, true),
                Some(_) => (now, false),
                None if enough => (self.silent_from.max(self.patience_ends()), true),
                None => (self.silent_from, false),
            };
            if now < patient {
                self.due = Some(patient.min(next));
                return None;
            }
            if dead {
                self.due = None;
                return Some(Due::Dead);
            }
        }
        self.probe.get_or_insert(Probe {
            behind: self.queued,
            delivered: None,
        });
        // Asked while there are signs of life, it is not asked for the want of them.
        self.asked += u32::from(now >= self.silent_from || self.asked > 0);
        self.due = Some(next);
        Some(Due::Probe)
    }

    /// Until when silence may be loss, on a path with a long round trip.
    fn patience_ends(&self) -> Instant {
        let granted = self.interval + self.retransmission * REPEATED;
        let ends = |at| at + granted.min(SILENCE_MAX);
        self.heard_at.map_or(self.silent_from, ends)
    }

    /// When [`Liveness::poll`] has something next, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The last sign of life, as far as it is known.
    pub fn alive_at(&self) -> Instant {
        self.alive_at
    }
}

#[cfg(test)]
mod tests;
