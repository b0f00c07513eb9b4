//! The channel that the client opens: only what was asked for, and only as it was answered.

use reachback_sim::duo::{Duo, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, open_message, with_channel};
use reachback_ssh::ChannelId;
use reachback_ssh::limits::{CHANNEL_PACKET, CHANNEL_WINDOW, CHANNELS};
use reachback_ssh::wire::Put;

use crate::{alive, delivered, every_way, limited, log_in, malformed, only_whole, unexpected};

/// The server's number of the channel, which the simulated server itself does not know.
const THEIRS: u32 = 77;

/// Logs in and opens channel 0 towards 127.0.0.1 port 1111.
fn ask(duo: &mut Duo) -> ChannelId {
    log_in(duo);
    let id = open(duo).unwrap();
    duo.run();
    id
}

fn open(duo: &mut Duo) -> Option<ChannelId> {
    let result = duo.client.open_direct("127.0.0.1", 1111);
    duo.check(result).flatten()
}

fn confirmation(channel: u32, window: u32, packet: u32) -> Vec<u8> {
    let mut payload = with_channel(CHANNEL_OPEN_CONFIRMATION, channel);
    for field in [THEIRS, window, packet] {
        payload.put_u32(field);
    }
    payload
}

fn failure(channel: u32, reason: u32, text: &str) -> Vec<u8> {
    let mut payload = with_channel(CHANNEL_OPEN_FAILURE, channel);
    payload.put_u32(reason);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    payload
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut payload = with_channel(CHANNEL_DATA, 0);
    payload.put_string(bytes);
    payload
}

/// The channel is open, with this window of the server.
fn opened(duo: &mut Duo, window: u32) -> ChannelId {
    let id = ask(duo);
    duo.server.send(&confirmation(0, window, 1000));
    duo.run();
    id
}

/// Sends from the client as much as it may.
fn send(duo: &mut Duo, id: ChannelId, bytes: &[u8]) -> usize {
    let result = duo.client.channel_space(id, bytes.len());
    let n = match result {
        Ok(Some(space)) => {
            let n = space.len();
            space[..n].copy_from_slice(&bytes[..n]);
            n
        }
        _ => 0,
    };
    if n > 0 {
        let result = duo.client.channel_filled(id, n);
        duo.check(result);
    }
    duo.run();
    n
}

/// The simulated server does not know this channel; the test looks at what came itself.
fn forgive(duo: &mut Duo) {
    duo.run();
    let known = |text: &String| !text.contains("channel 77, which is not there");
    duo.server.violations.retain(known);
}

#[test]
fn an_open_says_where_to_connect_and_bytes_flow_both_ways_to_its_end() {
    let duo = every_way(&Knobs::default(), |duo| {
        let id = opened(duo, 5);
        assert_eq!(duo.seen.last(), Some(&Seen::OpenConfirmed { channel: 0 }));
        assert_eq!(send(duo, id, b"token and more"), 5, "the window holds");
        assert_eq!(send(duo, id, b" and more"), 0);
        let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, 0);
        adjust.put_u32(3);
        duo.server.send(&adjust);
        duo.run();
        assert_eq!(send(duo, id, b" and more"), 3);
        duo.server.send(&data(b"answer"));
        duo.server.send(&with_channel(CHANNEL_EOF, 0));
        duo.server.send(&with_channel(CHANNEL_CLOSE, 0));
        forgive(duo);
        assert_eq!(duo.seen.last(), Some(&Seen::Closed { channel: 0 }));
        alive(duo);
    });
    let mut expected = vec![CHANNEL_OPEN];
    expected.put_string(b"direct-tcpip");
    for field in [0, CHANNEL_WINDOW, 32 * 1024] {
        expected.put_u32(field);
    }
    expected.put_string(b"127.0.0.1");
    expected.put_u32(1111);
    expected.put_string(b"127.0.0.1");
    expected.put_u32(0);
    assert_eq!(duo.server.received(CHANNEL_OPEN), [expected]);
    assert_eq!(delivered(&duo, 0), b"answer");
    let closes = duo.server.received(CHANNEL_CLOSE);
    assert_eq!(closes, [with_channel(CHANNEL_CLOSE, THEIRS)]);
}

#[test]
fn a_failure_with_any_code_frees_the_number_and_its_text_is_made_fit_for_a_log() {
    for reason in [0, 1, 2, 3, 4, 5, u32::MAX] {
        every_way(&Knobs::default(), |duo| {
            ask(duo);
            duo.server.send(&failure(0, reason, "no\x1b[2J"));
            duo.run();
            let text = "no\\u{1b}[2J".to_owned();
            let refused = Seen::OpenFailed {
                channel: 0,
                reason,
                text,
            };
            assert_eq!(duo.seen.last(), Some(&refused));
            let channel = duo.server.open("localhost", 1111);
            duo.run();
            assert_eq!(duo.server.channel(channel).remote, Some(0));
            alive(duo);
        });
    }
}

#[test]
fn an_answer_for_a_channel_that_was_never_opened_or_was_answered_ends_the_connection() {
    let (yes, no) = (CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE);
    for channel in [0, 1, 31, 32, u32::MAX] {
        for (number, message) in [
            (yes, confirmation(channel, 1, 1)),
            (no, failure(channel, 1, "")),
        ] {
            let duo = every_way(&Knobs::default(), |duo| {
                log_in(duo);
                duo.server.send(&message);
            });
            unexpected(&duo, number);
            // The one next to the one that was asked for.
            if channel > 0 {
                let duo = every_way(&Knobs::default(), |duo| {
                    ask(duo);
                    duo.server.send(&message);
                });
                unexpected(&duo, number);
            }
        }
    }
    for (number, message) in [(yes, confirmation(0, 1, 1)), (no, failure(0, 1, ""))] {
        let duo = every_way(&Knobs::default(), |duo| {
            opened(duo, 10);
            duo.server.send(&message);
        });
        unexpected(&duo, number);
        let duo = every_way(&Knobs::default(), |duo| {
            ask(duo);
            duo.server.send(&failure(0, 2, ""));
            duo.server.send(&message);
        });
        unexpected(&duo, number);
        // An inbound channel is not confirmed by the one who opened it.
        let duo = every_way(&Knobs::default(), |duo| {
            crate::open_one(duo);
            duo.server.send(&message);
        });
        unexpected(&duo, number);
    }
}

#[test]
fn nothing_can_be_said_about_a_channel_before_it_is_confirmed() {
    let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, 0);
    adjust.put_u32(1);
    let mut extended = with_channel(CHANNEL_EXTENDED_DATA, 0);
    extended.put_u32(1);
    extended.put_string(b"x");
    let mut request = with_channel(CHANNEL_REQUEST, 0);
    request.put_string(b"signal");
    request.put_u8(1);
    for (message, what) in [
        (data(b"x"), "order of channel data"),
        (extended, "order of channel data"),
        (adjust, "channel number"),
        (request, "channel number"),
        (with_channel(CHANNEL_EOF, 0), "order of channel ends"),
        (
            with_channel(CHANNEL_CLOSE, 0),
            "close of a channel that is not open",
        ),
    ] {
        let duo = every_way(&Knobs::default(), |duo| {
            ask(duo);
            duo.server.send(&message);
        });
        malformed(&duo, what);
    }
}

#[test]
fn data_beyond_the_window_and_grants_beyond_32_bits_end_the_connection() {
    let duo = every_way(&Knobs::default(), |duo| {
        duo.targets_take = false;
        opened(duo, 10);
        for _ in 0..CHANNEL_WINDOW / CHANNEL_PACKET {
            duo.server.send(&data(&[7; CHANNEL_PACKET as usize]));
        }
        duo.run();
        alive(duo);
        duo.server.send(&data(b"x"));
    });
    limited(&duo);
    let duo = every_way(&Knobs::default(), |duo| {
        opened(duo, u32::MAX);
        let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, 0);
        adjust.put_u32(1);
        duo.server.send(&adjust);
    });
    malformed(&duo, "window adjustment");
    let duo = every_way(&Knobs::default(), |duo| {
        ask(duo);
        duo.server.send(&confirmation(0, 10, 0));
    });
    malformed(&duo, "packet size of a channel");
}

#[test]
fn truncated_answers_and_answers_with_more_behind_them_end_the_connection() {
    for whole in [confirmation(0, 10, 10), failure(0, 1, "no")] {
        only_whole(&whole, |duo| {
            ask(duo);
        });
    }
}

#[test]
fn a_channel_given_up_before_its_answer_is_closed_when_it_comes_and_its_number_stays_taken() {
    let duo = every_way(&Knobs::default(), |duo| {
        let id = ask(duo);
        let result = duo.client.channel_close(id);
        duo.check(result);
        duo.run();
        assert_eq!(duo.server.received(CHANNEL_CLOSE), [[0; 0]; 0]);
        let beside = duo.server.open("localhost", 1111);
        duo.run();
        assert_eq!(duo.server.channel(beside).remote, Some(1));
        duo.server.send(&confirmation(0, 10, 10));
        duo.server.send(&data(b"too late"));
        duo.server.send(&with_channel(CHANNEL_CLOSE, 0));
        forgive(duo);
        assert_eq!(duo.seen.last(), Some(&Seen::Closed { channel: 0 }));
        let seen = |s: &Seen| matches!(s, Seen::OpenConfirmed { .. } | Seen::Data { .. });
        assert!(!duo.seen.iter().any(seen));
        alive(duo);
    });
    let closes = duo.server.received(CHANNEL_CLOSE);
    assert_eq!(closes, [with_channel(CHANNEL_CLOSE, THEIRS)]);
}

#[test]
fn without_a_free_number_nothing_is_asked_and_nobody_else_can_open_this_kind() {
    every_way(&Knobs::default(), |duo| {
        log_in(duo);
        for _ in 0..CHANNELS {
            duo.server.open("localhost", 1111);
        }
        duo.run();
        assert_eq!(open(duo), None);
        duo.run();
        assert_eq!(duo.server.received(CHANNEL_OPEN), [[0; 0]; 0]);
        alive(duo);
    });
    every_way(&Knobs::default(), |duo| {
        ask(duo);
        let theirs = open_message(b"direct-tcpip", 9, &duo.server.knobs, "127.0.0.1", 1111);
        duo.server.send(&theirs);
        forgive(duo);
        duo.server.violations.clear();
        let refused = &duo.server.received(CHANNEL_OPEN_FAILURE)[0];
        assert_eq!(refused[5..9], 3u32.to_be_bytes(), "unknown type");
        alive(duo);
    });
}
