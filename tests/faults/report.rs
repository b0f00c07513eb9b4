//! What was measured, one JSON object a line, in the file that `FAULTS_RESULTS` names.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use crate::fault::{Fault, Lasts, Measured, Notice};
use crate::slow::{Fared, Slow};
use crate::subject::{Program, Timing};

/// Seconds with a fraction, or `null`.
fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "null".to_owned(), |t| format!("{:.2}", t.as_secs_f64()))
}

fn write(line: &str) {
    println!("    {line}");
    let Some(path) = std::env::var_os("FAULTS_RESULTS") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    // One write, so that lines of parallel tests do not mix.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// One fault under one program.
pub fn fault(fault: &Fault, program: Program, measured: &Measured) {
    let (bound, survives) = match fault.notice {
        Notice::Within(bound) if !fault.from_start => (Some(bound), false),
        Notice::Survives(_) => (None, true),
        _ => (None, false),
    };
    let from = match fault.lasts {
        Lasts::ForGood => "beginning",
        _ => "end",
    };
    write(&format!(
        "{{\"kind\": \"fault\", \"name\": \"{}\", \"what\": \"{}\", \"program\": \"{}\", \
         \"interval_s\": {}, \"notice_bound_s\": {}, \"survives\": {survives}, \
         \"noticed_s\": {}, \"from\": \"{from}\", \"from_start\": {}, \"usable_bound_s\": {}, \"usable_s\": {}, \
         \"limit_s\": {}}}",
        fault.name,
        fault.what,
        program.name(),
        fault.timing.interval.as_secs(),
        seconds(bound),
        seconds(measured.noticed),
        fault.from_start,
        seconds(Some(fault.usable)),
        seconds(measured.usable),
        fault.limit.as_secs(),
    ));
}

/// How often a program came to a server that should not have it, and got in.
pub fn attempts(
    what: &str,
    program: Program,
    watched: Duration,
    connections: usize,
    logins: usize,
) {
    write(&format!(
        "{{\"kind\": \"attempts\", \"what\": \"{what}\", \"program\": \"{}\", \
         \"watched_s\": {}, \"connections\": {connections}, \"logins\": {logins}}}",
        program.name(),
        watched.as_secs(),
    ));
}

/// What an idle tunnel cost.
pub fn idle(program: Program, timing: Timing, span: Duration, costs: [u64; 5]) {
    let [packets_out, bytes_out, packets_in, bytes_in, wakeups] = costs;
    write(&format!(
        "{{\"kind\": \"idle\", \"program\": \"{}\", \"interval_s\": {}, \"span_s\": {}, \
         \"packets_out\": {packets_out}, \"bytes_out\": {bytes_out}, \
         \"packets_in\": {packets_in}, \"bytes_in\": {bytes_in}, \"wakeups\": {wakeups}}}",
        program.name(),
        timing.interval.as_secs(),
        seconds(Some(span)),
    ));
}

/// A soak: cycles, and file descriptors and Anonymous memory near its beginning and at its end.
pub fn soak(cycles: usize, took: Duration, files: [usize; 2], anonymous_kb: [u64; 2]) {
    write(&format!(
        "{{\"kind\": \"soak\", \"where\": \"host\", \"cycles\": {cycles}, \"took_s\": {}, \
         \"files\": {files:?}, \"anonymous_kb\": {anonymous_kb:?}}}",
        seconds(Some(took)),
    ));
}

/// What was run.
pub fn version(program: Program) {
    let version = program.version();
    write(&format!(
        "{{\"kind\": \"version\", \"text\": \"{version}\"}}"
    ));
}

/// How a program lived with a slow link.
pub fn slow(slow: &Slow, program: Program, fared: &Fared) {
    write(&format!(
        "{{\"kind\": \"slow\", \"name\": \"{}\", \"what\": \"{}\", \"program\": \"{}\", \"interval_s\": {}, \
         \"span_s\": {}, \"survives\": {}, \"lost\": {}, \"usable_s\": {}, \"pause_s\": {}, \"read\": {}}}",
        slow.name,
        slow.what,
        program.name(),
        slow.timing.interval.as_secs(),
        slow.span.as_secs(),
        slow.survives,
        fared.lost,
        seconds(Some(fared.usable)),
        seconds(Some(fared.pause)),
        fared.read,
    ));
}
