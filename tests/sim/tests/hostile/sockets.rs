//! Unix sockets (OpenSSH's PROTOCOL, 2.4): only those that were asked for and confirmed.

use reachback_sim::duo::{Duo, Seen};
use reachback_sim::server::Knobs;
use reachback_sim::server::numbers::*;
use reachback_ssh::ForwardId;
use reachback_ssh::wire::Put;

use crate::{alive, every_way, log_in};

const PROHIBITED: u8 = 1;

/// An inbound open in the name of `path`, with what follows it.
fn open(duo: &mut Duo, path: &[u8], rest: &[u8]) {
    let mut payload = vec![CHANNEL_OPEN];
    payload.put_string(b"forwarded-streamlocal@openssh.com");
    payload.put_u32(9);
    payload.put_u32(duo.server.knobs.window);
    payload.put_u32(duo.server.knobs.packet);
    payload.put_string(path);
    payload.extend(rest);
    duo.server.send(&payload);
    duo.run();
    // The server did not enter this channel anywhere.
    duo.server.violations.clear();
}

/// The empty string that is reserved.
const RESERVED: &[u8] = &[0; 4];

fn opened(duo: &Duo) -> usize {
    let opened = |seen: &&Seen| matches!(seen, Seen::Opened { .. });
    duo.seen.iter().filter(opened).count()
}

fn request(duo: &mut Duo) {
    let asked = duo
        .client
        .request_socket_forward(ForwardId(1), "/run/a.sock");
    asked.unwrap();
    duo.run();
    duo.server.violations.clear();
}

#[test]
fn an_open_for_a_socket_never_asked_for_is_prohibited() {
    for path in [&b"/run/a.sock"[..], b"localhost", b"", b"/"] {
        let duo = every_way(&Knobs::default(), |duo| {
            log_in(duo);
            open(duo, path, RESERVED);
        });
        let failures = duo.server.received(CHANNEL_OPEN_FAILURE);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0][1..9], [0, 0, 0, 9, 0, 0, 0, PROHIBITED]);
        assert_eq!(opened(&duo), 0);
        alive(&duo);
    }
}

#[test]
fn an_open_in_a_form_that_the_protocol_does_not_have_ends_the_connection() {
    for rest in [&b""[..], &[0, 0, 0, 4], &[0, 0, 0, 0, 1]] {
        let duo = every_way(&Knobs::default(), |duo| {
            log_in(duo);
            open(duo, b"/run/a.sock", rest);
        });
        assert_eq!(opened(&duo), 0);
        assert!(duo.error.is_some(), "{rest:?}");
    }
}

#[test]
fn the_socket_that_was_confirmed_is_opened_and_none_that_is_called_alike() {
    let duo = every_way(&Knobs::default(), |duo| {
        log_in(duo);
        request(duo);
        for path in [
            &b"/run/a.soc"[..],
            b"/run/a.sock\0",
            b"/run//a.sock",
            b"/RUN/A.SOCK",
        ] {
            open(duo, path, RESERVED);
        }
        assert_eq!(opened(duo), 0);
        open(duo, b"/run/a.sock", RESERVED);
        assert_eq!(opened(duo), 1);
    });
    let confirmed = Seen::Confirmed {
        forward: 1,
        port: 0,
    };
    assert!(duo.seen.contains(&confirmed), "{:?}", duo.seen);
    assert_eq!(duo.server.received(CHANNEL_OPEN_FAILURE).len(), 4);
    alive(&duo);
}

#[test]
fn a_socket_being_cancelled_takes_no_more() {
    let duo = every_way(&Knobs::default(), |duo| {
        log_in(duo);
        request(duo);
        duo.client.cancel_forward(ForwardId(1)).unwrap();
        open(duo, b"/run/a.sock", RESERVED);
    });
    let requests = duo.server.received(GLOBAL_REQUEST);
    let cancel = b"cancel-streamlocal-forward@openssh.com";
    assert_eq!(requests.last().unwrap()[5..43], *cancel);
    assert_eq!(opened(&duo), 0);
    alive(&duo);
}
