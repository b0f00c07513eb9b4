//! A controller whose tunnels run in the background, and its server.

use std::path::PathBuf;

use super::client::{Call, Ended};
use super::keys::Key;
use super::rig::Site;
use super::sshd::Sshd;
use super::syslog::Syslog;
use super::targets::{self, Target};
use super::{Scene, patience, user, wait_until};

/// Fields are dropped in this order, the scene last.
pub struct Controller {
    /// Its system log.
    pub syslog: Syslog,
    /// The server.
    pub server: Sshd,
    /// What every forward leads to; answers `served`.
    pub target: Target,
    /// The key that logs in.
    pub key: Key,
    /// The directory of it all.
    pub scene: Scene,
}

/// One without a tunnel.
pub fn controller() -> Controller {
    let Site { scene, key, server } = Site::up();
    Controller {
        syslog: Syslog::start(&scene),
        server,
        target: Target::http("served"),
        key,
        scene,
    }
}

impl Controller {
    /// The server, as a caller names it.
    pub fn destination(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.server.port)
    }

    /// A call for a tunnel in the background.
    pub fn call(&self, port: u16) -> Call<'_> {
        let call = Call::trusting(&self.scene, &self.key).args(&["-f", &self.destination()]);
        call.forward(port, self.target.address)
    }

    /// A call of the program with these arguments.
    pub fn ask(&self, args: &[&str]) -> Ended {
        Call::new(&self.scene).args(args).run()
    }

    /// What the custom scripts run.
    pub fn invoke(&self, port: u16, argument: &str) -> Ended {
        let (spec, key) = (self.spec(port), self.key.file());
        self.ask(&[
            "invoke", "-R", &spec, "-y", "-N", "-f", "-i", &key, "--", argument,
        ])
    }

    /// A forward of this port, as `-R` takes it.
    pub fn spec(&self, port: u16) -> String {
        format!("{port}:127.0.0.1:{}", self.target.address.port())
    }

    /// Waits until the forward of this port is confirmed, and uses it.
    pub fn confirmed(&self, port: u16) {
        let line = format!("forward confirmed: server port {port} ");
        self.syslog.lines.wait_for(&line, patience());
        assert_eq!(targets::fetch(port), "served");
    }

    /// The processes that hold tunnels, when nobody calls.
    pub fn owners(&self) -> Vec<i32> {
        self.scene.program_processes()
    }

    /// How often somebody has logged in.
    pub fn logins(&self) -> usize {
        self.server.log.count("Accepted publickey for ")
    }

    /// The owner's control socket.
    pub fn socket(&self) -> PathBuf {
        let name = format!("run/{}@127.0.0.1:{}.sock", user(), self.server.port);
        self.scene.path(&name)
    }

    /// Waits until the owner has ended and tidied up.
    pub fn gone(&self) {
        wait_until("the owner has ended", patience(), || {
            self.owners().is_empty()
        });
        assert!(!self.socket().exists(), "its socket is left");
    }
}

/// Waits until the server does not listen on this port any more.
pub fn closed(port: u16) {
    wait_until("the server listens no more", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}
