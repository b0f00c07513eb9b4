//! Channels: only for forwards that were asked for, and only so many.

use reachback_sim::duo::{Duo, OnOpen, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Answer, Knobs, open_message};
use reachback_ssh::Refusal;
use reachback_ssh::limits::CHANNELS;

use crate::{alive, delivered, every_way, limited, log_in, only_whole, open_one};

const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;
const UNKNOWN_TYPE: u32 = 3;
const RESOURCE_SHORTAGE: u32 = 4;

fn none_opened(duo: &Duo) {
    let opened = |seen: &&Seen| matches!(seen, Seen::Opened { .. });
    assert_eq!(duo.seen.iter().find(opened), None);
}

#[test]
fn a_channel_for_a_confirmed_forward_carries_bytes_both_ways_to_its_end() {
    let text: Vec<u8> = (0..20_000u32).flat_map(u32::to_be_bytes).collect();
    let knobs = Knobs::default();
    every_way(&knobs, |duo| {
        duo.on_open = OnOpen::Echo;
        let channel = open_one(duo);
        duo.server.write(channel, &text);
        duo.server.finish(channel);
        duo.run();
        assert_eq!(delivered(duo, 0), text);
        assert!(duo.server.channel(channel).received == text);
        assert!(duo.server.channel(channel).eof_received);
        duo.server.close(channel);
        duo.run();
        assert!(duo.server.channel(channel).is_over());
        assert_eq!(duo.seen.last(), Some(&Seen::Closed { channel: 0 }));
        alive(duo);
    });
}

#[test]
fn an_open_for_a_port_never_asked_for_is_prohibited_and_told() {
    for (bind, port) in [
        ("localhost", 1112),
        ("localhost", 0),
        ("localhost", 65536 + 1111),
        ("127.0.0.1", 1112),
    ] {
        every_way(&Knobs::default(), |duo| {
            log_in(duo);
            let channel = duo.server.open(bind, port);
            duo.run();
            assert_eq!(duo.server.channel(channel).refused, Some(PROHIBITED));
            let told = Seen::OpenRefused {
                refusal: Refusal::Prohibited,
                address: bind.into(),
                port,
            };
            assert_eq!(duo.seen.last(), Some(&told));
            none_opened(duo);
            alive(duo);
        });
    }
}

#[test]
fn another_name_for_the_address_is_taken_by_its_port_and_said_once() {
    for name in [
        "127.0.0.1",
        "0.0.0.0",
        "LOCALHOST",
        "",
        "192.0.2.1",
        "\x1b[2J",
    ] {
        every_way(&Knobs::default(), |duo| {
            log_in(duo);
            let first = duo.server.open(name, 1111);
            let second = duo.server.open(name, 1111);
            let right = duo.server.open("localhost", 1111);
            duo.run();
            for channel in [first, second, right] {
                assert!(duo.server.channel(channel).remote.is_some(), "{name}");
            }
            let differs: Vec<_> = duo
                .seen
                .iter()
                .filter_map(|seen| match seen {
                    Seen::AddressDiffers {
                        forward: 0,
                        address,
                    } => Some(address),
                    _ => None,
                })
                .collect();
            assert_eq!(differs.len(), 1);
            assert!(!differs[0].contains('\x1b'));
            alive(duo);
        });
    }
}

#[test]
fn another_name_is_refused_when_two_forwards_have_its_port() {
    every_way(&Knobs::default(), |duo| {
        duo.forwards = vec![("localhost".into(), 1111), ("192.0.2.1".into(), 1111)];
        log_in(duo);
        let other = duo.server.open("127.0.0.1", 1111);
        let right = duo.server.open("192.0.2.1", 1111);
        duo.run();
        assert_eq!(duo.server.channel(other).refused, Some(PROHIBITED));
        assert!(duo.server.channel(right).remote.is_some());
        let opened = Seen::Opened {
            channel: 0,
            forward: 1,
        };
        assert_eq!(duo.seen.last(), Some(&opened));
    });
}

#[test]
fn channels_of_every_other_type_are_unknown() {
    for kind in [
        &b"session"[..],
        b"x11",
        b"direct-tcpip",
        b"auth-agent@openssh.com",
        b"tun@openssh.com",
        b"",
    ] {
        let duo = every_way(&Knobs::default(), |duo| {
            log_in(duo);
            let open = open_message(kind, 9, &duo.server.knobs, "localhost", 1111);
            duo.server.send(&open);
            duo.server.violations.clear();
            duo.run();
            // The server did not enter this channel anywhere.
            duo.server.violations.clear();
        });
        let failures = duo.server.received(CHANNEL_OPEN_FAILURE);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0][1..9], [0, 0, 0, 9, 0, 0, 0, UNKNOWN_TYPE as u8]);
        none_opened(&duo);
        alive(&duo);
    }
}

#[test]
fn a_forward_without_a_reply_is_used_once_a_connection_for_it_comes() {
    let knobs = Knobs {
        forward: Answer::Silence,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        log_in(duo);
        let channel = duo.server.open("localhost", 1111);
        duo.run();
        let in_use = Seen::InUse {
            forward: 0,
            port: 1111,
        };
        let opened = Seen::Opened {
            channel: 0,
            forward: 0,
        };
        assert_eq!(duo.seen[duo.seen.len() - 2..], [in_use, opened]);
        assert!(duo.server.channel(channel).remote.is_some());
        // The reply to a keepalive is not taken for the one that never came.
        for number in [REQUEST_FAILURE, REQUEST_SUCCESS] {
            duo.server.knobs.keepalive = Answer::Silence;
            let result = duo.client.keepalive();
            duo.check(result);
            duo.run();
            duo.server.send(&[number]);
            duo.run();
            assert_eq!(duo.seen.last(), Some(&Seen::KeepaliveAnswered));
            duo.seen.clear();
        }
        alive(duo);
    });
}

#[test]
fn a_reply_that_comes_after_the_first_connection_says_nothing_new() {
    let knobs = Knobs {
        forward: Answer::Ask,
        ..Knobs::default()
    };
    for granted in [true, false] {
        every_way(&knobs, |duo| {
            log_in(duo);
            let channel = duo.server.open("localhost", 1111);
            duo.run();
            let before = duo.seen.len();
            duo.server.answer_forward(granted);
            duo.run();
            assert_eq!(duo.seen[before..], []);
            assert!(duo.server.channel(channel).remote.is_some());
            let result = duo.client.keepalive();
            duo.check(result);
            duo.run();
            assert_eq!(duo.seen[before..], [Seen::KeepaliveAnswered]);
            alive(duo);
        });
    }
}

#[test]
fn a_late_reply_behind_a_keepalive_that_was_answered_for_it_is_dropped() {
    let knobs = Knobs {
        forward: Answer::Ask,
        keepalive: Answer::No,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        log_in(duo);
        duo.server.open("localhost", 1111);
        duo.run();
        let before = duo.seen.len();
        let result = duo.client.keepalive();
        duo.check(result);
        duo.server.answer_forward(true);
        duo.run();
        assert_eq!(duo.seen[before..], [Seen::KeepaliveAnswered]);
        alive(duo);
    });
}

#[test]
fn a_port_that_the_server_chose_belongs_to_its_forward_and_only_that_one() {
    every_way(&Knobs::default(), |duo| {
        duo.forwards = vec![("localhost".into(), 0)];
        log_in(duo);
        assert!(duo.seen.contains(&Seen::Confirmed {
            forward: 0,
            port: 40_000
        }));
        let right = duo.server.open("localhost", 40_000);
        let wrong = duo.server.open("localhost", 0);
        duo.run();
        assert!(duo.server.channel(right).remote.is_some());
        assert_eq!(duo.server.channel(wrong).refused, Some(PROHIBITED));
    });
}

#[test]
fn more_channels_than_there_is_room_for_are_a_resource_shortage_until_one_closes() {
    every_way(&Knobs::default(), |duo| {
        log_in(duo);
        let channels: Vec<u32> = (0..CHANNELS)
            .map(|_| duo.server.open("localhost", 1111))
            .collect();
        let beyond = duo.server.open("localhost", 1111);
        duo.run();
        assert!(
            channels
                .iter()
                .all(|n| duo.server.channel(*n).remote.is_some())
        );
        assert_eq!(duo.server.channel(beyond).refused, Some(RESOURCE_SHORTAGE));
        let told = Seen::OpenRefused {
            refusal: Refusal::ResourceShortage,
            address: "localhost".into(),
            port: 1111,
        };
        assert_eq!(duo.seen.last(), Some(&told));
        duo.server.close(channels[5]);
        duo.run();
        let again = duo.server.open("localhost", 1111);
        duo.run();
        assert_eq!(duo.server.channel(again).remote, Some(5));
        alive(duo);
    });
}

#[test]
fn a_number_is_not_used_again_before_both_sides_closed() {
    let knobs = Knobs {
        answers_close: false,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        let first = open_one(duo);
        let id = duo.opened[0];
        let result = duo.client.channel_close(id);
        duo.check(result);
        let second = duo.server.open("localhost", 1111);
        duo.run();
        assert_eq!(duo.server.channel(second).remote, Some(1));
        assert!(duo.server.channel(first).close_received);
        duo.server.close(first);
        duo.run();
        let third = duo.server.open("localhost", 1111);
        duo.run();
        assert_eq!(duo.server.channel(third).remote, Some(0));
        alive(duo);
    });
}

#[test]
fn opens_for_a_forward_that_is_being_cancelled_or_was_are_prohibited() {
    let knobs = Knobs {
        cancel: Answer::Silence,
        ..Knobs::default()
    };
    for cancel in [Answer::Silence, Answer::Yes] {
        every_way(&knobs, |duo| {
            log_in(duo);
            duo.server.knobs.cancel = cancel;
            let result = duo.client.cancel_forward(reachback_ssh::ForwardId(0));
            duo.check(result);
            duo.run();
            let channel = duo.server.open("localhost", 1111);
            duo.run();
            assert_eq!(duo.server.channel(channel).refused, Some(PROHIBITED));
            alive(duo);
        });
    }
}

#[test]
fn a_cancellation_that_is_refused_leaves_the_forward_in_service() {
    let knobs = Knobs {
        cancel: Answer::No,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        log_in(duo);
        let result = duo.client.cancel_forward(reachback_ssh::ForwardId(0));
        duo.check(result);
        duo.run();
        let kept = Seen::Cancelled {
            forward: 0,
            done: false,
        };
        assert_eq!(duo.seen.last(), Some(&kept));
        let channel = duo.server.open("localhost", 1111);
        duo.run();
        assert!(duo.server.channel(channel).remote.is_some());
    });
}

#[test]
fn a_target_that_cannot_be_reached_is_said_and_its_place_is_free_again() {
    every_way(&Knobs::default(), |duo| {
        duo.on_open = OnOpen::Refuse;
        log_in(duo);
        for _ in 0..3 * CHANNELS {
            let channel = duo.server.open("localhost", 1111);
            duo.run();
            assert_eq!(duo.server.channel(channel).refused, Some(CONNECT_FAILED));
        }
        alive(duo);
    });
}

#[test]
fn absurd_opens_are_prohibited_and_truncated_ones_end_the_connection() {
    let no_packet = Knobs {
        packet: 0,
        ..Knobs::default()
    };
    every_way(&no_packet, |duo| {
        let channel = open_one(duo);
        assert_eq!(duo.server.channel(channel).refused, Some(PROHIBITED));
        alive(duo);
    });
    every_way(&Knobs::default(), |duo| {
        log_in(duo);
        let channel = duo.server.open(&"l".repeat(30_000), 1111);
        duo.run();
        assert_eq!(duo.server.channel(channel).refused, Some(PROHIBITED));
        alive(duo);
    });
    let whole = open_message(b"forwarded-tcpip", 3, &Knobs::default(), "localhost", 1111);
    only_whole(&whole, log_in);
}

#[test]
fn asking_for_more_forwards_than_there_is_room_for_is_an_error_of_the_caller() {
    let mut duo = Duo::new(Knobs::default(), reachback_sim::duo::Chunks::Whole);
    duo.forwards = (0..17).map(|n| ("localhost".into(), 2000 + n)).collect();
    duo.run();
    limited(&duo);
}
