//! What `reachback status` says, and that it says it whatever the tunnel is busy with.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Call, Ended};
use support::keys::{self, Kind};
use support::peers::Thrussh;
use support::proxy::Proxy;
use support::rig::{Rig, Setup};
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
        page.contains("refused by the server, waiting for port, next try in "),
        "{page}"
    );
    assert!(
        page.contains("the target does not answer: Connection refused"),
        "{page}"
    );
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
    assert!(none.stdout[0].ends_with("\"tunnels\":[]}"), "{none:?}");
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
fn losses_are_counted_with_their_reason() {
    let rig = Rig::up(Target::http("served"));
    let mark = rig.client.log().mark();
    rig.sshd.kill_sessions();
    rig.client.wait_up_after(mark, rig.port);
    let ended = status(&rig.scene, &[]);
    let page = ended.stdout.join("\n");
    assert!(
        page.contains("logged in twice, lost once, last: "),
        "{page}"
    );
    assert!(page.contains(" connection lost: "), "{page}");
}

/// The median time of a look, from the start of the command to its end.
fn median(scene: &Scene) -> Duration {
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let mut command = support::client::command(scene);
            let start = Instant::now();
            let out = command.args(["status", "--json"]).output().unwrap();
            let took = start.elapsed();
            assert!(out.stdout.ends_with(b"]}\n"), "{out:?}");
            took
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Asserts that status is at worst ten times as slow as at idle.
fn assert_prompt(what: &str, scene: &Scene, idle: Duration) {
    let busy = median(scene);
    println!("status while {what}: {busy:?}, idle {idle:?}");
    assert!(busy <= 10 * idle, "{what}: {busy:?}, at idle {idle:?}");
}

/// Does `work` in threads until it is dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Busy {
    fn start(threads: usize, work: impl Fn() + Send + Sync + 'static) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let work = Arc::new(work);
        let threads = (0..threads)
            .map(|_| {
                let (stop, work) = (stop.clone(), work.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        work();
                    }
                })
            })
            .collect();
        Busy { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn status_answers_while_transfers_run_at_full_speed_both_ways() {
    let rig = Rig::up(Target::echo());
    let idle = median(&rig.scene);
    let port = rig.port;
    let busy = Busy::start(2, move || {
        let _ = targets::exchange(port, &[1; 4_000_000]);
    });
    wait_until("bytes flow", patience(), || {
        number(&json(&rig.scene), "bytes_out") > 1_000_000
    });
    assert_prompt("transferring", &rig.scene, idle);
    drop(busy);
    assert!(
        number(&json(&rig.scene), "bytes_out") > 5_000_000,
        "it was not busy"
    );
}

#[test]
fn status_answers_while_connections_rain_in() {
    let rig = Setup::default().up(Target::http("served"));
    let idle = median(&rig.scene);
    let port = rig.port;
    let busy = Busy::start(4, move || {
        drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    });
    wait_until("they rain", patience(), || {
        number(&json(&rig.scene), "connections_total") > 50
    });
    assert_prompt("connections rain in", &rig.scene, idle);
    drop(busy);
}

#[test]
fn status_answers_while_the_server_floods_it_with_channels() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Thrussh::start(&scene, &key, &["--flood", "2000"]) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::stuck(), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(user(), server.port);
    client.wait_up(port);
    let page = status(&scene, &[]).stdout.join("\n");
    assert!(page.contains(": up for "), "{page}");
}

#[test]
fn status_answers_while_the_link_is_dead_and_writes_are_stuck() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene).authorize(&key).start();
    let proxy = Proxy::start(server.port);
    let (target, port) = (Target::source(1 << 30), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(user(), proxy.port);
    client.wait_up(port);
    let idle = median(&scene);
    // Nobody reads it, so that the tunnel's own output is stuck before the link is cut.
    let _reader = targets::dial(port);
    wait_until("bytes flow", patience(), || {
        number(&json(&scene), "bytes_out") > 100_000
    });
    proxy.freeze();
    assert_prompt("the link is dead", &scene, idle);
    assert!(json(&scene).contains("\"connections_now\":1"));
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
