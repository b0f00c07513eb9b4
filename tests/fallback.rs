//! Several servers: the next one when the first stays away, and the way back.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Reachback, command};
use support::keys::{self, Key, Kind};
use support::process::Process;
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, never_during, on_host, skip, user};

/// Only a debug build shortens the 10 minutes between two looks at the first server.
const SHORTER: &str = "the program under test is a release build, which looks every 10 minutes";

/// Two servers with host keys of their own, and one forward.
struct Pair {
    first: Sshd,
    second: Sshd,
    target: Target,
    port: u16,
    key: Key,
    scene: Scene,
}

impl Pair {
    /// Two servers that are not started; both know the key, unless `only_second`.
    fn prepare(only_second: bool) -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let other = keys::key(&scene, "other", Kind::Ed25519);
        let known = if only_second { &other } else { &key };
        let first = sshd::builder(&scene).authorize(known).prepare();
        let second = sshd::builder(&scene).authorize(&key).prepare();
        Self {
            first,
            second,
            target: Target::http("found"),
            port: free_port(),
            key,
            scene,
        }
    }

    fn start(&self) -> Reachback {
        let mut command = command(&self.scene);
        command
            .args(["-N", "-y", "-i", &self.key.file(), "-F"])
            .arg(self.configure(&self.everything()))
            .arg(format!("{}@127.0.0.1:{}", user(), self.first.port))
            .env("REACHBACK_TEST_FAILBACK_MS", "1000");
        Reachback {
            process: Process::start(&mut command),
        }
    }

    /// Writes the configuration file; gives its path.
    fn configure(&self, lines: &str) -> PathBuf {
        self.scene.file("config", lines)
    }

    /// The forward and the fallback, as the configuration names them.
    fn everything(&self) -> String {
        let fallback = format!("Fallback 127.0.0.1:{}\n", self.second.port);
        self.forward(self.port) + &fallback
    }

    /// The line of a forward of this port.
    fn forward(&self, port: u16) -> String {
        format!("RemoteForward {port} {}\n", self.target.address)
    }

    /// Has another configuration read; gives the log's mark before that.
    fn reload(&self, client: &Reachback, lines: &str) -> usize {
        self.configure(lines);
        let mark = client.log().mark();
        kill(Pid::from_raw(client.process.pid()), Signal::SIGHUP).unwrap();
        client.wait_after(mark, "configuration read again");
        mark
    }

    /// The end of a forward's line for a server.
    fn at(server: &Sshd) -> String {
        format!(" at 127.0.0.1 port {}", server.port)
    }

    /// Waits until the tunnel is up at this server, after a mark, and serves.
    fn wait_up_at(&self, client: &Reachback, mark: usize, server: &Sshd) {
        let confirmed = format!("forward confirmed: *{}", Self::at(server));
        client.wait_after(mark, &confirmed);
        let up = format!("tunnel up: {}@127.0.0.1 port {}", user(), server.port);
        client.wait_after(mark, &up);
        assert_eq!(targets::fetch(self.port), "found");
    }
}

#[test]
fn the_fallback_takes_over_when_the_first_server_is_not_there() {
    let mut pair = Pair::prepare(false);
    pair.second.start();
    let client = pair.start();
    pair.wait_up_at(&client, 0, &pair.second);
    let tries = format!("connecting to 127.0.0.1 port {} *", pair.first.port);
    assert_eq!(client.log().count(&tries), 3, "three failures, no more");
    client.wait_for("going to fallback 1: *");
    let pinned = pair.scene.known_hosts_text();
    assert!(
        pinned.contains(pair.second.host_key.blob()),
        "its own host key"
    );
}

#[test]
fn a_server_that_refuses_the_login_is_asked_once() {
    let mut pair = Pair::prepare(true);
    pair.first.start();
    pair.second.start();
    let client = pair.start();
    pair.wait_up_at(&client, 0, &pair.second);
    assert_eq!(client.log().count("authentication refused *"), 1);
    never_during("a second try at the first", Duration::from_secs(3), || {
        client.log().count("connected to *") > 2
    });
}

#[test]
fn the_tunnel_returns_to_the_first_server_once_that_answers() {
    if !on_host() {
        return skip(SHORTER);
    }
    let mut pair = Pair::prepare(false);
    pair.second.start();
    let client = pair.start();
    pair.wait_up_at(&client, 0, &pair.second);
    let mark = client.log().mark();
    never_during(
        "a loss while the first is away",
        Duration::from_secs(3),
        || client.log().mark() > mark,
    );
    pair.first.start();
    pair.wait_up_at(&client, mark, &pair.first);
    client.wait_after(mark, "going back to *");
    let logins = pair.first.log.count("Connection from *");
    assert_eq!(logins, 1, "the look became the connection");
}

#[test]
fn a_tunnel_in_use_is_not_left_for_the_first_server() {
    if !on_host() {
        return skip(SHORTER);
    }
    let mut pair = Pair::prepare(false);
    pair.target = Target::echo();
    pair.second.start();
    let client = pair.start();
    client.wait_up(pair.port);
    let mut held = targets::dial(pair.port);
    let mark = client.log().mark();
    use std::io::{Read, Write};
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    pair.first.start();
    never_during("leaving", Duration::from_secs(4), || {
        client.log().contains("leaving the fallback")
    });
    drop(held);
    client.wait_after(mark, "*leaving the fallback");
    client.wait_after(mark, "tunnel up: *");
}

#[test]
fn a_configuration_read_at_the_fallback_changes_neither_the_server_nor_what_the_log_calls_it() {
    let mut pair = Pair::prepare(false);
    pair.second.start();
    let client = pair.start();
    pair.wait_up_at(&client, 0, &pair.second);
    let added = free_port();
    let mark = pair.reload(&client, &(pair.everything() + &pair.forward(added)));
    let place = Pair::at(&pair.second);
    client.wait_after(
        mark,
        &format!("forward confirmed: server port {added} *{place}"),
    );
    assert_eq!(targets::fetch(added), "found");
    let mark = pair.reload(&client, &pair.everything());
    client.wait_after(mark, &format!("forward cancelled: {added}:*{place}"));
    assert_eq!(targets::fetch(pair.port), "found");
    let logins = pair.second.log.count("Accepted publickey for ");
    assert_eq!(logins, 1, "the connection was kept");
    if !on_host() {
        return;
    }
    // Its place in the list is kept as well: there is still a way back to the first.
    pair.first.start();
    pair.wait_up_at(&client, mark, &pair.first);
    client.wait_after(mark, "going back to *");
}

#[test]
fn a_fallback_that_leaves_the_configuration_is_left_for_the_first_server() {
    let mut pair = Pair::prepare(false);
    pair.second.start();
    let client = pair.start();
    pair.wait_up_at(&client, 0, &pair.second);
    pair.first.start();
    let mark = pair.reload(&client, &pair.forward(pair.port));
    client.wait_after(
        mark,
        "the configuration has changed in Fallback; renewing the connection",
    );
    let up = format!("tunnel up: {}@127.0.0.1 port {}", user(), pair.first.port);
    client.wait_after(mark, &up);
    assert_eq!(targets::fetch(pair.port), "found");
}
