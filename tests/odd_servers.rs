//! Servers that let nobody in, or say why they do not: the reason in the log is the server's own.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

use support::client::{Call, Reachback};
use support::keys::{self, Key, Kind};
use support::peers::Dropbear;
use support::sshd;
use support::targets::{self, Target};
use support::{Scene, free_port, skip, user};

/// The program with one forward on its way to this port.
fn call(scene: &Scene, key: &Key, port: u16) -> Reachback {
    let target = Target::echo();
    Call::trusting(scene, key)
        .forward(free_port(), target.address)
        .start(user(), port)
}

/// The line of the log like `pattern`, after a call with a key of `kind` to an sshd with these
/// lines.
fn said(kind: Kind, lines: &[&str], pattern: &str) -> String {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", kind);
    let mut server = sshd::builder(&scene).authorize(&key);
    for line in lines {
        server = server.config(line);
    }
    let server = server.start();
    call(&scene, &key, server.port).wait_for(pattern)
}

#[test]
fn a_second_factor_is_named_and_not_the_key_blamed() {
    let lines = [
        "PasswordAuthentication yes",
        "AuthenticationMethods publickey,password",
    ];
    let line = said(Kind::Ed25519, &lines, "*the server accepted the key*");
    assert!(line.contains("second factor besides: password"), "{line}");
}

/// A line in its log that fail2ban counts: it is not to be called again soon.
#[test]
fn a_server_that_disconnects_after_too_many_tries_has_refused_the_keys() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene).config("MaxAuthTries 1").start();
    let line = call(&scene, &key, server.port).wait_for("no connection: *");
    let said = "no connection: the server disconnected: Too many authentication failures";
    assert!(line.contains(said), "{line}");
    let wait = line.rsplit("next attempt in ").next().unwrap();
    let wait_s: u32 = wait.trim_end_matches(" s").parse().unwrap();
    assert!(wait_s >= 610, "{line}");
}

#[test]
fn a_server_that_takes_rsa_with_sha_1_only_is_told_from_one_that_does_not_know_the_key() {
    let line = said(
        Kind::Rsa,
        &["PubkeyAcceptedAlgorithms ssh-rsa"],
        "*only with SHA-1 signatures*",
    );
    assert!(line.contains("allow rsa-sha2-256 there"), "{line}");
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Rsa);
    let server = sshd::builder(&scene).start();
    call(&scene, &key, server.port).wait_for("*accepts none of the keys*");
}

#[test]
fn nothing_in_common_names_what_the_server_offers_and_waits_for_minutes() {
    for (line, text) in [
        (
            "HostKeyAlgorithms ssh-rsa",
            "*the server offers ssh-rsa; HostKeyAlgorithms +ssh-rsa allows it here*",
        ),
        (
            "KexAlgorithms diffie-hellman-group14-sha256",
            "*the server offers diffie-hellman-group14-sha256*KexAlgorithms in sshd_config*",
        ),
    ] {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let server = sshd::builder(&scene)
            .authorize(&key)
            .host_key(Kind::Rsa)
            .config(line)
            .start();
        let client = call(&scene, &key, server.port);
        client.wait_for(text);
        let wait = client.wait_for("*next attempt in * s*");
        let seconds = wait.split("next attempt in ").nth(1).unwrap();
        let seconds: u32 = seconds.split(' ').next().unwrap().parse().unwrap();
        assert!(seconds >= 600, "{wait}");
    }
}

#[test]
fn what_a_server_says_in_place_of_its_identification_is_the_reason() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = call(&scene, &key, listener.local_addr().unwrap().port());
    let (mut socket, _) = listener.accept().unwrap();
    socket
        .write_all(b"Not allowed at this\x1b[2J time\r\n")
        .unwrap();
    // Its last word arrives only if what the client said was read.
    socket.shutdown(Shutdown::Write).unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let line = client.wait_for("*before it identified itself; it said: Not allowed*");
    assert!(line.contains("time") && !line.contains('\x1b'), "{line}");
}

#[test]
fn what_a_server_prints_on_a_session_channel_is_logged_and_the_tunnel_serves() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene)
        .authorize(&key)
        .config("ForceCommand printf '\\033[32mhttp://x.hub.example\\033[0m\\n'; exec sleep 1000")
        .start();
    for (wanted, ran) in [("yes", false), ("shell", true)] {
        let (target, port, mark) = (Target::http("through"), free_port(), server.log.mark());
        let client = Call::trusting(&scene, &key)
            .option(&format!("SessionChannel={wanted}"))
            .forward(port, target.address)
            .start(user(), server.port);
        client.wait_for("*forward confirmed*");
        if ran {
            client.wait_for("*the server prints: http://x.hub.example");
        }
        assert_eq!(targets::fetch(port), "through");
        let log = server.log.all()[mark..].join("\n");
        assert!(log.contains("ctype session"), "{log}");
        assert_eq!(log.contains("forced-command"), ran, "{log}");
    }
}

/// A tunnel whose host keys may be ssh-rsa comes up, is used, and comes up again with the pin.
fn serves_with_ssh_rsa(scene: &Scene, key: &Key, (account, port): (&str, u16), offer: &str) {
    for _ in 0..2 {
        let (target, listen) = (Target::http("through"), free_port());
        let client = Call::trusting(scene, key)
            .args(&["-vv"])
            .option(&format!("HostKeyAlgorithms={offer}"))
            .forward(listen, target.address)
            .start(account, port);
        client.wait_for("*keys exchanged: *, ssh-rsa, *");
        client.wait_up(listen);
        assert_eq!(targets::fetch(listen), "through");
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn an_ssh_rsa_host_key_is_taken_from_openssh_where_it_is_asked_for() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = sshd::builder(&scene)
        .authorize(&key)
        .host_key(Kind::Rsa)
        .config("HostKeyAlgorithms ssh-rsa")
        .start();
    serves_with_ssh_rsa(&scene, &key, (user(), server.port), "+ssh-rsa");
    let pinned = scene.known_hosts_text();
    assert!(pinned.contains(server.host_key.blob()), "{pinned}");
}

#[test]
fn an_ssh_rsa_host_key_is_taken_from_dropbear_where_it_is_asked_for() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    match Dropbear::with_host_key(&scene, &key, Kind::Rsa) {
        Ok(server) => serves_with_ssh_rsa(&scene, &key, (Dropbear::USER, server.port), "ssh-rsa"),
        Err(reason) => skip(&reason),
    }
}
