//! Each cause of trouble, made to happen for real: `status` says what to do, and the document for
//! programs names the cause.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::TcpListener;

use nix::sys::socket::{Backlog, listen};
use reachback_core::cause::{CAUSES, Cause};

use support::client::{Call, Reachback};
use support::keys::{self, Key, Kind};
use support::netns::Net;
use support::sshd::{self, Sshd};
use support::targets::Target;
use support::{Scene, free_port, is_root, output, patience, skip, text, user, wait_until};

/// A scene with a key.
struct Place {
    scene: Scene,
    key: Key,
}

impl Place {
    fn new() -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        Self { scene, key }
    }

    /// A server with these lines that lets the key in.
    fn server(&self, lines: &[&str]) -> Sshd {
        let mut server = sshd::builder(&self.scene).authorize(&self.key);
        for line in lines {
            server = server.config(line);
        }
        server.start()
    }

    /// The program with one forward on its way to this port.
    fn call(&self, port: u16) -> Reachback {
        Call::trusting(&self.scene, &self.key)
            .option("ConnectTimeout=2")
            .forward(free_port(), ([127, 0, 0, 1], free_port()).into())
            .start(user(), port)
    }

    /// What `status` prints.
    fn status(&self, args: &[&str]) -> String {
        let ended = Call::new(&self.scene).args(&["status"]).args(args).run();
        ended.stdout.join("\n")
    }

    /// Waits until the page says what to do about this.
    fn says(&self, cause: Cause) {
        let line = format!("what to do: {}\n", cause.advice());
        wait_until(cause.name(), patience() * 3, || {
            self.status(&[]).contains(&line)
        });
    }

    /// The same for a connection that is not there.
    fn is_down(&self, cause: Cause) {
        self.says(cause);
        let member = format!("\"last_failure_cause\":\"{}\"", cause.name());
        let document = self.status(&["--json"]);
        assert!(document.contains(&member), "no {member} in {document}");
    }

    /// A call to somebody who says this to everyone, and closes or waits.
    fn at_stranger(&self, says: &'static [u8], closes: bool, cause: Cause) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let _ = socket.write_all(says);
                if !closes {
                    kept.push(socket);
                }
            }
        });
        let client = self.call(port);
        self.is_down(cause);
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn a_server_that_is_not_there() {
    let place = Place::new();
    let client = place.call(free_port());
    place.is_down(Cause::Refused);
    assert_eq!(client.stop(), 0);
    // Nobody takes its connections: the kernel drops what comes when the queue is full.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&deaf, Backlog::new(0).unwrap()).unwrap();
    let address = deaf.local_addr().unwrap();
    let short = std::time::Duration::from_millis(300);
    let connect = || std::net::TcpStream::connect_timeout(&address, short);
    let _waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
    let client = place.call(address.port());
    place.is_down(Cause::TimedOut);
    assert_eq!(client.stop(), 0);
    // The kernel has no way to such an address for TCP.
    let client = Call::trusting(&place.scene, &place.key)
        .forward(free_port(), ([127, 0, 0, 1], free_port()).into())
        .args(&[&format!("{}@255.255.255.255", user())])
        .begin();
    place.is_down(Cause::NoRoute);
    drop(client);
}

#[test]
fn a_name_that_no_server_knows() {
    let place = Place::new();
    let Some(net) = Net::new() else {
        return;
    };
    // Nobody answers there.
    net.controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    let _client = Call::trusting(&place.scene, &place.key)
        .forward(free_port(), ([127, 0, 0, 1], free_port()).into())
        .start_in(&net.controller, &format!("{}@hub.test", user()));
    place.is_down(Cause::Name);
}

#[test]
fn somebody_else_on_the_servers_port() {
    let place = Place::new();
    place.at_stranger(b"Exceeded MaxStartups\r\n", true, Cause::Closed);
    place.at_stranger(b"", false, Cause::Mute);
    place.at_stranger(
        b"SSH-2.0-x\r\n\0\0\0\x0c\x04\xff\0\0\0\0\0\0\0\0\0\0",
        false,
        Cause::Garbled,
    );
}

#[test]
fn a_host_key_that_is_unknown_changed_or_revoked() {
    let place = Place::new();
    let server = place.server(&[]);
    let call = || {
        Call::new(&place.scene)
            .args(&["-N"])
            .identity(&place.key)
            .forward(free_port(), ([127, 0, 0, 1], free_port()).into())
            .start(user(), server.port)
    };
    let entry = |mark: &str, key: &Key| {
        let known = place.scene.known_hosts();
        std::fs::create_dir_all(known.parent().unwrap()).unwrap();
        let line = format!("{mark}[127.0.0.1]:{} {}\n", server.port, key.public);
        std::fs::write(known, line).unwrap();
    };
    let client = call();
    place.is_down(Cause::HostKeyUnknown);
    assert_eq!(client.stop(), 0);
    entry("", &place.key);
    let client = call();
    place.is_down(Cause::HostKeyChanged);
    assert_eq!(client.stop(), 0);
    entry("@revoked ", &server.host_key);
    let client = call();
    place.is_down(Cause::HostKeyRevoked);
    assert_eq!(client.stop(), 0);

    let (authority, host) = (place.key.file(), server.host_key.file());
    let words = ["-q", "-s", &authority, "-I", "hub", "-h", "-n", "other"];
    output(
        "ssh-keygen",
        &[&words[..], &[&format!("{host}.pub")]].concat(),
    );
    let server = sshd::builder(&place.scene)
        .with_host_key(&server.host_key)
        .config(&format!("HostCertificate {host}-cert.pub"))
        .start();
    let line = format!("@cert-authority * {}\n", place.key.public);
    std::fs::write(place.scene.known_hosts(), line).unwrap();
    let client = place.call(server.port);
    place.is_down(Cause::HostCertificate);
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_server_that_lets_nobody_in() {
    let place = Place::new();
    for (lines, cause) in [
        (
            &["KexAlgorithms diffie-hellman-group14-sha256"][..],
            Cause::NothingInCommon,
        ),
        (&["AuthorizedKeysFile none"], Cause::LoginRefused),
        (
            &["PasswordAuthentication yes", "PubkeyAuthentication no"],
            Cause::NoPublicKeys,
        ),
        (
            &[
                "PasswordAuthentication yes",
                "AuthenticationMethods publickey,password",
            ],
            Cause::SecondFactor,
        ),
    ] {
        let server = place.server(lines);
        let client = place.call(server.port);
        place.is_down(cause);
        assert_eq!(client.stop(), 0);
    }
    let key = keys::key(&place.scene, "rsa", Kind::Rsa);
    let sha1 = Place {
        scene: Scene::new(),
        key,
    };
    let server = sha1.server(&["PubkeyAcceptedAlgorithms ssh-rsa"]);
    let _client = sha1.call(server.port);
    sha1.is_down(Cause::Sha1);
}

/// The program that sshd asks for keys ends the session that it runs in.
#[test]
fn a_server_that_hangs_up_in_the_middle_of_the_login() {
    if !is_root() {
        return skip("AuthorizedKeysCommand needs an sshd that is root's");
    }
    let place = Place::new();
    let server = place.server(&[
        "AuthorizedKeysFile none",
        "AuthorizedKeysCommand /bin/sh -c \"kill -9 $PPID\"",
        "AuthorizedKeysCommandUser root",
    ]);
    let _client = place.call(server.port);
    place.is_down(Cause::TurnedAway);
}

#[test]
fn a_server_that_never_ends_the_key_exchange() {
    Place::new().at_stranger(b"SSH-2.0-x\r\n", false, Cause::Stalled);
}

#[test]
fn connections_that_end_at_one_age() {
    let place = Place::new();
    let server = place.server(&["UnusedConnectionTimeout 3"]);
    let _client = place.call(server.port);
    // It is up again by then.
    place.says(Cause::TimeLimit);
}

#[test]
fn a_forward_that_the_server_refuses_and_a_target_that_is_down() {
    let place = Place::new();
    let server = place.server(&["PermitListen none"]);
    let client = place.call(server.port);
    place.says(Cause::ForwardRefused);
    assert_eq!(client.stop(), 0);
    let server = place.server(&["AllowStreamLocalForwarding no"]);
    let target = Target::http("served");
    let socket = text(&place.scene.path("far.sock"));
    let client = Call::trusting(&place.scene, &place.key)
        .args(&["-R", &format!("{socket}:{}", target.address)])
        .start(user(), server.port);
    place.says(Cause::SocketRefused);
    assert_eq!(client.stop(), 0);
    let client = place.call(server.port);
    place.says(Cause::TargetDown);
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_listener_that_is_not_where_people_look_for_it() {
    let place = Place::new();
    let server = place.server(&["GatewayPorts no"]);
    let (target, port) = (Target::http("served"), free_port());
    let call = |spec: &str| {
        Call::trusting(&place.scene, &place.key)
            .option("VerifyForward=yes")
            .args(&["-R", &format!("{spec}:{}", target.address)])
            .start(user(), server.port)
    };
    let client = call(&format!("127.0.0.2:{port}"));
    place.says(Cause::LoopbackOnly);
    assert_eq!(client.stop(), 0);
    let port = free_port();
    let Ok(_holder) = TcpListener::bind(("::1", port)) else {
        return skip("no IPv6 on loopback");
    };
    let _client = call(&port.to_string());
    place.says(Cause::Elsewhere);
}

#[test]
fn every_cause_is_shown_here() {
    let tests = concat!(include_str!("causes.rs"), include_str!("proxy.rs"));
    for record in &CAUSES {
        let made = format!("Cause::{:?}", record.cause);
        assert!(tests.matches(&made).count() > 0, "{made}");
    }
}
