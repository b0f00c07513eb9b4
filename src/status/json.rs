//! The document for programs; `docs/status-json.md` describes it.

use std::fmt::Write;

use reachback_core::calendar::Utc;
use reachback_core::cause::Cause;
use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forward::{Listen, Target};
use reachback_core::forwards::ForwardState;
use reachback_core::history::Event;
use reachback_core::time::Instant;

use super::target::Answer;
use super::{Found, Tunnel, Unanswered};
use crate::instance::client::CallError;

/// Version of the document. It changes when a member is renamed, removed or changes its
/// meaning; new members may come without.
pub const VERSION: u64 = 1;

/// The document: one line.
pub fn document(found: &Found) -> String {
    let mut object = Object::default();
    object.text("schema", "reachback-status");
    object.number("version", VERSION);
    object.list("tunnels", found.tunnels.iter().map(tunnel).collect());
    let unanswered = found.unanswered.iter().map(unanswered).collect();
    object.list("unanswered", unanswered);
    object.end() + "\n"
}

fn unanswered(tunnel: &Unanswered) -> String {
    let pid = match tunnel.why {
        CallError::Silent(pid) | CallError::Restarting(pid) => Some(u64::from(pid)),
        _ => None,
    };
    let mut object = Object::default();
    object.text("name", &tunnel.name);
    object.optional_number("pid", pid);
    object.number("waited_ms", tunnel.waited.as_millis() as u64);
    object.text("failure", &tunnel.why.to_string());
    object.end()
}

fn tunnel(tunnel: &Tunnel) -> String {
    let snapshot = &*tunnel.snapshot;
    let now = snapshot.now;
    let (address, stage, next) = match &snapshot.link {
        Link::Up(address) => (Some(address.as_str()), None, None),
        Link::Connecting(stage) => (None, Some(stage.as_str()), None),
        Link::Waiting(until) => (None, None, Some(until_ms(*until, now))),
        Link::Ending => (None, None, None),
    };
    let failure = Some(snapshot.failure.as_str()).filter(|why| !why.is_empty());
    let forwards = snapshot.forwards.iter().zip(&tunnel.targets);
    let forwards = forwards
        .map(|(f, answer)| forward(f, answer, now))
        .collect();
    let events = snapshot.events.iter().map(|e| event(e, snapshot)).collect();
    let mut object = Object::default();
    object.text("user", &snapshot.user);
    object.text("host", &snapshot.host);
    object.number("port", u64::from(snapshot.port));
    let fallback = Some(snapshot.fallback.as_str()).filter(|fallback| !fallback.is_empty());
    object.optional_text("fallback", fallback);
    object.optional_text("run_by", tunnel.of.as_deref());
    object.text("state", tunnel.state());
    object.number("state_for_ms", age_ms(snapshot.since, now));
    object.optional_text("address", address);
    object.optional_text("stage", stage);
    object.optional_number("next_attempt_in_ms", next);
    object.optional_text("last_failure", failure);
    object.optional_text("last_failure_cause", snapshot.cause.map(Cause::name));
    object.optional_number("round_trip_ms", snapshot.round_trip_ms.map(u64::from));
    let keepalive = snapshot.keepalive;
    object.optional_number("keepalive_interval_ms", keepalive.map(|(ms, _)| ms));
    object.optional_number("keepalive_probes", keepalive.map(|(_, count)| count.into()));
    object.number("connections_now", u64::from(snapshot.serving));
    object.number("connections_total", snapshot.served);
    object.number("connections_refused", snapshot.refused);
    object.number("connections_closed_idle", snapshot.closed_idle);
    object.number("bytes_in", snapshot.bytes_in);
    object.number("bytes_out", snapshot.bytes_out);
    object.number("logins", u64::from(snapshot.logins));
    object.number("losses", u64::from(snapshot.lost));
    object.optional_number(
        "max_lifetime_left_ms",
        snapshot.ends.map(|at| until_ms(at, now)),
    );
    object.optional_number(
        "idle_left_ms",
        snapshot.idle_ends.map(|at| until_ms(at, now)),
    );
    object.number("pid", u64::from(snapshot.pid));
    object.text("program_version", &snapshot.program);
    object.number("running_for_ms", age_ms(snapshot.started, now));
    object.text("time", &Utc::from_unix_s(snapshot.wall_s).to_string());
    object.list("forwards", forwards);
    object.list("events", events);
    object.end()
}

fn forward(forward: &ForwardStatus, answer: &Answer, now: Instant) -> String {
    let spec = &forward.spec;
    let (state, port, retry) = match forward.state {
        ForwardState::Confirmed { port } => ("listening", Some(port), None),
        ForwardState::Refused { retry_at } => ("refused", None, Some(until_ms(retry_at, now))),
        ForwardState::Requested { .. } => ("requested", None, None),
        ForwardState::Idle | ForwardState::Cancelling { .. } => ("idle", None, None),
    };
    let (answers, why) = match answer {
        Answer::Answers => (Some(true), None),
        Answer::Silent(why) => (Some(false), Some(why.as_str())),
        Answer::NotAsked => (None, None),
    };
    let mut object = Object::default();
    let (bind, requested, socket) = match &spec.listen {
        Listen::Tcp { bind, port } => (Some(bind.wire()), Some(u64::from(*port)), None),
        Listen::Unix(path) => (None, None, Some(path.as_str())),
    };
    let port = port.filter(|_| socket.is_none());
    let (host, host_port, target_socket) = match &spec.target {
        Target::Tcp { host, port } => (Some(host.as_str()), Some(u64::from(*port)), None),
        Target::Unix(path) => (None, None, Some(path.as_str())),
    };
    object.optional_text("bind", bind);
    object.optional_number("requested_port", requested);
    object.text("state", state);
    object.optional_number("server_port", port.map(u64::from));
    object.optional_number("next_try_in_ms", retry);
    let (verified, verified_at) = forward.proof.found().unzip();
    object.optional_text("verified", verified);
    object.optional_number(
        "verified_ago_ms",
        verified_at.flatten().map(|at| age_ms(at, now)),
    );
    object.optional_text("server_socket", socket);
    object.optional_text("target_host", host);
    object.optional_number("target_port", host_port);
    object.optional_text("target_socket", target_socket);
    object.optional("target_answers", answers.map(|answers| answers.to_string()));
    object.optional_text("target_failure", why);
    object.text("spec", &spec.to_string());
    object.end()
}

fn event(event: &Event, snapshot: &Snapshot) -> String {
    let mut object = Object::default();
    object.text("kind", event.kind.name());
    object.text("text", &event.text);
    object.number("times", u64::from(event.times));
    object.number("ago_ms", age_ms(event.at, snapshot.now));
    object.number("monotonic_ms", event.at.0);
    object.text("time", &Utc::from_unix_s(event.wall_s).to_string());
    object.end()
}

fn age_ms(at: Instant, now: Instant) -> u64 {
    now.since(at).as_millis() as u64
}

fn until_ms(at: Instant, now: Instant) -> u64 {
    at.since(now).as_millis() as u64
}

/// A JSON object being written; every member is always there, `null` if it has no value.
#[derive(Default)]
pub struct Object(String);

impl Object {
    fn raw(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        let _ = write!(self.0, "\"{name}\":{value}");
    }

    /// A member that is a text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &quoted(value));
    }

    /// A member that is a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.raw(name, &value.to_string());
    }

    fn optional(&mut self, name: &str, value: Option<String>) {
        self.raw(name, value.as_deref().unwrap_or("null"));
    }

    /// A member that is a text, or `null`.
    pub fn optional_text(&mut self, name: &str, value: Option<&str>) {
        self.optional(name, value.map(quoted));
    }

    fn optional_number(&mut self, name: &str, value: Option<u64>) {
        self.optional(name, value.map(|value| value.to_string()));
    }

    /// A member that is a list of values that are written already.
    pub fn list(&mut self, name: &str, values: Vec<String>) {
        self.raw(name, &format!("[{}]", values.join(",")));
    }

    /// The object whole.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string (RFC 8259, 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
