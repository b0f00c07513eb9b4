//! Renewal of keys while the tunnel works.

use reachback_sim::duo::{Chunks, Duo, OnOpen, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, Stall, open_message, with_channel};
use reachback_ssh::limits::{HASTY_REKEY_BYTES, HASTY_REKEY_MS, HASTY_REKEYS};
use reachback_ssh::limits::{HELD_MESSAGES, REKEY_DEADLINE_MS};
use reachback_ssh::wire::Put;
use reachback_ssh::{Error, Rekey};

use crate::{alive, delivered, every_way_renewing, limited, open_one, unexpected};

const HOURLY: Rekey = Rekey {
    bytes: u64::MAX,
    interval_ms: 3_600_000,
};

fn renewals(duo: &Duo) -> usize {
    let again = |seen: &&Seen| matches!(seen, Seen::Keys { first: false });
    duo.seen.iter().filter(again).count()
}

/// The client's KEXINIT is out; the server keeps its own back.
fn renewing_alone(duo: &mut Duo) -> u32 {
    let channel = open_one(duo);
    duo.server.knobs.stall = Some(Stall::KexInit);
    duo.pass(3_600_000);
    channel
}

#[test]
fn data_flows_between_our_proposal_and_the_servers_own_and_answers_wait() {
    let mut request = vec![GLOBAL_REQUEST];
    request.put_string(b"keepalive@openssh.com");
    request.put_boolean(true);
    every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        let channel = renewing_alone(duo);
        duo.server.write(channel, &[b'd'; 50_000]);
        duo.server.send(&request);
        duo.run();
        assert_eq!(delivered(duo, 0).len(), 50_000);
        assert_eq!(duo.server.received(REQUEST_FAILURE).len(), 0);
        assert_eq!(renewals(duo), 0);
        // Ours must stop: no room for data of the target either.
        let id = duo.opened[0];
        let space = duo.client.channel_space(id, 1).map(|space| space.is_some());
        assert_eq!(space, Ok(false));
        duo.server.knobs.stall = None;
        duo.server.start_kex();
        duo.run();
        assert_eq!(renewals(duo), 1);
        assert_eq!(duo.server.received(REQUEST_FAILURE).len(), 1);
        alive(duo);
    });
}

#[test]
fn three_hundred_connections_refused_during_a_renewal_do_not_end_it() {
    every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        renewing_alone(duo);
        for number in 100..400 {
            let open = open_message(b"session", number, &duo.server.knobs, "localhost", 1111);
            duo.server.send(&open);
        }
        duo.run();
        assert_eq!(duo.error, None);
        duo.server.knobs.stall = None;
        duo.server.start_kex();
        duo.run();
        // The server did not enter these channels anywhere.
        duo.server.violations.clear();
        assert_eq!(duo.server.received(CHANNEL_OPEN_FAILURE).len(), 300);
        assert_eq!(renewals(duo), 1);
        alive(duo);
    });
}

#[test]
fn nothing_but_the_exchange_comes_behind_the_servers_proposal() {
    let mut data = with_channel(CHANNEL_DATA, 0);
    data.put_string(b"late");
    for place in 0..2 {
        let duo = every_way_renewing(&Knobs::default(), HOURLY, |duo| {
            open_one(duo);
            *[
                &mut duo.server.knobs.after_kexinit,
                &mut duo.server.knobs.before_newkeys,
            ][place] = vec![data.clone()];
            duo.server.start_kex();
        });
        unexpected(&duo, CHANNEL_DATA);
        assert_eq!(delivered(&duo, 0), b"");
    }
}

#[test]
fn harmless_messages_may_come_in_a_later_exchange_even_a_strict_one() {
    every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        open_one(duo);
        duo.server.knobs.after_kexinit = vec![vec![IGNORE, 0, 0, 0, 0]];
        duo.server.knobs.before_newkeys = vec![vec![DEBUG, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
        duo.server.start_kex();
        duo.run();
        assert_eq!(renewals(duo), 1);
        alive(duo);
    });
}

/// The server begins as many renewals, each after `between`.
fn renewed_in_a_row(times: u32, between: impl Fn(&mut Duo, u32)) -> Duo {
    every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        let channel = open_one(duo);
        for _ in 0..times {
            between(duo, channel);
            duo.server.start_kex();
            duo.run();
        }
    })
}

#[test]
fn a_server_that_renews_without_end_is_left() {
    let duo = renewed_in_a_row(HASTY_REKEYS + 1, |_, _| {});
    assert_eq!(duo.error, Some(Error::Limit("renewals of keys")));
    assert_eq!(renewals(&duo), HASTY_REKEYS as usize);
}

#[test]
fn renewals_after_a_while_or_after_much_data_may_go_on_without_end() {
    let times = 3 * HASTY_REKEYS;
    let duo = renewed_in_a_row(times, |duo, _| duo.pass(HASTY_REKEY_MS));
    assert_eq!(renewals(&duo), times as usize);
    alive(&duo);
    let duo = renewed_in_a_row(times, |duo, channel| {
        duo.server.write(channel, &[0; HASTY_REKEY_BYTES as usize]);
        duo.run();
    });
    assert_eq!(renewals(&duo), times as usize);
    alive(&duo);
}

/// Eight channels echo 400,000 bytes each while keys are renewed as `begin` says.
fn under_load(rekey: Rekey, chunks: Chunks, begin: impl Fn(&mut Duo, usize)) -> Duo {
    let mut duo = Duo::with_rekey(Knobs::default(), chunks, rekey);
    duo.on_open = OnOpen::Echo;
    open_one(&mut duo);
    let mut channels: Vec<u32> = (0..7).map(|_| duo.server.open("localhost", 1111)).collect();
    channels.push(100);
    let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    for channel in &channels {
        duo.server.write(*channel, &text);
        duo.server.finish(*channel);
    }
    let mut turns = 0;
    while duo.turn() {
        turns += 1;
        begin(&mut duo, turns);
    }
    assert_eq!(duo.server.violations, [""; 0]);
    assert_eq!(duo.error, None, "{chunks:?}, turn {turns}");
    for channel in &channels {
        assert!(duo.server.channel(*channel).received == text);
        assert!(duo.server.channel(*channel).eof_received);
    }
    duo
}

#[test]
fn under_load_the_server_renews_again_and_again() {
    for chunks in [Chunks::Whole, Chunks::Random(4), Chunks::Random(5)] {
        let duo = under_load(HOURLY, chunks, |duo, turns| {
            if turns % 40 == 0 {
                duo.server.start_kex();
            }
        });
        assert!(renewals(&duo) >= 2, "{}", renewals(&duo));
    }
}

#[test]
fn under_load_the_client_renews_again_and_again() {
    let often = Rekey {
        bytes: 300_000,
        interval_ms: 3_600_000,
    };
    for chunks in [Chunks::Whole, Chunks::Random(6), Chunks::Random(7)] {
        let duo = under_load(often, chunks, |_, _| {});
        assert!(renewals(&duo) >= 8, "{}", renewals(&duo));
    }
}

#[test]
fn under_load_both_begin_at_once() {
    for chunks in [Chunks::Whole, Chunks::Random(8), Chunks::Random(9)] {
        let both = std::cell::Cell::new(0);
        let often = Rekey {
            bytes: u64::MAX,
            interval_ms: 10_000,
        };
        let duo = under_load(often, chunks, |duo, turns| {
            if turns % 50 == 0 && renewals(duo) == both.get() {
                duo.now_ms += 10_000;
                let result = duo.client.handle_timeout(duo.now_ms);
                duo.check(result);
                duo.server.start_kex();
                both.set(both.get() + 1);
            }
        });
        assert!(both.get() >= 2 && renewals(&duo) >= 2);
    }
}

#[test]
fn another_host_key_at_a_renewal_ends_the_connection() {
    let duo = every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        open_one(duo);
        duo.server.knobs.host_key = 2;
        duo.server.start_kex();
    });
    assert_eq!(duo.error, Some(Error::HostKeySwapped));
    let duo = every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        open_one(duo);
        duo.server.knobs.bad_signature = true;
        duo.server.start_kex();
    });
    assert_eq!(duo.error, Some(Error::BadHostSignature));
}

#[test]
fn a_renewal_that_stops_anywhere_ends_the_connection_at_its_deadline() {
    for stall in [Stall::KexInit, Stall::KexReply, Stall::NewKeys] {
        every_way_renewing(&Knobs::default(), HOURLY, |duo| {
            open_one(duo);
            duo.server.knobs.stall = Some(stall);
            duo.pass(3_600_000);
            alive(duo);
            let due = duo.now_ms + REKEY_DEADLINE_MS;
            assert_eq!(duo.client.poll_timeout(), Some(due));
            duo.pass(REKEY_DEADLINE_MS - 1);
            alive(duo);
            duo.pass(1);
            assert_eq!(duo.error, Some(Error::RekeyTimeout), "{stall:?}");
        });
    }
}

#[test]
fn answers_held_during_an_exchange_are_bounded() {
    let mut request = vec![GLOBAL_REQUEST];
    request.put_string(b"x");
    request.put_boolean(true);
    let duo = every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        renewing_alone(duo);
        for _ in 0..HELD_MESSAGES {
            duo.server.send(&request);
        }
    });
    limited(&duo);
}

#[test]
fn a_probe_and_the_ends_of_channels_wait_for_the_keys_and_then_go_in_order() {
    every_way_renewing(&Knobs::default(), HOURLY, |duo| {
        renewing_alone(duo);
        let id = duo.opened[0];
        let result = duo.client.keepalive();
        duo.check(result);
        let result = duo.client.channel_eof(id);
        duo.check(result);
        let result = duo.client.channel_close(id);
        duo.check(result);
        duo.run();
        assert_eq!(duo.server.keepalives, 0);
        duo.server.knobs.stall = None;
        duo.server.start_kex();
        duo.run();
        let order: Vec<u8> = duo.server.log.iter().rev().map(|r| r.payload[0]).collect();
        assert_eq!(
            order[..4],
            [CHANNEL_CLOSE, CHANNEL_EOF, GLOBAL_REQUEST, NEWKEYS]
        );
        assert_eq!(duo.server.keepalives, 1);
    });
}

#[test]
fn strict_or_not_keys_are_renewed_on_an_hourly_clock() {
    for strict in [true, false] {
        let knobs = Knobs {
            strict,
            ..Knobs::default()
        };
        every_way_renewing(&knobs, HOURLY, |duo| {
            open_one(duo);
            for hour in 1..=3 {
                duo.pass(3_600_000);
                assert_eq!(renewals(duo), hour);
            }
            alive(duo);
        });
    }
}
