//! The program looks after itself: what stalls, panics or crashes comes back as the same process.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Call, Ended, Reachback, command};
use support::keys::{self, Key, Kind};
use support::process::{self, Process};
use support::sshd::{self, Sshd};
use support::syslog::Syslog;
use support::targets::{self, Target};
use support::{
    Scene, free_port, is_root, never_during, on_host, patience, skip, text, user, wait_until,
};

/// The service user: nobody.
const SERVICE: u32 = 65534;

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
        Self::with(fault, more, &[])
    }

    /// The same with `-o` options.
    fn with(fault: &str, more: &[(&str, &str)], options: &[&str]) -> Self {
        Self::of(None, fault, more, options)
    }

    /// The same of another user, with a runtime directory of his.
    fn of(uid: Option<u32>, fault: &str, more: &[(&str, &str)], options: &[&str]) -> Self {
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
            .args(["-N", "-y", "-i", "own-key"])
            .args(options.iter().flat_map(|option| ["-o", option]))
            .arg("-R")
            .arg(format!("{port}:127.0.0.1:{}", target.address.port()))
            .arg(format!("{}@127.0.0.1:{}", user(), server.port))
            .env(
                "REACHBACK_TEST_FAULT",
                format!("{fault}:{}", text(&trigger)),
            )
            .envs(more.iter().copied());
        if let Some(uid) = uid {
            let open = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(scene.path(""), open).unwrap();
            std::fs::create_dir(scene.path("run")).unwrap();
            for name in ["run", "home", "home/.ssh", "home/own-key"] {
                chown(scene.path(name), Some(uid), Some(uid)).unwrap();
            }
            command.uid(uid).gid(uid);
        }
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

    /// Crashes three times, and so waits 4 s now before it goes on.
    fn fall_asleep(&self) {
        for count in 1..=3 {
            let mark = self.client.log().mark();
            kill(self.pid(), Signal::SIGSEGV).unwrap();
            self.client
                .wait_after(mark, &format!("restarted after: signal SIGSEGV ({count} *"));
            if count < 3 {
                self.client.wait_up_after(mark, self.port);
            }
        }
    }

    fn destination(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.server.port)
    }

    fn spec(&self, port: u16) -> String {
        format!("{port}:127.0.0.1:{}", self.target.address.port())
    }

    /// A call of the program.
    fn ask(&self, args: &[&str]) -> Ended {
        Call::new(&self.scene).args(args).run()
    }

    /// What a custom script runs.
    fn invoke(&self, port: u16, argument: &str) -> Ended {
        let (spec, key) = (self.spec(port), self.key.file());
        let args = ["invoke", "-R", &spec, "-y", "-N", "-f", "-i", &key, "--"];
        Call::new(&self.scene).args(&args).args(&[argument]).run()
    }

    /// The process ends by itself, soon, without having opened the door again.
    fn assert_ended(&mut self, mark: usize) {
        assert_eq!(self.client.process.wait(patience()), 0);
        let up = format!("forward confirmed: server port {} ", self.port);
        let log = self.client.log().all();
        let opened = |line: &String| process::matches(line, &up);
        assert!(!log[mark..].iter().any(opened), "{log:?}");
        let left = std::fs::read_dir(self.scene.path("run")).unwrap().count();
        assert_eq!(left, 0, "files are left");
        assert_eq!(self.scene.program_processes(), [0; 0]);
    }
}

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
    kill(bed.pid(), Signal::SIGSEGV).unwrap();
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
    let files = PathBuf::from(format!("/proc/{}/fd", bed.pid()));
    if std::fs::read_dir(files).is_err() {
        return skip("needs CAP_SYS_PTRACE");
    }
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
fn the_number_of_one_that_was_killed_while_it_waited_gets_nobody_signalled() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut bed = Bed::up("none", &[]);
    bed.fall_asleep();
    bed.client.process.kill();
    let stem = bed.scene.path("run").join(bed.destination());
    let lock = format!("{}.lock", text(&stem));
    // Somebody else has the number by now, and another caller the lock for a moment.
    let mut stranger = Process::start(Command::new("sleep").arg("60"));
    std::fs::write(&lock, format!("{} 3", stranger.pid())).unwrap();
    let mut flock = Process::start(Command::new("flock").args([&lock, "sleep", "60"]));
    wait_until("the lock is taken", patience(), || {
        let tried = Command::new("flock").args(["-n", &lock, "true"]).status();
        !tried.unwrap().success()
    });
    let stopped = bed.ask(&["stop", "--all"]);
    assert_eq!(stopped.code, 69, "{stopped:?}");
    assert!(stranger.is_running() && flock.is_running());
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
    kill(Pid::from_raw(pid), Signal::SIGSEGV).unwrap();
    let said = "*restarted after: it could not be started (2 restarts)*";
    syslog.lines.wait_for(said, patience());
    let off = bed.invoke(port, "off");
    assert_eq!(off.code, 69, "{off:?}");
    let said = format!("process {pid} restarts itself after a fault and is not back yet");
    assert!(off.stderr.join("").contains(&said), "{off:?}");
    let stopped = bed.ask(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(bed.scene.program_processes(), [0; 0]);
    assert_eq!(
        std::fs::read_dir(bed.scene.path("run")).unwrap().count(),
        0,
        "files are left"
    );
}

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
    bed.client.wait_after(mark, "restarted after: panic ");
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
        kill(bed.pid(), Signal::SIGSEGV).unwrap();
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
    bed.assert_back(
        mark,
        "panic at src/sys/selfdog/faults.rs:*: asked for by a test",
    );
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
    wait_until("as many files are open as before", patience(), || {
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
