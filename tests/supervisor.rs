//! The program looks after itself: what stalls, panics or crashes comes back as the same process.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{command, program};
use support::crash::Bed;
use support::process::{self, Process};
use support::syslog::Syslog;
use support::targets;
use support::{
    Scene, free_port, never_during, on_host, output, patience, skip, text, user, wait_until,
};

#[test]
fn an_order_that_meets_a_fault_is_carried_out_by_the_restarted_process() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("panic", &[]);
    let mark = bed.client.log().mark();
    // The first thing that wakes the loop is the caller.
    std::fs::write(&bed.trigger, "").unwrap();
    let ended = bed.invoke(bed.port, "off");
    assert_eq!(ended.code, 0, "{ended:?}");
    bed.client
        .wait_after(mark, "restarted after: signal SIGABRT (1 restart)");
    bed.assert_ended(mark);
}

#[test]
fn a_fault_while_it_ends_does_not_bring_it_back() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("panic", &[]);
    let mark = bed.client.log().mark();
    // A connection that goes on: the end takes as long as it may.
    let _user = targets::dial(bed.port);
    wait_until("it is served", patience(), || {
        let page = bed.ask(&["status"]).stdout.join("\n");
        page.contains("connections: 1 now")
    });
    let mut stop = Process::start(command(&bed.scene).arg("stop"));
    bed.client.wait_after(mark, "ending: asked to");
    bed.fail();
    let _ = bed.client.process.wait(patience());
    assert_eq!(stop.wait(patience()), 0);
    assert!(!bed.client.log().contains("restarted after: "));
    assert_eq!(bed.scene.program_processes(), [0; 0]);
}

#[test]
fn neither_a_restart_nor_what_it_restores_is_a_call_for_the_tunnel() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    for (option, said) in [
        ("MaxLifetime=8", "ending: MaxLifetime of 8 s is over"),
        (
            "IdleTimeout=8",
            "ending: no connection for 8 s (IdleTimeout)",
        ),
    ] {
        let mut bed = Bed::with("none", &[], &[option]);
        let second = free_port();
        assert_eq!(bed.invoke(second, &bed.destination()).code, 0);
        let asked = std::time::Instant::now();
        bed.client
            .wait_for(&format!("forward confirmed: server port {second} "));
        std::thread::sleep(Duration::from_secs(3).saturating_sub(asked.elapsed()));
        let mark = bed.client.log().mark();
        bed.crash(Signal::SIGSEGV);
        bed.client.wait_up_after(mark, second);
        bed.client.wait_after(mark, said);
        let lasted = asked.elapsed();
        assert!(lasted < Duration::from_secs(11), "{option}: {lasted:?}");
        assert_eq!(bed.client.process.wait(patience()), 0);
    }
}

#[test]
fn a_loop_that_makes_no_progress_is_restarted_with_its_arguments() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("stall", &[("REACHBACK_TEST_STALL_MS", "1500")]);
    // Waiting is no stall: nothing happens for longer than a turn may take.
    never_during("a restart", Duration::from_secs(3), || {
        bed.client.log().contains("restarted after: ")
    });
    let mark = bed.client.log().mark();
    bed.fail();
    bed.assert_back(mark, "the loop made no progress for 60 s");
}

#[test]
fn a_turn_that_somebody_stopped_does_not_count_as_hanging() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("stall", &[("REACHBACK_TEST_STALL_MS", "1500")]);
    let mark = bed.client.log().mark();
    bed.fail();
    wait_until("the turn has begun", patience(), || !bed.trigger.exists());
    bed.crash(Signal::SIGSTOP);
    never_during("a restart", Duration::from_secs(4), || {
        bed.client.log().contains("restarted after: ")
    });
    bed.crash(Signal::SIGCONT);
    bed.assert_back(mark, "the loop made no progress for 60 s");
}

#[test]
fn a_tunnel_in_the_background_outlives_either_of_its_processes() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("none", &[]);
    let syslog = Syslog::start(&bed.scene);
    assert_eq!(bed.ask(&["stop"]).code, 0);
    let (port, second) = (free_port(), free_port());
    assert_eq!(bed.invoke(port, &bed.destination()).code, 0);
    syslog.lines.wait_for("*tunnel up: *", patience());
    assert_eq!(bed.invoke(second, &bed.destination()).code, 0);
    let confirmed = format!("*forward confirmed: server port {second} *");
    syslog.lines.wait_for(&confirmed, patience());
    let supervisor = bed.scene.program_processes()[0];
    for (victim, said) in [
        (process::worker(supervisor), "signal SIGKILL"),
        (supervisor, "its supervisor was killed"),
    ] {
        let mark = syslog.lines.mark();
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        let said = format!("*restarted after: {said} (*");
        syslog.lines.wait_after(mark, &said, patience());
        syslog.lines.wait_after(mark, &confirmed, patience());
        for port in [port, second] {
            assert_eq!(targets::fetch(port), "alive");
        }
        assert_eq!(bed.scene.program_processes().len(), 1);
    }
    assert_eq!(bed.ask(&["stop"]).code, 0);
    assert_eq!(bed.scene.program_processes(), [0; 0]);
}

#[test]
fn a_tunnel_in_the_foreground_ends_with_the_process_that_was_started() {
    let bed = Bed::up("none", &[]);
    let worker = bed.client.worker();
    kill(bed.pid(), Signal::SIGKILL).unwrap();
    wait_until("the worker has ended", patience(), || {
        !process::is_alive(worker)
    });
    assert_eq!(bed.scene.program_processes(), [0; 0]);
    let left = std::fs::read_dir(bed.scene.path("run")).unwrap().count();
    assert_eq!(left, 0, "files are left");
}

#[test]
fn a_panic_restarts_the_program_and_says_where_it_was() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("panic", &[]);
    let mark = bed.client.log().mark();
    bed.fail();
    let said = "panic at src/sys/faults.rs:*: asked for by a test";
    bed.client.wait_after(mark, said);
    bed.assert_back(mark, "signal SIGABRT");
}

#[test]
fn a_memory_fault_restarts_the_program_and_says_where_it_was() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("memory", &[]);
    let mark = bed.client.log().mark();
    bed.fail();
    let line = bed
        .client
        .wait_after(mark, "*restarted after: signal SIGSEGV at 0x*");
    let place = line
        .split(" at ")
        .last()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    // The line that docs/watchdog.md has.
    let found = output("addr2line", &["-f", "-C", "-e", &text(&program()), place]);
    assert!(found.contains("write_volatile"), "{place}: {found}");
    bed.client.wait_up_after(mark, bed.port);
}

#[test]
fn a_fatal_signal_restarts_the_program_and_closes_what_was_open() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    let both = || [bed.client.process.pid(), bed.client.worker()];
    let open_files = || both().map(process::open_files).iter().sum::<usize>();
    let before = open_files();
    for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGKILL] {
        let name = signal.as_str();
        let mark = bed.client.log().mark();
        bed.crash(signal);
        let said = format!("restarted after: signal {name} (*");
        bed.client.wait_after(mark, &said);
        bed.client.wait_up_after(mark, bed.port);
    }
    wait_until("as many files are open as before", patience(), || {
        open_files() <= before
    });
    assert!(bed.client.process.is_running());
}

#[test]
fn restarts_in_a_row_are_counted_and_wait_longer_each_time() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let bed = Bed::up("none", &[]);
    let mut gaps = Vec::new();
    for count in 1..=3 {
        let mark = bed.client.log().mark();
        let began = std::time::Instant::now();
        bed.crash(Signal::SIGSEGV);
        bed.client.wait_after(
            mark,
            &format!("restarted after: signal SIGSEGV ({count} restart*"),
        );
        bed.client.wait_after(mark, "connecting to ");
        gaps.push(began.elapsed());
        bed.client.wait_up_after(mark, bed.port);
    }
    for (gap, least_s) in gaps.iter().zip([1, 2, 4]) {
        assert!(*gap >= Duration::from_secs(least_s), "{gaps:?}");
    }
}

#[test]
fn sigterm_ends_the_wait_of_a_restarted_process_with_0() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    bed.fall_asleep();
    bed.client.process.terminate();
    assert_eq!(bed.client.process.wait(Duration::from_secs(3)), 0);
}

#[test]
fn a_daemon_that_restarts_stays_the_daemon_and_says_so_in_syslog() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    // The bed's own tunnel ends; its scene goes on.
    let bed = Bed::up("none", &[]);
    let Bed {
        client,
        target,
        server,
        key,
        scene,
        ..
    } = bed;
    client.stop();
    let syslog = Syslog::start(&scene);
    let port = free_port();
    let mut call = command(&scene);
    call.args(["-f", "-N", "-y", "-i", &key.file(), "-R"])
        .arg(format!("{port}:127.0.0.1:{}", target.address.port()))
        .arg(format!("{}@127.0.0.1:{}", user(), server.port));
    assert_eq!(Process::start(&mut call).wait(patience()), 0);
    syslog.lines.wait_for("*tunnel up: *", patience());
    let daemons = || scene.program_processes();
    let before = daemons();
    assert_eq!(before.len(), 1);
    let mark = syslog.lines.mark();
    kill(Pid::from_raw(process::worker(before[0])), Signal::SIGSEGV).unwrap();
    let said = syslog.lines.wait_after(
        mark,
        "*restarted after: signal SIGSEGV (1 restart)*",
        patience(),
    );
    assert!(said.contains(&format!("[{}]", before[0])), "{said}");
    syslog.lines.wait_after(mark, "*tunnel up: *", patience());
    assert_eq!(daemons(), before, "no second process, and the same number");
    assert_eq!(targets::fetch(port), "alive");
}

#[test]
fn a_marker_from_somewhere_else_restarts_nothing() {
    let scene = Scene::new();
    let mut call: Command = command(&scene);
    call.arg("-V")
        .env("REACHBACK_RESTARTED", "1 5 3 4 5 nothing");
    let mut version = Process::start(&mut call);
    assert_eq!(version.wait(patience()), 0);
    assert!(!version.stderr.contains("restarted after"));
}
