//! Host certificates in the exchange of keys: what a server may show where one was agreed on, and where none was.

use reachback_sim::duo::{Duo, NEVER, Seen, client_offering, user_key};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, host_key, host_key_blob};
use reachback_ssh::Error;
use reachback_ssh::algorithms::Offer;
use reachback_ssh::certificate::{CERTIFIED, read};
use reachback_ssh::wire::Put;

use crate::{alive, every_way};

/// Seeds of the server's key, of another one and of the authority.
const HOST: u8 = 1;
const OTHER: u8 = 2;
const AUTHORITY: u8 = 60;

/// A certificate of a key for `hub`, valid for ever.
fn certificate(key: u8, serial: u32) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(["ssh-ed25519", CERTIFIED].concat().as_bytes());
    blob.put_string(&[7; 32]);
    blob.put(&host_key_blob(key)[15..]);
    blob.put_u32(0);
    blob.put_u32(serial);
    blob.put_u32(2);
    blob.put_string(b"name\x1b[2J");
    blob.put_string(b"\0\0\0\x03hub");
    blob.put(&[0; 8]);
    blob.put(&[0xff; 8]);
    blob.put(&[0; 12]);
    blob.put_string(&host_key_blob(AUTHORITY));
    let mut signature = Vec::new();
    signature.put_string(b"ssh-ed25519");
    signature.put_string(host_key(AUTHORITY).sign(&blob).as_ref());
    blob.put_string(&signature);
    blob
}

/// A client that asks for certificates, or does not, at a server that shows this.
fn at(asks: bool, shown: Vec<u8>, script: impl Fn(&mut Duo)) -> Duo {
    let knobs = Knobs {
        certificate: Some(shown),
        ..Knobs::default()
    };
    every_way(&knobs, |duo| {
        let offer = Offer {
            certificates: asks,
            ..Offer::default()
        };
        duo.client = client_offering(offer, user_key(7), NEVER, 1, 0);
        script(duo);
    })
}

#[test]
fn a_certificate_that_was_agreed_on_is_told_whole_and_its_key_signs() {
    let shown = certificate(HOST, 1);
    let duo = at(true, shown.clone(), |duo| {
        duo.run();
        duo.server.start_kex();
        duo.run();
        // Who trusts an authority follows that, and no announcement.
        let mut message = vec![GLOBAL_REQUEST];
        message.put_string(b"hostkeys-00@openssh.com");
        message.put_boolean(false);
        message.put_string(&host_key_blob(HOST));
        duo.server.send(&message);
    });
    alive(&duo);
    assert!(duo.seen.contains(&Seen::HostKey(shown.clone())));
    let renewed = duo
        .seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Keys { .. }));
    assert_eq!(renewed.count(), 2);
    let announced =
        |seen: &&Seen| matches!(seen, Seen::HostKeysAnnounced(_) | Seen::HostKeysRefused(_));
    assert_eq!(duo.seen.iter().find(announced), None);
    let read = read(&shown).unwrap();
    assert_eq!(read.key, host_key_blob(HOST));
    assert!(!read.name.contains('\x1b'), "{}", read.name);
}

#[test]
fn what_is_no_certificate_of_the_key_that_signs_ends_the_exchange_before_anything_is_told() {
    let good = certificate(HOST, 1);
    let mut spoiled = good.clone();
    spoiled[60] ^= 1;
    let cut = good[..good.len() - 1].to_vec();
    for (shown, wants_signature) in [
        (certificate(OTHER, 1), true),
        (spoiled, true),
        (cut, false),
        (host_key_blob(HOST), false),
        (Vec::new(), false),
    ] {
        let duo = at(true, shown, |duo| duo.run());
        match &duo.error {
            Some(Error::BadHostSignature) => assert!(wants_signature),
            Some(Error::Malformed(_)) => assert!(!wants_signature),
            other => panic!("{other:?}"),
        }
        assert!(!duo.seen.iter().any(|seen| matches!(seen, Seen::HostKey(_))));
        assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 0);
    }
}

#[test]
fn a_certificate_that_nobody_asked_for_is_no_host_key() {
    let duo = at(false, certificate(HOST, 1), |duo| duo.run());
    assert_eq!(duo.error, Some(Error::BadHostSignature));
    let plain = at(false, host_key_blob(HOST), |duo| duo.run());
    alive(&plain);
}

#[test]
fn another_certificate_at_a_renewal_ends_the_connection() {
    let duo = at(true, certificate(HOST, 1), |duo| {
        duo.run();
        duo.server.knobs.certificate = Some(certificate(HOST, 2));
        duo.server.start_kex();
    });
    assert_eq!(duo.error, Some(Error::HostKeySwapped));
}
