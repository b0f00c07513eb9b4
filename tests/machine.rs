//! What callers and machines leave undone: files that stay open, no descriptor left, no /dev/null.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use support::client::Call;
use support::controller::{Controller, controller};
use support::process::worker;
use support::{free_port, on_host, patience, skip, text};

/// A call under a shell that does this first.
fn call_after<'a>(controller: &'a Controller, port: u16, first: &str) -> Call<'a> {
    let script = format!("{first} && exec \"$0\" \"$@\"");
    Call::trusting(&controller.scene, &controller.key)
        .forward(port, controller.target.address)
        .args(&["-f", "--wait", &controller.destination()])
        .under(&["unshare", "-m", "sh", "-c", &script])
}

#[test]
fn a_tunnel_holds_none_of_its_callers_files_open() {
    let controller = controller();
    let port = free_port();
    let file = controller.scene.path("callers");
    let first = format!("exec 5>'{0}' 9<'{0}'", text(&file));
    let ended = call_after(&controller, port, &first).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    controller.confirmed(port);
    let owner = controller.owners()[0];
    for pid in [owner, worker(owner)] {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let open = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert_ne!(open, file, "in process {pid}");
        }
    }
}

#[test]
fn a_tunnel_begins_where_there_is_no_dev_null() {
    let controller = controller();
    let port = free_port();
    let ended = call_after(&controller, port, "mount -t tmpfs none /dev").run();
    assert_eq!(ended.code, 0, "{ended:?}");
    controller.confirmed(port);
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    // It still knows where its lines go.
    let mark = controller.syslog.lines.mark();
    let worker = worker(controller.owners()[0]);
    let killed = nix::unistd::Pid::from_raw(worker);
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).unwrap();
    let confirmed = format!("forward confirmed: server port {port} ");
    for line in ["restarted after: *", &confirmed] {
        controller.syslog.lines.wait_after(mark, line, patience());
    }
}

#[test]
fn who_calls_when_no_descriptor_is_left_is_answered_once_there_is_one() {
    if !on_host() {
        return skip("the emulator has descriptors of its own");
    }
    let controller = controller();
    let port = free_port();
    let ended = controller.call(port).args(&["--wait"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let worker = worker(controller.owners()[0]);
    let limit = |files: usize| {
        let (pid, files) = (worker.to_string(), format!("--nofile={files}:1024"));
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &files])
            .status();
        assert!(set.unwrap().success());
    };
    let is_open = |number: &usize| fs::read_link(format!("/proc/{worker}/fd/{number}")).is_ok();
    limit((0..).find(|number| !is_open(number)).unwrap());
    let mut caller = BufReader::new(UnixStream::connect(controller.socket()).unwrap());
    caller.get_ref().set_read_timeout(Some(patience())).unwrap();
    caller.get_mut().write_all(b"reachback 1\n").unwrap();
    let said = "cannot take a control client: *";
    controller.syslog.lines.wait_for(said, patience());
    limit(1024);
    let mut line = String::new();
    caller.read_line(&mut line).unwrap();
    assert!(line.starts_with("reachback 1 "), "{line}");
    assert_eq!(controller.syslog.lines.count(said), 1);
}
