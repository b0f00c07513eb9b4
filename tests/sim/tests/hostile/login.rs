//! Authentication, and what comes before it.

use reachback_sim::duo::Seen;
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Answer, Knobs, Stall, open_message, with_channel};
use reachback_ssh::Error;
use reachback_ssh::limits::{BANNERS, PEER_TEXT};
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
    let methods = "publickey,password".to_owned();
    assert_eq!(duo.error, Some(Error::AuthRefused { methods }));
    assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 1);
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
    assert!(texts[1].len() <= PEER_TEXT + 12);
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
