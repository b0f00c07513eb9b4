//! A tunnel's status as lines of text.

use core::fmt;

use heapless::{String, Vec};

use crate::cause::Cause;
use crate::destination::UserName;
use crate::forward::{ForwardSpec, MAX_FORWARDS};
use crate::forwards::ForwardState;
use crate::history::{self, EVENTS, Event, Kind};
use crate::time::Instant;
use crate::verify::Proof;

/// Longest reason of a failure, bytes.
pub const FAILURE: usize = 400;

/// How far the connection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Link {
    /// An attempt is under way; which part of it, in words.
    Connecting(String<40>),
    /// Logged in at this address.
    Up(String<64>),
    /// Nothing until the next attempt, at that time.
    Waiting(Instant),
    /// Ending.
    Ending,
}

/// One forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardStatus {
    /// Listener and target.
    pub spec: ForwardSpec,
    /// What the server said to it.
    pub state: ForwardState,
    /// What `VerifyForward` found.
    pub proof: Proof,
}

/// Everything that status shows. Times are on the owner's monotonic clock, which every process
/// of a machine shares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The owner's process number.
    pub pid: u32,
    /// The program's version.
    pub program: String<24>,
    /// Login name.
    pub user: UserName,
    /// Server as it was named.
    pub host: String<255>,
    /// Server port.
    pub port: u16,
    /// In words, the fallback that stands in for it; empty if none does.
    pub fallback: String<300>,
    /// When this was written.
    pub now: Instant,
    /// The same on the wall clock, seconds since 1970.
    pub wall_s: u64,
    /// When the owner began.
    pub started: Instant,
    /// How far the connection is.
    pub link: Link,
    /// When it came to that.
    pub since: Instant,
    /// Last round trip of a request to the server, milliseconds.
    pub round_trip_ms: Option<u32>,
    /// `ServerAliveInterval`, milliseconds, and `ServerAliveCountMax`, as they hold.
    pub keepalive: Option<(u64, u32)>,
    /// Connections through the tunnel that are being served.
    pub serving: u32,
    /// Connections through the tunnel so far.
    pub served: u64,
    /// Connections of the server that were refused so far: for no forward, for want of room, or
    /// by the target.
    pub refused: u64,
    /// Connections that were closed so far because nothing went through them, for a newcomer or
    /// after `ChannelIdleTimeout`.
    pub closed_idle: u64,
    /// Bytes from the server to the targets.
    pub bytes_in: u64,
    /// Bytes from the targets to the server.
    pub bytes_out: u64,
    /// How often it logged in.
    pub logins: u32,
    /// How often an established connection was lost.
    pub lost: u32,
    /// In words, why the last attempt or connection ended.
    pub failure: String<FAILURE>,
    /// What that comes from, where a person can do something about it.
    pub cause: Option<Cause>,
    /// When `MaxLifetime` ends it.
    pub ends: Option<Instant>,
    /// When `IdleTimeout` ends it, if nothing happens.
    pub idle_ends: Option<Instant>,
    /// The forwards.
    pub forwards: Vec<ForwardStatus, MAX_FORWARDS>,
    /// The last events, oldest first.
    pub events: Vec<Event, EVENTS>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            pid: 0,
            program: String::new(),
            user: String::new(),
            host: String::new(),
            port: 0,
            fallback: String::new(),
            now: Instant(0),
            wall_s: 0,
            started: Instant(0),
            link: Link::Ending,
            since: Instant(0),
            round_trip_ms: None,
            keepalive: None,
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
            ends: None,
            idle_ends: None,
            forwards: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// A line that is not of a snapshot, or one too many.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SnapshotError;

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a status line")
    }
}

impl core::error::Error for SnapshotError {}

impl fmt::Display for Snapshot {
    /// The lines, each with its newline, `end` the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "owner {} {}", self.pid, self.program)?;
        writeln!(f, "destination {} {} {}", self.user, self.host, self.port)?;
        if !self.fallback.is_empty() {
            writeln!(f, "fallback {}", self.fallback)?;
        }
        let (now, started, since) = (self.now.0, self.started.0, self.since.0);
        writeln!(f, "clock {now} {}", self.wall_s)?;
        writeln!(f, "started {started}")?;
        match &self.link {
            Link::Connecting(stage) => writeln!(f, "connecting {since} {stage}")?,
            Link::Up(address) => writeln!(f, "up {since} {address}")?,
            Link::Waiting(until) => writeln!(f, "waiting {since} {}", until.0)?,
            Link::Ending => writeln!(f, "ending {since}")?,
        }
        if let Some(ms) = self.round_trip_ms {
            writeln!(f, "round-trip {ms}")?;
        }
        if let Some((ms, count)) = self.keepalive {
            writeln!(f, "keepalive {ms} {count}")?;
        }
        writeln!(f, "connections {} {}", self.serving, self.served)?;
        writeln!(f, "connections-refused {}", self.refused)?;
        writeln!(f, "connections-closed-idle {}", self.closed_idle)?;
        writeln!(f, "bytes {} {}", self.bytes_in, self.bytes_out)?;
        writeln!(f, "logins {} {}", self.logins, self.lost)?;
        if !self.failure.is_empty() {
            writeln!(f, "failure {}", self.failure)?;
        }
        if let Some(cause) = self.cause {
            writeln!(f, "cause {}", cause.name())?;
        }
        if let Some(at) = self.ends {
            writeln!(f, "ends {}", at.0)?;
        }
        if let Some(at) = self.idle_ends {
            writeln!(f, "idle-ends {}", at.0)?;
        }
        for ForwardStatus { spec, state, proof } in &self.forwards {
            let (word, number) = match state {
                ForwardState::Idle => ("idle", 0),
                ForwardState::Requested { until } => ("requested", until.0),
                ForwardState::Confirmed { port } => ("confirmed", u64::from(*port)),
                ForwardState::Refused { retry_at } => ("refused", retry_at.0),
                ForwardState::Cancelling { .. } => ("idle", 0),
            };
            writeln!(f, "forward {word} {number} {spec}")?;
            if let Some((word, at)) = proof.found() {
                writeln!(f, "verified {word} {}", at.map_or(0, |at| at.0))?;
            }
        }
        for event in &self.events {
            let (kind, text) = (event.kind.name(), &event.text);
            let Event { wall_s, times, .. } = event;
            writeln!(f, "event {} {wall_s} {times} {kind} {text}", event.at.0)?;
        }
        writeln!(f, "end")
    }
}

impl Snapshot {
    /// Takes in one line, without its newline. True when it was the last.
    ///
    /// # Errors
    /// A known line with a value that it cannot have, or more forwards or events than there can
    /// be.
    pub fn handle_line(&mut self, line: &str) -> Result<bool, SnapshotError> {
        if line == "end" {
            return Ok(true);
        }
        self.take(line).ok_or(SnapshotError).map(|()| false)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (name, rest) = super::split(line);
        let mut words = Fields(rest);
        match name {
            "owner" => {
                self.pid = words.number()?;
                self.program = history::line(words.0);
            }
            "destination" => {
                self.user = history::line(words.next());
                self.host = history::line(words.next());
                self.port = words.number()?;
            }
            "fallback" => self.fallback = history::line(rest),
            "clock" => {
                self.now = words.instant()?;
                self.wall_s = words.number()?;
            }
            "started" => self.started = words.instant()?,
            "connecting" | "up" | "waiting" | "ending" => {
                self.since = words.instant()?;
                self.link = match name {
                    "connecting" => Link::Connecting(history::line(words.0)),
                    "up" => Link::Up(history::line(words.0)),
                    "waiting" => Link::Waiting(words.instant()?),
                    _ => Link::Ending,
                };
            }
            "round-trip" => self.round_trip_ms = Some(words.number()?),
            "keepalive" => self.keepalive = Some((words.number()?, words.number()?)),
            "connections" => {
                self.serving = words.number()?;
                self.served = words.number()?;
            }
            "connections-refused" => self.refused = words.number()?,
            "connections-closed-idle" => self.closed_idle = words.number()?,
            "bytes" => {
                self.bytes_in = words.number()?;
                self.bytes_out = words.number()?;
            }
            "logins" => {
                self.logins = words.number()?;
                self.lost = words.number()?;
            }
            "failure" => self.failure = history::line(rest),
            // One of a later version has no advice here.
            "cause" => self.cause = Cause::parse(rest),
            "ends" => self.ends = Some(words.instant()?),
            "idle-ends" => self.idle_ends = Some(words.instant()?),
            "forward" => self.forwards.push(forward(words)?).ok()?,
            "verified" => self.forwards.last_mut()?.proof = proof(words)?,
            "event" => self.events.push(event(words)?).ok()?,
            // Of a later version.
            _ => {}
        }
        Some(())
    }
}

fn forward(mut words: Fields<'_>) -> Option<ForwardStatus> {
    let word = words.next();
    let number: u64 = words.number()?;
    let at = Instant(number);
    let state = match word {
        "idle" => ForwardState::Idle,
        "requested" => ForwardState::Requested { until: at },
        "confirmed" => ForwardState::Confirmed {
            port: u16::try_from(number).ok()?,
        },
        "refused" => ForwardState::Refused { retry_at: at },
        _ => return None,
    };
    let spec = ForwardSpec::parse(words.0).ok()?;
    let proof = Proof::Unknown;
    Some(ForwardStatus { spec, state, proof })
}

/// Of the forward before it.
fn proof(mut words: Fields<'_>) -> Option<Proof> {
    let word = words.next();
    let at = words.instant()?;
    Some(match word {
        "here" => Proof::Here { at },
        "loopback" => Proof::Loopback { at },
        "elsewhere" => Proof::Elsewhere { at },
        "not-permitted" => Proof::NotPermitted,
        // Of a later version.
        _ => Proof::Unknown,
    })
}

fn event(mut words: Fields<'_>) -> Option<Event> {
    Some(Event {
        at: words.instant()?,
        wall_s: words.number()?,
        times: words.number()?,
        kind: Kind::parse(words.next())?,
        text: history::line(words.0),
    })
}

/// Words between single spaces; what is left is the rest of the line.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self) -> &'a str {
        let (word, rest) = super::split(self.0);
        self.0 = rest;
        word
    }

    fn number<T: core::str::FromStr>(&mut self) -> Option<T> {
        self.next().parse().ok()
    }

    fn instant(&mut self) -> Option<Instant> {
        self.number().map(Instant)
    }
}
