//! Dropbear as the server in a namespace.

use std::fs;
use std::process::Command;

use crate::support::keys::{self, Format, Key, Kind};
use crate::support::netns::{Netns, SERVER};
use crate::support::process::{self, Process};
use crate::support::{Scene, find_program, patience, text};
use crate::world::SSH;

/// A running server; it and its sessions die on drop.
pub struct Dropbear {
    process: Process,
}

impl Dropbear {
    /// Starts one that root may log in to with `authorized`. It sends keepalives every second
    /// and gives up after three unanswered.
    ///
    /// Dropbear reads root's own authorized_keys only, so another home directory is mounted
    /// over root's, in a mount namespace.
    pub fn start(scene: &Scene, netns: &Netns, authorized: &[&Key]) -> Self {
        let program = find_program("dropbear").expect("dropbear is not installed");
        let home = scene.path("dropbear-home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        let lines: String = authorized.iter().map(|k| k.public.clone() + "\n").collect();
        fs::write(home.join(".ssh/authorized_keys"), lines).unwrap();
        let host_key = keys::generate(scene, "dropbear-host", Kind::Ed25519, Format::Dropbear);
        let script = "mount --bind \"$0\" /root && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, &text(&home), &text(&program)]);
        let listen = format!("{SERVER}:{SSH}");
        command.args(["-F", "-E", "-K", "1", "-p", &listen, "-r", &host_key.file()]);
        let process = Process::start(&mut netns.wrap(&command));
        process.stderr.wait_for("Not backgrounding", patience());
        Self { process }
    }

    /// The processes that serve connections.
    pub fn sessions(&self) -> Vec<i32> {
        process::descendants(self.process.pid())
    }
}
