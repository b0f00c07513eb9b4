//! What the client does with a server that breaks the rules, or bends them. Every conversation
//! is held in whole buffers, one byte at a time and in random chunks, and goes the same way.
#![allow(clippy::unwrap_used)]

mod certificates;
mod ciphers;
mod flow;
mod framing;
mod garbage;
mod host_keys;
mod interactive;
mod kex;
mod login;
mod opens;
mod outbound;
mod rekey;
mod requests;
mod session_channels;
mod sockets;

use std::collections::BTreeMap;

use reachback_sim::duo::{Chunks, Duo, NEVER, Seen};
use reachback_sim::server::Knobs;
use reachback_sim::server::numbers::*;
use reachback_ssh::{Error, Rekey};

/// Everything that must not depend on how the bytes were cut.
#[derive(Debug, PartialEq)]
struct Outcome {
    seen: Vec<Seen>,
    error: Option<Error>,
    answers: Vec<Vec<u8>>,
    to_server: BTreeMap<Vec<u8>, Vec<u8>>,
    to_targets: BTreeMap<usize, Vec<u8>>,
}

impl Outcome {
    fn of(duo: &Duo) -> Outcome {
        let mut answers = Vec::new();
        let mut to_server: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut to_targets: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut seen = Vec::new();
        for event in &duo.seen {
            match event {
                Seen::Data { channel, data } => {
                    to_targets.entry(*channel).or_default().extend(data);
                }
                event => seen.push(event.clone()),
            }
        }
        for received in &duo.server.log {
            let payload = &received.payload;
            match payload[0] {
                CHANNEL_DATA => to_server
                    .entry(payload[1..5].to_vec())
                    .or_default()
                    .extend(&payload[9..]),
                // When window is granted depends on how the data was cut.
                CHANNEL_WINDOW_ADJUST => {}
                // Cookies, ephemeral keys and signatures differ every time.
                KEXINIT..=USERAUTH_REQUEST => {}
                _ => answers.push(payload.clone()),
            }
        }
        Outcome {
            seen,
            error: duo.error.clone(),
            answers,
            to_server,
            to_targets,
        }
    }
}

/// Holds a conversation in every way and gives the last one.
fn every_way(knobs: &Knobs, script: impl Fn(&mut Duo)) -> Duo {
    every_way_renewing(knobs, NEVER, script)
}

/// As [`every_way`], with a client that renews its keys.
fn every_way_renewing(knobs: &Knobs, rekey: Rekey, script: impl Fn(&mut Duo)) -> Duo {
    let mut first: Option<Outcome> = None;
    let mut last = None;
    for chunks in [
        Chunks::Whole,
        Chunks::Single,
        Chunks::Random(1),
        Chunks::Random(2),
    ] {
        let mut duo = Duo::with_rekey(knobs.clone(), chunks, rekey);
        script(&mut duo);
        duo.run();
        assert_eq!(duo.server.violations, [""; 0], "{chunks:?}");
        let outcome = Outcome::of(&duo);
        match &first {
            None => first = Some(outcome),
            Some(first) => {
                assert_eq!(first.seen, outcome.seen, "{chunks:?} went another way");
                assert_eq!(first.error, outcome.error, "{chunks:?} went another way");
                assert!(*first == outcome, "{chunks:?} went another way");
            }
        }
        last = Some(duo);
    }
    last.unwrap()
}

/// Runs until the client is logged in and its forward is answered.
fn log_in(duo: &mut Duo) {
    duo.run();
    assert!(duo.is_up(), "{:?} {:?}", duo.error, duo.seen);
}

/// Logs in and opens one channel, whose client number is 0. Gives the server's number.
fn open_one(duo: &mut Duo) -> u32 {
    log_in(duo);
    let channel = duo.server.open("localhost", 1111);
    duo.run();
    channel
}

/// Bytes of data that reached the target of a channel.
fn delivered(duo: &Duo, channel: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for seen in &duo.seen {
        match seen {
            Seen::Data { channel: of, data } if *of == channel => all.extend(data),
            _ => {}
        }
    }
    all
}

fn alive(duo: &Duo) {
    assert_eq!(duo.error, None);
}

#[track_caller]
fn malformed(duo: &Duo, what: &str) {
    match &duo.error {
        Some(Error::Malformed(text)) => assert_eq!(*text, what),
        other => panic!("{other:?} instead of malformed {what}"),
    }
}

/// Asserts that this message is taken whole or not at all: cut anywhere, or with a byte more, it
/// ends a connection that was prepared for it.
fn only_whole(message: &[u8], prepare: impl Fn(&mut Duo)) {
    for cut in 1..message.len() {
        let mut duo = Duo::new(Knobs::default(), Chunks::Whole);
        prepare(&mut duo);
        duo.server.send(&message[..cut]);
        duo.run();
        malformed(&duo, "field length");
    }
    let longer = [message, &[0]].concat();
    let duo = every_way(&Knobs::default(), |duo| {
        prepare(duo);
        duo.server.send(&longer);
    });
    malformed(&duo, "message (bytes left over)");
}

#[track_caller]
fn unexpected(duo: &Duo, number: u8) {
    match duo.error {
        Some(Error::Unexpected { message, .. }) => assert_eq!(message, number),
        ref other => panic!("{other:?} instead of unexpected message {number}"),
    }
}

#[track_caller]
fn limited(duo: &Duo) {
    assert!(
        matches!(duo.error, Some(Error::Limit(_))),
        "{:?}",
        duo.error
    );
}
