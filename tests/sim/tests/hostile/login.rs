//! Authentication, and what comes before it.

use reachback_sim::duo::{NEVER, Seen, client_with};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Answer, Knobs, Stall, open_message, with_channel};
use reachback_ssh::Error;
use reachback_ssh::error::Denial;
use reachback_ssh::limits::{BANNERS, LOGIN_PACKET_LENGTH, PEER_TEXT};
use reachback_ssh::userkey::UserKey;
use reachback_ssh::wire::Put;

use crate::{alive, every_way, limited, log_in, unexpected};

fn ext_info(count: u32) -> Vec<u8> {
    let mut message = vec![EXT_INFO];
    message.put_u32(count);
    message.put_string(b"server-sig-algs");
    message.put_string(b"ssh-ed25519");
    message
}

#[test]
fn messages_of_the_connection_before_authentication_end_it() {
    let mut request = vec![GLOBAL_REQUEST];
    request.put_string(b"keepalive@openssh.com");
    request.put_boolean(true);
    let open = open_message(b"forwarded-tcpip", 1, &Knobs::default(), "localhost", 1111);
    for message in [
        request,
        open,
        vec![REQUEST_SUCCESS],
        with_channel(CHANNEL_EOF, 0),
        vec![PING, 0, 0, 0, 0],
    ] {
        for stall in [Stall::Service, Stall::Authentication] {
            let knobs = Knobs {
                stall: Some(stall),
                ..Knobs::default()
            };
            let duo = every_way(&knobs, |duo| {
                duo.run();
                duo.server.send(&message);
            });
            unexpected(&duo, message[0]);
            assert_eq!(duo.server.received(REQUEST_FAILURE).len(), 0);
        }
    }
}

#[test]
fn a_success_that_nobody_asked_for_logs_nobody_in() {
    let knobs = Knobs {
        after_newkeys: vec![vec![USERAUTH_SUCCESS]],
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    unexpected(&duo, USERAUTH_SUCCESS);
    assert!(!duo.seen.contains(&Seen::Authenticated));
    let knobs = Knobs {
        stall: Some(Stall::Service),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&[USERAUTH_FAILURE, 0, 0, 0, 0, 0]);
    });
    unexpected(&duo, USERAUTH_FAILURE);
}

#[test]
fn a_service_that_was_not_asked_for_and_a_second_one_end_the_connection() {
    let accept = |name: &[u8]| {
        let mut message = vec![SERVICE_ACCEPT];
        message.put_string(name);
        message
    };
    let knobs = Knobs {
        stall: Some(Stall::Service),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&accept(b"ssh-connection"));
    });
    crate::malformed(&duo, "service name");
    let knobs = Knobs {
        stall: Some(Stall::Authentication),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&accept(b"ssh-userauth"));
    });
    unexpected(&duo, SERVICE_ACCEPT);
}

#[test]
fn a_refused_key_is_said_with_what_the_server_would_take() {
    let knobs = Knobs {
        auth: Answer::No,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    assert_eq!(duo.error, denied(Denial::Keys, "publickey,password"));
    // `none` and the key.
    assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 2);
}

fn denied(why: Denial, methods: &str) -> Option<Error> {
    let methods = methods.to_owned();
    Some(Error::AuthRefused { why, methods })
}

#[test]
fn a_server_that_asks_for_nothing_lets_in_before_a_key_is_shown() {
    let knobs = Knobs {
        auth_none: Answer::Yes,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, log_in);
    assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 1);
}

#[test]
fn a_server_without_public_keys_is_shown_none() {
    let knobs = Knobs {
        auth_methods: &["password", "keyboard-interactive"],
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    let methods = "password,keyboard-interactive";
    assert_eq!(duo.error, denied(Denial::NoPublicKey, methods));
    assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 1);
}

#[test]
fn a_second_factor_is_said_to_be_what_is_missing() {
    for methods in [&["password"][..], &["publickey", "password"]] {
        let knobs = Knobs {
            auth: Answer::No,
            partial: true,
            auth_methods: &["publickey"],
            ..Knobs::default()
        };
        let duo = every_way(&knobs, |duo| {
            duo.server.knobs.stall = Some(Stall::Authentication);
            duo.run();
            duo.server.knobs.stall = None;
            // The answer to `none`, and from the key on the other list.
            duo.server.send(&[
                USERAUTH_FAILURE,
                0,
                0,
                0,
                9,
                b'p',
                b'u',
                b'b',
                b'l',
                b'i',
                b'c',
                b'k',
                b'e',
                b'y',
                0,
            ]);
            duo.server.knobs.auth_methods = methods;
        });
        assert_eq!(duo.error, denied(Denial::SecondFactor, &methods.join(",")));
        let text = duo.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("accepted the key"), "{text}");
    }
}

#[test]
fn a_server_that_would_take_the_rsa_key_with_sha_1_only_is_found_out() {
    let rsa = || UserKey::from_file(include_bytes!("../../../../ssh/tests/data/test_rsa")).unwrap();
    for (answer, why, methods) in [
        (Answer::Yes, Denial::Sha1, "publickey"),
        (Answer::No, Denial::Keys, "publickey,password"),
    ] {
        let knobs = Knobs {
            auth: Answer::No,
            auth_query: answer,
            ..Knobs::default()
        };
        let duo = every_way(&knobs, |duo| {
            duo.client = client_with([rsa()].into(), NEVER, 1, 0);
        });
        assert_eq!(duo.error, denied(why, methods));
        let requests = duo.server.received(USERAUTH_REQUEST);
        // `none`, rsa-sha2-256 (which the server lists), and the question.
        assert_eq!(requests.len(), 3);
        let sha1 = b"\x00\x00\x00\x09publickey\x00\x00\x00\x00\x07ssh-rsa";
        let at = requests[2].len() - rsa().public_blob().len() - 4;
        assert!(requests[2][..at].ends_with(sha1));
    }
}

#[test]
fn what_comes_instead_of_an_identification_is_kept_for_whoever_asks_why() {
    for (bytes, said) in [
        (
            &b"Not allowed at this time\r\n"[..],
            "Not allowed at this time",
        ),
        (b"Exceeded MaxStartups", "Exceeded MaxStartups"),
        (b"one\r\n\n two\x1b[2J\nSSH-2.", "one two\\u{1b}[2J"),
        (b"SSH-2.0-x", ""),
        (b"", ""),
    ] {
        let knobs = Knobs {
            stall: Some(Stall::Ident),
            pre_ident: bytes.to_vec(),
            ..Knobs::default()
        };
        let duo = every_way(&knobs, |_| {});
        assert_eq!(duo.client.said_before_identification(), said);
        alive(&duo);
    }
    let knobs = Knobs {
        stall: Some(Stall::Ident),
        pre_ident: b"word\n".repeat(60),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |_| {});
    assert!(duo.client.said_before_identification().len() <= PEER_TEXT + 3);
}

#[test]
fn banners_are_escaped_cut_and_counted() {
    let banner = |text: &[u8]| {
        let mut message = vec![USERAUTH_BANNER];
        message.put_string(text);
        message.put_string(b"");
        message
    };
    let knobs = Knobs {
        stall: Some(Stall::Authentication),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&banner(b"\x1b[2J\xffhello\r\n"));
        duo.server.send(&banner(&[b'a'; 30_000]));
        duo.server.send(&banner(&vec![b'b'; 250_000]));
        duo.server.send(&banner(b"and on"));
    });
    let texts: Vec<&String> = duo
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Banner(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(!texts[0].contains('\x1b') && texts[0].contains("hello"));
    for long in &texts[1..3] {
        assert!(long.len() <= PEER_TEXT + 12);
    }
    assert_eq!(texts[3], "and on");
    let too_long = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&banner(&vec![b'b'; LOGIN_PACKET_LENGTH]));
    });
    crate::malformed(&too_long, "packet length");
    let run = |count| {
        every_way(&knobs, |duo| {
            duo.run();
            for _ in 0..count {
                duo.server.send(&banner(b"welcome"));
            }
        })
    };
    alive(&run(BANNERS));
    limited(&run(BANNERS + 1));
}

#[test]
fn a_farewell_is_told_at_every_stage_with_its_reason() {
    for stall in [
        Some(Stall::KexInit),
        Some(Stall::KexReply),
        Some(Stall::NewKeys),
        Some(Stall::Service),
        Some(Stall::Authentication),
        None,
    ] {
        let knobs = Knobs {
            stall,
            ..Knobs::default()
        };
        let duo = every_way(&knobs, |duo| {
            duo.run();
            duo.server.disconnect(11, "bye\x07");
        });
        let Some(Error::Disconnected { reason: 11, text }) = &duo.error else {
            panic!("{stall:?}: {:?}", duo.error);
        };
        assert!(text.starts_with("bye") && !text.contains('\x07'));
    }
}

#[test]
fn extension_info_is_read_behind_newkeys_and_before_success_and_nowhere_in_an_exchange() {
    let knobs = Knobs {
        stall: Some(Stall::Authentication),
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&ext_info(1));
        duo.server.send(&[USERAUTH_SUCCESS]);
        duo.server.authenticated = true;
    });
    alive(&duo);
    assert!(duo.seen.contains(&Seen::Authenticated));
    for knobs in [
        Knobs {
            before_newkeys: vec![ext_info(1)],
            ..Knobs::default()
        },
        Knobs {
            after_kexinit: vec![ext_info(1)],
            strict: false,
            ..Knobs::default()
        },
        Knobs {
            before_kexinit: vec![ext_info(1)],
            strict: false,
            ..Knobs::default()
        },
    ] {
        unexpected(&every_way(&knobs, |_| {}), EXT_INFO);
    }
    // It says more extensions than it has.
    let knobs = Knobs {
        after_newkeys: vec![ext_info(u32::MAX)],
        ..Knobs::default()
    };
    crate::malformed(&every_way(&knobs, |_| {}), "field length");
}

#[test]
fn without_extension_info_login_works_too() {
    let knobs = Knobs {
        ext_info: false,
        strict: false,
        ..Knobs::default()
    };
    every_way(&knobs, log_in);
}
