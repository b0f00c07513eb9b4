//! Orders for a process that crashed and waits before it comes back.
#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::crash::Bed;
use support::process;
use support::syslog::Syslog;
use support::targets;
use support::{free_port, is_root, on_host, patience, skip, wait_until};

/// The service user: nobody.
const SERVICE: u32 = 65534;

#[test]
fn a_process_that_waits_after_a_restart_is_stopped_and_does_not_come_back() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    for order in [&["stop"][..], &["stop", "--all"], &["-O", "exit"]] {
        let mut bed = Bed::up("none", &[]);
        bed.fall_asleep();
        let mark = bed.client.log().mark();
        let destination = bed.destination();
        let mut words = order.to_vec();
        if order[0] == "-O" {
            words.push(&destination);
        }
        let ended = bed.ask(&words);
        assert_eq!(ended.code, 0, "{order:?}: {ended:?}");
        assert_eq!(ended.stdout, [format!("{destination}: ended")]);
        bed.assert_ended(mark);
    }
}

#[test]
fn off_reaches_a_process_that_waits_after_a_restart() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    bed.fall_asleep();
    let mark = bed.client.log().mark();
    let ended = bed.invoke(bed.port, "off");
    assert_eq!(ended.code, 0, "{ended:?}");
    bed.client
        .wait_after(mark, "ending: the last forward was taken away");
    bed.assert_ended(mark);
}

#[test]
fn what_is_handed_over_and_taken_away_while_it_waits_holds_for_the_one_process() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("none", &[]);
    let (second, third) = (free_port(), free_port());
    let destination = bed.destination();
    let before = bed.scene.program_processes();
    bed.fall_asleep();
    assert_eq!(bed.invoke(second, &destination).code, 0);
    assert_eq!(bed.scene.program_processes(), before, "one owner");
    bed.client
        .wait_for(&format!("forward confirmed: server port {second} "));
    for port in [bed.port, second] {
        assert_eq!(targets::fetch(port), "alive");
    }
    // The fourth time it waits 8 s.
    let mark = bed.client.log().mark();
    bed.crash(Signal::SIGSEGV);
    bed.client.wait_after(mark, "restarted after: ");
    let spec = |port| bed.spec(port);
    for (order, port) in [("cancel", bed.port), ("forward", third)] {
        let ended = bed.ask(&["-O", order, "-R", &spec(port), &destination]);
        assert_eq!(ended.code, 0, "{order}: {ended:?}");
    }
    let up = format!("forward confirmed: server port {third} ");
    bed.client.wait_after(mark, &up);
    for port in [second, third] {
        assert_eq!(targets::fetch(port), "alive");
    }
    let page = bed.ask(&["status"]).stdout.join("\n");
    let forward = format!("\n  server port {} ", bed.port);
    assert!(!page.contains(&forward), "{page}");
    assert_eq!(bed.scene.program_processes(), before, "one owner");
}

#[test]
fn status_says_that_a_process_waits_after_a_restart_and_does_not_wake_it() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("none", &[]);
    bed.fall_asleep();
    let mark = bed.client.log().mark();
    let shown = bed.ask(&["status"]);
    let page = shown.stdout.join("\n");
    let said = format!("process {} restarts itself after a fault", bed.pid());
    assert!(page.contains(&said), "{shown:?}");
    assert_eq!(shown.code, 2, "{shown:?}");
    assert_eq!(bed.client.log().mark(), mark, "it was woken");
}

#[test]
fn root_sees_and_ends_a_service_users_process_that_waits_after_a_restart() {
    if !on_host() || !is_root() {
        return skip("needs root, and a runner that emulates exec of itself");
    }
    let mut bed = Bed::of(Some(SERVICE), "none", &[], &[]);
    bed.fall_asleep();
    let shown = bed.ask(&["status"]);
    let said = format!("process {} restarts itself after a fault", bed.pid());
    assert!(shown.stdout.join("\n").contains(&said), "{shown:?}");
    assert_eq!(shown.code, 2, "{shown:?}");
    let stopped = bed.ask(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(stopped.stdout, [format!("{}: ended", bed.destination())]);
    assert_eq!(bed.client.process.wait(patience()), 0);
}

#[test]
fn one_that_was_killed_while_it_waited_is_nobody_and_the_next_call_takes_over() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    bed.fall_asleep();
    kill(bed.pid(), Signal::SIGKILL).unwrap();
    wait_until("it is dead", patience(), || {
        !bed.client.process.is_running()
    });
    let stopped = bed.ask(&["stop"]);
    assert_eq!(stopped.code, 69, "{stopped:?}");
    assert_eq!(stopped.stderr, ["reachback: no tunnel is running"]);
    let port = free_port();
    assert_eq!(bed.invoke(port, &bed.destination()).code, 0);
    wait_until("the new owner serves", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert_eq!(targets::fetch(port), "alive");
    assert_eq!(bed.ask(&["stop"]).code, 0);
}

#[test]
fn one_that_cannot_come_back_is_named_to_callers_and_stopped_all_the_same() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("none", &[]);
    let syslog = Syslog::start(&bed.scene);
    assert_eq!(bed.ask(&["stop"]).code, 0);
    let port = free_port();
    assert_eq!(bed.invoke(port, &bed.destination()).code, 0);
    syslog.lines.wait_for("*tunnel up: *", patience());
    let pid = bed.scene.program_processes()[0];
    std::fs::remove_file(&bed.key.private).unwrap();
    kill(Pid::from_raw(process::worker(pid)), Signal::SIGSEGV).unwrap();
    let said = "*restarted after: it could not be started (2 restarts)*";
    syslog.lines.wait_for(said, patience());
    let off = bed.invoke(port, "off");
    assert_eq!(off.code, 69, "{off:?}");
    let said = format!("process {pid} restarts itself after a fault and is not back yet");
    assert!(off.stderr.join("").contains(&said), "{off:?}");
    let stopped = bed.ask(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    wait_until("the process is gone", patience(), || {
        bed.scene.program_processes().is_empty()
    });
    assert_eq!(
        std::fs::read_dir(bed.scene.path("run")).unwrap().count(),
        0,
        "files are left"
    );
}
