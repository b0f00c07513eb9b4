//! Forwards one by one: ports that the server chooses, and ports that it refuses.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use support::client::Call;
use support::keys::{self, Kind};
use support::peers::Dropbear;
use support::rig::Site;
use support::targets::{self, Target};
use support::{Scene, free_port, patience, skip, user, wait_until};

/// Takes a port on both of localhost's addresses, as another session's listener would.
fn hold(port: u16) -> (TcpListener, Option<TcpListener>) {
    let v4 = TcpListener::bind(("127.0.0.1", port)).unwrap();
    (v4, TcpListener::bind(("::1", port)).ok())
}

#[test]
fn port_0_is_a_port_that_the_server_chooses_and_the_log_names() {
    let Site { scene, key, server } = Site::up();
    let (first, second) = (Target::http("first"), Target::http("second"));
    let client = Call::trusting(&scene, &key)
        .forward(0, first.address)
        .forward(0, second.address)
        .start(user(), server.port);
    client.wait_for("tunnel up: ");
    for (target, body) in [(&first, "first"), (&second, "second")] {
        let line = client.wait_for(&format!(
            "forward confirmed: server port * to 127.0.0.1:{}",
            target.address.port()
        ));
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.iter().position(|word| *word == "port").unwrap();
        let port: u16 = words[at + 1].parse().unwrap();
        assert_ne!(port, 0);
        assert_eq!(targets::fetch(port), body);
    }
}

#[test]
fn a_refused_forward_is_tried_again_on_the_same_connection_while_the_other_serves() {
    let Site { scene, key, server } = Site::up();
    let (free, taken) = (Target::http("free"), Target::http("taken"));
    let ports = [free_port(), free_port()];
    let holder = hold(ports[1]);
    let client = Call::trusting(&scene, &key)
        .forward(ports[0], free.address)
        .forward(ports[1], taken.address)
        .start(user(), server.port);
    client.wait_for(&format!(
        "forward refused: server port {} *waiting for port, next try in ",
        ports[1]
    ));
    client.wait_for(&format!("forward confirmed: server port {} ", ports[0]));
    assert_eq!(targets::fetch(ports[0]), "free");
    assert!(!client.log().contains("tunnel up: "));
    drop(holder);
    client.wait_up(ports[1]);
    assert_eq!(targets::fetch(ports[1]), "taken");
    assert_eq!(client.log().count("connected to "), 1);
}

#[test]
fn exit_on_forward_failure_ends_with_69_and_takes_the_other_listener_back() {
    let Site { scene, key, server } = Site::up();
    let target = Target::http("never");
    let ports = [free_port(), free_port()];
    let _holder = hold(ports[1]);
    let mut client = Call::trusting(&scene, &key)
        .forward(ports[0], target.address)
        .forward(ports[1], target.address)
        .option("ExitOnForwardFailure=yes")
        .start(user(), server.port);
    assert_eq!(client.process.wait(patience()), 69);
    support::wait_until("the other port is free", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", ports[0])).is_err()
    });
}

/// Dropbear before 2026.90 does not find the listener that it is asked to close.
#[test]
fn a_listener_that_dropbear_keeps_costs_no_user_his_connection() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Dropbear::start(&scene, &key) {
        Ok(server) => server,
        Err(why) => return skip(&why),
    };
    let (kept, taken) = (Target::echo(), Target::http("dashboard"));
    let ports = [free_port(), free_port()];
    let client = Call::new(&scene)
        .args(&["-y"])
        .identity(&key)
        .forward(ports[0], kept.address)
        .forward(ports[1], taken.address)
        .start(Dropbear::USER, server.port);
    client.wait_up(ports[0]);
    client.wait_up(ports[1]);
    let mut user = targets::dial(ports[0]);
    assert_eq!(echoed(&mut user, b"before"), b"before");

    let spec = format!("{}:{}", ports[1], taken.address);
    let destination = format!("{}@127.0.0.1:{}", Dropbear::USER, server.port);
    let cancel = ["-O", "cancel", "-R", &spec, &destination];
    assert_eq!(Call::new(&scene).args(&cancel).run().code, 0);
    client.wait_for("forward kept by the server: ");
    let mut stranger = targets::dial(ports[1]);
    assert_eq!(stranger.read(&mut [0; 1]).unwrap_or(0), 0, "it is refused");
    assert_eq!(taken.hits(), 0);
    assert_eq!(echoed(&mut user, b"during"), b"during");

    let mark = client.log().mark();
    drop(user);
    client.wait_up_after(mark, ports[0]);
    let renewed = || TcpStream::connect(("127.0.0.1", ports[1])).is_err();
    wait_until("the listener is gone", patience(), renewed);
}

fn echoed(stream: &mut TcpStream, data: &[u8]) -> Vec<u8> {
    stream.write_all(data).unwrap();
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).unwrap();
    back
}

#[test]
fn a_call_for_a_port_that_leads_elsewhere_is_refused_and_its_other_forwards_are_taken() {
    let Site { scene, key, server } = Site::up();
    let (first, second) = (Target::http("first"), Target::http("second"));
    let ports = [free_port(), free_port()];
    let client = Call::trusting(&scene, &key)
        .forward(ports[0], first.address)
        .start(user(), server.port);
    client.wait_up(ports[0]);
    let destination = format!("{}@127.0.0.1:{}", user(), server.port);
    let again = Call::trusting(&scene, &key)
        .forward(ports[0], second.address)
        .forward(ports[1], second.address)
        .args(&["-f", &destination])
        .run();
    assert_eq!(again.code, 69, "{again:?}");
    let line = again.stderr.last().unwrap();
    let names = format!(
        "server port {} cannot lead to {}: {}:{} has it",
        ports[0], second.address, ports[0], first.address
    );
    assert!(line.contains(&names), "{line}");
    client.wait_up(ports[1]);
    assert_eq!(targets::fetch(ports[0]), "first");
    assert_eq!(targets::fetch(ports[1]), "second");
    // The same once more is one forward, and another address is another listener.
    let other = format!("127.0.0.2:{}:{}", ports[0], second.address);
    for call in [
        Call::trusting(&scene, &key).forward(ports[0], first.address),
        Call::trusting(&scene, &key).args(&["-R", &other]),
    ] {
        let taken = call.args(&["-f", &destination]).run();
        assert_eq!(taken.code, 0, "{taken:?}");
    }
}
