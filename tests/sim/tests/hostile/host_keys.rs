//! Host keys that the server announces, and proofs of them: whatever is wrong with them counts for
//! nothing, is told, and the connection goes on.

use reachback_sim::duo::{Duo, Seen};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, Proves, host_key, host_key_blob};
use reachback_ssh::limits::{HOST_KEY_BLOB, HOST_KEYS, HOST_KEYS_BYTES};
use reachback_ssh::wire::Put;

use crate::{alive, every_way, log_in, malformed};

/// The key of the login, and others of the server.
const LOGIN: u8 = 1;
const NEW: [u8; 2] = [40, 41];

fn announcement(keys: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![GLOBAL_REQUEST];
    message.put_string(b"hostkeys-00@openssh.com");
    message.put_boolean(false);
    keys.iter().for_each(|key| message.put_string(key));
    message
}

fn blobs(seeds: &[u8]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| host_key_blob(*seed)).collect()
}

/// The signature of a key over what section 2.5 of OpenSSH's PROTOCOL says.
fn signature(seed: u8, session: &[u8], key: &[u8]) -> Vec<u8> {
    let mut signed = Vec::new();
    signed.put_string(b"hostkeys-prove-00@openssh.com");
    signed.put_string(session);
    signed.put_string(key);
    let mut signature = Vec::new();
    signature.put_string(b"ssh-ed25519");
    signature.put_string(host_key(seed).sign(&signed).as_ref());
    signature
}

/// The reply with these signatures.
fn reply(signatures: &[Vec<u8>]) -> Vec<u8> {
    let mut reply = vec![REQUEST_SUCCESS];
    for signature in signatures {
        reply.put_string(signature);
    }
    reply
}

/// The honest reply for the keys of [`NEW`].
fn honest(session: &[u8], keys: &[&[u8]]) -> Vec<u8> {
    assert_eq!(keys, blobs(&NEW));
    let signed = NEW.iter().zip(keys);
    let signatures: Vec<_> = signed
        .map(|(seed, key)| signature(*seed, session, key))
        .collect();
    reply(&signatures)
}

/// Announces the keys of the login and of [`NEW`], and asks for proofs of the latter.
fn proven(proves: Option<Proves>) -> Duo {
    let knobs = Knobs {
        proves,
        ..Knobs::default()
    };
    let duo = every_way(&knobs, |duo| {
        log_in(duo);
        let keys = blobs(&[NEW[0], LOGIN, NEW[1]]);
        duo.server.send(&announcement(&keys));
        duo.run();
        assert_eq!(duo.seen.last(), Some(&Seen::HostKeysAnnounced(keys)));
        assert_eq!(duo.client.host_key(), host_key_blob(LOGIN));
        let asked = duo.client.prove_host_keys(blobs(&NEW));
        duo.check(asked);
        // The reply keeps its place among others.
        let asked = duo.client.keepalive();
        duo.check(asked);
        duo.run();
        assert_eq!(duo.seen.pop(), Some(Seen::KeepaliveAnswered));
    });
    alive(&duo);
    duo
}

#[track_caller]
fn refused(duo: &Duo, why: &'static str) {
    assert_eq!(duo.seen.last(), Some(&Seen::HostKeysRefused(why)));
}

#[test]
fn keys_that_the_server_proves_are_told() {
    let duo = proven(Some(honest));
    assert_eq!(duo.seen.last(), Some(&Seen::HostKeysProven(blobs(&NEW))));
}

#[test]
fn a_proof_that_is_none_counts_for_nothing() {
    let wrong: [Proves; 8] = [
        // For another session, for another key, by another key.
        |session, keys| honest(&[session, b"x"].concat(), keys),
        |session, keys| {
            reply(&[
                signature(40, session, keys[1]),
                signature(41, session, keys[0]),
            ])
        },
        |session, keys| {
            reply(&[
                signature(40, session, keys[0]),
                signature(40, session, keys[1]),
            ])
        },
        // In another order, one too few, cut, none at all.
        |session, keys| {
            reply(&[
                signature(41, session, keys[1]),
                signature(40, session, keys[0]),
            ])
        },
        |session, keys| reply(&[signature(40, session, keys[0])]),
        |session, keys| {
            let mut whole = honest(session, keys);
            whole.truncate(whole.len() - 1);
            whole
        },
        |_, _| vec![REQUEST_SUCCESS],
        // By an algorithm that nobody knows.
        |session, keys| {
            let mut unknown = Vec::new();
            unknown.put_string(b"ssh-ed448");
            unknown.put_string(&[0; 114]);
            reply(&[signature(40, session, keys[0]), unknown])
        },
    ];
    for proves in wrong {
        refused(&proven(Some(proves)), "its proof is wrong");
    }
    let more = proven(Some(|session, keys| {
        [honest(session, keys), vec![0]].concat()
    }));
    refused(&more, "it proves more than it was asked for");
    refused(&proven(None), "it does not prove them");
}

#[test]
fn a_proof_with_sha_1_is_no_proof_of_that_key_and_speaks_not_against_the_others() {
    let duo = proven(Some(|session, keys| {
        let mut sha1 = Vec::new();
        sha1.put_string(b"ssh-rsa");
        sha1.put_string(&[7; 256]);
        reply(&[sha1, signature(41, session, keys[1])])
    }));
    assert_eq!(
        duo.seen.last(),
        Some(&Seen::HostKeysProven(blobs(&NEW[1..])))
    );
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_connection() {
    let duo = every_way(&Knobs::default(), |duo| {
        log_in(duo);
        duo.server.send(&announcement(&blobs(&[LOGIN, 40])));
        duo.server.send(&reply(&[signature(40, b"", b"")]));
    });
    malformed(&duo, "order of replies");
}

#[test]
fn an_announcement_that_breaks_the_rules_counts_for_nothing() {
    let many: Vec<u8> = (1..=HOST_KEYS as u8 + 1).collect();
    let mut long = blobs(&[LOGIN]);
    long.push(vec![0; HOST_KEYS_BYTES]);
    let mut wide = blobs(&[LOGIN]);
    wide.push(vec![0; HOST_KEY_BLOB + 1]);
    let whole = announcement(&blobs(&[LOGIN, 40]));
    let cut = whole[..whole.len() - 1].to_vec();
    let without_reply = announcement(&[]);
    for (message, why) in [
        (announcement(&blobs(&many)), "it announces too much"),
        (announcement(&long), "it announces too much"),
        (announcement(&wide), "it announces too much"),
        (cut, "its announcement is cut off"),
        (
            announcement(&blobs(&[LOGIN, 40, LOGIN])),
            "it announces a key twice",
        ),
        (
            announcement(&blobs(&[40])),
            "the key of this login is not among them",
        ),
        (without_reply, "the key of this login is not among them"),
    ] {
        let duo = every_way(&Knobs::default(), |duo| {
            log_in(duo);
            duo.server.send(&message);
        });
        refused(&duo, why);
        alive(&duo);
    }
}

#[test]
fn one_announcement_is_looked_at_and_one_more_is_told_however_many_come() {
    let duo = every_way(&Knobs::default(), |duo| {
        log_in(duo);
        let before = duo.seen.len();
        for _ in 0..500 {
            duo.server.send(&announcement(&blobs(&[LOGIN, 40])));
        }
        duo.run();
        let told = [
            Seen::HostKeysAnnounced(blobs(&[LOGIN, 40])),
            Seen::HostKeysRefused("it announces them a second time"),
        ];
        assert_eq!(duo.seen[before..], told);
    });
    alive(&duo);
}

#[test]
fn an_announcement_that_wants_a_reply_gets_one() {
    let mut message = announcement(&blobs(&[LOGIN]));
    message[5 + 23] = 1;
    let duo = every_way(&Knobs::default(), |duo| {
        log_in(duo);
        duo.server.send(&message);
    });
    assert_eq!(duo.server.received(REQUEST_FAILURE).len(), 1);
    assert_eq!(
        duo.seen.last(),
        Some(&Seen::HostKeysAnnounced(blobs(&[LOGIN])))
    );
    alive(&duo);
}
