//! A real OpenSSH server on loopback.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::accounts::Account;
use super::keys::{self, Key, Kind};
use super::netns::Netns;
use super::process::{self, Lines, Process};
use super::{Scene, find_program, free_port, is_root, patience, text, wait_until};

/// What the server is to be like.
pub struct Builder<'a> {
    scene: &'a Scene,
    host_keys: Vec<Key>,
    authorized: Vec<String>,
    lines: Vec<String>,
    port: u16,
}

/// A running server; it and its sessions die on drop.
pub struct Sshd {
    program: PathBuf,
    config: PathBuf,
    process: Option<Process>,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its log (LogLevel DEBUG1), across restarts.
    pub log: Lines,
    /// The first of its host keys.
    pub host_key: Key,
}

/// A server with an Ed25519 host key, unless others are added.
pub fn builder(scene: &Scene) -> Builder<'_> {
    Builder {
        scene,
        host_keys: Vec::new(),
        authorized: Vec::new(),
        lines: Vec::new(),
        port: free_port(),
    }
}

impl Builder<'_> {
    /// Lets this key log in.
    pub fn authorize(mut self, key: &Key) -> Self {
        self.authorized.push(key.public.clone());
        self
    }

    /// Lets this key log in, with options in front as in sshd(8).
    pub fn authorize_with(mut self, options: &str, key: &Key) -> Self {
        self.authorized.push(format!("{options} {}", key.public));
        self
    }

    /// Adds a new host key.
    pub fn host_key(mut self, kind: Kind) -> Self {
        let name = format!(
            "host-{}-{}-{}",
            self.port,
            kind.name(),
            self.host_keys.len()
        );
        self.host_keys.push(keys::key(self.scene, &name, kind));
        self
    }

    /// Adds an existing host key.
    pub fn with_host_key(mut self, key: &Key) -> Self {
        self.host_keys.push(key.clone());
        self
    }

    /// Adds a line of sshd_config(5).
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Writes the configuration without starting the server.
    pub fn prepare(mut self) -> Sshd {
        if self.host_keys.is_empty() {
            self = self.host_key(Kind::Ed25519);
        }
        let program = find_program("sshd").expect("openssh-server is not installed");
        let port = self.port;
        let authorized = self.scene.file(
            &format!("authorized-{port}"),
            self.authorized.join("\n") + "\n",
        );
        let mut config = vec![format!("ListenAddress 127.0.0.1:{port}")];
        config.extend(
            self.host_keys
                .iter()
                .map(|k| format!("HostKey {}", k.file())),
        );
        // The first value counts, so what the test asks for goes in front.
        config.append(&mut self.lines);
        config.push(format!("AuthorizedKeysFile {}", text(&authorized)));
        let fixed = "PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
            PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\n\
            MaxStartups 200\nMaxSessions 200\nLogLevel DEBUG1";
        config.extend(fixed.lines().map(str::to_owned));
        if has_penalties(&program) {
            config.push("PerSourcePenalties no".to_owned());
        }
        let config = self
            .scene
            .file(&format!("sshd-{port}.conf"), config.join("\n") + "\n");
        if is_root() {
            // The directory that privilege separation needs.
            let _ = fs::create_dir_all("/run/sshd");
        }
        Sshd {
            program,
            config,
            process: None,
            port,
            log: Lines::default(),
            host_key: self.host_keys.swap_remove(0),
        }
    }

    /// Starts the server and waits until it listens.
    pub fn start(self) -> Sshd {
        let mut sshd = self.prepare();
        sshd.start();
        sshd
    }
}

/// OpenSSH 9.8 and later shut out an address after failed logins; in tests
/// every client has the same one.
fn has_penalties(program: &std::path::Path) -> bool {
    let out = Command::new(program)
        .args(["-T", "-o", "PerSourcePenalties=no"])
        .output()
        .unwrap();
    !String::from_utf8_lossy(&out.stderr).contains("Bad configuration option")
}

impl Sshd {
    /// Starts it (again), on the same port with the same keys.
    pub fn start(&mut self) {
        let command = self.command();
        self.run(command);
    }

    /// Starts it (again) where an account is so.
    pub fn start_for(&mut self, account: &Account) {
        let command = account.wrap(&self.command());
        self.run(command);
    }

    /// Starts it (again) in a network namespace.
    pub fn start_in(&mut self, netns: &Netns) {
        let command = netns.wrap(&self.command());
        self.run(command);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-D", "-e", "-f"]).arg(&self.config);
        command
    }

    fn run(&mut self, mut command: Command) {
        let mark = self.log.mark();
        let mut process = Process::start_into(&mut command, self.log.clone());
        wait_until("sshd listens", patience(), || {
            assert!(process.is_running(), "sshd ended: {:#?}", self.log.all());
            self.log.all()[mark..]
                .iter()
                .any(|l| process::matches(l, "Server listening on"))
        });
        self.process = Some(process);
    }

    /// Kills it together with its sessions.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The processes that serve connections.
    pub fn sessions(&self) -> Vec<i32> {
        self.process
            .as_ref()
            .map_or(Vec::new(), |p| process::descendants(p.pid()))
    }

    /// Kills the processes that serve connections, not the listener.
    pub fn kill_sessions(&self) {
        let sessions = self.sessions();
        sessions.iter().for_each(|pid| process::kill(*pid));
        wait_until("sessions are gone", Duration::from_secs(5), || {
            !sessions.iter().any(|pid| process::is_alive(*pid))
        });
    }
}
