#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

// Made with `dropbearkey -t TYPE`, for tests only; the public halves with `dropbearkey -y`.
const RSA: &[u8] = include_bytes!("testdata/rsa");
const RSA_PUBLIC: &[u8] = include_bytes!("testdata/rsa.public");
const ECDSA: &[u8] = include_bytes!("testdata/ecdsa");
const ECDSA_PUBLIC: &[u8] = include_bytes!("testdata/ecdsa.public");
const ED25519: &[u8] = include_bytes!("testdata/ed25519");
const ED25519_PUBLIC: &[u8] = include_bytes!("testdata/ed25519.public");

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn file(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|s| string(s)).collect()
}

#[test]
fn an_rsa_key_made_by_dropbearkey_has_the_parts_of_its_public_half() {
    let Ok(DropbearKey::Rsa { e, n, d, p, q }) = DropbearKey::decode(RSA) else {
        panic!("not read as RSA");
    };
    let with_sign_byte = [&[0], n].concat();
    assert_eq!(RSA_PUBLIC, file(&[b"ssh-rsa", e, &with_sign_byte]));
    assert_eq!((n.len(), p.len(), q.len()), (256, 128, 128));
    assert!(d.len() <= 256);
    // p * q = n, checked in the lowest 16 bits.
    let low = |x: &[u8]| u16::from_be_bytes([x[x.len() - 2], x[x.len() - 1]]);
    assert_eq!(low(p).wrapping_mul(low(q)), low(n));
}

#[test]
fn an_ed25519_key_made_by_dropbearkey_has_its_public_half() {
    let Ok(DropbearKey::Ed25519 { seed, public }) = DropbearKey::decode(ED25519) else {
        panic!("not read as Ed25519");
    };
    assert_eq!(ED25519_PUBLIC, file(&[b"ssh-ed25519", public]));
    assert_ne!(seed, public);
}

#[test]
fn an_ecdsa_key_made_by_dropbearkey_has_its_point() {
    let Ok(DropbearKey::Ecdsa { curve, point, d }) = DropbearKey::decode(ECDSA) else {
        panic!("not read as ECDSA");
    };
    assert_eq!(
        ECDSA_PUBLIC,
        file(&[b"ecdsa-sha2-nistp256", b"nistp256", point])
    );
    assert_eq!(curve, "nistp256");
    assert!((1..=32).contains(&d.len()));
}

#[test]
fn every_key_cut_short_is_corrupt_and_bytes_behind_it_are_ignored() {
    for key in [RSA, ECDSA, ED25519] {
        assert!(looks_like(key));
        let type_end = 4 + key[3] as usize;
        for end in 0..key.len() {
            let wanted = if end < type_end {
                DropbearKeyError::Format
            } else {
                DropbearKeyError::Corrupt
            };
            assert_eq!(
                DropbearKey::decode(&key[..end]),
                Err(wanted),
                "cut at {end}"
            );
        }
        let longer = [key, b"\n"].concat();
        assert_eq!(DropbearKey::decode(&longer), DropbearKey::decode(key));
    }
}

#[test]
fn an_unknown_type_is_named() {
    for name in [
        "ssh-dss",
        "ssh-ed448",
        "ecdsa-sha2-nistk163",
        "sk-ssh-ed25519@openssh.com",
    ] {
        let error = DropbearKey::decode(&file(&[name.as_bytes(), b"x"])).unwrap_err();
        assert_eq!(
            error,
            DropbearKeyError::Type(String::try_from(name).unwrap())
        );
        assert!(error.to_string().contains(name));
    }
}

#[test]
fn other_files_are_told_apart() {
    let others: [&[u8]; 5] = [
        b"",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n",
        b"-----BEGIN RSA PRIVATE KEY-----\n",
        b"ssh-rsa AAAAB3NzaC1yc2E me@here\n",
        &[0; 64],
    ];
    for other in others {
        assert!(!looks_like(other));
        assert_eq!(DropbearKey::decode(other), Err(DropbearKeyError::Format));
    }
}

#[test]
fn impossible_numbers_and_lengths_are_corrupt() {
    let zero: &[u8] = &[];
    for bad in [
        file(&[b"ssh-rsa", &[3], &[0x80], &[1], &[1], &[1]]),
        file(&[b"ssh-rsa", &[3], zero, &[1], &[1], &[1]]),
        file(&[b"ssh-rsa", &[3], &[0, 0], &[1], &[1], &[1]]),
        file(&[b"ssh-ed25519", &[7; 63]]),
        file(&[b"ssh-ed25519", &[7; 65]]),
        file(&[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 65], &[1]]),
        file(&[b"ecdsa-sha2-nistp256", b"nistp256", &[2; 33], &[1]]),
        file(&[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65], &[1; 33]]),
    ] {
        assert_eq!(DropbearKey::decode(&bad), Err(DropbearKeyError::Corrupt));
    }
}

#[test]
fn nothing_secret_is_in_the_debug_form() {
    assert_eq!(
        std::format!("{:?}", DropbearKey::decode(ED25519).unwrap()),
        "Ed25519"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0usize..3, at in any::<prop::sample::Index>(), value in any::<u8>()
    ) {
        let _ = DropbearKey::decode(&bytes);
        let mut damaged = [RSA, ECDSA, ED25519][kind].to_vec();
        let at = at.index(damaged.len());
        damaged[at] = value;
        let _ = (DropbearKey::decode(&damaged), looks_like(&damaged));
    }
}
