//! The usual arrangement: a server, a target, and a tunnel between them.

use super::client::{Call, Reachback};
use super::keys::{self, Format, Key, Kind};
use super::sshd::{self, Sshd};
use super::targets::{self, Target};
use super::{Scene, free_port, user};

/// A server, and a key that may log in to it. `let Site { scene, key, server } = Site::up();`
/// drops them in the right order, the scene last.
pub struct Site {
    /// The server.
    pub server: Sshd,
    /// The key.
    pub key: Key,
    /// The directory of it all.
    pub scene: Scene,
}

impl Site {
    /// The usual one: OpenSSH, and an Ed25519 key.
    pub fn up() -> Self {
        Self::with(&[])
    }

    /// One with these lines of sshd_config(5).
    pub fn with(lines: &[&str]) -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let mut server = sshd::builder(&scene).authorize(&key);
        for line in lines {
            server = server.config(line);
        }
        Self {
            server: server.start(),
            key,
            scene,
        }
    }

    /// The usual call of the program, to be completed.
    pub fn call(&self) -> Call<'_> {
        Call::trusting(&self.scene, &self.key)
    }

    /// The server, as a caller names it.
    pub fn destination(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.server.port)
    }

    /// Brings up one tunnel to several targets, with these `-o` options.
    pub fn serve(&self, targets: &[&Target], options: &[&str]) -> (Reachback, Vec<u16>) {
        let ports: Vec<u16> = targets.iter().map(|_| free_port()).collect();
        let mut call = self.call();
        for option in options {
            call = call.option(option);
        }
        for (port, target) in ports.iter().zip(targets) {
            call = call.forward(*port, target.address);
        }
        let client = call.start(user(), self.server.port);
        for port in &ports {
            client.wait_up(*port);
        }
        (client, ports)
    }
}

/// A tunnel that is up. Fields are dropped in this order, the scene last.
pub struct Rig {
    /// The program.
    pub client: Reachback,
    /// Its server.
    pub sshd: Sshd,
    /// What the forward leads to.
    pub target: Target,
    /// The forward's port on the server.
    pub port: u16,
    /// The key that logs in.
    pub key: Key,
    /// The directory of it all.
    pub scene: Scene,
}

/// What may differ from the usual.
pub struct Setup<'a> {
    /// The kind and format of the key that logs in.
    pub key: (Kind, Format),
    /// Lines of sshd_config(5).
    pub server: &'a [&'a str],
    /// Host keys of the server; empty for one Ed25519.
    pub host_keys: &'a [Kind],
    /// `-o` options of the program.
    pub options: &'a [&'a str],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            key: (Kind::Ed25519, Format::OpenSsh),
            server: &[],
            host_keys: &[],
            options: &[],
        }
    }
}

impl Setup<'_> {
    /// Brings up a tunnel to `target`.
    pub fn up(&self, target: Target) -> Rig {
        let scene = Scene::new();
        let key = keys::generate(&scene, "key", self.key.0, self.key.1);
        let mut server = sshd::builder(&scene).authorize(&key);
        for line in self.server {
            server = server.config(line);
        }
        for kind in self.host_keys {
            server = server.host_key(*kind);
        }
        let sshd = server.start();
        let port = free_port();
        let mut call = Call::trusting(&scene, &key).forward(port, target.address);
        for option in self.options {
            call = call.option(option);
        }
        let client = call.start(user(), sshd.port);
        client.wait_up(port);
        Rig {
            client,
            sshd,
            target,
            port,
            key,
            scene,
        }
    }
}

impl Rig {
    /// The usual tunnel to `target`.
    pub fn up(target: Target) -> Self {
        Setup::default().up(target)
    }

    /// Asserts that bytes pass both ways; the target must echo.
    pub fn assert_echoes(&self, what: &str) {
        let sent: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let back = targets::exchange(self.port, &sent);
        assert!(
            back == sent,
            "{what}: {} bytes came back of {}",
            back.len(),
            sent.len()
        );
    }
}
