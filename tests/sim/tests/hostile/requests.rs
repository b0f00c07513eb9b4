//! Global requests, their replies, and messages that nobody knows.

use reachback_sim::duo::{Chunks, Duo, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Answer, Knobs, with_channel};
use reachback_ssh::ForwardId;
use reachback_ssh::limits::{CONTROL_RESERVE, KEEPALIVES, OUTBOUND_BUFFER, PING};
use reachback_ssh::wire::Put;

use crate::{alive, every_way, log_in, malformed, open_one, unexpected};

fn global(name: &[u8], wants_reply: bool) -> Vec<u8> {
    let mut message = vec![GLOBAL_REQUEST];
    message.put_string(name);
    message.put_boolean(wants_reply);
    message
}

/// These messages follow the login.
fn after_login(messages: &[Vec<u8>]) -> Duo {
    every_way(&Knobs::default(), |duo| {
        log_in(duo);
        for message in messages {
            duo.server.send(message);
        }
    })
}

#[test]
fn a_reply_that_answers_nothing_ends_the_connection() {
    for number in [REQUEST_SUCCESS, REQUEST_FAILURE] {
        malformed(&after_login(&[vec![number]]), "order of replies");
    }
}

#[test]
fn global_requests_are_refused_when_they_want_a_reply_and_else_ignored() {
    let duo = after_login(&[
        global(b"keepalive@openssh.com", true),
        global(b"no-more-sessions@openssh.com", false),
        global(b"tcpip-forward", true),
        global(b"", true),
    ]);
    assert_eq!(duo.server.received(REQUEST_FAILURE).len(), 3);
    assert_eq!(duo.server.received(REQUEST_SUCCESS).len(), 0);
    alive(&duo);
}

#[test]
fn replies_are_matched_to_requests_in_their_order() {
    let knobs = Knobs {
        forward: Answer::Ask,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        duo.forwards = vec![("localhost".into(), 1111), ("localhost".into(), 1112)];
        log_in(duo);
        let result = duo.client.keepalive();
        duo.check(result);
        duo.run();
        assert!(!duo.seen.contains(&Seen::KeepaliveAnswered));
        duo.server.answer_forward(false);
        duo.server.answer_forward(true);
        duo.run();
        let end = &duo.seen[duo.seen.len() - 3..];
        assert_eq!(
            end,
            [
                Seen::Refused { forward: 0 },
                Seen::Confirmed {
                    forward: 1,
                    port: 1112
                },
                Seen::KeepaliveAnswered
            ]
        );
    });
}

#[test]
fn a_refused_forward_can_be_asked_for_again_and_a_cancelled_one_too() {
    let knobs = Knobs {
        forward: Answer::No,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        log_in(duo);
        duo.server.knobs.forward = Answer::Yes;
        for _ in 0..50 {
            let result = duo.client.request_forward(ForwardId(0), "localhost", 1111);
            duo.check(result);
            duo.run();
            let result = duo.client.cancel_forward(ForwardId(0));
            duo.check(result);
            duo.run();
        }
        assert_eq!(
            duo.seen.last(),
            Some(&Seen::Cancelled {
                forward: 0,
                done: true
            })
        );
        assert_eq!(duo.server.listeners, []);
        alive(duo);
    });
}

#[test]
fn a_port_of_the_servers_choice_must_be_a_port() {
    for reply in [
        &[][..],
        &[0, 0, 0, 0],
        &[0, 1, 0, 0],
        &[255, 255, 255, 255],
        &[0, 0, 4],
    ] {
        let knobs = Knobs {
            forward: Answer::Silence,
            ..Knobs::default()
        };
        let duo = every_way(&knobs, |duo| {
            duo.forwards = vec![("localhost".into(), 0)];
            log_in(duo);
            let mut success = vec![REQUEST_SUCCESS];
            success.extend(reply);
            duo.server.send(&success);
        });
        malformed(&duo, "reply to a forward of port 0 (it names no port)");
    }
}

/// The server calls a request of the client's, the `back`th from the last, unimplemented.
fn unimplemented(duo: &mut Duo, back: usize) {
    let requests = duo.server.log.iter();
    let mut requests = requests.filter(|received| received.payload[0] == GLOBAL_REQUEST);
    let sequence = requests.nth_back(back).unwrap().sequence;
    let mut message = vec![UNIMPLEMENTED];
    message.put_u32(sequence);
    duo.server.send(&message);
    duo.run();
}

#[test]
fn unimplemented_settles_the_request_that_it_names() {
    let knobs = Knobs {
        forward: Answer::Silence,
        keepalive: Answer::Silence,
        cancel: Answer::Silence,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        duo.forwards = vec![("localhost".into(), 1111), ("localhost".into(), 1112)];
        log_in(duo);
        let result = duo.client.keepalive();
        duo.check(result);
        duo.run();
        let before = duo.seen.len();
        unimplemented(duo, 0);
        unimplemented(duo, 2);
        assert_eq!(
            duo.seen[before..],
            [Seen::KeepaliveAnswered, Seen::Refused { forward: 0 }]
        );
        // What is left is matched in order as ever.
        duo.server.send(&[REQUEST_SUCCESS]);
        duo.run();
        let confirmed = Seen::Confirmed {
            forward: 1,
            port: 1112,
        };
        assert_eq!(duo.seen.last(), Some(&confirmed));
        let result = duo.client.cancel_forward(ForwardId(1));
        duo.check(result);
        duo.run();
        unimplemented(duo, 0);
        let kept = Seen::Cancelled {
            forward: 1,
            done: false,
        };
        assert_eq!(duo.seen.last(), Some(&kept));
        // Twice, of no request, and cut short: nothing.
        let before = duo.seen.len();
        unimplemented(duo, 0);
        duo.server.send(&[UNIMPLEMENTED, 0, 0, 0, 3]);
        duo.server.send(&[UNIMPLEMENTED, 0]);
        duo.run();
        assert_eq!(duo.seen[before..], []);
        alive(duo);
    });
}

#[test]
fn keepalives_without_an_answer_stop_at_a_bound() {
    let knobs = Knobs {
        keepalive: Answer::Silence,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        log_in(duo);
        for _ in 0..3 * KEEPALIVES {
            let result = duo.client.keepalive();
            duo.check(result);
        }
    });
    assert_eq!(duo.server.keepalives, KEEPALIVES);
    alive(&duo);
}

#[test]
fn unknown_messages_are_called_unimplemented_by_their_own_sequence_number() {
    for number in [8, 19, 22, 29, 83, 89, 101, 127, 128, 191, 194, 255] {
        let mut expected = 0;
        let duo = {
            let seen = std::cell::Cell::new(0);
            let duo = every_way(&Knobs::default(), |duo| {
                log_in(duo);
                duo.server.send(&[IGNORE, 0, 0, 0, 0]);
                seen.set(duo.server.next_sequence());
                duo.server.send(&[number, 1, 2, 3]);
            });
            expected += seen.get();
            duo
        };
        let [answer] = duo.server.received(UNIMPLEMENTED)[..] else {
            panic!("no single answer to message {number}");
        };
        assert_eq!(answer[1..], expected.to_be_bytes(), "message {number}");
        alive(&duo);
    }
}

#[test]
fn late_answers_to_authentication_are_ignored() {
    let duo = after_login(&[
        vec![USERAUTH_SUCCESS],
        vec![USERAUTH_FAILURE, 0, 0, 0, 0, 0],
    ]);
    alive(&duo);
    assert_eq!(duo.server.received(UNIMPLEMENTED).len(), 0);
}

#[test]
fn messages_of_another_stage_end_the_connection() {
    unexpected(&after_login(&[vec![SERVICE_ACCEPT]]), SERVICE_ACCEPT);
    unexpected(&after_login(&[vec![NEWKEYS]]), NEWKEYS);
    unexpected(&after_login(&[vec![KEX_REPLY, 0, 0, 0, 0]]), KEX_REPLY);
}

#[test]
fn a_ping_is_answered_with_its_own_bytes_unless_it_is_too_long() {
    let ping = |n: usize| {
        let mut message = vec![PING_NUMBER];
        message.put_string(&vec![b'p'; n]);
        message
    };
    let duo = after_login(&[ping(0), ping(PING), ping(PING + 1)]);
    let pongs: Vec<usize> = duo.server.received(PONG).iter().map(|p| p.len()).collect();
    assert_eq!(pongs, [5, 5 + PING]);
    alive(&duo);
}

const PING_NUMBER: u8 = reachback_sim::server::numbers::PING;

#[test]
fn a_peer_that_asks_without_reading_fills_a_bounded_buffer_and_nothing_more() {
    let asked = 20_000;
    let mut duo = Duo::new(Knobs::default(), Chunks::Random(3));
    log_in(&mut duo);
    duo.server_reads = false;
    let before = duo.client.poll_output().len();
    for _ in 0..asked {
        duo.server.send(&global(b"keepalive@openssh.com", true));
    }
    duo.run();
    alive(&duo);
    assert!(duo.client.waits_for_output());
    assert!(!duo.to_client.is_empty(), "the client stopped reading");
    assert!(duo.client.input_space().is_empty());
    assert!(duo.most_unwritten > before);
    assert!(duo.most_unwritten <= OUTBOUND_BUFFER - CONTROL_RESERVE + 64);
    // A probe still fits: the watchdog does not wait behind this peer.
    let unwritten = duo.client.poll_output().len();
    let result = duo.client.keepalive();
    duo.check(result);
    assert!(duo.client.poll_output().len() > unwritten);
    duo.server_reads = true;
    duo.run();
    assert_eq!(duo.server.received(REQUEST_FAILURE).len(), asked);
    assert_eq!(duo.seen.last(), Some(&Seen::KeepaliveAnswered));
    alive(&duo);
}

#[test]
fn a_message_that_was_only_handled_is_no_sign_of_life_and_no_event_at_all() {
    let mut ping = vec![PING_NUMBER];
    ping.put_string(b"p");
    let mut debug = vec![DEBUG, 1];
    debug.put_string(b"text");
    debug.put_string(b"");
    let mut grant = with_channel(CHANNEL_WINDOW_ADJUST, 0);
    grant.put_u32(1);
    let mut extended = with_channel(CHANNEL_EXTENDED_DATA, 0);
    extended.put_u32(1);
    extended.put_string(b"on standard error");
    let mut request = with_channel(CHANNEL_REQUEST, 0);
    request.put_string(b"exit-status");
    request.put_boolean(false);
    let handled = [
        vec![IGNORE, 0, 0, 0, 0],
        debug,
        global(b"keepalive@openssh.com", true),
        global(b"no-more-sessions@openssh.com", false),
        vec![USERAUTH_SUCCESS],
        vec![127],
        ping,
        grant,
        extended,
        request,
    ];
    let duo = every_way(&Knobs::default(), |duo| {
        open_one(duo);
        let before = duo.seen.len();
        for message in &handled {
            duo.server.send(message);
        }
        duo.run();
        assert_eq!(duo.seen[before..], []);
    });
    alive(&duo);
}
