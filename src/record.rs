//! What a tunnel has done so far, for status: counters, the last round trip, the last events.

use std::fmt::Display;
use std::net::IpAddr;

use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forwards::ForwardState;
use reachback_core::history::{History, Kind, line};
use reachback_core::lifetime::Lifetime;
use reachback_core::time::Instant;
use reachback_core::verify::Proof;
use reachback_core::watchdog::{State, Watchdog};

use crate::plan::{Server, Settings};
use crate::sys::clock;

/// Everything of a tunnel that outlives its connections and is only told, never decided upon.
pub struct Record {
    history: History,
    started: Instant,
    /// Since when it has not been logged in.
    down_since: Instant,
    logged_in: bool,
    address: Option<IpAddr>,
    asked: Option<Instant>,
    round_trip_ms: Option<u32>,
    serving: usize,
    served: u64,
    bytes_in: u64,
    bytes_out: u64,
    logins: u32,
    lost: u32,
    failure: String,
}

impl Record {
    /// A record that begins now.
    pub fn new(now: Instant) -> Record {
        let mut record = Record {
            history: History::new(),
            started: now,
            down_since: now,
            logged_in: false,
            address: None,
            asked: None,
            round_trip_ms: None,
            serving: 0,
            served: 0,
            bytes_in: 0,
            bytes_out: 0,
            logins: 0,
            lost: 0,
            failure: String::new(),
        };
        record.note(Kind::Started, "", now);
        record
    }

    /// Something happened.
    pub fn note(&mut self, kind: Kind, text: impl Display, now: Instant) {
        self.history.note(now, clock::wall_s(), kind, text);
    }

    /// There is a TCP connection to this address.
    pub fn connected(&mut self, address: IpAddr, now: Instant) {
        self.address = Some(address);
        self.note(Kind::Connected, address, now);
    }

    /// The server let us in.
    pub fn logged_in(&mut self) {
        self.logged_in = true;
        self.logins = self.logins.saturating_add(1);
    }

    /// An attempt or a connection is over; `lost` if nobody wanted that. True if the server had
    /// let us in.
    pub fn ended(&mut self, reason: &str, lost: bool, now: Instant) -> bool {
        self.failure = reason.to_owned();
        (self.asked, self.serving) = (None, 0);
        let logged_in = std::mem::take(&mut self.logged_in);
        if logged_in {
            self.down_since = now;
            self.lost = self.lost.saturating_add(u32::from(lost));
        }
        let kind = match (logged_in, lost) {
            (false, _) => Kind::Failed,
            (true, true) => Kind::Lost,
            (true, false) => Kind::Left,
        };
        self.note(kind, reason, now);
        logged_in
    }

    /// A request that the server answers goes out. Answers come in the order of the requests
    /// (RFC 4254, 4), so the first answer belongs to the oldest request.
    pub fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
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

    /// At the end of a turn: connections that are being served, and bytes that targets sent in it.
    pub fn turned(&mut self, serving: usize, sent: u64) {
        self.serving = serving;
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

    /// Everything, for the control socket.
    pub fn snapshot(
        &self,
        first: &Server,
        settings: &Settings,
        watchdog: &Watchdog,
        lifetime: &Lifetime,
        proof: impl Fn(usize) -> Proof,
        now: Instant,
    ) -> Box<Snapshot> {
        let (link, since) = match watchdog.state() {
            State::Connecting(stage) => (Link::Connecting(line(stage)), self.down_since),
            State::Up { since, .. } => {
                let address = self.address.map(|address| address.to_string());
                (Link::Up(line(address.unwrap_or_default())), since)
            }
            State::Waiting { until, .. } => (Link::Waiting(until), self.down_since),
            State::Stopping | State::Stopped => (Link::Ending, now),
        };
        let Settings {
            user, host, port, ..
        } = settings;
        let fallback = match (user, host, *port) == (&first.user, &first.host, first.port) {
            true => line(""),
            false => line(format_args!("{user}@{host} port {port}")),
        };
        let mut snapshot = Box::new(Snapshot {
            pid: std::process::id(),
            program: line(crate::cli::version()),
            user: line(&first.user),
            host: line(&first.host),
            port: first.port,
            fallback,
            now,
            wall_s: clock::wall_s(),
            started: self.started,
            link,
            since,
            round_trip_ms: self.round_trip_ms,
            serving: self.serving as u32,
            served: self.served,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            logins: self.logins,
            lost: self.lost,
            failure: line(&self.failure),
            ends: lifetime.ends(),
            idle_ends: lifetime.idle_ends(),
            ..Snapshot::default()
        });
        for (index, spec) in settings.forwards.iter().enumerate() {
            if watchdog.is_wanted(index) {
                let state = watchdog.forwards().get(index).copied();
                // No more of them than the snapshot has room for.
                let _ = snapshot.forwards.push(ForwardStatus {
                    spec: spec.clone(),
                    state: state.unwrap_or(ForwardState::Idle),
                    proof: proof(index),
                });
            }
        }
        snapshot.events.extend(self.history.events().cloned());
        snapshot
    }
}
