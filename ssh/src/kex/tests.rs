#![allow(clippy::unwrap_used)]

//! The expected values were computed apart from this code: with Python's hashlib, from the
//! field lists of RFC 5656 section 4 and RFC 4253 section 7.2, for the K below.

use hex_literal::hex;

use super::*;

const TRANSCRIPT: Transcript<'static> = Transcript {
    client_ident: b"SSH-2.0-client",
    server_ident: b"SSH-2.0-server",
    client_kexinit: b"\x14client",
    server_kexinit: b"\x14server",
};

/// 0x80 and then 1 to 31: the top bit is set, so the number needs a sign byte.
fn k() -> [u8; 32] {
    let mut k = core::array::from_fn(|i| i as u8);
    k[0] = 0x80;
    k
}

fn hash_with(secret: &Secret) -> Hash {
    exchange_hash(
        Hasher::new(&digest::SHA256),
        &TRANSCRIPT,
        b"host key",
        b"client share",
        b"server share",
        secret,
    )
}

fn derived<const N: usize>(secret: &Secret, letter: u8) -> [u8; N] {
    let mut out = [0xff; N];
    derive(secret, &hash_with(secret), b"session id", letter, &mut out);
    out
}

#[test]
fn a_secret_as_a_number_gives_the_known_hash_and_keys() {
    let secret = Secret::number(&k());
    assert_eq!(
        hash_with(&secret).as_ref(),
        hex!("e39f5e827e1967ea2fdea96ba6ef1e5ab7c2ae22aee720b3811578ff9be17e45")
    );
    assert_eq!(
        derived::<12>(&secret, b'A'),
        hex!("b604780fc79ca7f88da84cf8")
    );
    assert_eq!(
        derived::<70>(&secret, b'C'),
        hex!(
            "07171bcee44177f3abecaa37c9b885716068d60e3aae9272636a7b8725fcfaff"
            "66bb98733536e8b68c0088d72f2494e3740c12287facd2e19d8703aef7a4ba20"
            "22af1155c3e4"
        )
    );
}

#[test]
fn a_secret_as_a_string_gives_the_known_hash_and_keys() {
    let secret = Secret::string(&k());
    assert_eq!(
        hash_with(&secret).as_ref(),
        hex!("de24ed4abcb1aca427a42184a456c039dccf0d87d2a0dd04b9633f906e855a3c")
    );
    assert_eq!(
        derived::<12>(&secret, b'A'),
        hex!("2ac0b8f14b6e5b50db7f95c0")
    );
    assert_eq!(
        derived::<70>(&secret, b'C'),
        hex!(
            "24891bebefe6dc1fc93416f9542f0f16e779fe8e53cff0c2b91e2238b51bd084"
            "f5bd26078d9deffb270aef460bd29f77443627fbe13e5ed14098c20bc8b8b4ca"
            "cbe109aecdc8"
        )
    );
}

#[test]
fn a_longer_key_begins_with_the_shorter_one() {
    let secret = Secret::number(&k());
    let long = derived::<200>(&secret, b'D');
    assert_eq!(derived::<33>(&secret, b'D'), long[..33]);
    assert_eq!(derived::<64>(&secret, b'D'), long[..64]);
}

#[test]
fn a_secret_with_leading_zeros_is_hashed_as_the_shorter_number() {
    let mut k = [0u8; 32];
    k[30] = 0x12;
    k[31] = 0x34;
    assert_eq!(Secret::number(&k).encoded(), hex!("00000002 1234"));
    assert_eq!(Secret::string(&k).encoded().len(), 4 + 32);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    use alloc::format;
    let secret = Secret::number(&k());
    assert_eq!(format!("{secret:?}"), "Secret(..)");
}
