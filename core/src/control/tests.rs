#![allow(clippy::unwrap_used)]

use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::forwards::ForwardState;
use crate::history::{EVENTS, History, Kind};
use crate::time::Instant;
use crate::verify::Proof;

fn spec(text: &str) -> ForwardSpec {
    ForwardSpec::parse(text).unwrap()
}

#[test]
fn every_request_is_read_as_it_was_written() {
    let requests = [
        Request::Hello(VERSION),
        Request::Check,
        Request::Option(String::try_from("IdentityFile \"/a key\"").unwrap()),
        Request::Call,
        Request::Forward(spec("1111:localhost:22")),
        Request::Cancel(spec("*:0:[::1]:80")),
        Request::Withdraw(spec("[2001:db8::1]:1112:target.example:80")),
        Request::Wait(Duration::from_millis(1500)),
        Request::Status,
        Request::Reconnect,
        Request::Stop,
        Request::StopService,
        Request::Reload,
        Request::Renew,
    ];
    for request in requests {
        let line = request.to_string();
        assert!(line.len() <= MAX_LINE);
        assert_eq!(Request::parse(&line), Ok(request), "{line}");
    }
}

#[test]
fn the_longest_forward_fits_on_a_line() {
    let label = "a".repeat(63);
    let name = [label.as_str(); 4].join(".");
    let long = std::format!("{label}:65535:{}:65535", &name[..253]);
    let line = Request::Withdraw(spec(&long)).to_string();
    assert!(line.len() <= MAX_LINE, "{}", line.len());
    let line = Request::ForwardService(spec(&long)).to_string();
    assert!(line.len() <= MAX_LINE, "{}", line.len());
}

#[test]
fn what_is_no_request_is_refused_with_a_reason() {
    for line in [
        "",
        " ",
        "stop now",
        "option",
        "call now",
        "status 1",
        "forward",
        "forward 22",
        "forward 1:h:1 2:h:1",
        "wait",
        "wait -1",
        "wait 86400001",
        "wait 99999999999999999999",
        "reachback",
        "reachback x",
        "STOP",
        "stop ",
    ] {
        let refused = Request::parse(line);
        if line == "stop " {
            // A trailing space is an empty rest.
            assert_eq!(refused, Ok(Request::Stop));
            continue;
        }
        assert!(!refused.unwrap_err().to_string().is_empty(), "{line}");
    }
}

#[test]
fn every_verdict_is_read_as_it_was_written() {
    let mut replies = std::vec![
        Reply::Hello {
            version: 7,
            pid: 4_194_304
        },
        Reply::done(""),
        Reply::done("forward added"),
    ];
    for (refusal, _) in REFUSALS {
        replies.push(Reply::refused(refusal, "because"));
    }
    for reply in replies {
        let line = reply.to_string();
        assert_eq!(Reply::parse(&line), Some(reply), "{line}");
    }
    assert_eq!(Reply::parse("no such-reason x"), None);
    assert_eq!(Reply::parse("yes"), None);
}

#[test]
fn a_verdict_is_one_line_whatever_its_words_are() {
    let reply = Reply::refused(Refusal::NotYet, "two\nlines\u{0}".repeat(100));
    let line = reply.to_string();
    assert!(!line.contains(char::is_control) && line.len() <= MAX_LINE);
}

fn full() -> Box<Snapshot> {
    let mut snapshot = Box::new(Snapshot {
        pid: 4711,
        program: history::line("0.1.0"),
        user: history::line("operator"),
        host: history::line("server.example"),
        port: 2222,
        fallback: history::line("operator@second.example port 22"),
        now: Instant(9_000_000),
        wall_s: 1_795_400_000,
        started: Instant(1000),
        link: Link::Up(history::line("2001:db8::1")),
        since: Instant(2000),
        round_trip_ms: Some(23),
        keepalive: Some((60_000, 3)),
        serving: 2,
        served: 99,
        refused: 7,
        bytes_in: u64::MAX,
        bytes_out: 1,
        logins: 3,
        lost: 2,
        failure: history::line("the server stopped answering"),
        ends: Some(Instant(10_000_000)),
        idle_ends: Some(Instant(9_500_000)),
        ..Snapshot::default()
    });
    let states = [
        ForwardState::Idle,
        ForwardState::Requested { until: Instant(5) },
        ForwardState::Confirmed { port: 40_000 },
        ForwardState::Refused {
            retry_at: Instant(9_001_000),
        },
    ];
    let at = Instant(7_000_000);
    let proofs = [
        Proof::Unknown,
        Proof::NotPermitted,
        Proof::Here { at },
        Proof::Loopback { at },
        Proof::Elsewhere { at },
    ];
    for ((n, state), proof) in states.into_iter().enumerate().zip(proofs) {
        let spec = spec(&std::format!("*:{n}:[::1]:80"));
        snapshot
            .forwards
            .push(ForwardStatus { spec, state, proof })
            .unwrap();
    }
    let mut history = History::new();
    for n in 0..40 {
        history.note(Instant(n), n, Kind::Lost, std::format!("failure {n}"));
    }
    for event in history.events() {
        snapshot.events.push(event.clone()).unwrap();
    }
    snapshot
}

fn read(text: &str) -> Result<Box<Snapshot>, SnapshotError> {
    let mut snapshot = Box::<Snapshot>::default();
    for line in text.lines() {
        if snapshot.handle_line(line)? {
            return Ok(snapshot);
        }
    }
    Err(SnapshotError)
}

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    let snapshot = full();
    assert_eq!(snapshot.events.len(), EVENTS);
    for link in [
        Link::Connecting(history::line("key exchange")),
        Link::Up(history::line("192.0.2.1")),
        Link::Waiting(Instant(77)),
        Link::Ending,
    ] {
        let snapshot = Box::new(Snapshot {
            link,
            ..*snapshot.clone()
        });
        let text = snapshot.to_string();
        assert!(text.lines().all(|line| line.len() <= MAX_LINE));
        assert_eq!(read(&text), Ok(snapshot));
    }
}

#[test]
fn lines_of_a_later_version_are_skipped_and_wrong_ones_are_not() {
    let text = full().to_string();
    let later = text.replace("end\n", "new-thing 1 2 3\nend\n");
    assert_eq!(read(&later), Ok(full()));
    for (good, bad) in [
        (
            "destination operator server.example 2222",
            "destination operator server.example 99999",
        ),
        ("clock 9000000", "clock x"),
        ("confirmed 40000", "confirmed 70000"),
        ("event 39 39 1 lost", "event 39 39 1 found"),
        ("end\n", ""),
    ] {
        assert!(text.contains(good), "{good}");
        assert_eq!(read(&text.replace(good, bad)), Err(SnapshotError), "{bad}");
    }
    let forwards = "forward idle 0 1:h:1\n".repeat(17);
    assert_eq!(read(&(forwards + "end\n")), Err(SnapshotError));
}

proptest! {
    #[test]
    fn no_line_makes_a_reader_panic(line in "\\PC{0,80}", word in 0usize..20) {
        const WORDS: [&str; 20] = [
            "owner", "destination", "clock", "started", "connecting", "up", "waiting", "ending",
            "round-trip", "connections", "bytes", "logins", "ends", "forward", "event", "wait",
            "cancel", "ok", "no", "reachback",
        ];
        let lines: Vec<_> = [line.clone(), std::format!("{} {line}", WORDS[word])].into();
        for line in lines {
            let _ = (Request::parse(&line), Reply::parse(&line));
            let _ = Box::<Snapshot>::default().handle_line(&line);
        }
    }
}
