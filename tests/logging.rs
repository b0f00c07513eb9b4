//! The log in the background: RFC 3164 to the syslog socket, and a syslogd
//! that is missing, stuck or restarted never stops the tunnel. In the
//! foreground: standard error, and who does not read that does not stop it either.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use support::client::{Call, command};
use support::keys::Key;
use support::process::{Lines, Process, is_alive};
use support::rig::Site;
use support::sshd::Sshd;
use support::syslog::{self, Syslog, parse};
use support::targets::{self, Target};
use support::{Scene, free_port, patience, user, wait_until};

struct Place {
    sshd: Sshd,
    target: Target,
    port: u16,
    key: Key,
    scene: Scene,
}

fn place() -> Place {
    let Site { scene, key, server } = Site::up();
    Place {
        sshd: server,
        target: Target::http("served"),
        port: free_port(),
        key,
        scene,
    }
}

impl Place {
    /// Starts a tunnel in the background with `-f`.
    fn start(&self, options: &[&str]) {
        let destination = format!("{}@127.0.0.1:{}", user(), self.sshd.port);
        let mut call = Call::trusting(&self.scene, &self.key)
            .args(&["-f", &destination])
            .forward(self.port, self.target.address);
        for option in options {
            call = call.option(option);
        }
        let ended = call.run();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.is_empty(), "the log went to stderr: {ended:?}");
    }

    fn assert_serves(&self) {
        wait_until("the forward is up", patience(), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        assert_eq!(targets::fetch(self.port), "served");
    }

    /// Cuts the connection and waits until the tunnel is back.
    fn assert_comes_back(&self) {
        self.sshd.kill_sessions();
        self.assert_serves();
    }
}

#[test]
fn messages_have_the_form_of_rfc_3164_with_the_pid_of_the_tunnel() {
    let place = place();
    let syslog = Syslog::start(&place.scene);
    place.start(&[]);
    let line = syslog.lines.wait_for("tunnel up: ", patience());
    let message = parse(&line);
    assert_eq!(message.tag, "reachback");
    // Facility daemon (3), severity info (6) or notice (5).
    assert_eq!(message.priority / 8, 3, "{line}");
    assert!(matches!(message.priority % 8, 5 | 6), "{line}");
    assert_eq!(
        message.text,
        format!("tunnel up: {}@127.0.0.1 port {}", user(), place.sshd.port)
    );
    assert!(is_alive(message.pid), "{line}");
    assert_eq!(place.scene.program_processes(), [message.pid]);
    for line in syslog.lines.all() {
        assert_eq!(parse(&line).tag, "reachback");
    }
    place.assert_serves();
}

#[test]
fn the_background_process_is_detached() {
    let place = place();
    let syslog = Syslog::start(&place.scene);
    place.start(&[]);
    let pid = parse(&syslog.lines.wait_for("tunnel up: ", patience())).pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // proc(5): state, ppid, pgrp, session, tty_nr.
    assert_ne!(
        fields[1],
        std::process::id().to_string(),
        "still a child of its caller"
    );
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own_session = own
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(3)
        .unwrap()
        .to_owned();
    assert_ne!(
        fields[3], own_session,
        "still in the caller's terminal session"
    );
    assert_eq!(fields[4], "0", "it has a terminal");
    if support::on_host() {
        let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(directory.to_str(), Some("/"), "it keeps a file system busy");
    }
}

#[test]
fn a_syslogd_that_is_missing_at_the_start_is_used_when_it_appears() {
    let place = place();
    place.start(&[]);
    place.assert_serves();
    let syslog = Syslog::start(&place.scene);
    place.sshd.kill_sessions();
    syslog.lines.wait_for("connection lost: ", patience());
    syslog.lines.wait_for("tunnel up: ", patience());
    place.assert_serves();
}

#[test]
fn a_syslogd_that_never_reads_does_not_stop_the_tunnel() {
    let place = place();
    let _stuck = syslog::stuck(&place.scene);
    place.start(&["LogLevel=DEBUG"]);
    place.assert_serves();
    for _ in 0..3 {
        place.assert_comes_back();
    }
}

#[test]
fn a_restarted_syslogd_is_used_again() {
    let place = place();
    let first = Syslog::start(&place.scene);
    place.start(&[]);
    first.lines.wait_for("tunnel up: ", patience());
    first.stop();
    place.assert_comes_back();
    let second = Syslog::start(&place.scene);
    place.sshd.kill_sessions();
    second.lines.wait_for("connection lost: ", patience());
    second.lines.wait_for("tunnel up: ", patience());
    place.assert_serves();
}

#[test]
fn log_level_decides_what_is_written() {
    let place = place();
    let syslog = Syslog::start(&place.scene);
    place.start(&["LogLevel=ERROR"]);
    place.assert_serves();
    place.assert_comes_back();
    assert!(
        !syslog.lines.contains("tunnel up: "),
        "{:#?}",
        syslog.lines.all()
    );
    assert!(
        !syslog.lines.contains("connection lost"),
        "{:#?}",
        syslog.lines.all()
    );
}

#[test]
fn sigterm_ends_the_background_process_and_its_tunnel() {
    let place = place();
    let syslog = Syslog::start(&place.scene);
    place.start(&[]);
    let pid = parse(&syslog.lines.wait_for("tunnel up: ", patience())).pid;
    let status = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    wait_until("the process is gone", patience(), || !is_alive(pid));
    wait_until("the listener is gone", patience(), || {
        TcpStream::connect(("127.0.0.1", place.port)).is_err()
    });
}

/// Bytes that the pipe of [`full_pipe`] holds: whole pages, whatever size they have.
const PIPE: usize = 128 * 1024;

/// A pipe that is full.
fn full_pipe() -> (PipeReader, PipeWriter) {
    use nix::fcntl::{FcntlArg, fcntl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = fcntl(writer.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE as i32)).unwrap();
    assert_eq!(size as usize, PIPE);
    writer.write_all(&[b'.'; PIPE]).unwrap();
    (reader, writer)
}

impl Place {
    /// A call for a tunnel in the foreground.
    fn foreground(&self) -> Command {
        let mut command = command(&self.scene);
        let target = self.target.address.port();
        command
            .args(["-N", "-y", "-i", &self.key.file(), "-o", "LogLevel=DEBUG"])
            .args(["-R", &format!("{}:127.0.0.1:{target}", self.port)])
            .arg(format!("{}@127.0.0.1:{}", user(), self.sshd.port));
        command
    }
}

#[test]
fn a_standard_error_that_is_full_does_not_stop_the_tunnel_and_is_used_again_once_read() {
    let place = place();
    let (mut reader, writer) = full_pipe();
    let mut client = Process::start_saying_to(&mut place.foreground(), writer);
    place.assert_serves();
    for _ in 0..3 {
        place.assert_comes_back();
    }
    let mut filling = vec![0; PIPE];
    reader.read_exact(&mut filling).unwrap();
    assert!(filling.iter().all(|byte| *byte == b'.'), "nothing fitted");
    let heard = Lines::default();
    heard.read_from(reader);
    place.sshd.kill_sessions();
    heard.wait_for("connection lost: ", patience());
    heard.wait_for("tunnel up: ", patience());
    assert!(
        heard
            .all()
            .iter()
            .all(|line| line.starts_with("reachback: ")),
        "whole lines: {:#?}",
        heard.all()
    );
    client.terminate();
    assert_eq!(client.wait(patience()), 0);
}

#[test]
fn a_standard_error_that_nobody_reads_any_more_does_not_end_the_tunnel() {
    let place = place();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut client = Process::start_saying_to(&mut place.foreground(), writer);
    place.assert_serves();
    drop(reader);
    for _ in 0..3 {
        place.assert_comes_back();
    }
    assert!(client.is_running());
    client.terminate();
    assert_eq!(client.wait(patience()), 0);
}

/// Nobody is told, but whoever started the program learns by its exit that it is gone.
#[test]
fn a_standard_error_that_is_full_does_not_keep_the_program_from_ending() {
    let place = place();
    let _holders = [
        TcpListener::bind(("127.0.0.1", place.port)).ok(),
        TcpListener::bind(("::1", place.port)).ok(),
    ];
    let (_reader, writer) = full_pipe();
    let mut command = place.foreground();
    command.args(["-o", "ExitOnForwardFailure=yes"]);
    let mut client = Process::start_saying_to(&mut command, writer);
    assert_eq!(client.wait(patience()), 69);
}
