//! `reachback doctor`: every fault is made for real, and what to do is read.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::client::{self, Call};
use support::doctor::{Place, Said, names};
use support::keys::{self, Kind};
use support::names::NameServer;
use support::netns::Net;
use support::peers::Dropbear;
use support::process::Process;
use support::sshd;
use support::targets::Target;
use support::{Scene, bound, free_port, patience, skip, user};

#[test]
fn everything_that_is_right_is_said_in_order_and_nothing_is_left_behind() {
    let place = Place::up();
    let before = place.site.scene.known_hosts_text();
    let said = place.doctor(&[]);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let order: Vec<&str> = said.steps.iter().map(|step| step.1.as_str()).collect();
    assert_eq!(order, names(place.port, &place.target));
    assert!(
        said.steps.iter().all(|step| step.0 == "ok"),
        "{:#?}",
        said.ended
    );
    let fingerprint = support::output("ssh-keygen", &["-lf", &place.site.key.file()]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    assert!(said.step("key").1.contains(fingerprint));
    assert!(said.step("server").1.starts_with("OpenSSH_"));
    let pinned = format!(
        "pinned in {} line 1",
        place.site.scene.known_hosts().display()
    );
    assert!(said.step("host key").1.contains(&pinned));
    assert!(said.step("login").1.contains(&place.site.key.file()));
    let listening = said.step(&format!("forward {}", place.port)).1;
    assert!(listening.starts_with("listening on the server's loopback address only"));
    assert_eq!(place.target.hits(), 1, "the look at it is all that it sees");
    assert_eq!(place.site.scene.known_hosts_text(), before);
    assert!(TcpStream::connect(("127.0.0.1", place.port)).is_err());
    assert!(!place.site.scene.path("run").exists());
}

#[test]
fn an_unknown_host_key_is_shown_and_never_pinned() {
    let place = Place::up();
    fs::remove_file(place.site.scene.known_hosts()).unwrap();
    let said = place.doctor(&[]);
    said.assert_fails(
        77,
        "host key",
        "ssh-ed25519 SHA256:*, unknown",
        "compare it * call once with -y",
    );
    assert_eq!(said.step("login").1, "not tried");
    let said = place.doctor(&["-y"]);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    assert!(said.step("host key").1.contains("a tunnel would pin it"));
    assert!(!place.site.scene.known_hosts().exists());
}

#[test]
fn a_changed_host_key_names_the_line_and_the_command() {
    let place = Place::up();
    let other = keys::key(&place.site.scene, "other", Kind::Ed25519);
    place.pin(&other.public);
    let said = place.doctor(&["-y"]);
    said.assert_fails(
        77,
        "host key",
        "has changed: *known_hosts line 1 pins another*: reachback known-hosts forget",
        "find out why",
    );
    assert_eq!(said.step("login").0, "-");
}

#[test]
fn a_key_that_is_not_authorised_leads_to_enroll() {
    let place = Place::up();
    let other = keys::key(&place.site.scene, "other", Kind::Ed25519);
    let call = Call::new(&place.site.scene).args(&["doctor", &place.site.destination()]);
    let said = Said::of(call.identity(&other).run());
    let action = format!(
        "reachback enroll -i {} -p {} {}@127.0.0.1`",
        other.file(),
        place.site.server.port,
        user()
    );
    said.assert_fails(
        77,
        "login",
        "accepts none of the keys; it would take: publickey",
        &action,
    );
    let said = Said::of(place.call().args(&["-i", "/no/such", "u@127.0.0.1"]).run());
    assert_eq!(said.step("key").0, "ok", "another one is there");
    let call = Call::new(&place.site.scene).args(&["doctor", "-i", "/no/such", "u@127.0.0.1"]);
    Said::of(call.run()).assert_fails(66, "key", "/no/such", "name another with -i");
}

#[test]
fn a_server_without_a_common_algorithm_is_named_with_what_it_offers() {
    let place = Place::with(&["KexAlgorithms diffie-hellman-group14-sha256"]);
    place.doctor(&[]).assert_fails(
        69,
        "algorithms",
        "no key exchange * in common; the server offers diffie-hellman-group14-sha256",
        "allow what that line names",
    );
}

#[test]
fn a_forward_that_is_refused_is_taken_or_not_permitted() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let (taken, forbidden) = (free_port(), free_port());
    let permit = format!("permitlisten=\"{taken}\"");
    let server = sshd::builder(&scene).authorize_with(&permit, &key).start();
    let listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let second = TcpListener::bind(("::1", taken));
    let target = Target::http("page");
    let doctor = |port: u16| {
        let call = Call::new(&scene).args(&["doctor", "-y"]).identity(&key);
        let call = call.forward(port, target.address);
        Said::of(
            call.args(&[&format!("{}@127.0.0.1:{}", user(), server.port)])
                .run(),
        )
    };
    let (name, action) = (
        format!("forward {taken}"),
        "`ss -ltnp` shows who holds the port",
    );
    doctor(taken).assert_fails(69, &name, "refused: the port is taken", action);
    drop(second);
    if TcpListener::bind(("::1", 0)).is_ok() {
        // sshd is content with the other address.
        doctor(taken).assert_fails(69, &name, "it leads elsewhere", action);
    }
    drop(listener);
    let (name, action) = (
        format!("forward {forbidden}"),
        "permitlisten, PermitListen or AllowTcpForwarding",
    );
    doctor(forbidden).assert_fails(69, &name, "refused: the port is free", action);
}

#[test]
fn a_public_forward_on_loopback_only_names_gatewayports() {
    let place = Place::up();
    let everywhere = |place: &Place| {
        let spec = format!("*:{}:{}", place.port, place.target.address);
        Said::of(
            place
                .call()
                .args(&["-R", &spec, &place.site.destination()])
                .run(),
        )
    };
    let name = format!("forward {}", place.port);
    everywhere(&place).assert_fails(
        1,
        &name,
        "loopback address only",
        "GatewayPorts clientspecified",
    );
    let place = Place::with(&["GatewayPorts clientspecified"]);
    let said = everywhere(&place);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let text = said.step(&format!("forward {}", place.port)).1;
    assert!(text.contains("for everybody"), "{text}");
}

#[test]
fn dropbear_listens_where_it_is_seen() {
    if !keys::have_dropbear_tools() {
        return skip("dropbearkey is not installed");
    }
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Dropbear::start(&scene, &key) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (port, target) = (free_port(), Target::http("page"));
    let call = Call::new(&scene).args(&["doctor", "-y"]).identity(&key);
    let call = call.forward(port, target.address);
    let server = format!("{}@127.0.0.1:{}", Dropbear::USER, server.port);
    let said = Said::of(call.args(&[&server]).run());
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let text = said.step(&format!("forward {port}")).1;
    assert!(
        text.contains("on the server's loopback address only"),
        "{text}"
    );
    assert_eq!(target.hits(), 1);
}

#[test]
fn a_target_that_is_down_is_said_behind_a_forward_that_is_right() {
    let place = Place::up();
    let nobody = free_port();
    let spec = format!("{}:127.0.0.1:{nobody}", place.port);
    let said = Said::of(
        place
            .call()
            .args(&["-R", &spec, &place.site.destination()])
            .run(),
    );
    let name = format!("target 127.0.0.1:{nobody}");
    said.assert_fails(1, &name, "Connection refused", "start the service");
    assert_eq!(said.step(&format!("forward {}", place.port)).0, "ok");
}

#[test]
fn a_name_tells_who_answered_or_did_not() {
    let Some(net) = Net::new() else {
        return;
    };
    let controller = &net.controller;
    controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    controller.etc("hosts", "127.0.0.1 localhost\n");
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let doctor = || {
        let mut command = client::command(&scene);
        command.args(["doctor", "-i", &key.file(), "u@hub.test"]);
        let mut process = Process::start_and_keep(&mut controller.wrap(&command));
        let code = process.wait(patience());
        Said::of(client::ended(process, code))
    };
    let said = doctor();
    said.assert_fails(
        69,
        "DNS",
        "cannot resolve hub.test*127.0.0.1",
        "/etc/resolv.conf",
    );
    assert_eq!(said.step("TCP").0, "-");
    let _names = controller.inside(|| NameServer::start(&["127.0.0.1"]));
    let said = doctor();
    assert_eq!(said.step("DNS").0, "ok");
    assert!(said.step("DNS").1.starts_with("127.0.0.1 from 127.0.0.1"));
    assert!(said.step("route").1.contains("name server"));
    controller.etc("resolv.conf", "nameserver 203.0.113.1\n");
    controller.ip("route flush table main");
    doctor().assert_fails(
        69,
        "route",
        "203.0.113.1: Network is unreachable",
        "ip route",
    );
    controller.etc("hosts", "127.0.0.1 hub.test\n");
    let said = doctor();
    assert!(
        said.step("DNS")
            .1
            .starts_with("127.0.0.1 without a name server")
    );
    assert_eq!(said.step("TCP").0, "FAIL");
}

#[test]
fn a_port_that_is_closed_silent_or_not_sshs_is_told_apart() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let doctor = |port: u16| {
        let call = Call::new(&scene).args(&["doctor", "-y"]).identity(&key);
        Said::of(call.args(&[&format!("u@127.0.0.1:{port}")]).run())
    };
    let port = free_port();
    doctor(port).assert_fails(
        69,
        "TCP",
        "Connection refused",
        "is sshd running, and on this port",
    );
    let web = Target::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let action = "is it the port of an SSH server";
    doctor(web.address.port()).assert_fails(
        69,
        "server",
        "it said: HTTP/1.1 400 Bad Request",
        action,
    );
    let mute = Target::stuck();
    let began = Instant::now();
    let said = doctor(mute.address.port());
    said.assert_fails(
        69,
        "server",
        "the server was silent for 8 s",
        "says nothing: is it the port of an SSH server",
    );
    assert!(
        began.elapsed() < bound(Duration::from_secs(15)),
        "{:?}",
        began.elapsed()
    );
}
