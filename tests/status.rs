//! What `reachback status` says.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use reachback_core::cause::Cause;

use support::client::{Call, Ended};
use support::keys::{self, Kind};
use support::process::worker;
use support::rig::{Rig, Site};
use support::targets::{self, Target};
use support::{Scene, bound, find_program, free_port, patience, skip, sshd, user, wait_until};

fn status(scene: &Scene, args: &[&str]) -> Ended {
    Call::new(scene).args(&["status"]).args(args).run()
}

fn json(scene: &Scene) -> String {
    let ended = status(scene, &["--json"]);
    assert_eq!(ended.stdout.len(), 1, "{ended:?}");
    ended.stdout[0].clone()
}

/// The value of a member that is a number; the first of that name.
fn number(document: &str, member: &str) -> u64 {
    let name = format!("\"{member}\":");
    let at = document
        .find(&name)
        .unwrap_or_else(|| panic!("no {member} in {document}"));
    let digits: String = document[at + name.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{member} is no number in {document}"))
}

#[test]
fn the_page_says_what_is_up_since_when_and_where_it_leads() {
    let rig = Rig::up(Target::http("served"));
    assert_eq!(targets::fetch(rig.port), "served");
    let ended = status(&rig.scene, &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let page = ended.stdout.join("\n");
    let target = rig.target.address;
    for part in [
        format!("{}@127.0.0.1 port {}: up for ", user(), rig.sshd.port),
        format!(
            "server port {} to {target}: listening; the target answers",
            rig.port
        ),
        "last round trip: ".to_owned(),
        " so far; ".to_owned(),
        "logged in once, never lost".to_owned(),
        format!("process {}, running for ", rig.client.process.pid()),
        " forward confirmed: ".to_owned(),
    ] {
        assert!(page.contains(&part), "no {part:?} in\n{page}");
    }
}

#[test]
fn the_document_is_json_and_counts_what_went_through() {
    let rig = Rig::up(Target::echo());
    let sent = vec![7; 300_000];
    assert_eq!(targets::exchange(rig.port, &sent).len(), sent.len());
    wait_until("the connection is over", patience(), || {
        number(&json(&rig.scene), "connections_now") == 0
    });
    let document = json(&rig.scene);
    assert!(document.starts_with("{\"schema\":\"reachback-status\",\"version\":1,\"tunnels\":[{"));
    assert!(document.contains("\"state\":\"up\""), "{document}");
    assert_eq!(number(&document, "connections_total"), 1);
    assert_eq!(number(&document, "bytes_in"), 300_000);
    assert_eq!(number(&document, "bytes_out"), 300_000);
    assert_eq!(number(&document, "server_port"), u64::from(rig.port));
    assert!(number(&document, "round_trip_ms") < 5_000);
    // Another reader's opinion.
    let Some(python) = find_program("python3") else {
        return skip("no python3 to read the document with");
    };
    let read = "import json,sys; d=json.loads(sys.argv[1]); \
        print(d['tunnels'][0]['forwards'][0]['target_answers'], len(d['tunnels'][0]['events'])>2)";
    let out = Command::new(python)
        .args(["-c", read, &document])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).trim(),
        "True True",
        "{out:?}"
    );
}

/// The names of all members of a document, each once.
fn members(document: &str) -> BTreeSet<&str> {
    let ends = document.match_indices("\":");
    ends.map(|(end, _)| &document[document[..end].rfind('"').unwrap() + 1..end])
        .collect()
}

#[test]
fn every_member_is_described_and_the_readme_shows_all() {
    let rig = Rig::up(Target::http("served"));
    let document = json(&rig.scene);
    let printed = members(&document);
    assert!(printed.len() > 40, "{printed:?}");
    let read = |name| std::fs::read_to_string(repository().join(name)).unwrap();
    let readme = read("README.md");
    let shown = readme.split("```json").nth(1).unwrap();
    assert_eq!(members(shown.split("```").next().unwrap()), printed);
    let described = read("docs/status-json.md");
    for name in printed {
        assert!(described.contains(&format!("`{name}`")), "{name}");
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_refused_forward_and_a_dead_target_are_said_and_the_exit_status_is_1() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene).authorize(&key).start();
    let (taken, free, nobody) = (free_port(), free_port(), free_port());
    let _holders = [
        TcpListener::bind(("127.0.0.1", taken)).ok(),
        TcpListener::bind(("::1", taken)).ok(),
    ];
    let target = Target::http("served");
    let client = Call::trusting(&scene, &key)
        .forward(taken, target.address)
        .forward(free, ([127, 0, 0, 1], nobody).into())
        .start(user(), server.port);
    client.wait_for("waiting for port");
    client.wait_for(&format!("forward confirmed: server port {free} "));
    let ended = status(&scene, &[&format!("{}@127.0.0.1:{}", user(), server.port)]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let page = ended.stdout.join("\n");
    assert!(page.contains(": partly up, 1 of 2 forwards for "), "{page}");
    assert!(
        page.contains(
            ": refused by the server\n    taken or not permitted; waiting for port, next try in "
        ),
        "{page}"
    );
    assert!(
        page.contains("the target does not answer: Connection refused"),
        "{page}"
    );
}

#[test]
fn short_is_a_line_for_each_tunnel_and_the_page_has_the_keepalive_in_force() {
    let Site { scene, key, server } = Site::up();
    let start = |port: u16, server: u16| {
        Call::trusting(&scene, &key)
            .option("ServerAliveInterval=17")
            .option("ServerAliveCountMax=5")
            .forward(port, ([127, 0, 0, 1], free_port()).into())
            .start(user(), server)
    };
    let port = free_port();
    let up = start(port, server.port);
    up.wait_up(port);
    let down = start(free_port(), free_port());
    down.wait_for("next attempt in ");
    let mut lines = Vec::new();
    wait_until("it waits", patience(), || {
        lines = status(&scene, &["--short"]).stdout;
        lines.iter().any(|line| line.contains(": down for "))
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(": up for ")));
    let down = lines.iter().find(|line| line.contains(": down for "));
    assert!(down.unwrap().contains(": Connection refused"), "{lines:?}");
    let page = status(&scene, &[]).stdout.join("\n");
    let keepalive = "keepalive: after 17 s of silence; lost after 5 without answer";
    assert!(page.contains(keepalive), "{page}");
    let misplaced = Call::new(&scene).args(&["stop", "--short"]).run();
    assert_eq!(misplaced.code, 64, "{misplaced:?}");
}

#[test]
fn no_tunnel_and_a_tunnel_that_waits_are_2_with_the_reason_and_the_next_attempt() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let nobody = free_port();
    let destination = format!("{}@127.0.0.1:{nobody}", user());
    for args in [&[][..], &[destination.as_str()]] {
        let none = status(&scene, args);
        assert_eq!(none.code, 2, "{none:?}");
        assert!(none.stdout[0].ends_with("no tunnel is running"), "{none:?}");
    }
    let none = status(&scene, &["--json"]);
    assert_eq!(none.code, 2);
    assert!(
        none.stdout[0].ends_with("\"tunnels\":[],\"unanswered\":[]}"),
        "{none:?}"
    );
    let client = Call::trusting(&scene, &key)
        .forward(free_port(), ([127, 0, 0, 1], nobody).into())
        .start(user(), nobody);
    for _ in 0..3 {
        client.wait_for("next attempt in ");
    }
    wait_until("it waits", patience(), || {
        let ended = status(&scene, &[&destination]);
        let page = ended.stdout.join("\n");
        ended.code == 2
            && page.contains(": down for ")
            && page.contains("; next attempt in ")
            && page.contains("because: 127.0.0.1")
            && page.contains("Connection refused")
    });
}

#[test]
fn what_waits_for_a_person_says_what_to_do() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let other = keys::key(&scene, "other", Kind::Ed25519);
    let server = sshd::builder(&scene).authorize(&other).start();
    let says = |call: Call<'_>, because: &str, advice: &str| {
        let call = call.forward(free_port(), ([127, 0, 0, 1], free_port()).into());
        let client = call.start(user(), server.port);
        client.wait_for("next attempt in ");
        let page = status(&scene, &[]).stdout.join("\n");
        let lines = format!("\n  because: {because}");
        assert!(page.contains(&lines), "no {because:?} in\n{page}");
        let lines = format!("\n  what to do: {advice}\n");
        assert!(page.contains(&lines), "no {advice:?} in\n{page}");
        assert_eq!(client.stop(), 0);
    };
    says(
        Call::new(&scene).args(&["-N"]).identity(&key),
        "host key for 127.0.0.1 port ",
        Cause::HostKeyUnknown.advice(),
    );
    says(
        Call::trusting(&scene, &key),
        "the server accepts none of the keys",
        Cause::LoginRefused.advice(),
    );
    let pinned = scene.path("home").join(".ssh/known_hosts");
    let line = std::fs::read_to_string(&pinned).unwrap();
    let name = line.split(' ').next().unwrap();
    std::fs::write(&pinned, format!("{name} {}\n", other.public)).unwrap();
    says(
        Call::trusting(&scene, &key),
        "host key for 127.0.0.1 has changed",
        Cause::HostKeyChanged.advice(),
    );
}

#[test]
fn losses_are_counted_with_their_reason() {
    let rig = Rig::up(Target::http("served"));
    let mark = rig.client.log().mark();
    rig.sshd.kill_sessions();
    rig.client.wait_up_after(mark, rig.port);
    let ended = status(&rig.scene, &[]);
    let page = ended.stdout.join("\n");
    assert!(
        page.contains("logged in twice, lost once\n  lost in the last day: "),
        "{page}"
    );
    assert!(page.contains(" ago) connection lost: "), "{page}");
    // What a person asked for is no loss, and no reason of one.
    let mark = rig.client.log().mark();
    let asked = Call::new(&rig.scene).args(&["reconnect"]).run();
    assert_eq!(asked.code, 0, "{asked:?}");
    rig.client.wait_up_after(mark, rig.port);
    let page = status(&rig.scene, &[]).stdout.join("\n");
    assert!(page.contains("logged in 3 times, lost once\n"), "{page}");
    let losses = page.split("lost in the last day: ").nth(1).unwrap();
    let losses = losses.split("  process ").next().unwrap();
    assert!(!losses.contains("asked for"), "{page}");
}

#[test]
fn a_tunnel_whose_process_is_stopped_is_said_and_hides_no_other() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let mut servers: Vec<_> = (0..3)
        .map(|_| sshd::builder(&scene).authorize(&key).start())
        .collect();
    // In the order in which they are asked: one before and one behind it.
    servers.sort_by_key(|server| server.port.to_string());
    for server in &servers {
        let ended = Call::trusting(&scene, &key)
            .forward(free_port(), ([127, 0, 0, 1], free_port()).into())
            .args(&["-f", "--wait", &name(server.port, "")])
            .run();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let stopped = name(servers[1].port, "");
    let check = Call::new(&scene).args(&["-O", "check", &stopped]).run();
    let pid = check.stdout[0].rsplit('=').next().unwrap();
    let pid: i32 = pid.trim_end_matches(')').parse().unwrap();
    signal::kill(Pid::from_raw(worker(pid)), Signal::SIGSTOP).unwrap();
    let start = Instant::now();
    let ended = status(&scene, &[]);
    let took = start.elapsed();
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(took < bound(Duration::from_secs(15)), "{took:?}");
    let page = ended.stdout.join("\n");
    let first = |text: String| {
        page.find(&text)
            .unwrap_or_else(|| panic!("no {text:?} in\n{page}"))
    };
    let places = [
        first(format!("{}: up for ", name(servers[0].port, " port "))),
        first(format!("{}: up for ", name(servers[2].port, " port "))),
        // Last, where the prompt is.
        first(format!("{stopped}: no answer for 10 s\n")),
    ];
    assert!(places.is_sorted(), "{page}");
    first(format!(
        "process {pid} holds the tunnel and does not answer"
    ));
    first(format!("kill -9 {pid}"));
    let document = status(&scene, &["--json"]);
    assert_eq!(document.code, 69, "{document:?}");
    let document = document.stdout.join("\n");
    assert_eq!(
        document.matches("\"state\":\"up\"").count(),
        2,
        "{document}"
    );
    let unanswered =
        format!("\"unanswered\":[{{\"name\":\"{stopped}\",\"pid\":{pid},\"waited_ms\":1");
    assert!(document.contains(&unanswered), "{document}");
    signal::kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    wait_until("it answers again", patience(), || {
        status(&scene, &[]).code == 0
    });
}

/// The account and a server of this machine, with what stands before the port.
fn name(port: u16, before: &str) -> String {
    let before = if before.is_empty() { ":" } else { before };
    format!("{}@127.0.0.1{before}{port}", user())
}

#[test]
fn watch_refreshes_every_second() {
    let rig = Rig::up(Target::http("served"));
    let mut command = support::client::command(&rig.scene);
    command.args(["status", "--watch", "--json"]);
    let mut watch = support::process::Process::start(&mut command);
    wait_until("three looks", bound(Duration::from_secs(10)), || {
        watch.stdout.mark() >= 3
    });
    watch.kill();
}
