//! Whoever reaches the server's port cannot fill the log.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::net::TcpListener;

use support::client::Call;
use support::rig::Site;
use support::targets::dial;
use support::{clock, free_port, on_host, skip, user};

/// A port where nothing listens.
fn nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// So many connections, each until its end.
fn connect(port: u16, times: u32) {
    for _ in 0..times {
        let mut end = Vec::new();
        assert!(dial(port).read_to_end(&mut end).is_ok_and(|n| n == 0));
    }
}

const REFUSED: &str = "cannot connect to 127.0.0.1:*; the connection from the server is refused";

#[test]
fn a_target_that_is_down_is_said_once_for_each_forward() {
    let site = Site::up();
    let (first, second) = (free_port(), free_port());
    let call = site.call().forward(first, nobody());
    let call = call.forward(second, nobody());
    let client = call.start(user(), site.server.port);
    client.wait_up(first);
    client.wait_up(second);
    connect(first, 200);
    connect(second, 1);
    let status = Call::new(&site.scene).args(&["status", "--json"]).run();
    let counted = "\"connections_refused\":201,";
    assert!(status.stdout.concat().contains(counted), "{status:?}");
    // A line of the connection after the last of them.
    let mark = client.log().mark();
    site.server.kill_sessions();
    client.wait_up_after(mark, first);
    assert_eq!(client.log().count(REFUSED), 2);
    assert_eq!(client.stop(), 0);
}

#[test]
fn the_others_are_counted_and_the_count_is_said_each_minute() {
    if !on_host() {
        return skip("an emulator's waits do not follow the clock of a test");
    }
    let (site, port) = (Site::up(), free_port());
    // 60 s of the program are 3 s here.
    let call = site.call().forward(port, nobody());
    let client = clock::faster(call, 20).start(user(), site.server.port);
    client.wait_up(port);
    connect(port, 200);
    let counted = |count: u32, mark| {
        let line = format!("{count} more connections to 127.0.0.1:* refused: connection refused");
        client.wait_after(mark, &line);
    };
    counted(199, 0);
    let mark = client.log().mark();
    connect(port, 50);
    counted(50, mark);
    assert_eq!(client.log().count(REFUSED), 1);
    assert_eq!(client.stop(), 0);
}
