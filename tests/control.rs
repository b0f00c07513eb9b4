//! One process holds a tunnel; every other call hands its forwards to it.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::client::{Call, command};
use support::controller::{closed, controller};
use support::process::{self, Process, is_alive};
use support::rig::Rig;
use support::targets::{self, Target};
use support::{bound, free_port, patience, user, wait_until};

#[test]
fn fifty_calls_in_the_same_instant_make_one_owner() {
    let controller = controller();
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let destination = controller.destination();
    let mut calls: Vec<Process> = (0..50)
        .map(|n| {
            let mut call = command(&controller.scene);
            call.args(["-N", "-y", "-f", "-i", &controller.key.file()]);
            call.args(["-R", &controller.spec(ports[n % ports.len()]), &destination]);
            Process::start(&mut call)
        })
        .collect();
    for call in &mut calls {
        let code = call.wait(bound(Duration::from_secs(30)));
        assert_eq!(code, 0, "{:?}", call.stderr.all());
    }
    assert_eq!(controller.owners().len(), 1);
    ports.iter().for_each(|&port| controller.confirmed(port));
    assert_eq!(controller.logins(), 1);
}

#[test]
fn both_scripts_share_one_connection_and_the_same_forward_twice_is_one() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let destination = controller.destination();
    assert_eq!(controller.invoke(first, &destination).code, 0);
    controller.confirmed(first);
    let owner = controller.owners();
    for _ in 0..2 {
        let ended = controller.invoke(second, &destination);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    controller.confirmed(second);
    assert_eq!(controller.owners(), owner);
    assert_eq!(controller.logins(), 1);
    let count = |text: &str| controller.syslog.lines.count(text);
    assert_eq!(
        count(&format!("forward confirmed: server port {second} ")),
        1
    );
    let invoked = format!("Ebee custom script invoked with parameter {destination}");
    wait_until("each call logged its two lines", patience(), || {
        count(&invoked) == 3 && count("Ebee custom script invocation completed") == 3
    });
}

#[test]
fn a_call_in_the_foreground_hands_its_forward_over_and_exits_with_0() {
    let rig = Rig::up(Target::http("served"));
    let port = free_port();
    let destination = format!("{}@127.0.0.1:{}", user(), rig.sshd.port);
    let ended = Call::trusting(&rig.scene, &rig.key)
        .forward(port, rig.target.address)
        .args(&["--wait", &destination])
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stderr
            .iter()
            .any(|l| l.contains("handed to process "))
    );
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(rig.sshd.log.count("Accepted publickey for "), 1);
}

/// It has nothing to sign, and reading an RSA key is by far the most of what a call costs.
#[test]
fn a_call_that_hands_over_reads_no_key() {
    let rig = Rig::up(Target::http("served"));
    let port = free_port();
    let destination = format!("{}@127.0.0.1:{}", user(), rig.sshd.port);
    let key = rig.scene.path("no-such-key");
    let ended = Call::trusting(&rig.scene, &rig.key)
        .forward(port, rig.target.address)
        .args(&["-i", key.to_str().unwrap(), "--wait", &destination])
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn what_a_killed_owner_left_is_taken_over_by_the_next_call() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let killed = controller.owners();
    assert_eq!(killed.len(), 1);
    process::kill(killed[0]);
    wait_until("it is dead", patience(), || !is_alive(killed[0]));
    closed(port);
    assert!(
        controller.socket().exists(),
        "a killed owner removes nothing"
    );
    let ended = controller.call(port).args(&["--wait"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let owner = controller.owners();
    assert!(
        owner.len() == 1 && owner != killed,
        "{owner:?} after {killed:?}"
    );
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn a_runtime_directory_that_others_may_write_to_is_refused() {
    let controller = controller();
    let open = controller.scene.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let option = format!("RuntimeDirectory={}", open.display());
    let ended = controller.call(free_port()).option(&option).run();
    assert_eq!(ended.code, 77, "{ended:?}");
    assert!(
        ended.stderr[0].contains("others may write to it"),
        "{ended:?}"
    );
    assert_eq!(controller.owners().len(), 0);
}
