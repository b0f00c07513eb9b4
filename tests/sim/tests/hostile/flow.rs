//! Data, windows and the ends of channels.

use reachback_sim::duo::{Chunks, Duo, OnOpen, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, with_channel};
use reachback_ssh::limits::{CHANNEL_PACKET, CHANNEL_WINDOW, WIDEST_WINDOW};
use reachback_ssh::wire::Put;

use crate::{alive, delivered, every_way, limited, log_in, malformed, open_one};

fn data(channel: u32, n: usize) -> Vec<u8> {
    let mut message = with_channel(CHANNEL_DATA, channel);
    message.put_string(&vec![b'x'; n]);
    message
}

fn extended(channel: u32, n: usize) -> Vec<u8> {
    let mut message = with_channel(CHANNEL_EXTENDED_DATA, channel);
    message.put_u32(1);
    message.put_string(&vec![b'e'; n]);
    message
}

/// One channel is open; these messages follow.
fn after_open(messages: &[Vec<u8>]) -> Duo {
    // Closes are sent by hand here.
    let knobs = Knobs {
        answers_close: false,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        open_one(duo);
        for message in messages {
            duo.server.send(message);
        }
    })
}

#[test]
fn more_data_than_the_window_ends_the_connection() {
    let full = (CHANNEL_WINDOW / CHANNEL_PACKET) as usize;
    let run = |packets: usize, more: usize| {
        every_way(&Knobs::default(), |duo| {
            duo.targets_take = false;
            open_one(duo);
            for _ in 0..packets {
                duo.server.send(&data(0, CHANNEL_PACKET as usize));
            }
            duo.server.send(&data(0, more));
        })
    };
    alive(&run(full, 0));
    limited(&run(full, 1));
    let duo = every_way(&Knobs::default(), |duo| {
        duo.targets_take = false;
        open_one(duo);
        for _ in 0..full {
            duo.server.send(&extended(0, CHANNEL_PACKET as usize - 1));
        }
        duo.server.send(&data(0, CHANNEL_PACKET as usize));
    });
    // Extended data is dropped here, so its window comes back.
    alive(&duo);
}

#[test]
fn a_data_packet_larger_than_was_granted_ends_the_connection() {
    limited(&after_open(&[data(0, CHANNEL_PACKET as usize + 1)]));
    limited(&after_open(&[extended(0, CHANNEL_PACKET as usize + 1)]));
    alive(&after_open(&[data(0, CHANNEL_PACKET as usize)]));
}

#[test]
fn a_target_that_takes_nothing_gets_one_window_and_others_go_on() {
    let text = vec![b'y'; 1_000_000];
    let duo = every_way(&Knobs::default(), |duo| {
        duo.targets_take = false;
        let stuck = open_one(duo);
        duo.server.write(stuck, &text);
        duo.run();
        duo.on_open = OnOpen::Echo;
        let free = duo.server.open("localhost", 1111);
        duo.run();
        duo.server.write(free, &text);
        duo.run();
        assert_eq!(duo.server.channel(free).received_bytes, 1_000_000);
        assert_eq!(
            duo.server.channel(stuck).sent_bytes,
            u64::from(CHANNEL_WINDOW)
        );
        assert_eq!(
            duo.server.channel(stuck).granted,
            u64::from(CHANNEL_WINDOW),
            "window is granted for what the target took, never for what arrived"
        );
    });
    alive(&duo);
}

#[test]
fn window_is_granted_for_exactly_what_the_target_took() {
    let knobs = Knobs::default();
    every_way(&knobs, |duo| {
        duo.targets_take = false;
        let channel = open_one(duo);
        duo.server.write(channel, &vec![b'z'; 500_000]);
        duo.run();
        let id = duo.opened[0];
        // More than was ever received is not believed.
        for taken in [1_000, 40_000, 10_000_000] {
            let result = duo.client.channel_taken(id, taken);
            duo.check(result);
            duo.run();
        }
        let channel = duo.server.channel(channel);
        assert_eq!(channel.sent_bytes, channel.granted);
        assert_eq!(channel.granted, u64::from(2 * CHANNEL_WINDOW + 41_000));
    });
}

#[test]
fn a_window_is_widened_up_to_its_bound_and_narrow_again_when_the_target_falls_behind() {
    every_way(&Knobs::default(), |duo| {
        duo.targets_take = false;
        let channel = open_one(duo);
        let id = duo.opened[0];
        duo.server.write(channel, &vec![b'z'; 20_000_000]);
        duo.run();
        let mut taken = 0;
        let mut take = |duo: &mut Duo, n: usize| {
            let result = duo.client.channel_taken(id, n);
            duo.check(result);
            duo.run();
            taken += n as u64;
            let channel = duo.server.channel(channel);
            assert_eq!(channel.sent_bytes, channel.granted);
            channel.sent_bytes - taken
        };
        let (least, most) = (u64::from(CHANNEL_WINDOW), u64::from(WIDEST_WINDOW));
        for _ in 0..10 {
            let window = duo.client.channel_window(id);
            duo.client.channel_widen(id, usize::MAX);
            take(duo, window);
        }
        assert_eq!(take(duo, most as usize), most);
        // Nothing below a packet is worth a message; less than twice is, if there is no more.
        duo.client.channel_widen(id, usize::MAX);
        assert_eq!(take(duo, most as usize), most);
        // It takes a little again and again, with more than half a window waiting.
        while duo.client.channel_window(id) > CHANNEL_WINDOW as usize {
            take(duo, CHANNEL_PACKET as usize);
        }
        assert_eq!(take(duo, CHANNEL_PACKET as usize), least);
        duo.client.channel_widen(id, CHANNEL_PACKET as usize - 1);
        assert_eq!(take(duo, CHANNEL_PACKET as usize), least);
        duo.client.channel_widen(id, CHANNEL_PACKET as usize);
        let wider = least + u64::from(CHANNEL_PACKET);
        assert_eq!(take(duo, CHANNEL_PACKET as usize), wider);
    });
}

#[test]
fn data_before_the_confirmation_ends_the_connection() {
    for message in [data(0, 1), with_channel(CHANNEL_EOF, 0), extended(0, 1)] {
        let duo = every_way(&Knobs::default(), |duo| {
            duo.on_open = OnOpen::Wait;
            open_one(duo);
            duo.server.send(&message);
        });
        assert!(duo.error.is_some(), "message {}", message[0]);
        assert_eq!(delivered(&duo, 0), b"");
    }
    let duo = every_way(&Knobs::default(), |duo| {
        duo.on_open = OnOpen::Wait;
        open_one(duo);
        duo.server.send(&with_channel(CHANNEL_CLOSE, 0));
    });
    malformed(&duo, "close of a channel that is not open");
}

#[test]
fn nothing_can_be_said_about_a_channel_whose_number_the_server_cannot_know_yet() {
    let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, 0);
    adjust.put_u32(1);
    let mut request = with_channel(CHANNEL_REQUEST, 0);
    request.put_string(b"keepalive@openssh.com");
    request.put_u8(1);
    for message in [adjust, request] {
        let duo = every_way(&Knobs::default(), |duo| {
            duo.on_open = OnOpen::Wait;
            open_one(duo);
            duo.server.send(&message);
        });
        malformed(&duo, "channel number");
    }
}

#[test]
fn nothing_comes_after_the_peers_end() {
    let eof = || with_channel(CHANNEL_EOF, 0);
    malformed(&after_open(&[eof(), data(0, 1)]), "order of channel data");
    malformed(
        &after_open(&[eof(), extended(0, 1)]),
        "order of channel data",
    );
    malformed(&after_open(&[eof(), eof()]), "order of channel ends");
    alive(&after_open(&[eof(), with_channel(CHANNEL_CLOSE, 0)]));
}

#[test]
fn messages_for_a_channel_that_is_not_there_end_the_connection() {
    let close = || with_channel(CHANNEL_CLOSE, 0);
    let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, 0);
    adjust.put_u32(1);
    for message in [
        data(0, 1),
        extended(0, 1),
        with_channel(CHANNEL_EOF, 0),
        close(),
        adjust,
    ] {
        malformed(&after_open(&[close(), message.clone()]), "channel number");
        for number in [1u32, 31, 32, 255, 256, u32::MAX] {
            let mut other = message.clone();
            other[1..5].copy_from_slice(&number.to_be_bytes());
            malformed(&after_open(&[other]), "channel number");
        }
    }
}

#[test]
fn what_comes_after_our_close_is_dropped_and_the_connection_lives() {
    let knobs = Knobs {
        answers_close: false,
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        let channel = open_one(duo);
        let id = duo.opened[0];
        let result = duo.client.channel_close(id);
        duo.check(result);
        duo.run();
        duo.server.write(channel, &[b'q'; 300_000]);
        duo.run();
        assert_eq!(delivered(duo, 0), b"");
        assert_eq!(
            duo.server.channel(channel).sent_bytes,
            u64::from(CHANNEL_WINDOW),
            "a closed channel is granted nothing more"
        );
        duo.server.send(&with_channel(CHANNEL_EOF, 0));
        duo.server.send(&with_channel(CHANNEL_CLOSE, 0));
        duo.run();
        assert_eq!(duo.seen.last(), Some(&Seen::Closed { channel: 0 }));
        alive(duo);
    });
}

#[test]
fn a_window_that_passes_its_largest_value_ends_the_connection() {
    let adjust = |n: u32| {
        let mut message = with_channel(CHANNEL_WINDOW_ADJUST, 0);
        message.put_u32(n);
        message
    };
    let window = Knobs::default().window;
    alive(&after_open(&[adjust(u32::MAX - window)]));
    malformed(
        &after_open(&[adjust(u32::MAX - window + 1)]),
        "window adjustment",
    );
    malformed(
        &after_open(&[adjust(u32::MAX - window), adjust(1)]),
        "window adjustment",
    );
}

#[test]
fn data_of_no_length_is_not_an_end() {
    let duo = after_open(&[data(0, 0), data(0, 0), data(0, 3)]);
    assert_eq!(delivered(&duo, 0), b"xxx");
    assert!(!duo.seen.contains(&Seen::Eof { channel: 0 }));
    alive(&duo);
}

#[test]
fn extended_data_never_reaches_a_target_and_its_window_comes_back() {
    every_way(&Knobs::default(), |duo| {
        let channel = open_one(duo);
        for _ in 0..40 {
            duo.server.send(&extended(0, 30_000));
            duo.run();
        }
        assert_eq!(delivered(duo, 0), b"");
        let granted = duo.server.channel(channel).granted;
        assert!(granted >= 40 * 30_000, "{granted}");
        alive(duo);
    });
}

#[test]
fn the_client_keeps_to_the_peers_window_and_packet_size() {
    for (window, packet) in [(0, 100), (1_000, 100), (70_000, 1), (100_000, 1 << 20)] {
        let knobs = Knobs {
            window,
            packet,
            grants: false,
            ..Knobs::default()
        };
        let sent = 90_000.min(CHANNEL_WINDOW as usize);
        let mut duo = Duo::new(knobs, Chunks::Whole);
        duo.on_open = OnOpen::Echo;
        let channel = open_one(&mut duo);
        duo.server.write(channel, &vec![b'w'; sent]);
        duo.run();
        let received = duo.server.channel(channel).received_bytes;
        assert_eq!(received, u64::from(window).min(sent as u64));
        assert_eq!(duo.server.violations, [""; 0]);
        alive(&duo);
    }
}

#[test]
fn requests_on_a_channel_are_refused_and_never_answered_after_our_close() {
    let mut request = with_channel(CHANNEL_REQUEST, 0);
    request.put_string(b"keepalive@openssh.com");
    request.put_boolean(true);
    let duo = after_open(std::slice::from_ref(&request));
    assert_eq!(duo.server.received(CHANNEL_FAILURE).len(), 1);
    let mut silent = request.clone();
    *silent.last_mut().unwrap() = 0;
    let duo = after_open(&[silent]);
    assert_eq!(duo.server.received(CHANNEL_FAILURE).len(), 0);

    // The server asks while our close is on its way; its own close then ends the channel, and
    // an answer behind that would name a channel that is gone (RFC 4254 section 5.3).
    let knobs = Knobs {
        answers_close: false,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        let _ = open_one(duo);
        let id = duo.opened[0];
        let result = duo.client.channel_close(id);
        duo.check(result);
        duo.server.send(&request);
        duo.server.send(&with_channel(CHANNEL_CLOSE, 0));
        duo.run();
        duo.server
            .violations
            .retain(|text| !text.contains("is over"));
    });
    assert_eq!(duo.server.received(CHANNEL_FAILURE).len(), 0);
    alive(&duo);
}

#[test]
fn answers_to_what_is_never_asked_end_the_connection() {
    for number in [
        CHANNEL_OPEN_CONFIRMATION,
        CHANNEL_OPEN_FAILURE,
        CHANNEL_SUCCESS,
        CHANNEL_FAILURE,
    ] {
        let mut message = with_channel(number, 0);
        message.extend([0; 12]);
        crate::unexpected(&after_open(&[message]), number);
    }
    let duo = every_way(&Knobs::default(), log_in);
    alive(&duo);
}
