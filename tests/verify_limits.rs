//! `VerifyForward` where it cannot get its answer, and the people who come meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::Call;
use support::keys::{self, Kind};
use support::netns::{Net, SERVER};
use support::rig::{Setup, Site};
use support::targets::{self, Target};
use support::{
    Scene, bound, free_port, never_during, patience, skip, sshd, text, user, wait_until,
};

const VERIFY: &str = "VerifyForward=yes";

fn verified(port: u16) -> String {
    format!("forward verified: server port {port} leads here")
}

fn json(scene: &Scene) -> String {
    let ended = Call::new(scene).args(&["status", "--json"]).run();
    ended.stdout.join("\n")
}

/// With `GatewayPorts no`, sshd confirms a forward of any address and listens on loopback only.
#[test]
fn a_listener_on_the_loopback_address_instead_of_its_own_is_said_and_stays() {
    let site = Site::up();
    let (target, port) = (Target::http("served"), free_port());
    let client = site
        .call()
        .args(&["-R", &format!("127.0.0.2:{port}:{}", target.address)])
        .option(VERIFY)
        .start(user(), site.server.port);
    client.wait_for(&format!(
        "{}, but on the server's loopback address only: GatewayPorts",
        verified(port)
    ));
    assert!(json(&site.scene).contains("\"verified\":\"loopback\""));
    let page = Call::new(&site.scene).args(&["status"]).run();
    let said = page.stdout.join("\n");
    assert!(said.contains("loopback address only"), "{said}");
    assert!(!client.log().contains("taken back"));
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn a_server_that_permits_checks_of_one_loopback_address_only_is_enough() {
    for address in ["127.0.0.1", "[::1]"] {
        if address == "[::1]" && TcpListener::bind("[::1]:0").is_err() {
            return skip("no IPv6 on loopback");
        }
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let port = free_port();
        let options = format!("restrict,port-forwarding,permitopen=\"{address}:{port}\"");
        let server = sshd::builder(&scene).authorize_with(&options, &key).start();
        let target = Target::http("served");
        let client = Call::trusting(&scene, &key)
            .forward(port, target.address)
            .option(VERIFY)
            .start(user(), server.port);
        client.wait_for(&verified(port));
        assert!(!client.log().contains("VerifyForward is off"), "{address}");
    }
}

#[test]
fn a_listener_whose_address_is_gone_is_found_missing_and_taken_back() {
    const ADDRESS: &str = "192.0.2.9";
    let Some(net) = Net::new() else {
        return;
    };
    net.internet.ip(&format!("addr add {ADDRESS}/32 dev lo"));
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let mut server = sshd::builder(&scene)
        .port(2222)
        .config(&format!("ListenAddress {SERVER}:2222"))
        .config("GatewayPorts clientspecified")
        .authorize(&key)
        .prepare();
    server.start_in(&net.internet);
    let target = net.controller.inside(|| Target::http("served"));
    let config = |verify: &str| {
        let lines = format!(
            "RemoteForward {ADDRESS}:1111 {0}\nRemoteForward 1112 {0}\nVerifyForward {verify}\n",
            target.address
        );
        text(&scene.file("config", lines))
    };
    let client = Call::trusting(&scene, &key)
        .args(&["-F", &config("yes")])
        .start_in(&net.controller, &format!("{}@{SERVER}:2222", user()));
    client.wait_for(&verified(1111));
    net.internet.ip(&format!("addr del {ADDRESS}/32 dev lo"));
    for (verify, line) in [
        ("no", "configuration read again"),
        ("yes", "forward taken back: server port 1111 *next try in"),
    ] {
        let mark = client.log().mark();
        config(verify);
        kill(Pid::from_raw(client.process.pid()), Signal::SIGHUP).unwrap();
        client.wait_after(mark, line);
    }
    let missing = "nothing answers at the server's port 1111, which it confirmed";
    assert!(client.log().contains(missing));
    assert_eq!(net.internet.inside(|| targets::fetch(1112)), "served");
    assert_eq!(client.log().count("connected to "), 1, "one connection");
}

#[test]
fn a_server_that_does_not_answer_a_check_is_not_asked_again_and_its_forward_stays() {
    let Some(net) = Net::new() else {
        return;
    };
    // What is sent there is lost: the server's connection neither succeeds nor fails.
    net.plug("lost", "nowhere");
    net.internet.ip("link set nowhere arp off");
    net.internet.ip("route add 192.0.2.0/24 dev nowhere");
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let mut server = sshd::builder(&scene)
        .port(2222)
        .config(&format!("ListenAddress {SERVER}:2222"))
        .authorize(&key)
        .prepare();
    server.start_in(&net.internet);
    let target = net.controller.inside(|| Target::http("served"));
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("192.0.2.1:1111:{}", target.address)])
        .option(VERIFY)
        .start_in(&net.controller, &format!("{}@{SERVER}:2222", user()));
    client.wait_up(1111);
    server
        .log
        .wait_for("direct_tcpip: *target 192.0.2.1 port 1111", patience());
    client.log().wait_for(
        "forwards cannot be verified: *: it did not answer; \
         VerifyForward is off for this connection",
        Duration::from_secs(20),
    );
    never_during("a second check", Duration::from_secs(1), || {
        server.log.count("direct_tcpip: ") > 1
    });
    assert!(json(&scene).contains("\"verified\":\"not-permitted\""));
    assert!(!client.log().contains("taken back"));
    assert_eq!(net.internet.inside(|| targets::fetch(1111)), "served");
}

/// A check is out that will not arrive, and everybody who comes may be it.
#[test]
fn who_comes_beside_a_check_that_gets_lost_is_served_at_the_first_word_or_soon() {
    let Ok(holder) = TcpListener::bind("[::1]:0") else {
        return skip("no IPv6 on loopback");
    };
    let port = holder.local_addr().unwrap().port();
    let site = Site::up();
    let target = Target::start(|mut stream| {
        let _ = stream.write_all(b"hello\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let client = site
        .call()
        .forward(port, target.address)
        .option(VERIFY)
        .start(user(), site.server.port);
    let asked = format!("direct_tcpip: *target ::1 port {port}");
    site.server.log.wait_for(&asked, patience());
    let dial = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut silent, mut leaving, mut speaking) = (dial(), dial(), dial());
    let begun = Instant::now();
    let heard = |visitor: &mut TcpStream| {
        visitor.set_read_timeout(Some(patience())).unwrap();
        let mut words = [0; 6];
        visitor.read_exact(&mut words).map(|()| words)
    };
    leaving.shutdown(Shutdown::Write).unwrap();
    speaking.write_all(b"reachback who?").unwrap();
    assert_eq!(&heard(&mut speaking).unwrap(), b"hello\n");
    assert!(
        begun.elapsed() < bound(Duration::from_secs(5)),
        "what is not the token is no check"
    );
    assert_eq!(target.hits(), 1, "the others are held");
    client.wait_for(&format!("the server's port {port} leads elsewhere: "));
    assert_eq!(&heard(&mut silent).unwrap(), b"hello\n", "held, not lost");
    // Silent to its end, as a check that was closed before its token went out.
    assert!(heard(&mut leaving).is_err());
    assert_eq!(target.hits(), 2);
}

#[test]
fn a_tunnel_that_is_nearly_full_is_not_checked_so_that_people_have_the_room() {
    let setup = Setup {
        options: &[VERIFY],
        ..Setup::default()
    };
    let rig = setup.up(Target::echo());
    rig.client.wait_for(&verified(rig.port));
    let visit = |port| {
        let mut visitor = targets::dial(port);
        visitor.write_all(b"x").unwrap();
        visitor.read_exact(&mut [0]).unwrap();
        visitor
    };
    // Of 32, four are to stay free.
    let _visitors: Vec<TcpStream> = (0..28).map(|_| visit(rig.port)).collect();
    let added = free_port();
    let handed = Call::trusting(&rig.scene, &rig.key)
        .forward(added, rig.target.address)
        .args(&["--wait", &format!("{}@127.0.0.1:{}", user(), rig.sshd.port)])
        .run();
    assert_eq!(handed.code, 0, "{handed:?}");
    let asked = format!("direct_tcpip: *target 127.0.0.1 port {added}");
    never_during("a check", Duration::from_secs(1), || {
        rig.sshd.log.contains(&asked)
    });
    let _more: Vec<TcpStream> = (0..4).map(|_| visit(added)).collect();
    assert!(!rig.client.log().contains("is off"));
    assert!(!rig.client.log().contains("leads elsewhere"));
}

#[test]
fn sighup_turns_the_checks_on_and_off_without_dropping_the_tunnel() {
    let site = Site::up();
    let (target, port) = (Target::http("served"), free_port());
    let config = |more: &str| {
        let lines = format!("RemoteForward {port} {}\n{more}\n", target.address);
        text(&site.scene.file("config", lines))
    };
    let client = site
        .call()
        .args(&["-F", &config("")])
        .start(user(), site.server.port);
    client.wait_up(port);
    let reload = |more: &str| {
        config(more);
        let mark = client.log().mark();
        kill(Pid::from_raw(client.process.pid()), Signal::SIGHUP).unwrap();
        client.wait_after(mark, "configuration read again");
    };
    assert!(json(&site.scene).contains("\"verified\":null"));
    reload("VerifyForward yes");
    client.wait_for(&verified(port));
    assert!(json(&site.scene).contains("\"verified\":\"here\""));
    reload("VerifyForward no");
    wait_until("nothing is claimed any more", patience(), || {
        json(&site.scene).contains("\"verified\":null")
    });
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(client.log().count("connected to "), 1, "one connection");
}
