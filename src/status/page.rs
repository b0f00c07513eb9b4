//! The page for people.

mod access;

use std::fmt::Write;
use std::time::Duration;

use reachback_core::calendar::Utc;
use reachback_core::cause::Cause;
use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forward::{Bind, Listen};
use reachback_core::forwards::ForwardState;
use reachback_core::history::{Event, Kind};
use reachback_core::time::Instant;
use reachback_core::verify::Proof;

use super::target::Answer;
use super::{Tunnel, Unanswered, confirmed};
use crate::instance::client::CallError;

/// Events shown; the JSON document has all.
const EVENTS: usize = 8;
/// For the losses.
const DAY: Duration = Duration::from_secs(86_400);
/// Columns where there is no terminal.
pub const WIDTH: usize = 80;

/// A text, and how wide its lines may be.
struct Page {
    text: String,
    columns: usize,
}

impl Page {
    fn push(&mut self, letter: char) {
        self.text.push(letter);
    }

    fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text.write_str(text)
    }
}

/// One tunnel, its lines broken where they would be longer than so many columns. What is to be copied
/// is not broken.
pub fn page(tunnel: &Tunnel, columns: usize) -> String {
    let mut page = Page {
        text: String::new(),
        columns,
    };
    // Writing to a string does not fail.
    let _ = write(&mut page, tunnel, &tunnel.snapshot);
    page.text
}

/// The rows that a text takes on a terminal of so many columns.
pub fn rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| rows_of(line, columns)).sum()
}

fn rows_of(line: &str, columns: usize) -> usize {
    line.chars().count().div_ceil(columns).max(1)
}

/// As much of a text, from its beginning, as does not move the first line off a terminal of this size.
pub fn fit(text: &str, columns: usize, rows: usize) -> &str {
    let (mut left, mut end) = (rows.saturating_sub(1), 0);
    for line in text.split_inclusive('\n') {
        let Some(rest) = left.checked_sub(rows_of(line.trim_end(), columns)) else {
            break;
        };
        (left, end) = (rest, end + line.len());
    }
    &text[..end]
}

/// One tunnel in one line.
pub fn short(snapshot: &Snapshot, of: Option<&str>) -> String {
    let mut page = Page {
        text: String::new(),
        columns: WIDTH,
    };
    let _ = answer(&mut page, snapshot, of);
    let mut text = page.text;
    let failure = snapshot.failure.as_str();
    if !failure.is_empty() && !matches!(snapshot.link, Link::Up(_)) {
        text.push_str(": ");
        text.push_str(failure);
    }
    text
}

/// A tunnel whose process did not say how it is.
pub fn unanswered(tunnel: &Unanswered) -> String {
    let Unanswered { name, waited, why } = tunnel;
    let state = match why {
        CallError::Restarting(_) => "down".to_owned(),
        _ => format!("no answer for {}", span(*waited)),
    };
    let why = why.to_string().replace("; ", "\n  ");
    format!("{name}: {state}\n  {why}\n")
}

/// The first line: how it is.
fn answer(out: &mut Page, snapshot: &Snapshot, of: Option<&str>) -> std::fmt::Result {
    let Snapshot {
        user, host, port, ..
    } = snapshot;
    let ago = |at: Instant| span(snapshot.now.since(at));
    write!(out, "{user}@{host} port {port}")?;
    if let Some(of) = of {
        write!(out, " of {of}")?;
    }
    out.push_str(": ");
    match &snapshot.link {
        Link::Up(address) => {
            let (confirmed, all) = (confirmed(snapshot), snapshot.forwards.len());
            match confirmed {
                0 if all > 0 => write!(out, "no forward is up, logged in")?,
                _ if confirmed == all => write!(out, "up")?,
                _ => write!(out, "partly up, {confirmed} of {all} forwards")?,
            }
            write!(out, " for {} ({address})", ago(snapshot.since))
        }
        Link::Connecting(stage) => write!(
            out,
            "connecting for {}: waiting for {stage}",
            ago(snapshot.since)
        ),
        Link::Waiting(until) => write!(
            out,
            "down for {}; next attempt in {}",
            ago(snapshot.since),
            span(until.since(snapshot.now))
        ),
        Link::Ending => write!(out, "ending"),
    }
}

fn write(out: &mut Page, tunnel: &Tunnel, snapshot: &Snapshot) -> std::fmt::Result {
    let ago = |at: Instant| span(snapshot.now.since(at));
    let in_time = |at: Instant| span(at.since(snapshot.now));
    answer(out, snapshot, tunnel.of.as_deref())?;
    out.push('\n');
    if !snapshot.fallback.is_empty() {
        writeln!(out, "  at the fallback {}", snapshot.fallback)?;
    }
    let up = matches!(snapshot.link, Link::Up(_));
    let failure = snapshot.failure.as_str();
    if !failure.is_empty() && !up {
        writeln!(out, "  because: {failure}")?;
        if let Some(cause) = snapshot.cause {
            writeln!(out, "  what to do: {}", cause.advice())?;
        }
    }
    let mut told = None;
    for (forward, answer) in snapshot.forwards.iter().zip(&tunnel.targets) {
        forward_lines(out, forward, answer, snapshot.now);
        let cause = cause(forward, answer);
        if let Some(cause) = cause.filter(|_| cause != told) {
            writeln!(out, "    what to do: {}", cause.advice())?;
        }
        told = cause.or(told);
    }
    if let Some(ms) = snapshot.round_trip_ms {
        writeln!(out, "  last round trip: {ms} ms")?;
    }
    match snapshot.keepalive {
        Some((0, _)) => writeln!(out, "  keepalive: off (ServerAliveInterval 0)")?,
        Some((ms, count)) => {
            write!(out, "  keepalive: after {} s of silence", ms / 1000)?;
            add(out, "; ", &format!("lost after {count} without answer"));
            out.push('\n');
        }
        None => {}
    }
    let refused = match snapshot.refused {
        0 => String::new(),
        refused => format!(", {refused} refused"),
    };
    let closed = match snapshot.closed_idle {
        0 => String::new(),
        closed => format!(", {closed} closed as idle"),
    };
    writeln!(
        out,
        "  connections: {} now, {} so far{refused}{closed}; {} in, {} out",
        snapshot.serving,
        snapshot.served,
        amount(snapshot.bytes_in),
        amount(snapshot.bytes_out)
    )?;
    let (logins, lost) = (times(snapshot.logins), times(snapshot.lost));
    match (snapshot.logins, snapshot.lost) {
        (0, _) => out.push_str("  never logged in"),
        (_, 0) => write!(out, "  logged in {logins}, never lost")?,
        _ => write!(out, "  logged in {logins}, lost {lost}")?,
    }
    writeln!(out)?;
    losses(out, snapshot);
    if let Some(cause) = snapshot
        .cause
        .filter(|cause| up && *cause == Cause::TimeLimit)
    {
        writeln!(out, "  what to do: {}", cause.advice())?;
    }
    if let Some(at) = snapshot.ends {
        writeln!(out, "  ends in {} (MaxLifetime)", in_time(at))?;
    }
    if let Some(at) = snapshot.idle_ends {
        writeln!(
            out,
            "  ends in {} if nobody connects (IdleTimeout)",
            in_time(at)
        )?;
    }
    writeln!(
        out,
        "  process {}, running for {}, version {}",
        snapshot.pid,
        ago(snapshot.started),
        snapshot.program
    )?;
    writeln!(out, "  last events:")?;
    let skipped = snapshot.events.len().saturating_sub(EVENTS);
    for event in snapshot.events.iter().skip(skipped) {
        event_lines(out, event, snapshot.now);
    }
    access::lines(out, snapshot)
}

/// The losses of the last day with their reasons, the newest first; of a shorter time where the
/// events do not reach so far back.
fn losses(out: &mut Page, snapshot: &Snapshot) {
    let age = |event: &Event| snapshot.now.since(event.at);
    let oldest = snapshot.events.first().map(age);
    let reach = oldest.filter(|age| *age < DAY && snapshot.events.is_full());
    let recent = snapshot.events.iter().rev();
    let recent = recent.filter(|event| event.kind == Kind::Lost && age(event) < DAY);
    let mut reasons: Vec<(&str, u32)> = Vec::new();
    for event in recent {
        let text = event.text.as_str();
        match reasons.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count = count.saturating_add(event.times),
            None => reasons.push((text, event.times)),
        }
    }
    if reasons.is_empty() {
        return;
    }
    let reach = reach.map_or("day".to_owned(), span);
    let _ = write!(out, "  lost in the last {reach}");
    for (index, (reason, count)) in reasons.iter().enumerate() {
        let separator = if index == 0 { ": " } else { "; " };
        add(out, separator, &format!("{reason}, {}", times(*count)));
    }
    out.push('\n');
}

/// Why a forward does not serve, if it does not.
pub fn cause(forward: &ForwardStatus, answer: &Answer) -> Option<Cause> {
    match (forward.state, forward.proof, answer) {
        (
            ForwardState::Refused { .. } | ForwardState::Confirmed { .. },
            Proof::Elsewhere { .. },
            _,
        ) => Some(Cause::Elsewhere),
        (ForwardState::Refused { .. }, ..) => Some(Cause::of_refusal(&forward.spec.listen)),
        (ForwardState::Confirmed { .. }, Proof::Loopback { .. }, _) => Some(Cause::LoopbackOnly),
        (_, _, Answer::Silent(_)) => Some(Cause::TargetDown),
        _ => None,
    }
}

/// Adds words to the last line, or below it when there is no room for them.
fn add(out: &mut Page, separator: &str, words: &str) {
    add_or_below(out, separator, words, "\n    ");
}

fn add_or_below(out: &mut Page, separator: &str, words: &str, below: &str) {
    let line = out.text.len() - out.text.rfind('\n').map_or(0, |at| at + 1);
    let fits = line + separator.len() + words.len() <= out.columns;
    out.push_str(if fits { separator } else { below });
    out.push_str(words);
}

fn forward_lines(out: &mut Page, forward: &ForwardStatus, answer: &Answer, now: Instant) {
    let spec = &forward.spec;
    let (kind, place) = match &spec.listen {
        Listen::Unix(path) => ("socket", format!("socket {path}")),
        Listen::Tcp { bind, port } => {
            let port = match (forward.state, *port) {
                (ForwardState::Confirmed { port }, _) => port.to_string(),
                (_, 0) => "of its choice".to_owned(),
                (_, port) => port.to_string(),
            };
            let on = match bind {
                Bind::Default => String::new(),
                Bind::Any => " on all addresses".to_owned(),
                Bind::Address(address) => format!(" on {address}"),
            };
            ("port", format!("port {port}{on}"))
        }
    };
    let _ = write!(out, "  server {place} to {}", spec.target);
    let next_try = |at: Instant| format!("waiting for {kind}, next try in {}", span(at.since(now)));
    let elsewhere = |port: u16| {
        format!(
            "the server's port {port} leads elsewhere: a stale session holds it, or another program"
        )
    };
    match (forward.state, forward.proof) {
        (ForwardState::Confirmed { port }, proof) => {
            add(out, ": ", "listening");
            match proof {
                Proof::Unknown => {}
                Proof::Here { at } => {
                    add(out, ", ", &format!("verified {} ago", span(now.since(at))));
                }
                Proof::Loopback { .. } => {
                    add(
                        out,
                        ", but ",
                        "on the server's loopback address only: GatewayPorts",
                    );
                }
                Proof::Elsewhere { .. } => add(out, ", but ", &elsewhere(port)),
                Proof::NotPermitted => {
                    add(out, ", ", "not verified: the server does not permit it");
                }
            }
        }
        (ForwardState::Refused { retry_at }, Proof::Elsewhere { .. }) => {
            add(out, ": ", "taken back");
            add(out, ", ", &next_try(retry_at));
            add(out, "; ", &elsewhere(spec.listen.port()));
        }
        (ForwardState::Refused { retry_at }, _) => {
            add(out, ": ", "refused by the server");
            let next_try = next_try(retry_at);
            add(out, ", ", &format!("taken or not permitted; {next_try}"));
        }
        (ForwardState::Requested { .. }, _) => add(out, ": ", "asked for"),
        (ForwardState::Idle | ForwardState::Cancelling { .. }, _) => {
            add(out, ": ", "not listening");
        }
    }
    match answer {
        Answer::Answers => add(out, "; ", "the target answers"),
        Answer::Silent(why) => add(out, "; ", &format!("the target does not answer: {why}")),
        Answer::NotAsked => add(out, "; ", "the target was not asked"),
    }
    out.push('\n');
}

fn event_lines(out: &mut Page, event: &Event, now: Instant) {
    let when = Utc::from_unix_s(event.wall_s).to_string();
    let ago = span(now.since(event.at));
    let name = match event.kind {
        Kind::Started => "started",
        Kind::Connected => "connected",
        Kind::Up => "tunnel up",
        Kind::ForwardConfirmed => "forward confirmed",
        Kind::ForwardRefused => "forward refused",
        Kind::ForwardAdded => "forward added",
        Kind::ForwardRemoved => "forward taken away",
        Kind::Failed => "no connection",
        Kind::Lost => "connection lost",
        Kind::Left => "connection ended",
        Kind::Reconnect => "reconnection asked for",
        Kind::Ending => "ending",
    };
    // The time of the day: the day is in what follows.
    let time = when.get(11..).unwrap_or(&when);
    let _ = write!(out, "    {time} ({ago} ago) {name}");
    if event.times > 1 {
        let _ = write!(out, ", {}", times(event.times));
    }
    if !event.text.is_empty() {
        add_or_below(out, ": ", &event.text, "\n      ");
    }
    out.push('\n');
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// A span of time in its two largest units.
pub fn span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// An amount of data, in powers of 1000.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    // In tenths of a unit, rounded down.
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}
