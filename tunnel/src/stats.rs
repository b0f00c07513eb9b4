//! What a tunnel has done so far, for status: counters, the last round trip, the last events.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use reachback_core::cause::Cause;
use reachback_core::history::{History, Kind};
use reachback_core::time::Instant;

/// Everything of a tunnel that outlives its connections and is only told, never decided upon.
pub struct Stats {
    pub(crate) history: History,
    pub(crate) started: Instant,
    /// Since when it has not been logged in.
    pub(crate) down_since: Instant,
    logged_in: Option<Instant>,
    pub(crate) address: Option<IpAddr>,
    asked: Option<Instant>,
    pub(crate) round_trip_ms: Option<u32>,
    pub(crate) serving: usize,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) closed_idle: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) logins: u32,
    pub(crate) lost: u32,
    pub(crate) failure: String,
    /// What that comes from.
    pub(crate) cause: Option<Cause>,
}

impl Stats {
    /// A stats that begins now.
    pub fn new(now: Instant, wall_s: u64) -> Stats {
        let mut stats = Stats {
            history: History::new(),
            started: now,
            down_since: now,
            logged_in: None,
            address: None,
            asked: None,
            round_trip_ms: None,
            serving: 0,
            served: 0,
            refused: 0,
            closed_idle: 0,
            bytes_in: 0,
            bytes_out: 0,
            logins: 0,
            lost: 0,
            failure: String::new(),
            cause: None,
        };
        stats.note(Kind::Started, "", now, wall_s);
        stats
    }

    /// Something happened.
    pub fn note(&mut self, kind: Kind, text: impl Display, now: Instant, wall_s: u64) {
        self.history.note(now, wall_s, kind, text);
    }

    /// There is a TCP connection to this address.
    pub fn connected(&mut self, address: IpAddr) {
        self.address = Some(address);
    }

    /// The server let us in.
    pub fn logged_in(&mut self, now: Instant) {
        self.logged_in = Some(now);
        self.logins = self.logins.saturating_add(1);
    }

    /// An attempt or a connection is over; `lost` if nobody wanted that. Gives how long it was
    /// logged in, if it was.
    pub fn ended(
        &mut self,
        (reason, cause): (&str, Option<Cause>),
        lost: bool,
        now: Instant,
        wall_s: u64,
    ) -> Option<Duration> {
        (self.failure, self.cause) = (reason.to_owned(), cause);
        (self.asked, self.serving) = (None, 0);
        let age = self.logged_in.take().map(|since| now.since(since));
        if age.is_some() {
            self.down_since = now;
            self.lost = self.lost.saturating_add(u32::from(lost));
        }
        let kind = match (age, lost) {
            (None, true) => Kind::Failed,
            (Some(_), true) => Kind::Lost,
            (_, false) => Kind::Left,
        };
        self.note(kind, reason, now, wall_s);
        age
    }

    /// A request that the server answers goes out. Answers come in the order of the requests
    /// (RFC 4254, 4), so the first answer belongs to the oldest request.
    pub fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// The oldest request may stay without an answer.
    pub fn unanswered(&mut self) {
        self.asked = None;
    }

    /// The server answered a request.
    pub fn answered(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            let ms = now.since(asked).as_millis();
            self.round_trip_ms = Some(u32::try_from(ms).unwrap_or(u32::MAX));
        }
    }

    /// A connection came through the tunnel.
    pub fn opened(&mut self) {
        self.served += 1;
    }

    /// Bytes came from the server for a target.
    pub fn received(&mut self, bytes: usize) {
        self.bytes_in += bytes as u64;
    }

    /// At the end of a turn: connections that are being served, those that were refused and those
    /// that were closed as idle in it, and bytes that targets sent in it.
    pub fn turned(&mut self, serving: usize, (refused, closed): (u32, u32), sent: u64) {
        self.serving = serving;
        self.refused += u64::from(refused);
        self.closed_idle += u64::from(closed);
        self.bytes_out += sent;
    }

    /// Connections that are being served.
    pub fn serving(&self) -> usize {
        self.serving
    }

    /// In words, why the last attempt or connection ended; empty if none has.
    pub fn failure(&self) -> &str {
        &self.failure
    }
}
