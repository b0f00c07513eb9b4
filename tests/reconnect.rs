//! Whatever the network does, the tunnel comes back, and the program stays.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use support::client::Call;
use support::keys::{self, Kind};
use support::process;
use support::proxy::Proxy;
use support::rig::{Rig, Setup, Site};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, never_during, on_host, patience, skip, sshd, user};

#[test]
fn the_tunnel_returns_after_the_server_was_killed_and_restarted() {
    let mut rig = Rig::up(Target::http("back"));
    let mark = rig.client.log().mark();
    rig.sshd.stop();
    rig.client
        .wait_after(mark, "connection lost: *; next attempt in ");
    rig.sshd.start();
    rig.client.wait_up_after(mark, rig.port);
    assert_eq!(targets::fetch(rig.port), "back");
    assert!(rig.client.process.is_running());
}

#[test]
fn the_tunnel_returns_after_the_server_ended_the_session() {
    let rig = Rig::up(Target::http("back"));
    for _ in 0..2 {
        let mark = rig.client.log().mark();
        rig.sshd.kill_sessions();
        rig.client
            .wait_after(mark, "connection lost: *; next attempt in ");
        rig.client.wait_up_after(mark, rig.port);
        assert_eq!(targets::fetch(rig.port), "back");
    }
}

#[test]
fn both_forwards_return_after_the_connection_was_cut() {
    let Site { scene, key, server } = Site::up();
    let proxy = Proxy::start(server.port);
    let (first, second) = (Target::http("first"), Target::http("second"));
    let ports = [free_port(), free_port()];
    let client = Call::trusting(&scene, &key)
        .forward(ports[0], first.address)
        .forward(ports[1], second.address)
        .start(user(), proxy.port);
    client.wait_up(ports[0]);
    client.wait_up(ports[1]);
    let mark = client.log().mark();
    proxy.cut();
    client.wait_after(mark, "connection lost: ");
    client.wait_up_after(mark, ports[0]);
    client.wait_up_after(mark, ports[1]);
    assert_eq!(targets::fetch(ports[0]), "first");
    assert_eq!(targets::fetch(ports[1]), "second");
}

#[test]
fn a_channel_in_use_when_the_connection_is_cut_is_closed_for_the_target() {
    let Site { scene, key, server } = Site::up();
    let proxy = Proxy::start(server.port);
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let target = Target::start(move |mut stream| {
        let got = targets::receive(&mut stream).0;
        tell.lock().unwrap().send(got).unwrap();
    });
    let port = free_port();
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(user(), proxy.port);
    client.wait_up(port);
    let _open = targets::dial(port);
    support::wait_until("the target is reached", patience(), || target.hits() == 1);
    proxy.cut();
    assert_eq!(told.recv_timeout(patience()).unwrap(), 0);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let mut server = sshd::builder(&scene).authorize(&key).prepare();
    let (target, port) = (Target::http("at last"), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(user(), server.port);
    client.wait_for(&format!("connecting to 127.0.0.1 port {} ", server.port));
    client.wait_for("next attempt in ");
    let mark = client.log().mark();
    client.wait_after(mark, "next attempt in ");
    server.start();
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "at last");
}

#[test]
fn a_connection_that_goes_silent_is_noticed_and_replaced() {
    let Site { scene, key, server } = Site::up();
    let proxy = Proxy::start(server.port);
    let (target, port) = (Target::http("replaced"), free_port());
    let client = Call::trusting(&scene, &key)
        .option("ServerAliveInterval=1")
        .option("ServerAliveCountMax=2")
        .forward(port, target.address)
        .start(user(), proxy.port);
    client.wait_up(port);
    let old_sessions = server.sessions();
    let mark = client.log().mark();
    proxy.freeze();
    client.wait_after(mark, "connection lost: *; next attempt in ");
    // The server's old session still holds the port.
    client.wait_after(
        mark,
        &format!("forward refused: server port {port} *waiting for port"),
    );
    old_sessions.into_iter().for_each(process::kill);
    client.wait_up_after(mark, port);
    assert_eq!(targets::fetch(port), "replaced");
}

#[test]
fn a_port_that_is_taken_on_the_server_is_waited_for_while_the_other_forward_serves() {
    let Site { scene, key, server } = Site::up();
    let target = Target::http("shared");
    let (taken, free) = (free_port(), free_port());
    // sshd is content with one of the addresses of `localhost`.
    let holders = [
        TcpListener::bind(("127.0.0.1", taken)).ok(),
        TcpListener::bind(("::1", taken)).ok(),
    ];
    let mut client = Call::trusting(&scene, &key)
        .forward(taken, target.address)
        .forward(free, target.address)
        .start(user(), server.port);
    client.wait_for(&format!(
        "forward refused: server port {taken} *waiting for port"
    ));
    client.wait_for(&format!("forward confirmed: server port {free} "));
    assert_eq!(targets::fetch(free), "shared");
    drop(holders);
    client.wait_for(&format!("forward confirmed: server port {taken} "));
    assert_eq!(targets::fetch(taken), "shared");
    assert!(
        !client.log().contains("connection lost"),
        "one connection was enough"
    );
    assert!(client.process.is_running());
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_tried_again() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let silent = Target::stuck();
    let mut client = Call::trusting(&scene, &key)
        .option("ConnectTimeout=1")
        .forward(free_port(), silent.address)
        .start(user(), silent.address.port());
    client.wait_for("next attempt in ");
    support::wait_until("a second attempt", patience(), || silent.hits() >= 2);
    assert!(client.process.is_running());
}

#[test]
fn a_refused_key_is_said_plainly_and_not_tried_again_and_again() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let other = keys::key(&scene, "other", Kind::Ed25519);
    let server = sshd::builder(&scene).authorize(&other).start();
    let target = Target::http("never");
    let mut client = Call::trusting(&scene, &key)
        .forward(free_port(), target.address)
        .start(user(), server.port);
    client.wait_for("authentication refused");
    // A ban list counts attempts: minutes lie between them, not seconds.
    never_during(
        "a second login attempt",
        bound(Duration::from_secs(6)),
        || server.log.count("Connection from ") > 1,
    );
    assert!(client.process.is_running());
}

#[test]
fn a_tunnel_that_is_told_to_end_leaves_no_listener_and_exits_cleanly() {
    let rig = Rig::up(Target::http("up"));
    let Rig {
        client, sshd, port, ..
    } = rig;
    assert_eq!(client.stop(), 0);
    support::wait_until("the server's listener is gone", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    // It says good-bye rather than hanging up.
    sshd.log.wait_for("Received disconnect from", patience());
}

#[test]
fn sigterm_ends_it_at_once_while_it_waits_for_the_next_attempt() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let nobody = free_port();
    let client = Call::trusting(&scene, &key)
        .forward(free_port(), ([127, 0, 0, 1], nobody).into())
        .start(user(), nobody);
    client.wait_for("next attempt in ");
    let start = std::time::Instant::now();
    assert_eq!(client.stop(), 0);
    assert!(
        start.elapsed() < bound(Duration::from_secs(2)),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn signs_of_life_are_asked_for_and_given_while_the_tunnel_is_idle() {
    let setup = Setup {
        server: &["ClientAliveInterval 1", "ClientAliveCountMax 2"],
        options: &["ServerAliveInterval=1", "ServerAliveCountMax=2"],
        ..Setup::default()
    };
    let rig = setup.up(Target::http("alive"));
    never_during("a lost connection", bound(Duration::from_secs(5)), || {
        rig.client.log().contains("connection lost")
    });
    let asked = rig
        .sshd
        .log
        .count("server_input_global_request: rtype keepalive@openssh.com");
    assert!(asked >= 2, "the server was asked {asked} times");
    assert_eq!(targets::fetch(rig.port), "alive");
}

#[test]
fn sigint_ends_a_tunnel_like_sigterm() {
    let mut rig = Rig::up(Target::http("up"));
    let pid = rig.client.process.pid().to_string();
    support::output("kill", &["-INT", &pid]);
    assert_eq!(rig.client.process.wait(patience()), 0);
}

/// getrandom(2) blocks while the kernel's pool is not ready, and nothing may block here.
#[test]
fn while_the_kernel_has_no_randomness_it_says_so_and_then_it_connects() {
    let traced = std::process::Command::new("strace")
        .args(["-qq", "-e", "trace=none", "true"])
        .status();
    if !on_host() || !traced.is_ok_and(|status| status.success()) {
        return skip("strace cannot be used");
    }
    let site = Site::up();
    let (target, port) = (Target::http("late"), free_port());
    // Counted for each process. The first are libc's in the supervisor and std's, for its tables, in
    // the worker; they do not block.
    let inject = "inject=getrandom:error=EAGAIN:when=2..3";
    let client = site
        .call()
        .under(&[
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=getrandom",
            "-e",
            inject,
        ])
        // strace(1) makes the call one that does not exist, and that is not on the list.
        .option("Sandbox=no")
        .forward(port, target.address)
        .start(user(), site.server.port);
    client.wait_for("no connection: the kernel has no randomness yet *; next attempt in ");
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "late");
}

#[test]
fn a_server_that_ends_idle_connections_at_one_age_is_named_as_the_cause() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene)
        .authorize(&key)
        .config("UnusedConnectionTimeout 3")
        .start();
    let client = Call::trusting(&scene, &key)
        .forward(free_port(), Target::http("unused").address)
        .start(user(), server.port);
    client.wait_for(
        "the last 3 connections were each lost * s after login: * UnusedConnectionTimeout",
    );
}
