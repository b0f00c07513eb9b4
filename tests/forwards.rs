//! Forwards one by one: ports that the server chooses, and ports that it refuses.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;

use support::client::Call;
use support::rig::Site;
use support::targets::{self, Target};
use support::{free_port, patience, user};

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
