//! The program under test.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::keys::Key;
use super::netns::Netns;
use super::process::{self, Lines, Process};
use super::{Scene, patience, runner, syslog, text};

/// The binary: `REACHBACK_BIN`, or the one that cargo built.
pub fn program() -> PathBuf {
    let named = std::env::var_os("REACHBACK_BIN");
    PathBuf::from(named.unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_reachback"))))
}

/// The program with its runner in front, in the environment of a scene.
pub fn command(scene: &Scene) -> Command {
    let mut words = runner();
    words.push(text(&program()));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    environment(&mut command, scene);
    command
}

/// Points a command's files into the scene.
pub fn environment(command: &mut Command, scene: &Scene) {
    command
        .env("HOME", scene.path("home"))
        .env("REACHBACK_SYSLOG", syslog::path(scene))
        .env("REACHBACK_RUNTIME_DIR", scene.path("run"))
        .current_dir(scene.path("home"))
        .stdin(Stdio::null());
}

/// The custom scripts' argument may not be loopback, where the tests' servers are, unless it is allowed:
/// these words go behind `invoke`.
const ALLOW: [&str; 2] = ["-o", "AllowDestinations=*"];

/// A shell script that runs the program, runner included: one file that
/// stands where the packaging scripts expect the binary.
pub fn wrapper(scene: &Scene) -> PathBuf {
    let mut words = runner();
    words.push(text(&program()));
    let (program, allow) = (words.join(" "), ALLOW.join(" "));
    let script = format!(
        "#!/bin/sh\nset -f\n[ \"$1\" != invoke ] || {{ shift; set -- invoke {allow} \"$@\"; }}\n\
         exec {program} \"$@\"\n"
    );
    scene.executable("reachback", script)
}

/// A call of the program being put together.
pub struct Call<'a> {
    scene: &'a Scene,
    /// A program that runs this one, with its arguments.
    under: Vec<String>,
    args: Vec<String>,
    variables: Vec<(String, OsString)>,
}

/// What a call that ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Lines on stdout.
    pub stdout: Vec<String>,
    /// Lines on stderr.
    pub stderr: Vec<String>,
}

impl<'a> Call<'a> {
    /// A call without arguments.
    pub fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            under: Vec::new(),
            args: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Lets another program run it.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds a variable to its environment, the runner's included.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The usual call: a key, and unknown host keys accepted and pinned.
    pub fn trusting(scene: &'a Scene, key: &Key) -> Self {
        Self::new(scene).args(&["-N", "-y"]).identity(key)
    }

    /// Adds arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Adds `-i`.
    pub fn identity(self, key: &Key) -> Self {
        self.args(&["-i", &key.file()])
    }

    /// Adds `-o`.
    pub fn option(self, option: &str) -> Self {
        self.args(&["-o", option])
    }

    /// Adds `-R port:host:hostport`.
    pub fn forward(self, port: u16, target: SocketAddr) -> Self {
        self.args(&["-R", &format!("{port}:{}:{}", target.ip(), target.port())])
    }

    /// Starts it in the foreground towards `user@127.0.0.1:port`.
    pub fn start(self, user: &str, port: u16) -> Reachback {
        let call = self.args(&[&format!("{user}@127.0.0.1:{port}")]);
        Reachback {
            process: Process::start(&mut call.command()),
        }
    }

    /// Starts it in the foreground in a network namespace.
    pub fn start_in(self, netns: &Netns, destination: &str) -> Reachback {
        let call = self.args(&[destination]);
        Reachback {
            process: Process::start(&mut netns.wrap(&call.command())),
        }
    }

    /// Runs it to its end, as it stands.
    pub fn run(self) -> Ended {
        let mut process = self.begin();
        let code = process.wait(patience());
        ended(process, code)
    }

    /// Starts it, as it stands; its output is there once it has been waited for.
    pub fn begin(self) -> Process {
        Process::start_and_keep(&mut self.command())
    }

    /// The program under what runs it, with its arguments.
    fn command(&self) -> Command {
        let own = command(self.scene);
        let mut command = match self.under.split_first() {
            None => own,
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(own.get_program());
                command.args(own.get_args());
                environment(&mut command, self.scene);
                command
            }
        };
        match self.args.split_first() {
            Some((first, rest)) if first == "invoke" => {
                command.arg(first).args(ALLOW).args(rest);
            }
            _ => drop(command.args(&self.args)),
        }
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }
}

/// What a process of [`Call::begin`] that has ended wrote.
pub fn ended(process: Process, code: i32) -> Ended {
    Ended {
        code,
        stdout: process.stdout.all(),
        stderr: process.stderr.all(),
    }
}

/// A running tunnel in the foreground.
pub struct Reachback {
    /// The process; its log is on stderr.
    pub process: Process,
}

impl Reachback {
    /// Its log.
    pub fn log(&self) -> &Lines {
        &self.process.stderr
    }

    /// The process that does the work.
    pub fn worker(&self) -> i32 {
        process::worker(self.process.pid())
    }

    /// Waits for a log line.
    pub fn wait_for(&self, pattern: &str) -> String {
        self.log().wait_for(pattern, patience())
    }

    /// Waits for a log line after a mark.
    pub fn wait_after(&self, mark: usize, pattern: &str) -> String {
        self.log().wait_after(mark, pattern, patience())
    }

    /// Waits until the tunnel and the forward of `port` are up.
    pub fn wait_up(&self, port: u16) {
        self.wait_up_after(0, port);
    }

    /// The same after a mark.
    pub fn wait_up_after(&self, mark: usize, port: u16) {
        self.wait_after(mark, &format!("forward confirmed: server port {port} "));
        self.wait_after(mark, "tunnel up: ");
    }

    /// Ends it with SIGTERM and returns its exit code.
    pub fn stop(mut self) -> i32 {
        self.process.terminate();
        self.process.wait(patience())
    }
}
