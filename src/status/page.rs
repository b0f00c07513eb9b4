//! The page for people.

use std::fmt::Write;
use std::time::Duration;

use reachback_core::calendar::Utc;
use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forward::{Bind, Listen};
use reachback_core::forwards::ForwardState;
use reachback_core::history::{Event, Kind};
use reachback_core::time::Instant;
use reachback_core::verify::Proof;

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
    let state = match forward.state {
        ForwardState::Confirmed { port } => {
            format!("listening{}", proof(forward.proof, port, now))
        }
        ForwardState::Refused { retry_at } if matches!(forward.proof, Proof::Elsewhere { .. }) => {
            let wait = span(retry_at.since(now));
            let port = spec.listen.port();
            format!(
                "taken back, the server's port {port} leads elsewhere: a stale session holds it, \
                 or another program; next try in {wait}"
            )
        }
        ForwardState::Refused { retry_at } => {
            let wait = span(retry_at.since(now));
            format!("refused by the server, waiting for {kind}, next try in {wait}")
        }
        ForwardState::Requested { .. } => "asked for".to_owned(),
        ForwardState::Idle | ForwardState::Cancelling { .. } => "not listening".to_owned(),
    };
    let target = match answer {
        Answer::Answers => "the target answers".to_owned(),
        Answer::Silent(why) => format!("the target does not answer: {why}"),
        Answer::NotAsked => "the target was not asked".to_owned(),
    };
    let leads = &spec.target;
    format!("server {place} to {leads}: {state}; {target}")
}

/// What `VerifyForward` found about a listener, behind `listening`.
fn proof(proof: Proof, port: u16, now: Instant) -> String {
    match proof {
        Proof::Unknown => String::new(),
        Proof::Here { at } => format!(", verified {} ago", span(now.since(at))),
        Proof::Elsewhere { .. } => format!(
            ", but the server's port {port} leads elsewhere: a stale session holds it, or another \
             program"
        ),
        Proof::NotPermitted => ", not verified: the server does not permit it".to_owned(),
    }
}

fn event_line(event: &Event, now: Instant) -> String {
    let when = Utc::from_unix_s(event.wall_s);
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
