//! An upgrade: a running process becomes the program that is installed now.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use support::client::{Ended, Reachback, command, environment, program};
use support::keys::{self, Key, Kind};
use support::process::Process;
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, on_host, patience, skip, text, user};

/// A tunnel of a program that was installed.
struct Installed {
    client: Reachback,
    program: PathBuf,
    port: u16,
    server: Sshd,
    target: Target,
    key: Key,
    scene: Scene,
}

impl Installed {
    /// Called by another name, if one is given.
    fn up(called: Option<&str>) -> Installed {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let server = sshd::builder(&scene).authorize(&key).start();
        let (target, port) = (Target::http("renewed"), free_port());
        let installed = scene.path("home/installed");
        support::install(&program(), &installed);
        let mut call = std::process::Command::new(&installed);
        environment(&mut call, &scene);
        if let Some(called) = called {
            call.arg0(called);
        }
        std::fs::copy(&key.private, scene.path("home/own-key")).unwrap();
        // A relative name holds from where it was started.
        call.args([
            "-N",
            "-i",
            "own-key",
            "-o",
            "StrictHostKeyChecking=accept-new",
        ])
        .args(["-p", &server.port.to_string()])
        .args(["-R", &format!("{port}:127.0.0.1:{}", target.address.port())])
        .arg(format!("{}@127.0.0.1", user()));
        let client = Reachback {
            process: Process::start(&mut call),
        };
        client.wait_up(port);
        Installed {
            client,
            program: installed,
            port,
            server,
            target,
            key,
            scene,
        }
    }

    /// Puts another file in the place of the program, as docs/upgrade.md says.
    fn install(&self, other: &Path) {
        let new = self.scene.path("home/installed.new");
        support::install(other, &new);
        std::fs::rename(new, &self.program).unwrap();
    }

    fn install_script(&self, script: &str) {
        self.install(&self.scene.file("script", script));
    }

    fn ask(&self, args: &[&str]) -> Ended {
        let mut process = Process::start_and_keep(command(&self.scene).args(args));
        let code = process.wait(patience());
        support::client::ended(process, code)
    }

    fn executable(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/exe", self.client.process.pid())).unwrap()
    }
}

#[test]
fn a_tunnel_becomes_the_program_that_is_installed_now_with_what_callers_ordered() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    for called in [None, Some("ssh")] {
        let mut tunnel = Installed::up(called);
        let second = free_port();
        let spec = format!("{second}:127.0.0.1:{}", tunnel.target.address.port());
        let destination = format!("{}@127.0.0.1:{}", user(), tunnel.server.port);
        let ended = tunnel.ask(&["-O", "forward", "-R", &spec, &destination]);
        assert_eq!(ended.code, 0, "{ended:?}");
        tunnel.install(&program());
        let gone = tunnel.executable();
        assert!(text(&gone).ends_with(" (deleted)"), "{gone:?}");
        let mark = tunnel.client.log().mark();
        let ended = tunnel.ask(&["renew"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stdout, [format!("{destination}: renewed")]);
        assert_eq!(tunnel.executable(), tunnel.program);
        for port in [tunnel.port, second] {
            let confirmed = format!("forward confirmed: server port {port} ");
            tunnel.client.wait_after(mark, &confirmed);
            assert_eq!(targets::fetch(port), "renewed");
        }
        assert!(tunnel.client.process.is_running(), "the same process");
        assert_eq!(tunnel.ask(&["stop"]).code, 0);
        assert_eq!(tunnel.client.process.wait(patience()), 0);
    }
}

#[test]
fn what_could_not_start_again_is_left_as_it_is_and_told_of() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut tunnel = Installed::up(None);
    let destination = format!("{}@127.0.0.1:{}", user(), tunnel.server.port);
    let before = tunnel.client.log().mark();
    for (script, why) in [
        (
            "#!/bin/sh\necho no such flag >&2\nexit 64\n",
            "no such flag",
        ),
        ("no program\n", "does not run"),
        ("#!/bin/sh\nexit 1\n", "it says no reason"),
    ] {
        tunnel.install_script(script);
        let ended = tunnel.ask(&["renew", "--all"]);
        assert_eq!(ended.code, 69, "{ended:?}");
        let said = ended.stderr.join("\n");
        assert!(said.contains(&destination) && said.contains(why), "{said}");
    }
    tunnel.install(&program());
    std::fs::remove_file(tunnel.scene.path("home/own-key")).unwrap();
    let ended = tunnel.ask(&["renew"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(ended.stderr.join("").contains("own-key"), "{ended:?}");
    assert_eq!(tunnel.client.log().mark(), before, "nothing happened to it");
    assert!(tunnel.client.process.is_running());
    assert_eq!(targets::fetch(tunnel.port), "renewed");
    assert!(tunnel.key.private.exists());
}

#[test]
fn reload_makes_every_tunnel_read_its_configuration_again() {
    if !on_host() {
        return skip("the installed copy is called without the runner");
    }
    let tunnel = Installed::up(None);
    let mark = tunnel.client.log().mark();
    let ended = tunnel.ask(&["reload", "--all"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    tunnel.client.wait_after(mark, "configuration read again");
    assert_eq!(tunnel.client.log().count("connected to "), 1);
}

#[test]
fn what_a_caller_began_is_not_ended_with_the_service() {
    if !on_host() {
        return skip("the installed copy is called without the runner");
    }
    let mut tunnel = Installed::up(None);
    let ended = tunnel.ask(&["stop", "--service"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(tunnel.client.process.is_running());
    assert_eq!(targets::fetch(tunnel.port), "renewed");
}
