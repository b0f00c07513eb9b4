//! Identification lines and packet lengths.

use reachback_sim::duo::{Chunks, Duo, Seen};
use reachback_sim::server::{Knobs, Stall};
use reachback_ssh::Error;
use reachback_ssh::limits::{PACKET_LENGTH, PRE_IDENT_BYTES, PRE_IDENT_LINES};

use crate::{alive, every_way, limited, log_in, malformed};

/// A server that sends this instead of an identification line.
fn speaking(bytes: Vec<u8>) -> Duo {
    let knobs = Knobs {
        stall: Some(Stall::Ident),
        pre_ident: bytes,
        ..Knobs::default()
    };
    every_way(&knobs, |_| {})
}

#[test]
fn lines_before_the_identification_are_skipped_up_to_a_bound() {
    let knobs = Knobs {
        pre_ident: b"Maintenance\r\n\n SSH-2.0-not-me\nSSH\r\n".to_vec(),
        ..Knobs::default()
    };
    every_way(&knobs, log_in);
    let lines = |n: usize| b"x\n".repeat(n);
    alive(&speaking(lines(PRE_IDENT_LINES)));
    limited(&speaking(lines(PRE_IDENT_LINES + 1)));
    alive(&speaking(vec![b'y'; PRE_IDENT_BYTES]));
    limited(&speaking(vec![b'y'; PRE_IDENT_BYTES + 1]));
}

#[test]
fn an_identification_line_is_bounded_and_of_version_2() {
    let mut long = b"SSH-2.0-".to_vec();
    long.resize(256, b'z');
    limited(&speaking(long));
    for line in [
        &b"SSH-1.5-old\r\n"[..],
        b"SSH-3.0-new\n",
        b"SSH-2.0\n",
        b"SSH-\n",
    ] {
        malformed(
            &speaking(line.to_vec()),
            "identification line (not SSH version 2)",
        );
    }
    malformed(
        &speaking(b"hello\0".to_vec()),
        "identification line (NUL byte)",
    );
    let knobs = Knobs {
        ident: b"SSH-1.99-both \x1b[31mred\n".to_vec(),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, log_in);
    let Seen::Identified(software) = &duo.seen[0] else {
        panic!("{:?}", duo.seen)
    };
    assert!(software.starts_with("both") && !software.contains('\x1b'));
}

/// A packet with these length fields, before any keys and under them.
fn framed(length: u32, padding: u8, body: usize) -> [Duo; 2] {
    let plain = Knobs {
        stall: Some(Stall::KexInit),
        ..Knobs::default()
    };
    [
        every_way(&plain, |duo| {
            duo.run();
            duo.server.send_crafted(length, padding, &vec![2; body]);
        }),
        every_way(&Knobs::default(), |duo| {
            log_in(duo);
            duo.server.send_crafted(length, padding, &vec![2; body]);
        }),
    ]
}

#[test]
fn packet_lengths_out_of_bounds_end_the_connection_without_waiting_for_the_packet() {
    for length in [
        0,
        1,
        5,
        PACKET_LENGTH as u32 + 1,
        1 << 20,
        u32::MAX - 3,
        u32::MAX,
    ] {
        for duo in framed(length, 4, 12) {
            malformed(&duo, "packet length");
        }
    }
}

#[test]
fn lengths_that_are_no_multiple_of_the_block_end_the_connection() {
    // The length field counts without a cipher and does not with one.
    for (length, under_keys) in [(12, false), (16, true)] {
        let [plain, sealed] = framed(length, 4, length as usize - 1);
        let (good, bad) = if under_keys {
            (sealed, plain)
        } else {
            (plain, sealed)
        };
        malformed(&bad, "packet length");
        assert!(
            good.error.is_none() || !matches!(good.error, Some(Error::Malformed("packet length")))
        );
    }
    for length in [13, 14, 15, 17, 33] {
        for duo in framed(length, 4, length as usize - 1) {
            malformed(&duo, "packet length");
        }
    }
}

#[test]
fn padding_too_short_or_longer_than_the_packet_ends_the_connection() {
    for padding in [0, 1, 3] {
        malformed(&framed(28, padding, 27)[0], "padding length");
        malformed(&framed(32, padding, 31)[1], "padding length");
    }
    for padding in [31, 32, 100, 255] {
        malformed(&framed(28, padding, 27)[0], "padding length");
        malformed(&framed(32, padding, 31)[1], "padding length");
    }
    // All padding and no payload.
    malformed(&framed(28, 27, 27)[0], "padding length");
    malformed(&framed(32, 31, 31)[1], "padding length");
}

#[test]
fn the_longest_packet_passes_and_a_stream_of_them_too() {
    every_way(&Knobs::default(), |duo| {
        log_in(duo);
        for _ in 0..4 {
            let length = PACKET_LENGTH / 8 * 8;
            let mut body = vec![0; length - 1];
            body[0] = 2;
            duo.server.send_crafted(length as u32, 255, &body);
        }
        duo.run();
        alive(duo);
        let result = duo.client.keepalive();
        duo.check(result);
        duo.run();
        assert_eq!(duo.seen.last(), Some(&Seen::KeepaliveAnswered));
    });
}

#[test]
fn plain_bytes_under_keys_end_the_connection() {
    let mut duo = Duo::new(Knobs::default(), Chunks::Whole);
    log_in(&mut duo);
    duo.server
        .send_raw(&[0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    duo.server.send_raw(&[7; PACKET_LENGTH + 64]);
    duo.run();
    assert!(matches!(
        duo.error,
        Some(Error::BadTag | Error::Malformed("packet length"))
    ));
}
