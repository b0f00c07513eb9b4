//! The page for people.

use std::fmt::Write;
use std::time::Duration;

use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forward::Bind;
use reachback_core::forwards::ForwardState;
use reachback_core::history::{Event, Kind};
use reachback_core::time::Instant;

use super::Tunnel;
use super::target::Answer;

/// Events shown; the JSON document has all.
const EVENTS: usize = 8;

/// One tunnel.
pub fn page(tunnel: &Tunnel) -> String {
    let snapshot = &*tunnel.snapshot;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, tunnel, snapshot);
    text
}

fn write(out: &mut String, tunnel: &Tunnel, snapshot: &Snapshot) -> std::fmt::Result {
    let Snapshot {
        user, host, port, ..
    } = snapshot;
    let ago = |at: Instant| span(snapshot.now.since(at));
    let in_time = |at: Instant| span(at.since(snapshot.now));
    write!(out, "{user}@{host} port {port}: ")?;
    match &snapshot.link {
        Link::Up(address) => {
            let (confirmed, all) = (tunnel.confirmed(), snapshot.forwards.len());
            match confirmed == all {
                true => write!(out, "up")?,
                false => write!(out, "partly up, {confirmed} of {all} forwards")?,
            }
            writeln!(out, " for {} ({address})", ago(snapshot.since))?;
        }
        Link::Connecting(stage) => {
            writeln!(out, "connecting for {}: {stage}", ago(snapshot.since))?
        }
        Link::Waiting(until) => writeln!(
            out,
            "down for {}; next attempt in {}",
            ago(snapshot.since),
            in_time(*until)
        )?,
        Link::Ending => writeln!(out, "ending")?,
    }
    if !snapshot.fallback.is_empty() {
        writeln!(out, "  at the fallback {}", snapshot.fallback)?;
    }
    if !snapshot.failure.is_empty() && !matches!(snapshot.link, Link::Up(_)) {
        writeln!(out, "  because: {}", snapshot.failure)?;
    }
    for (forward, answer) in snapshot.forwards.iter().zip(&tunnel.targets) {
        writeln!(out, "  {}", forward_line(forward, answer, snapshot.now))?;
    }
    if let Some(ms) = snapshot.round_trip_ms {
        writeln!(out, "  last round trip: {ms} ms")?;
    }
    writeln!(
        out,
        "  connections: {} now, {} so far; {} in, {} out",
        snapshot.serving,
        snapshot.served,
        amount(snapshot.bytes_in),
        amount(snapshot.bytes_out)
    )?;
    write!(out, "  logged in {}, ", times(snapshot.logins))?;
    match snapshot.lost {
        0 => writeln!(out, "never lost")?,
        lost => {
            let last = match snapshot.failure.as_str() {
                "" => String::new(),
                why => format!(", last: {why}"),
            };
            writeln!(out, "lost {}{last}", times(lost))?;
        }
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
        writeln!(out, "    {}", event_line(event, snapshot.now))?;
    }
    Ok(())
}

fn forward_line(forward: &ForwardStatus, answer: &Answer, now: Instant) -> String {
    let spec = &forward.spec;
    let place = match &spec.bind {
        Bind::Default => String::new(),
        Bind::Any => " on all addresses".to_owned(),
        Bind::Address(address) => format!(" on {address}"),
    };
    let port = match (forward.state, spec.port) {
        (ForwardState::Confirmed { port }, _) => port.to_string(),
        (_, 0) => "of its choice".to_owned(),
        (_, port) => port.to_string(),
    };
    let state = match forward.state {
        ForwardState::Confirmed { .. } => "listening".to_owned(),
        ForwardState::Refused { retry_at } => {
            let wait = span(retry_at.since(now));
            format!("refused by the server, waiting for port, next try in {wait}")
        }
        ForwardState::Requested { .. } => "asked for".to_owned(),
        ForwardState::Idle | ForwardState::Cancelling { .. } => "not listening".to_owned(),
    };
    let target = match answer {
        Answer::Answers => "the target answers".to_owned(),
        Answer::Silent(why) => format!("the target does not answer: {why}"),
        Answer::NotAsked => "the target was not asked".to_owned(),
    };
    let (host, host_port) = (&spec.host, spec.host_port);
    format!("server port {port}{place} to {host}:{host_port}: {state}; {target}")
}

fn event_line(event: &Event, now: Instant) -> String {
    let when = super::utc(event.wall_s);
    let ago = span(now.since(event.at));
    let name = match event.kind {
        Kind::Started => "started",
        Kind::Connected => "connected",
        Kind::Up => "tunnel up",
        Kind::ForwardConfirmed => "forward confirmed",
        Kind::ForwardRefused => "forward refused",
        Kind::ForwardAdded => "forward added",
        Kind::ForwardRemoved => "forward taken away",
        Kind::Lost => "connection lost",
        Kind::Reconnect => "reconnection asked for",
        Kind::Ending => "ending",
    };
    let mut line = format!("{when} ({ago} ago) {name}");
    if !event.text.is_empty() {
        let _ = write!(line, ": {}", event.text);
    }
    if event.times > 1 {
        let _ = write!(line, " ({} times in a row)", event.times);
    }
    line
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
