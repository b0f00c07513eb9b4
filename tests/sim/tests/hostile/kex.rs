//! The first exchange of keys.

use reachback_sim::duo::Seen;
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, host_key_blob};
use reachback_ssh::Error;

use crate::{alive, every_way, log_in, unexpected};

fn harmless() -> [Vec<u8>; 3] {
    [
        vec![IGNORE, 0, 0, 0, 1, b'i'],
        vec![DEBUG, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![UNIMPLEMENTED, 0, 0, 0, 0],
    ]
}

#[test]
fn a_strict_exchange_suffers_nothing_but_itself() {
    for message in harmless() {
        let before = Knobs {
            before_kexinit: vec![message.clone()],
            ..Knobs::default()
        };
        // It shows when the KEXINIT says that the exchange is strict.
        unexpected(&every_way(&before, |_| {}), KEXINIT);
        let behind = Knobs {
            after_kexinit: vec![message.clone()],
            ..Knobs::default()
        };
        unexpected(&every_way(&behind, |_| {}), message[0]);
        let late = Knobs {
            before_newkeys: vec![message.clone()],
            ..Knobs::default()
        };
        unexpected(&every_way(&late, |_| {}), message[0]);
    }
}

#[test]
fn an_exchange_that_is_not_strict_lets_harmless_messages_pass() {
    for message in harmless() {
        let knobs = Knobs {
            strict: false,
            before_kexinit: vec![message.clone()],
            after_kexinit: vec![message.clone()],
            before_newkeys: vec![message.clone()],
            after_newkeys: vec![message],
            ..Knobs::default()
        };
        every_way(&knobs, log_in);
    }
}

#[test]
fn nothing_else_passes_in_any_first_exchange() {
    for strict in [true, false] {
        for number in [
            SERVICE_ACCEPT,
            GLOBAL_REQUEST,
            USERAUTH_SUCCESS,
            CHANNEL_OPEN,
            PING,
            19,
            29,
        ] {
            let message = vec![vec![number, 0, 0, 0, 0]];
            for place in 0..3 {
                let mut knobs = Knobs {
                    strict,
                    ..Knobs::default()
                };
                *[
                    &mut knobs.before_kexinit,
                    &mut knobs.after_kexinit,
                    &mut knobs.before_newkeys,
                ][place] = message.clone();
                let duo = every_way(&knobs, |_| {});
                unexpected(&duo, number);
                assert!(!duo.seen.contains(&Seen::Authenticated));
            }
        }
    }
}

#[test]
fn sequence_numbers_begin_again_with_new_keys_only_in_a_strict_exchange() {
    let knobs = Knobs {
        resets_sequence: false,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    assert!(duo.error.is_some() && !duo.is_up());
    // Behind a strict exchange the first packet has number 0, so that is what is unknown.
    for (strict, sequence) in [(true, 0u32), (false, 3)] {
        let knobs = Knobs {
            strict,
            ext_info: false,
            after_newkeys: vec![vec![8]],
            ..Knobs::default()
        };
        let duo = every_way(&knobs, log_in);
        let answer = duo.server.received(UNIMPLEMENTED)[0];
        assert_eq!(answer[1..], sequence.to_be_bytes());
        let service = duo
            .server
            .log
            .iter()
            .find(|r| r.payload[0] == SERVICE_REQUEST);
        // UNIMPLEMENTED waited for the keys as well, and went first or second.
        assert!(service.unwrap().sequence <= if strict { 1 } else { 4 });
    }
}

#[test]
fn a_second_proposal_in_the_same_exchange_ends_the_connection() {
    let mut again = vec![KEXINIT];
    again.extend([0; 16]);
    for strict in [true, false] {
        for place in 0..2 {
            let mut knobs = Knobs {
                strict,
                ..Knobs::default()
            };
            *[&mut knobs.after_kexinit, &mut knobs.before_newkeys][place] = vec![again.clone()];
            unexpected(&every_way(&knobs, |_| {}), KEXINIT);
        }
    }
}

#[test]
fn keys_or_replies_before_their_time_end_the_connection() {
    for message in [vec![NEWKEYS], vec![KEX_REPLY, 0, 0, 0, 0]] {
        let knobs = Knobs {
            before_kexinit: vec![message.clone()],
            strict: false,
            ..Knobs::default()
        };
        unexpected(&every_way(&knobs, |_| {}), message[0]);
    }
    let knobs = Knobs {
        after_kexinit: vec![vec![NEWKEYS]],
        ..Knobs::default()
    };
    unexpected(&every_way(&knobs, |_| {}), NEWKEYS);
    let knobs = Knobs {
        before_newkeys: vec![vec![KEX_REPLY, 0, 0, 0, 0]],
        ..Knobs::default()
    };
    unexpected(&every_way(&knobs, |_| {}), KEX_REPLY);
}

#[test]
fn new_keys_with_something_in_it_are_not_new_keys() {
    let knobs = Knobs {
        before_newkeys: vec![vec![NEWKEYS, 0]],
        ..Knobs::default()
    };
    crate::malformed(&every_way(&knobs, |_| {}), "SSH_MSG_NEWKEYS");
}

#[test]
fn a_packet_for_a_wrong_guess_is_dropped_unread_and_only_one() {
    let knobs = Knobs {
        wrong_guess: true,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, log_in);
    alive(&duo);
    let knobs = Knobs {
        wrong_guess: true,
        after_kexinit: vec![vec![KEX_REPLY, 1, 2, 3]],
        ..Knobs::default()
    };
    assert!(every_way(&knobs, |_| {}).error.is_some());
}

#[test]
fn a_bad_signature_and_a_share_without_secret_end_the_connection() {
    let knobs = Knobs {
        bad_signature: true,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    assert_eq!(duo.error, Some(Error::BadHostSignature));
    assert!(!duo.seen.contains(&Seen::HostKey(host_key_blob(1))));
    let knobs = Knobs {
        zero_share: true,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    assert_eq!(duo.error, Some(Error::Crypto("key agreement")));
}

#[test]
fn a_server_without_a_method_in_common_is_named_with_what_it_offers() {
    let knobs = Knobs {
        kex_list: "diffie-hellman-group1-sha1",
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    let Some(Error::NoCommon { theirs, .. }) = &duo.error else {
        panic!("{:?}", duo.error);
    };
    assert!(theirs.starts_with("diffie-hellman-group1-sha1"));
}

#[test]
fn nothing_is_said_to_a_server_whose_key_was_not_accepted() {
    use reachback_sim::duo::{NEVER, client};
    use reachback_sim::server::Server;
    use reachback_ssh::Event;
    let mut client = client(NEVER, 1, 0);
    let mut server = Server::new(Knobs::default());
    loop {
        server.handle_input(client.poll_output());
        client.handle_written(client.poll_output().len());
        let bytes = server.take_output();
        client.input_space()[..bytes.len()].copy_from_slice(&bytes);
        client.handle_input(bytes.len(), 0);
        let mut proven = false;
        while let Some(event) = client.poll_event().unwrap() {
            proven |= matches!(event, Event::HostKey { .. });
        }
        if proven {
            break;
        }
    }
    assert!(client.poll_event().unwrap().is_none());
    assert_eq!(
        client.poll_output(),
        b"",
        "the user's name is not for everybody"
    );
}
