//! `-f --wait`: the caller's exit status says what became of the forwards.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use support::client::{Call, ended};
use support::controller::{Controller, closed, controller};
use support::rig::Site;
use support::syslog::parse;
use support::targets;
use support::{bound, free_port, keys, patience, text};

/// Writes a configuration with these forwards.
fn configure(controller: &Controller, ports: &[u16]) -> String {
    let target = controller.target.address;
    let line = |port| format!("RemoteForward {port} {target}\n");
    let lines: String = ports.iter().map(line).collect();
    text(&controller.scene.file("config", lines))
}

/// A call for the tunnel of a configuration in the background.
fn call<'a>(controller: &'a Controller, config: &str) -> Call<'a> {
    Call::trusting(&controller.scene, &controller.key).args(&[
        "-f",
        "-F",
        config,
        &controller.destination(),
    ])
}

/// Has the owner, which wrote this line of the log, read its configuration again.
fn reload(controller: &Controller, line: &str) {
    let owner = Pid::from_raw(parse(line).pid);
    let mark = controller.syslog.lines.mark();
    signal::kill(owner, Signal::SIGHUP).unwrap();
    let read = "configuration read again";
    controller.syslog.lines.wait_after(mark, read, patience());
}

#[test]
fn wait_exits_0_only_once_the_forward_is_there() {
    let controller = controller();
    let port = free_port();
    let ended = controller.call(port).args(&["--wait=20"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    // No waiting here: that is what was waited for.
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn wait_exits_75_with_the_reason_and_the_tunnel_goes_on_trying() {
    let mut controller = controller();
    controller.server.stop();
    let port = free_port();
    let start = Instant::now();
    let ended = controller.call(port).args(&["--wait=2"]).run();
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(start.elapsed() < bound(Duration::from_secs(8)));
    let reason = ended.stderr.join("\n");
    assert!(reason.contains("Connection refused"), "{reason}");
    controller.server.start();
    controller.confirmed(port);
}

#[test]
fn wait_does_not_wait_for_what_will_not_be_tried_before_it_is_over() {
    let site = Site::up();
    let stranger = keys::key(&site.scene, "stranger", keys::Kind::Ed25519);
    let start = Instant::now();
    let ended = Call::trusting(&site.scene, &stranger)
        .args(&["-f", "--wait=15", "-R"])
        .args(&[&format!("{}:localhost:22", free_port())])
        .args(&[&site.destination()])
        .run();
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(
        start.elapsed() < bound(Duration::from_secs(10)),
        "it waited"
    );
}

#[test]
fn exit_on_forward_failure_in_the_background_is_the_callers_exit_status() {
    let controller = controller();
    let port = free_port();
    let _holders = [
        TcpListener::bind(("127.0.0.1", port)).ok(),
        TcpListener::bind(("::1", port)).ok(),
    ];
    let ended = controller
        .call(port)
        .option("ExitOnForwardFailure=yes")
        .run();
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(
        ended.stderr.join(" ").contains("refused a forward"),
        "{ended:?}"
    );
    controller.gone();
}

#[test]
fn what_a_caller_waited_for_still_goes_with_the_configuration() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let config = configure(&controller, &[first]);
    let waited = call(&controller, &config).args(&["--wait"]).run();
    assert_eq!(waited.code, 0, "{waited:?}");
    assert_eq!(targets::fetch(first), "served");
    configure(&controller, &[second]);
    reload(&controller, &controller.syslog.lines.all()[0]);
    controller.confirmed(second);
    closed(first);
}

#[test]
fn a_caller_whose_forward_leaves_the_configuration_is_told_so() {
    let controller = controller();
    let (kept, taken) = (free_port(), free_port());
    let _holders = [
        TcpListener::bind(("127.0.0.1", taken)).ok(),
        TcpListener::bind(("::1", taken)).ok(),
    ];
    let config = configure(&controller, &[kept, taken]);
    let mut waiting = call(&controller, &config).args(&["--wait=600"]).begin();
    controller.confirmed(kept);
    let refused = format!("forward refused: server port {taken} ");
    let line = controller.syslog.lines.wait_for(&refused, patience());
    assert!(waiting.is_running(), "{:?}", waiting.stderr.all());

    configure(&controller, &[kept]);
    reload(&controller, &line);
    let code = waiting.wait(patience());
    let told = ended(waiting, code);
    assert_eq!(told.code, 75, "{told:?}");
    let reason = format!("forward {} was taken away", controller.spec(taken));
    assert!(told.stderr.join(" ").contains(&reason), "{told:?}");
    assert_eq!(targets::fetch(kept), "served");
}
