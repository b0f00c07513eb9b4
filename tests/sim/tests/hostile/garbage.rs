//! Spoiled, mutated and random bytes: never a panic, never a wrong success.

use proptest::collection::vec;
use proptest::prelude::*;
use reachback_sim::dice::Dice;
use reachback_sim::duo::{Chunks, Duo, NEVER, OnOpen, Seen, client};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, with_channel};
use reachback_ssh::limits::{INBOUND_BUFFER, OUTBOUND_BUFFER, PACKET_LENGTH};
use reachback_ssh::wire::Put;
use reachback_ssh::{Client, Error};

use crate::delivered;

const TEXT: &[u8] = b"the quick brown fox";

/// A conversation from the first byte to data on a channel, with one bit spoiled; then more
/// bytes than any packet has, so that nothing stays undecided.
fn spoiled(spoil: Option<(usize, u8)>) -> Duo {
    let mut duo = Duo::new(Knobs::default(), Chunks::Whole);
    duo.on_open = OnOpen::Echo;
    duo.spoil = spoil;
    duo.run();
    let channel = duo.server.open("localhost", 1111);
    duo.run();
    duo.server.write(channel, TEXT);
    duo.run();
    duo
}

fn finish(duo: &mut Duo) {
    let length = PACKET_LENGTH + 64;
    for _ in 0..2 {
        duo.server.send_raw(&vec![0; length]);
        duo.run();
    }
}

#[test]
fn a_bit_spoiled_anywhere_never_panics_and_ends_in_an_error() {
    let whole = spoiled(None);
    assert_eq!(delivered(&whole, 0), TEXT);
    let mut unharmed = Vec::new();
    for at in 0..whole.made {
        let mut duo = spoiled(Some((at, 1 << (at % 8))));
        let good = duo.error.is_none() && delivered(&duo, 0) == TEXT;
        if good {
            unharmed.push(at);
            continue;
        }
        finish(&mut duo);
        assert!(duo.error.is_some(), "byte {at}: {:?}", duo.seen);
        assert!(
            TEXT.starts_with(&delivered(&duo, 0)),
            "byte {at}: spoiled data reached a target"
        );
    }
    // Only padding in the clear protects nothing: at most 11 bytes in each of the three packets
    // before the keys (RFC 4253 section 6).
    assert!(unharmed.len() <= 3 * 11, "{unharmed:?}");
}

/// Feeds bytes to a client and lets it say what it will.
fn feed(client: &mut Client, mut bytes: &[u8]) -> Option<Error> {
    loop {
        let space = client.input_space();
        assert!(space.len() <= INBOUND_BUFFER);
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        client.handle_input(n, 0);
        loop {
            match client.poll_event() {
                Ok(Some(event)) => {
                    if let Seen::HostKey(_) = Seen::from(event) {
                        client.accept_host_key().unwrap();
                    }
                }
                Ok(None) => break,
                Err(error) => return Some(error),
            }
        }
        assert!(client.poll_output().len() <= OUTBOUND_BUFFER);
        if n == 0 || bytes.is_empty() {
            return None;
        }
    }
}

/// Everything that a server sent in a decent conversation.
fn recorded() -> Vec<u8> {
    let mut duo = Duo::new(Knobs::default(), Chunks::Whole);
    duo.record = Some(Vec::new());
    duo.run();
    let bytes = duo.record.take().unwrap();
    assert!(bytes.starts_with(b"SSH-2.0-") && bytes.len() == duo.made);
    bytes
}

/// One message of a random kind that parses in part.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let channel = prop_oneof![8 => 0u32..4, 1 => any::<u32>()];
    let number = prop_oneof![4 => 80u8..=100, 1 => any::<u8>()];
    (number, channel, vec(any::<u8>(), 0..200), any::<bool>()).prop_map(
        |(number, channel, text, framed)| {
            let mut message = with_channel(number, channel);
            if number == GLOBAL_REQUEST || number == CHANNEL_OPEN {
                message.truncate(1);
            }
            if framed {
                message.put_string(&text);
            } else {
                message.extend(text);
            }
            message
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000), identified in any::<bool>()) {
        let mut client = client(NEVER, 1, 0);
        if identified {
            prop_assert_eq!(feed(&mut client, b"SSH-2.0-x\r\n"), None);
        }
        feed(&mut client, &bytes);
    }

    #[test]
    fn random_packets_before_the_keys_never_panic(payloads in vec(vec(any::<u8>(), 1..300), 1..8)) {
        let knobs = Knobs { strict: false, before_kexinit: payloads, ..Knobs::default() };
        let mut duo = Duo::new(knobs, Chunks::Whole);
        duo.run();
    }

    #[test]
    fn random_messages_under_keys_never_panic_nor_make_the_client_break_the_rules(
        messages in vec(message(), 1..30), seed in any::<u64>(), renew in any::<bool>()
    ) {
        let mut duo = Duo::new(Knobs::default(), Chunks::Random(seed));
        duo.on_open = OnOpen::Echo;
        duo.run();
        for _ in 0..3 {
            duo.server.open("localhost", 1111);
        }
        duo.run();
        for message in &messages {
            duo.server.send(message);
            if renew {
                duo.server.start_kex();
            }
        }
        duo.run();
        // What the server does not know of (a channel opened by chance) is not the client's fault.
        duo.server.violations.retain(|text| text.contains("KEXINIT"));
        prop_assert_eq!(&duo.server.violations, &Vec::<String>::new());
    }

    #[test]
    fn random_contents_of_the_exchange_never_panic(
        place in 0usize..4, payload in vec(any::<u8>(), 0..400), number in 20u8..32
    ) {
        let mut knobs = Knobs::default();
        let mut message = vec![number];
        message.extend(payload);
        *[
            &mut knobs.before_kexinit,
            &mut knobs.after_kexinit,
            &mut knobs.before_newkeys,
            &mut knobs.after_newkeys,
        ][place] = vec![message];
        let mut duo = Duo::new(knobs, Chunks::Whole);
        duo.run();
        // Under keys an unknown message is only unknown.
        prop_assert!(!duo.is_up() || place == 3 && (22..30).contains(&number));
    }

    #[test]
    fn mutated_conversations_never_panic_and_log_nobody_in(
        seed in any::<u64>(), changes in 1usize..6
    ) {
        let mut bytes = recorded();
        let mut dice = Dice::new(seed);
        for _ in 0..changes {
            let at = dice.between(0, bytes.len() as u64 - 1) as usize;
            match dice.between(0, 4) {
                0 => bytes[at] = dice.draw() as u8,
                1 if bytes.len() > 1 => { bytes.remove(at); }
                2 => bytes.insert(at, dice.draw() as u8),
                3 => bytes.truncate(at.max(1)),
                _ => {
                    let again = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.extend(again);
                }
            }
        }
        let mut client = client(NEVER, 1, 0);
        feed(&mut client, &bytes);
        // The keys of this client are others than those of the recorded one.
        prop_assert!(client.phase() != reachback_ssh::Phase::Connected);
    }
}
