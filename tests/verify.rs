//! `VerifyForward`: forwards that are checked from the server's side.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::client::{Call, Reachback};
use support::keys::{self, Kind};
use support::peers::{Dropbear, Thrussh};
use support::process;
use support::rig::{Rig, Setup, Site};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, never_during, patience, skip, sshd, user, wait_until};

const VERIFY: &str = "VerifyForward=yes";

fn verified(port: u16) -> String {
    format!("forward verified: server port {port} leads here")
}

fn elsewhere(port: u16) -> String {
    format!("the server's port {port} leads elsewhere: a stale session holds it")
}

fn status(scene: &Scene, args: &[&str]) -> String {
    let ended = Call::new(scene).args(&["status"]).args(args).run();
    ended.stdout.join("\n")
}

fn start(site: &Site, port: u16, target: &Target) -> Reachback {
    let call = site.call().forward(port, target.address).option(VERIFY);
    call.start(user(), site.server.port)
}

#[test]
fn a_forward_that_leads_here_is_verified_and_the_target_never_sees_the_check() {
    let rig = Setup {
        options: &[VERIFY],
        ..Setup::default()
    }
    .up(Target::echo());
    rig.client.wait_for(&verified(rig.port));
    never_during("a check at the target", Duration::from_millis(500), || {
        rig.target.hits() > 0
    });
    assert!(status(&rig.scene, &[]).contains("listening, verified "));
    assert!(status(&rig.scene, &["--json"]).contains("\"verified\":\"here\""));
    let served = "\"connections_total\":0,";
    assert!(status(&rig.scene, &["--json"]).contains(served), "no user");
    rig.assert_echoes("after the check");
    let asked = format!("direct_tcpip: *target 127.0.0.1 port {}", rig.port);
    assert!(rig.sshd.log.contains(&asked), "{:#?}", rig.sshd.log.all());
}

#[test]
fn by_default_nothing_is_checked() {
    let rig = Rig::up(Target::echo());
    never_during("a check", Duration::from_millis(500), || {
        rig.sshd.log.contains("direct-tcpip")
    });
    assert!(status(&rig.scene, &["--json"]).contains("\"verified\":null"));
}

#[test]
fn a_server_that_forbids_it_is_asked_once_and_its_forwards_stay() {
    let restricted = "restrict,port-forwarding,permitopen=\"127.0.0.1:1\"";
    for (options, line) in [
        ("", "PermitOpen none"),
        ("", "AllowTcpForwarding remote"),
        (restricted, "LogLevel DEBUG1"),
    ] {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let server = sshd::builder(&scene).config(line);
        let server = match options {
            "" => server.authorize(&key),
            options => server.authorize_with(options, &key),
        }
        .start();
        let (target, ports) = (Target::http("served"), [free_port(), free_port()]);
        let client = Call::trusting(&scene, &key)
            .forward(ports[0], target.address)
            .forward(ports[1], target.address)
            .option(VERIFY)
            .start(user(), server.port);
        client.wait_up(ports[1]);
        client.wait_for("VerifyForward is off for this connection");
        never_during("a forward taken back", Duration::from_millis(500), || {
            client.log().contains("leads elsewhere")
        });
        assert_eq!(client.log().count("VerifyForward is off"), 1, "{line}");
        assert_eq!(targets::fetch(ports[0]), "served");
        assert_eq!(targets::fetch(ports[1]), "served");
        let json = status(&scene, &["--json"]);
        assert!(json.contains("\"verified\":\"not-permitted\""), "{json}");
    }
}

/// sshd confirms a forward of `localhost` when it could listen on one of the two addresses.
#[test]
fn a_port_that_a_silent_program_holds_on_one_address_is_found_and_asked_for_again() {
    let Ok(_) = TcpListener::bind("[::1]:0") else {
        return skip("no IPv6 on loopback");
    };
    let site = Site::up();
    let (target, port) = (Target::http("served"), free_port());
    let holder = TcpListener::bind(("::1", port)).unwrap();
    let client = start(&site, port, &target);
    client.wait_for(&format!("{}*found at ::1", elsewhere(port)));
    client.wait_for(&format!(
        "forward taken back: server port {port} *next try in"
    ));
    let page = status(&site.scene, &[]);
    let said = format!("the server's port {port} leads elsewhere: a stale session holds it");
    assert!(page.contains(&said), "{page}");
    assert!(status(&site.scene, &["--json"]).contains("\"verified\":\"elsewhere\""));
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "taken back"
    );
    let looks = target.hits();
    drop(holder);
    client.wait_for(&verified(port));
    assert_eq!(
        target.hits(),
        looks,
        "status looks at the target, checks do not"
    );
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(client.log().count("connected to "), 1, "one connection");
}

#[test]
fn a_program_that_speaks_first_on_the_port_is_found_at_once() {
    let Ok(holder) = TcpListener::bind("[::1]:0") else {
        return skip("no IPv6 on loopback");
    };
    let site = Site::up();
    let port = holder.local_addr().unwrap().port();
    let _stranger = Target::on(holder, |mut stream| {
        let _ = stream.write_all(b"220 somebody else\r\n");
        let _ = stream.read(&mut [0; 100]);
    });
    let target = Target::http("served");
    let begun = std::time::Instant::now();
    let client = start(&site, port, &target);
    client.wait_for(&elsewhere(port));
    assert!(begun.elapsed() < bound(Duration::from_secs(8)));
    assert_eq!(target.hits(), 0);
}

/// A client whose link died without a word: its session on the server lives on, and its
/// listener takes every connection and answers none.
#[test]
fn a_stale_session_is_found_and_the_forward_comes_back_when_it_ends() {
    let Ok(_) = TcpListener::bind("[::1]:0") else {
        return skip("no IPv6 on loopback");
    };
    let site = Site::up();
    let (target, port) = (Target::http("served"), free_port());
    let others = Scene::new();
    let stale = Call::trusting(&others, &site.key)
        .args(&["-R", &format!("127.0.0.1:{port}:127.0.0.1:1")])
        .start(user(), site.server.port);
    stale.wait_up(port);
    stale.process.pause();
    let client = start(&site, port, &target);
    client.wait_for(&format!("forward confirmed: server port {port} "));
    client.wait_for(&format!("{}*found at 127.0.0.1", elsewhere(port)));
    process::kill(stale.worker());
    client.wait_for(&verified(port));
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(target.hits(), 1);
}

/// A port that leads to `port` with 40 ms of delay each way.
fn far_away(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let ends = [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far, near),
            ];
            for (mut from, mut to) in ends {
                to.set_nodelay(true).unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 65536];
                    while let Ok(n @ 1..) = from.read(&mut buffer) {
                        std::thread::sleep(Duration::from_millis(40));
                        if to.write_all(&buffer[..n]).is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    own
}

/// People who speak first, people who wait for the target to speak, and people who only look,
/// while many checks are under way.
#[test]
fn nobody_is_mistaken_for_a_check_nor_a_check_for_somebody() {
    let site = Site::up();
    // A target that speaks first, and keeps what it was told.
    let told = Arc::new(std::sync::Mutex::new(Vec::<Vec<u8>>::new()));
    let kept = told.clone();
    let target = Target::start(move |mut stream| {
        let _ = stream.write_all(b"hello\n");
        let mut words = Vec::new();
        let _ = stream.read_to_end(&mut words);
        kept.lock().unwrap().push(words);
    });
    let ports: Vec<u16> = (0..8).map(|_| free_port()).collect();
    let mut call = site.call().option(VERIFY);
    for port in &ports {
        call = call.forward(*port, target.address);
    }
    let (stop, visits) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let visitors: Vec<_> = (0..4)
        .map(|n| {
            let (stop, visits, ports) = (stop.clone(), visits.clone(), ports.clone());
            std::thread::spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", ports[turn % 8])) else {
                        continue;
                    };
                    stream.set_read_timeout(Some(patience())).unwrap();
                    // A word that begins as a check does.
                    let words: &[u8] = [&b"reachback"[..], b"visitor"][n % 2];
                    if n < 2 {
                        stream.write_all(words).unwrap();
                    }
                    let mut hello = [0; 6];
                    stream.read_exact(&mut hello).unwrap();
                    assert_eq!(&hello, b"hello\n");
                    if n >= 2 {
                        stream.write_all(words).unwrap();
                    }
                    drop(stream);
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // Far away, so that a check takes long enough for many to come in between.
    let client = call.start(user(), far_away(site.server.port));
    for port in &ports {
        client.wait_for(&verified(*port));
    }
    stop.store(true, Ordering::Relaxed);
    visitors.into_iter().for_each(|v| v.join().unwrap());
    let visits = visits.load(Ordering::Relaxed);
    assert!(visits > 20, "only {visits} visits");
    wait_until("the target has heard everybody", patience(), || {
        told.lock().unwrap().len() >= visits
    });
    assert_eq!(target.hits(), visits, "every visit and nothing else");
    let told = told.lock().unwrap();
    let visitor = |words: &Vec<u8>| words == b"reachback" || words == b"visitor";
    assert!(told.iter().all(visitor), "{told:?}");
    assert!(!client.log().contains("leads elsewhere"));
}

#[test]
fn dropbear_lets_the_check_through() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Dropbear::start(&scene, &key) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::http("served"), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .option(VERIFY)
        .start(Dropbear::USER, server.port);
    client.wait_up(port);
    client.wait_for(&verified(port));
    assert_eq!(target.hits(), 0);
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn a_server_that_claims_to_connect_but_does_not_turns_the_check_off() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Thrussh::start(&scene, &key, &[]) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::http("served"), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .option(VERIFY)
        .start(user(), server.port);
    client.wait_up(port);
    client.log().wait_for(
        "VerifyForward is off for this connection",
        bound(Duration::from_secs(30)),
    );
    assert_eq!(targets::fetch(port), "served");
}
