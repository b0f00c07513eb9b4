//! The program looks after itself: what stalls, panics or crashes comes back as the same process.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Reachback, command};
use support::keys::{self, Key, Kind};
use support::process::{self, Process};
use support::sshd::{self, Sshd};
use support::syslog::Syslog;
use support::targets::{self, Target};
use support::{Scene, free_port, never_during, on_host, patience, skip, text, user};

/// A tunnel that can be told to fail, and what it needs.
struct Bed {
    client: Reachback,
    target: Target,
    port: u16,
    trigger: PathBuf,
    server: Sshd,
    key: Key,
    scene: Scene,
}

impl Bed {
    /// `fault` happens when the trigger file is there; `more` are further variables.
    fn up(fault: &str, more: &[(&str, &str)]) -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let server = sshd::builder(&scene).authorize(&key).start();
        let target = Target::http("alive");
        let port = free_port();
        let trigger = scene.path("trigger");
        let mut command = command(&scene);
        // Relative names have to hold after the restart as well.
        std::fs::copy(&key.private, scene.path("home/own-key")).unwrap();
        command
            .args(["-N", "-y", "-i", "own-key", "-R"])
            .arg(format!("{port}:127.0.0.1:{}", target.address.port()))
            .arg(format!("{}@127.0.0.1:{}", user(), server.port))
            .env(
                "REACHBACK_TEST_FAULT",
                format!("{fault}:{}", text(&trigger)),
            )
            .envs(more.iter().copied());
        let client = Reachback {
            process: Process::start(&mut command),
        };
        client.wait_up(port);
        Bed {
            client,
            target,
            port,
            trigger,
            server,
            key,
            scene,
        }
    }

    /// Brings the fault about: any signal that the loop reads wakes it.
    fn fail(&self) {
        std::fs::write(&self.trigger, "").unwrap();
        kill(self.pid(), Signal::SIGUSR1).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.client.process.pid())
    }

    /// The program is there again, as the same process, and its tunnel works.
    fn assert_back(&mut self, mark: usize, reason: &str) {
        let said = format!("restarted after: {reason} (1 restart)");
        self.client.wait_after(mark, &said);
        self.client.wait_up_after(mark, self.port);
        assert!(self.client.process.is_running());
        assert_eq!(targets::fetch(self.port), self.target_body());
    }

    fn target_body(&self) -> &'static str {
        "alive"
    }
}

#[test]
fn a_loop_that_makes_no_progress_is_restarted_with_its_arguments() {
    if !on_host() {
        return skip("the runner does not emulate timers and exec of itself together");
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
fn a_panic_restarts_the_program_and_says_where_it_was() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("panic", &[]);
    let mark = bed.client.log().mark();
    bed.fail();
    bed.assert_back(mark, "panic at src/sys/selfdog.rs:*: asked for by a test");
}

#[test]
fn a_fatal_signal_restarts_the_program_and_closes_what_was_open() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    let before = process::open_files(bed.pid().as_raw());
    for (signal, name) in [(Signal::SIGSEGV, "SIGSEGV"), (Signal::SIGBUS, "SIGBUS")] {
        let mark = bed.client.log().mark();
        kill(bed.pid(), signal).unwrap();
        let said = format!("restarted after: signal {name} (*");
        bed.client.wait_after(mark, &said);
        bed.client.wait_up_after(mark, bed.port);
    }
    support::wait_until("as many files are open as before", patience(), || {
        process::open_files(bed.pid().as_raw()) <= before
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
        kill(bed.pid(), Signal::SIGSEGV).unwrap();
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
    for count in 1..=3 {
        let mark = bed.client.log().mark();
        kill(bed.pid(), Signal::SIGSEGV).unwrap();
        bed.client
            .wait_after(mark, &format!("restarted after: signal SIGSEGV ({count} *"));
        // The third waits 4 s.
        if count < 3 {
            bed.client.wait_up_after(mark, bed.port);
        }
    }
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
    let daemons = || process::with_command_line(&key.file());
    let before = daemons();
    assert_eq!(before.len(), 1);
    let mark = syslog.lines.mark();
    kill(Pid::from_raw(before[0]), Signal::SIGSEGV).unwrap();
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
    call.arg("-V").env("REACHBACK_RESTARTED", "1 5 nothing");
    let mut version = Process::start(&mut call);
    assert_eq!(version.wait(patience()), 0);
    assert!(!version.stderr.contains("restarted after"));
}
