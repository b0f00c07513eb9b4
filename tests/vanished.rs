//! Lock, socket or their directory are removed while the tunnel goes on: there is one owner all the
//! same, callers reach it, and the files come back.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use support::client::{Call, Ended};
use support::controller::{Controller, controller};
use support::targets::{dial, fetch};
use support::{free_port, never_during, on_host, patience, skip, wait_until};

fn call(controller: &Controller, port: u16, flags: &[&str]) -> Ended {
    Call::trusting(&controller.scene, &controller.key)
        .forward(port, controller.target.address)
        .args(flags)
        .args(&["-f", &controller.destination()])
        .run()
}

/// Its worker looks around every second.
fn up(controller: &Controller) -> u16 {
    let port = free_port();
    let started = call(controller, port, &["--wait", "-K", "1"]);
    assert_eq!(started.code, 0, "{started:?}");
    port
}

/// A connection through the tunnel that its target has taken.
fn user(controller: &Controller, port: u16) -> TcpStream {
    let before = controller.target.hits();
    let user = dial(port);
    wait_until("it is served", patience(), || {
        controller.target.hits() > before
    });
    user
}

fn lock(controller: &Controller) -> PathBuf {
    controller.socket().with_extension("lock")
}

/// Begun anew since the mark, lock and socket are there and belong to one process, which serves the
/// port.
fn whole_after(mark: usize, controller: &Controller, owner: i32, port: u16) {
    let confirmed = format!("forward confirmed: server port {port} ");
    for line in [
        "ending: gone: *",
        "going on as reachback *: its name or its files have changed",
        &confirmed,
    ] {
        controller.syslog.lines.wait_after(mark, line, patience());
    }
    assert!(lock(controller).exists() && controller.socket().exists());
    let again = call(controller, port, &["--wait"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(fetch(port), "served");
    assert_eq!(controller.owners(), [owner]);
}

#[test]
fn a_call_without_a_lock_finds_the_owner_by_its_socket() {
    let controller = controller();
    let first = up(&controller);
    let owners = controller.owners();
    fs::remove_file(lock(&controller)).unwrap();
    let second = free_port();
    let handed = call(&controller, second, &["--wait"]);
    assert_eq!(handed.code, 0, "{handed:?}");
    controller.confirmed(second);
    controller.confirmed(first);
    assert_eq!(controller.owners(), owners);
}

#[test]
fn a_call_without_a_socket_names_the_process_and_starts_no_second_one() {
    let controller = controller();
    let port = up(&controller);
    let owners = controller.owners();
    // Who is using it is not cut off, so the file stays away.
    let held = user(&controller, port);
    fs::remove_file(controller.socket()).unwrap();
    let refused = call(&controller, free_port(), &[]);
    assert_eq!(refused.code, 69, "{refused:?}");
    let named = format!("process {} holds the tunnel", owners[0]);
    assert!(refused.stderr.join(" ").contains(&named), "{refused:?}");
    let stop = controller.ask(&["stop"]);
    assert_eq!(stop.code, 69, "{stop:?}");
    assert!(stop.stderr.join(" ").contains(&named), "{stop:?}");
    assert_eq!(controller.owners(), owners);
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mark = controller.syslog.lines.mark();
    drop(held);
    whole_after(mark, &controller, owners[0], port);
}

#[test]
fn what_was_removed_is_made_anew_when_nobody_is_using_the_tunnel() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    type Remove = fn(&Controller);
    let ways: [Remove; 4] = [
        |controller| fs::remove_file(lock(controller)).unwrap(),
        |controller| fs::remove_file(controller.socket()).unwrap(),
        |controller| fs::remove_dir_all(controller.socket().parent().unwrap()).unwrap(),
        |controller| {
            // Another file of the same name is not the lock.
            fs::remove_file(lock(controller)).unwrap();
            fs::write(lock(controller), "").unwrap();
        },
    ];
    for remove in ways {
        let controller = controller();
        let port = up(&controller);
        let owner = controller.owners()[0];
        let mark = controller.syslog.lines.mark();
        remove(&controller);
        whole_after(mark, &controller, owner, port);
        let ended = controller.ask(&["stop"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        controller.gone();
    }
}

#[test]
fn who_is_using_the_tunnel_is_not_cut_off() {
    let controller = controller();
    let port = up(&controller);
    let mut held = user(&controller, port);
    fs::remove_file(lock(&controller)).unwrap();
    never_during("an end", Duration::from_secs(5), || controller.logins() > 1);
    held.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("served"), "{answer}");
}
