//! A program that can be made to fail.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{Call, Ended, Reachback, command};
use super::keys::{self, Key, Kind};
use super::process::{self, Process};
use super::sshd::{self, Sshd};
use super::targets::{self, Target};
use super::{Scene, free_port, patience, text, user};

/// A tunnel that can be told to fail, and what it needs.
pub struct Bed {
    /// The tunnel's process.
    pub client: Reachback,
    /// What its forward leads to.
    pub target: Target,
    /// The forward's port.
    pub port: u16,
    /// Its being there brings the fault about.
    pub trigger: PathBuf,
    /// The server.
    pub server: Sshd,
    /// The key.
    pub key: Key,
    /// The files.
    pub scene: Scene,
}

impl Bed {
    /// `fault` happens when the trigger file is there; `more` are further variables.
    pub fn up(fault: &str, more: &[(&str, &str)]) -> Self {
        Self::with(fault, more, &[])
    }

    /// The same with `-o` options.
    pub fn with(fault: &str, more: &[(&str, &str)], options: &[&str]) -> Self {
        Self::of(None, fault, more, options)
    }

    /// The same of another user, with a runtime directory of his.
    pub fn of(uid: Option<u32>, fault: &str, more: &[(&str, &str)], options: &[&str]) -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let server = sshd::builder(&scene).authorize(&key).start();
        let target = Target::http("alive");
        let port = free_port();
        // Where the worker may remove it.
        let trigger = scene.path("run/trigger");
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
    pub fn fail(&self) {
        std::fs::write(&self.trigger, "").unwrap();
        kill(self.pid(), Signal::SIGUSR1).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.client.process.pid())
    }

    /// Ends the worker with a signal, as a fault would.
    pub fn crash(&self, signal: Signal) {
        let worker = Pid::from_raw(self.client.worker());
        kill(worker, signal).unwrap();
    }

    /// The program is there again, as the same process, and its tunnel works.
    pub fn assert_back(&mut self, mark: usize, reason: &str) {
        let said = format!("restarted after: {reason} (1 restart)");
        self.client.wait_after(mark, &said);
        self.client.wait_up_after(mark, self.port);
        assert!(self.client.process.is_running());
        assert_eq!(targets::fetch(self.port), self.target_body());
    }

    pub fn target_body(&self) -> &'static str {
        "alive"
    }

    /// Crashes three times, and so waits 4 s now before it goes on.
    pub fn fall_asleep(&self) {
        for count in 1..=3 {
            let mark = self.client.log().mark();
            self.crash(Signal::SIGSEGV);
            self.client
                .wait_after(mark, &format!("restarted after: signal SIGSEGV ({count} *"));
            if count < 3 {
                self.client.wait_up_after(mark, self.port);
            }
        }
    }

    pub fn destination(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.server.port)
    }

    pub fn spec(&self, port: u16) -> String {
        format!("{port}:127.0.0.1:{}", self.target.address.port())
    }

    /// A call of the program.
    pub fn ask(&self, args: &[&str]) -> Ended {
        Call::new(&self.scene).args(args).run()
    }

    /// What a custom script runs.
    pub fn invoke(&self, port: u16, argument: &str) -> Ended {
        let (spec, key) = (self.spec(port), self.key.file());
        let args = ["invoke", "-R", &spec, "-y", "-N", "-f", "-i", &key, "--"];
        Call::new(&self.scene).args(&args).args(&[argument]).run()
    }

    /// The process ends by itself, soon, without having opened the door again.
    pub fn assert_ended(&mut self, mark: usize) {
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
