//! Every cipher with every MAC: a tunnel's life under each, and bytes that were changed on the way.

use reachback_sim::duo::{Chunks, Duo, OnOpen, Seen};
use reachback_sim::server::Knobs;
use reachback_ssh::algorithms::{Cipher, Mac};
use reachback_ssh::{Error, Rekey};

use crate::{alive, every_way_renewing, log_in};

/// Renewed after every 8 kB.
const OFTEN: Rekey = Rekey {
    bytes: 8_000,
    interval_ms: 3_600_000,
};

/// A server for each cipher, with each MAC where it needs one.
fn servers() -> Vec<Knobs> {
    let mut all = Vec::new();
    for &cipher in Cipher::ALL {
        let macs = if cipher.name().ends_with("-ctr") {
            Mac::ALL
        } else {
            &Mac::ALL[..1]
        };
        for &mac in macs {
            all.push(Knobs {
                cipher,
                mac,
                ..Knobs::default()
            });
        }
    }
    all
}

#[test]
fn data_goes_both_ways_and_keys_are_renewed_under_each() {
    for knobs in servers() {
        let duo = every_way_renewing(&knobs, OFTEN, |duo| {
            duo.on_open = OnOpen::Echo;
            log_in(duo);
            let channel = duo.server.open("localhost", 1111);
            duo.run();
            let sent: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
            duo.server.write(channel, &sent);
            duo.run();
            assert!(duo.server.channel(channel).received == sent, "{knobs:?}");
        });
        let renewed = duo
            .seen
            .iter()
            .filter(|seen| **seen == Seen::Keys { first: false });
        assert!(renewed.count() >= 2, "{knobs:?}");
        alive(&duo);
    }
}

#[test]
fn one_changed_bit_anywhere_in_a_packet_ends_the_connection_under_each() {
    for knobs in servers() {
        let logged_in = || {
            let mut duo = Duo::new(knobs.clone(), Chunks::Whole);
            log_in(&mut duo);
            duo
        };
        let message = [2, 0, 0, 0, 0];
        let mut whole = logged_in();
        let before = whole.made;
        whole.server.send(&message);
        whole.run();
        alive(&whole);
        // Every position modulo the block is among them.
        for at in (before..whole.made).step_by(7) {
            let mut duo = logged_in();
            duo.spoil = Some((at, 0x10));
            duo.server.send(&message);
            // A changed length may ask for more than has come.
            for _ in 0..600 {
                duo.server.send(&message);
                duo.run();
                if duo.error.is_some() {
                    break;
                }
            }
            assert!(
                matches!(
                    duo.error,
                    Some(Error::BadTag | Error::Malformed("packet length"))
                ),
                "{:?} {:?} byte {}: {:?}",
                knobs.cipher,
                knobs.mac,
                at - before,
                duo.error
            );
        }
    }
}
