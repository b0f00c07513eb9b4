#![allow(clippy::unwrap_used)]
use super::*;
use reachback_core::control::ForwardStatus;
use reachback_core::forward::ForwardSpec;
use reachback_core::history::{self, Event, Kind};
use reachback_core::time::Instant;
use reachback_core::verify::Proof;

const NOW: Instant = Instant(10_000_000);

fn tunnel(link: Link, states: &[ForwardState]) -> Tunnel {
    let mut snapshot = Box::new(Snapshot {
        pid: 4711,
        program: history::line("0.1.0"),
        user: history::line("op"),
        host: history::line("hub.example"),
        port: 22,
        now: NOW,
        wall_s: 1_795_400_000,
        started: Instant(0),
        link,
        since: Instant(2_500_000),
        round_trip_ms: Some(42),
        keepalive: Some((60_000, 3)),
        serving: 1,
        served: 17,
        refused: 3,
        bytes_in: 999,
        bytes_out: 12_345_678,
        logins: 3,
        lost: 2,
        failure: history::line("the \"server\" stopped answering"),
        ..Snapshot::default()
    });
    for (n, &state) in states.iter().enumerate() {
        let spec = ForwardSpec::parse(&format!("{}:localhost:22", 1111 + n)).unwrap();
        snapshot
            .forwards
            .push(ForwardStatus {
                spec,
                state,
                proof: Proof::Unknown,
            })
            .unwrap();
    }
    let event = Event {
        at: Instant(9_990_000),
        wall_s: 1_795_399_990,
        times: 3,
        kind: Kind::Lost,
        text: history::line("gone"),
    };
    snapshot.events.push(event).unwrap();
    Tunnel {
        of: None,
        targets: vec![target::Answer::Answers; states.len()],
        snapshot,
    }
}

fn document(tunnel: Tunnel) -> String {
    json::document(&Found {
        tunnels: vec![tunnel],
        unanswered: Vec::new(),
    })
}

const CONFIRMED: ForwardState = ForwardState::Confirmed { port: 1111 };
const REFUSED: ForwardState = ForwardState::Refused {
    retry_at: Instant(10_012_000),
};

fn up() -> Link {
    Link::Up(history::line("192.0.2.7"))
}

#[test]
fn the_exit_status_says_up_partly_or_down() {
    let connecting = Link::Connecting(history::line("key exchange"));
    for (link, states, code, state) in [
        (up(), &[CONFIRMED][..], UP, "up"),
        (up(), &[CONFIRMED, REFUSED], PARTLY, "partly-up"),
        (connecting, &[ForwardState::Idle], PARTLY, "connecting"),
        (Link::Waiting(NOW), &[ForwardState::Idle], DOWN, "waiting"),
        (Link::Ending, &[CONFIRMED], DOWN, "ending"),
    ] {
        let tunnel = tunnel(link, states);
        assert_eq!((tunnel.code(), tunnel.state()), (code, state));
    }
}

#[test]
fn the_page_answers_the_questions_of_a_person() {
    let text = page::page(&tunnel(up(), &[CONFIRMED, REFUSED]), page::WIDTH);
    for part in [
        "op@hub.example port 22: partly up, 1 of 2 forwards for 2 h 5 min (192.0.2.7)\n",
        "server port 1111 to localhost:22: listening; the target answers\n",
        "server port 1112 to localhost:22: refused by the server\n\
         \x20   taken or not permitted; waiting for port, next try in 12 s\n\
         \x20   the target answers\n",
        "last round trip: 42 ms\n",
        "keepalive: after 60 s of silence; lost after 3 without answer\n",
        "connections: 1 now, 17 so far, 3 refused; 999 bytes in, 12.3 MB out\n",
        "logged in 3 times, lost twice\n  lost in the last day: gone, 3 times\n",
        "process 4711, running for 2 h 46 min, version 0.1.0\n",
        "02:13:10Z (10 s ago) connection lost, 3 times: gone\n",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let waiting = Link::Waiting(Instant(10_061_000));
    let down = page::page(&tunnel(waiting, &[ForwardState::Idle]), page::WIDTH);
    assert!(
        down.contains(": down for 2 h 5 min; next attempt in 1 min 1 s\n"),
        "{down}"
    );
    assert!(
        down.contains("  because: the \"server\" stopped answering\n"),
        "{down}"
    );
}

#[test]
fn the_document_escapes_its_texts_and_has_every_member() {
    let text = document(tunnel(Link::Waiting(Instant(10_061_000)), &[REFUSED]));
    for part in [
        "{\"schema\":\"reachback-status\",\"version\":1,\"tunnels\":[{\"user\":\"op\",",
        "\"state\":\"waiting\",\"state_for_ms\":7500000,\"address\":null,",
        "\"next_attempt_in_ms\":61000,",
        "\"last_failure\":\"the \\\"server\\\" stopped answering\"",
        "\"state\":\"refused\",\"server_port\":null,\"next_try_in_ms\":12000,",
        "\"target_answers\":true,\"target_failure\":null,\"spec\":\"1111:localhost:22\"}",
        "{\"kind\":\"lost\",\"text\":\"gone\",\"times\":3,\"ago_ms\":10000,\"monotonic_ms\":9990000,",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_tunnel_whose_process_is_silent_is_on_the_page_and_in_the_document() {
    let found = Found {
        tunnels: vec![tunnel(up(), &[CONFIRMED])],
        unanswered: vec![Unanswered {
            name: "op@hub.example:22".to_owned(),
            waited: Duration::from_millis(10_003),
            why: CallError::Silent(4711),
        }],
    };
    assert_eq!(found.code(), exit::UNAVAILABLE);
    assert_eq!(
        found.pages(page::WIDTH)[1],
        "op@hub.example:22: no answer for 10 s\n\
         \x20 process 4711 holds the tunnel and does not answer\n\
         \x20 try kill -CONT 4711, else kill -9 4711\n"
    );
    let document = json::document(&found);
    let end = "],\"unanswered\":[{\"name\":\"op@hub.example:22\",\"pid\":4711,\
        \"waited_ms\":10003,\"failure\":\"process 4711 holds the tunnel and does not answer; \
        try kill -CONT 4711, else kill -9 4711\"}]}\n";
    assert!(document.ends_with(end), "{document}");
}

#[test]
fn unix_sockets_are_named_on_both_sides() {
    let mut tunnel = tunnel(up(), &[CONFIRMED]);
    tunnel.snapshot.forwards[0].spec = ForwardSpec::parse("/run/a:/run/b").unwrap();
    let text = page::page(&tunnel, page::WIDTH);
    let line = "server socket /run/a to /run/b: listening; the target answers\n";
    assert!(text.contains(line), "{text}");
    let document = document(tunnel);
    for part in [
        "{\"bind\":null,\"requested_port\":null,",
        "\"server_port\":null,",
        "\"server_socket\":\"/run/a\",",
        "\"target_host\":null,\"target_port\":null,\"target_socket\":\"/run/b\",",
        "\"spec\":\"/run/a:/run/b\"}",
    ] {
        assert!(document.contains(part), "no {part:?} in\n{document}");
    }
}

#[test]
fn a_target_that_is_a_unix_socket_is_asked_too() {
    let scene = tempfile::tempdir().unwrap();
    let path = scene.path().join("socket");
    let spec = ForwardSpec::parse(&format!("1:{}", path.display())).unwrap();
    assert!(matches!(target::look(&spec), target::Answer::Silent(_)));
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(target::look(&spec), target::Answer::Answers);
}

#[test]
fn amounts_and_spans_have_the_unit_that_fits() {
    assert_eq!(page::amount(0), "0 bytes");
    assert_eq!(page::amount(1_000), "1.0 kB");
    assert_eq!(page::amount(999_999), "999.9 kB");
    assert_eq!(page::amount(5_000_000_000_000_000), "5000.0 TB");
    assert_eq!(page::span(Duration::from_secs(59)), "59 s");
    assert_eq!(page::span(Duration::from_secs(90_000)), "1 d 1 h");
}

/// The tunnel of the examples in the documents.
fn example() -> Tunnel {
    let mut tunnel = tunnel(up(), &[CONFIRMED, ForwardState::Confirmed { port: 1112 }]);
    let snapshot = &mut *tunnel.snapshot;
    (snapshot.user, snapshot.host) = (history::line("operator"), history::line("server.example"));
    (snapshot.now, snapshot.since) = (Instant(200_000_000), Instant(192_500_000));
    (snapshot.started, snapshot.bytes_in) = (Instant(12_800_000), 6789);
    snapshot.failure = history::line("the server stopped answering");
    snapshot.forwards[1].spec = ForwardSpec::parse("1112:localhost:80").unwrap();
    let lost = &mut snapshot.events[0];
    (lost.at, lost.wall_s, lost.times) = (Instant(192_420_000), 1_795_392_420, 2);
    lost.text = history::line("the server stopped answering");
    let up = Event {
        at: Instant(192_500_000),
        wall_s: 1_795_392_500,
        times: 1,
        kind: Kind::Up,
        text: history::line("operator@server.example port 22"),
    };
    snapshot.events.push(up).unwrap();
    tunnel.targets[1] = target::Answer::Silent("Connection refused".to_owned());
    tunnel
}

#[test]
fn the_documents_show_what_is_printed() {
    let readme = include_str!("../../README.md");
    let operating = include_str!("../../docs/operating.md");
    let page = page::page(&example(), page::WIDTH);
    assert!(
        operating.contains(&page),
        "not in docs/operating.md:\n{page}"
    );
    let short = page.split("  process ").next().unwrap();
    assert!(readme.contains(short), "not in README.md:\n{short}");
    let mut one = example();
    one.snapshot.forwards.truncate(1);
    one.snapshot.events.remove(0);
    let document = document(one);
    // There it is on several lines.
    let joined: String = readme.lines().map(str::trim_start).collect();
    assert!(
        joined.contains(document.trim_end()),
        "not in README.md:\n{document}"
    );
}

#[test]
fn the_ways_in_are_for_what_is_up_and_direct_only_where_that_is_known() {
    let ways = |tunnel: &Tunnel| -> Vec<String> {
        let page = page::page(tunnel, 40);
        let ways = page.split_once("  get in from elsewhere:\n");
        let ways = ways.map_or("", |(_, ways)| ways);
        ways.lines().map(|line| line.trim().to_owned()).collect()
    };
    let mut tunnel = tunnel(up(), &[CONFIRMED, CONFIRMED, REFUSED]);
    let here = Proof::Here { at: NOW };
    for (spec, proof, expected) in [
        (
            "1111:localhost:22",
            here,
            &["ssh -J op@hub.example -p 1111 root@localhost"][..],
        ),
        (
            "*:1111:localhost:22",
            here,
            &["ssh -J op@hub.example -p 1111 root@localhost"],
        ),
        (
            "1111:localhost:443",
            here,
            &["ssh -N -L 8443:localhost:1111 op@hub.example"],
        ),
        (
            "1111:h:8081",
            Proof::Unknown,
            &["ssh -N -L 8081:localhost:1111 op@hub.example"],
        ),
        ("1111:h:80", Proof::Elsewhere { at: NOW }, &[]),
        ("/run/a:h:80", Proof::Unknown, &[]),
        (
            "192.0.2.7:1111:h:22",
            here,
            &[
                "ssh -J op@hub.example -p 1111 root@192.0.2.7",
                "ssh -p 1111 root@192.0.2.7",
            ],
        ),
        (
            "192.0.2.7:1111:h:22",
            Proof::Loopback { at: NOW },
            &["ssh -J op@hub.example -p 1111 root@localhost"],
        ),
        (
            "[2001:db8::1]:1111:h:80",
            here,
            &[
                "ssh -N -L 8080:[2001:db8::1]:1111 op@hub.example",
                "http://[2001:db8::1]:1111",
            ],
        ),
    ] {
        let forward = &mut tunnel.snapshot.forwards[0];
        (forward.spec, forward.proof) = (ForwardSpec::parse(spec).unwrap(), proof);
        let mut found = ways(&tunnel);
        assert_eq!(
            found.pop().unwrap(),
            "ssh -J op@hub.example -p 1111 root@localhost"
        );
        assert_eq!(found, expected, "{spec}");
    }
    tunnel.snapshot.port = 2222;
    assert_eq!(
        ways(&tunnel)[2],
        "ssh -J ssh://op@hub.example:2222 -p 1111 root@localhost"
    );
    tunnel.snapshot.fallback = history::line("op@spare port 22");
    assert_eq!(ways(&tunnel), [""; 0]);
    tunnel.snapshot.fallback = history::line("");
    tunnel.snapshot.link = Link::Waiting(NOW);
    assert_eq!(ways(&tunnel), [""; 0]);
}

#[test]
fn a_page_keeps_to_the_terminal_and_its_first_line_stays() {
    let tunnel = tunnel(up(), &[CONFIRMED, REFUSED]);
    let page = page::page(&tunnel, 40);
    assert!(
        page.contains("  server port 1111 to localhost:22\n    listening; the target answers\n"),
        "{page}"
    );
    assert!(page::rows(&page, 40) >= 20, "{page}");
    let fitting = page::fit(&page, 40, 20);
    assert!(page::rows(fitting, 40) < 20, "{fitting}");
    assert!(fitting.starts_with("op@hub.example port 22: partly up"));
    assert!(fitting.ends_with('\n'), "{fitting}");
    assert_eq!(page::fit(&page, 80, 60), page);
    // Not even one line has room: it is cut all the same.
    assert_eq!(page::fit(&page, 40, 1), "");
}

#[test]
fn whose_a_tunnel_is_stands_on_its_first_line_and_in_the_document() {
    let mut tunnel = tunnel(up(), &[CONFIRMED]);
    tunnel.of = Some("charge".to_owned());
    let first = "op@hub.example port 22 of charge: up for ";
    assert!(page::short(&tunnel.snapshot, tunnel.of.as_deref()).starts_with(first));
    assert!(document(tunnel).contains("\"run_by\":\"charge\","));
}
