//! What the integration tests share: a temporary directory that takes its
//! processes with it, real SSH servers, targets, a syslog socket, and the
//! program under test.
//!
//! `REACHBACK_BIN` names another binary than the one cargo built, and
//! `REACHBACK_RUNNER` a command in front of it (`qemu-arm`). With
//! `REACHBACK_TESTS_NO_SKIP` set, a test that would be skipped fails.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod accounts;
pub mod client;
pub mod clock;
pub mod connect;
pub mod controller;
pub mod crash;
pub mod doctor;
pub mod document;
pub mod keys;
pub mod names;
pub mod netns;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod rig;
pub mod sshd;
pub mod syslog;
pub mod targets;
pub mod terminal;
pub mod typist;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The command put in front of the program, if any.
pub fn runner() -> Vec<String> {
    let value = std::env::var("REACHBACK_RUNNER").unwrap_or_default();
    value.split_whitespace().map(str::to_owned).collect()
}

/// Whether the program runs by itself, so that sizes and times are its own.
pub fn on_host() -> bool {
    runner().is_empty()
}

/// A bound for the host, four times that under a runner.
pub fn bound(host: Duration) -> Duration {
    if on_host() { host } else { host * 4 }
}

/// How long a test waits for something that must happen.
pub fn patience() -> Duration {
    bound(Duration::from_secs(20))
}

/// Polls `condition` until it holds; panics after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts that `condition` stays false for `span`.
pub fn never_during(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert!(!condition(), "must not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says on the real stderr, past the test harness, why a test does nothing.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("REACHBACK_TESTS_NO_SKIP").is_none(),
        "skipping is not allowed here: {reason}"
    );
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// The account that the tests run as.
pub fn user() -> &'static str {
    static USER: OnceLock<String> = OnceLock::new();
    USER.get_or_init(|| output("id", &["-un"]))
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| output("id", &["-u"]) == "0")
}

/// Finds a program in the places where servers are installed as well.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let more = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    let all = format!("{path}:{more}");
    all.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
}

/// Runs a tool to its end and returns its trimmed stdout.
pub fn output(program: &str, args: &[&str]) -> String {
    let out = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        out.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Copies a program to where it is started from. Another process writes it: a descriptor
/// open for writing here would go into each child that another test starts at that moment,
/// and what somebody may write does not start (ETXTBSY, execve(2)).
pub fn install(program: &Path, to: &Path) {
    output("install", &["-m", "755", &text(program), &text(to)]);
}

/// A loopback TCP port that nothing listens on, below the ephemeral range so
/// that no outgoing connection takes it, and never given twice.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (u64::from(std::process::id()) * 409 % u64::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % COUNT;
        let v4 = TcpListener::bind(("127.0.0.1", port));
        let v6 = TcpListener::bind(("::1", port));
        if v4.is_ok() && (v6.is_ok() || TcpListener::bind("[::1]:0").is_err()) {
            return port;
        }
    }
    panic!("no free port");
}

/// A temporary directory; every process whose command line names it dies with it.
pub struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// A new, empty scene with a home directory in it.
    pub fn new() -> Self {
        // Short, since Unix socket paths in it are limited to 107 bytes.
        let dir = tempfile::Builder::new()
            .prefix("rb-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::create_dir_all(dir.path().join("home/.ssh")).unwrap();
        Self { dir }
    }

    /// A path inside the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Writes a file that can be started at once, and returns its path.
    pub fn executable(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        install(&self.file(&format!("{name}.text"), contents), &path);
        path
    }

    /// The known_hosts file that the program uses by default.
    pub fn known_hosts(&self) -> PathBuf {
        self.path("home/.ssh/known_hosts")
    }

    /// Its text, empty when it does not exist.
    pub fn known_hosts_text(&self) -> String {
        fs::read_to_string(self.known_hosts()).unwrap_or_default()
    }

    /// Processes that carry this scene's directory on their command line.
    pub fn processes(&self) -> Vec<i32> {
        process::with_command_line(self.dir.path().to_str().unwrap())
    }

    /// Those of them that are the program under test, without their workers.
    pub fn program_processes(&self) -> Vec<i32> {
        let name = client::program().display().to_string();
        let named = process::with_command_line(&name);
        let own = self.processes().into_iter();
        let own: Vec<i32> = own.filter(|pid| named.contains(pid)).collect();
        let workers: Vec<i32> = own
            .iter()
            .flat_map(|pid| process::descendants(*pid))
            .collect();
        own.into_iter()
            .filter(|pid| !workers.contains(pid))
            .collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.processes() {
            process::kill(pid);
        }
    }
}

/// Text of a path, for command lines and configuration.
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
