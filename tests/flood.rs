//! Whoever reaches the server's port cannot fill the log.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use support::rig::Site;
use support::targets::dial;
use support::{bound, clock, free_port, user};

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

#[test]
fn a_target_that_is_down_is_said_once_and_then_counted_each_minute() {
    let site = Site::up();
    let (first, second) = (free_port(), free_port());
    let call = site
        .call()
        .forward(first, nobody())
        .forward(second, nobody());
    // 60 s of the program are 3 s here.
    let client = clock::faster(call, 20).start(user(), site.server.port);
    client.wait_up(first);
    client.wait_up(second);
    connect(first, 200);
    connect(second, 1);
    let counted = |count: u32, mark| {
        let line = format!("{count} more connections to 127.0.0.1:* refused: connection refused");
        let limit = bound(Duration::from_secs(30));
        client.log().wait_after(mark, &line, limit);
    };
    counted(199, 0);
    let mark = client.log().mark();
    connect(first, 50);
    counted(50, mark);
    let line = "cannot connect to 127.0.0.1:*; the connection from the server is refused";
    assert_eq!(client.log().count(line), 2, "one for each forward");
    assert_eq!(client.stop(), 0);
}
