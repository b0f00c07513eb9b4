//! A configuration that gives a tunnel another name: it is reachable all the same, and stays one.
#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Call, Ended, Reachback};
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, on_host, patience, skip, text, user, wait_until};

/// A tunnel of the block `hub`.
struct Hub {
    client: Reachback,
    target: Target,
    port: u16,
    servers: [Sshd; 2],
    key: Key,
    scene: Scene,
}

impl Hub {
    fn up() -> Hub {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let servers = [0; 2].map(|_| sshd::builder(&scene).authorize(&key).start());
        let (target, port) = (Target::http("hub"), free_port());
        write(&scene, &key, &target, port, "127.0.0.1", servers[0].port);
        let file = text(&scene.path("config"));
        let client = Reachback {
            process: support::process::Process::start(
                support::client::command(&scene).args(["-F", &file, "hub"]),
            ),
        };
        client.wait_up(port);
        Hub {
            client,
            target,
            port,
            servers,
            key,
            scene,
        }
    }

    /// Writes another configuration, which nobody reads yet.
    fn configure(&self, host: &str, port: u16) {
        write(&self.scene, &self.key, &self.target, self.port, host, port);
    }

    /// Has it read; the log's mark before that.
    fn reload(&self) -> usize {
        let mark = self.client.log().mark();
        kill(Pid::from_raw(self.client.process.pid()), Signal::SIGHUP).unwrap();
        mark
    }

    fn ask(&self, args: &[&str]) -> Ended {
        let file = text(&self.scene.path("config"));
        Call::new(&self.scene).args(args).args(&["-F", &file]).run()
    }

    /// It answers to its name, and is the only one.
    fn assert_reachable(&self) {
        for args in [&["status", "hub"][..], &["-O", "check", "hub"]] {
            let ended = self.ask(args);
            assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        }
        assert_eq!(self.scene.program_processes(), [self.client.process.pid()]);
        let files = std::fs::read_dir(self.scene.path("run")).unwrap().count();
        assert_eq!(files, 2, "one lock, one socket");
        assert_eq!(targets::fetch(self.port), "hub");
    }
}

fn write(scene: &Scene, key: &Key, target: &Target, port: u16, host: &str, server: u16) {
    scene.file(
        "config",
        format!(
            "Host hub\n  Hostname {host}\n  Port {server}\n  User {}\n  IdentityFile {}\n  \
             StrictHostKeyChecking accept-new\n  RemoteForward {port} 127.0.0.1:{}\n",
            user(),
            key.file(),
            target.address.port()
        ),
    );
}

#[test]
fn a_tunnel_is_reachable_by_its_name_before_and_after_each_change_is_read() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut hub = Hub::up();
    let [first, second] = [hub.servers[0].port, hub.servers[1].port];
    for (host, port) in [
        ("localhost", first),
        ("localhost", second),
        ("127.0.0.1", second),
    ] {
        hub.configure(host, port);
        hub.assert_reachable();
        let mark = hub.reload();
        hub.client.wait_up_after(mark, hub.port);
        hub.assert_reachable();
        let files = std::fs::read_dir(hub.scene.path("run")).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        let named = format!("{}@{host}:{port}.", user());
        let is_new = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with(&named);
        assert!(names.iter().all(is_new), "{names:?}");
    }
    let mark = hub.client.log().mark();
    let ended = hub.ask(&["reconnect", "hub"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    hub.client.wait_up_after(mark, hub.port);
    hub.configure("localhost", first);
    let ended = hub.ask(&["stop", "hub"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(hub.client.process.wait(patience()), 0);
}

#[test]
fn another_runtime_directory_takes_lock_and_socket_along() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let hub = Hub::up();
    let elsewhere = hub.scene.path("elsewhere");
    hub.configure("127.0.0.1", hub.servers[0].port);
    let file = hub.scene.path("config");
    let more = format!("  RuntimeDirectory {}\n", text(&elsewhere));
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &more).unwrap();
    let mark = hub.reload();
    hub.client.wait_up_after(mark, hub.port);
    let status = hub.ask(&["status", "hub"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(hub.scene.path("run")).unwrap().count(), 0);
}

#[test]
fn what_callers_ordered_moves_with_the_tunnel() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let hub = Hub::up();
    let second = free_port();
    let spec = format!("{second}:127.0.0.1:{}", hub.target.address.port());
    let ended = hub.ask(&["-O", "forward", "-R", &spec, "hub"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    hub.client
        .wait_for(&format!("forward confirmed: server port {second} "));
    hub.configure("localhost", hub.servers[1].port);
    let mark = hub.reload();
    hub.client
        .wait_after(mark, &format!("forward confirmed: server port {second} "));
    assert_eq!(targets::fetch(second), "hub");
}

#[test]
fn a_tunnel_that_moves_to_where_another_is_hands_its_forwards_over() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut hub = Hub::up();
    let other = hub.servers[1].port;
    let other_port = free_port();
    let second = Call::trusting(&hub.scene, &hub.key)
        .forward(other_port, hub.target.address)
        .start(user(), other);
    second.wait_up(other_port);
    hub.configure("127.0.0.1", other);
    hub.reload();
    assert_eq!(hub.client.process.wait(patience()), 0);
    second.wait_for(&format!("forward confirmed: server port {} ", hub.port));
    wait_until("one process", patience(), || {
        hub.scene.program_processes() == [second.process.pid()]
    });
    assert_eq!(targets::fetch(hub.port), "hub");
}

#[test]
fn an_order_to_end_holds_while_the_tunnel_moves() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let mut hub = Hub::up();
    // A connection in use: the end takes as long as it may.
    let _user = targets::dial(hub.port);
    wait_until("it is served", patience(), || hub.target.hits() == 1);
    hub.configure("localhost", hub.servers[1].port);
    let mark = hub.reload();
    hub.client
        .wait_after(mark, "ending: the configuration moves the tunnel to *");
    hub.client.process.terminate();
    assert_eq!(hub.client.process.wait(patience()), 0);
    assert_eq!(hub.scene.program_processes(), [0; 0]);
    assert_eq!(hub.client.log().count("connecting to "), 1);
}
