//! Session channels of the client, and the programs on them.

use reachback_sim::duo::{Duo, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, with_channel};
use reachback_ssh::Program;
use reachback_ssh::wire::Put;

use crate::{alive, delivered, every_way, log_in, open_one, unexpected};

/// A session channel that is open, and whose program was asked for.
fn with_program(duo: &mut Duo) {
    log_in(duo);
    let id = duo.client.open_session_channel().unwrap().unwrap();
    duo.run();
    let asked = duo
        .client
        .request_program(id, Program::Exec("printf '%s' 'x y'"));
    duo.check(asked);
    duo.run();
}

/// A server that opens session channels.
fn opens_sessions() -> Knobs {
    Knobs {
        prints: Some(b"hello"),
        ..Knobs::default()
    }
}

/// `SSH_MSG_CHANNEL_REQUEST` of the server on channel 0, with these fields.
fn request(kind: &str, fields: &[u8]) -> Vec<u8> {
    let mut message = with_channel(CHANNEL_REQUEST, 0);
    message.put_string(kind.as_bytes());
    message.put_boolean(false);
    message.extend(fields);
    message
}

#[test]
fn a_program_runs_on_a_session_channel_and_its_end_is_told() {
    let duo = every_way(&opens_sessions(), |duo| {
        with_program(duo);
        duo.server.send(&request("exit-status", &[0, 0, 0, 3]));
        duo.server.send(&request("exit-signal", &[]));
        let (number, _) = duo.server.channels().next().unwrap();
        duo.server.close(number);
    });
    alive(&duo);
    let asked = duo.server.received(CHANNEL_REQUEST);
    let (exec, command): (&[u8], &[u8]) = (b"\0\0\0\x04exec\x01", b"\0\0\0\x11printf '%s' 'x y'");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0][5..], [exec, command].concat());
    for seen in [
        Seen::ProgramAnswered {
            channel: 0,
            done: true,
        },
        Seen::Exited {
            channel: 0,
            status: Some(3),
        },
        Seen::Exited {
            channel: 0,
            status: None,
        },
        Seen::Closed { channel: 0 },
    ] {
        assert!(duo.seen.contains(&seen), "{seen:?}: {:?}", duo.seen);
    }
    assert_eq!(delivered(&duo, 0), b"hello");
}

#[test]
fn a_second_answer_for_a_program_and_one_on_a_forward_end_the_connection() {
    for number in [CHANNEL_SUCCESS, CHANNEL_FAILURE] {
        let duo = every_way(&opens_sessions(), |duo| {
            with_program(duo);
            duo.server.send(&with_channel(number, 0));
        });
        unexpected(&duo, number);
    }
    // What a program's end would be is nothing on a forward.
    let duo = every_way(&Knobs::default(), |duo| {
        open_one(duo);
        duo.server.send(&request("exit-status", &[0, 0, 0, 3]));
    });
    alive(&duo);
    assert!(!duo.seen.iter().any(|s| matches!(s, Seen::Exited { .. })));
}

#[test]
fn a_program_is_asked_for_on_an_open_session_channel_only_and_once() {
    let duo = every_way(&opens_sessions(), |duo| {
        open_one(duo);
        let id = duo.opened[0];
        let session = duo.client.open_session_channel().unwrap().unwrap();
        for id in [id, session] {
            let asked = duo.client.request_program(id, Program::Shell);
            duo.check(asked);
        }
        duo.run();
        for _ in 0..2 {
            let asked = duo.client.request_program(session, Program::Shell);
            duo.check(asked);
        }
    });
    alive(&duo);
    assert_eq!(duo.server.received(CHANNEL_REQUEST).len(), 1);
}
