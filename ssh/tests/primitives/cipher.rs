//! Known answers were made with Python's `cryptography` (OpenSSL): AES-GCM with the nonce
//! of RFC 5647 section 7.1, ChaCha20 and Poly1305 put together as in OpenSSH's
//! `PROTOCOL.chacha20poly1305`. Keys count up from zero, and so does the packet's body.

use hex_literal::hex;
use reachback_ssh::Error;
use reachback_ssh::algorithms::{Cipher, Mac};
use reachback_ssh::cipher::{Keys, Opener, Sealer, iv_len, key_len, mac_key_len};

use crate::suites;

/// Fixed part a0a1a2a3 and a counter at its highest, to show that it wraps.
const IV: [u8; 12] = hex!("a0a1a2a3 ffffffffffffffff");
/// The same for the counter of 128 bits.
const CTR_IV: [u8; 16] = hex!("a0a1a2a3a4a5a6a7 ffffffffffffffff");

fn packet() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 28];
    packet.extend(0..28u8);
    packet
}

fn with_keys<T>(cipher: Cipher, mac: Option<Mac>, make: impl FnOnce(&Keys<'_>) -> T) -> T {
    let key: Vec<u8> = (0..key_len(cipher) as u8).collect();
    let mac: Vec<u8> = (0x80..).take(mac.map_or(0, mac_key_len)).collect();
    let iv: &[u8] = match iv_len(cipher) {
        16 => &CTR_IV,
        n => &IV[..n],
    };
    make(&Keys {
        key: &key,
        iv,
        mac: &mac,
    })
}

fn pair((cipher, mac): (Cipher, Option<Mac>)) -> (Sealer, Opener) {
    with_keys(cipher, mac, |keys| {
        (
            Sealer::new(cipher, mac, keys).unwrap(),
            Opener::new(cipher, mac, keys).unwrap(),
        )
    })
}

fn seal(sealer: &mut Sealer, seq: u32) -> Vec<u8> {
    let mut sealed = packet();
    let mut tag = vec![0; sealer.tag_len()];
    sealer.seal(seq, &mut sealed, &mut tag).unwrap();
    sealed.extend(tag);
    sealed
}

#[test]
fn aes_128_gcm_gives_the_known_packets_one_after_another() {
    let (mut sealer, _) = pair((Cipher::Aes128Gcm, None));
    assert_eq!(
        seal(&mut sealer, 0),
        hex!(
            "0000001cd03270445ac320c6b881be004651142adb00e215e8ee433c99903091"
            "32e2f7df85e24dd9d25461426b385308"
        )
    );
    assert_eq!(
        seal(&mut sealer, 1),
        hex!(
            "0000001c8a5ccc9e438a32685bcf20287dc775af7c99c7e40775b56267a136b3"
            "75277c82677dcfd1c42328c77eae6c63"
        )
    );
}

#[test]
fn aes_256_gcm_gives_the_known_packets_one_after_another() {
    let (mut sealer, _) = pair((Cipher::Aes256Gcm, None));
    assert_eq!(
        seal(&mut sealer, 0),
        hex!(
            "0000001ca4bec04cf82a752a125719572710d47586e9465bbef534eb2c451e4a"
            "5be623f7bed2efb2db3fd4675f30c7b9"
        )
    );
    assert_eq!(
        seal(&mut sealer, 1),
        hex!(
            "0000001c1cb85e352761b3bbb132b1385dd76bd482810f56ed5883027b2cdf2f"
            "976d58663c2aee6637133f72503650e8"
        )
    );
}

#[test]
fn aes_ctr_with_each_hmac_gives_the_known_packets_one_after_another() {
    for suite in suites().into_iter().filter(|(_, mac)| mac.is_some()) {
        let (mut sealer, _) = pair(suite);
        let name = [suite.0.name(), suite.1.unwrap().name()].join(" ");
        let mut known = include_str!("../data/ctr_hmac.txt")
            .lines()
            .filter_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        for seq in [3, 4] {
            let sealed: String = seal(&mut sealer, seq)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(known.next(), Some(&*format!("{seq} {sealed}")), "{name}");
        }
        assert_eq!(known.next(), None);
    }
}

#[test]
fn chacha20_poly1305_gives_the_known_packets_by_sequence_number() {
    let (mut sealer, mut opener) = pair((Cipher::ChaCha20Poly1305, None));
    let third = seal(&mut sealer, 3);
    assert_eq!(
        third,
        hex!(
            "fb1a929680441eb8364fa2768046f601b7ea984c77cd5ed4d4c8495013131c73"
            "65148db65c1e0bc115a0d1630e851e79"
        )
    );
    assert_eq!(
        seal(&mut sealer, 0xffff_fffe),
        hex!(
            "69a614d4377b5e9fda218a3ceaf44ee57214390085008a3e45449946f05f2c79"
            "abe7e93bc09510315fb41035bbb4d269"
        )
    );
    assert_eq!(opener.length(3, third[..4].try_into().unwrap()), 28);
}

#[test]
fn a_sealed_packet_opens_to_what_it_was_and_its_length_can_be_read_first() {
    for suite in suites() {
        let (mut sealer, mut opener) = pair(suite);
        for seq in [0, 1, 2, u32::MAX] {
            let mut sealed = seal(&mut sealer, seq);
            assert_ne!(sealed[4..32], packet()[4..]);
            // A packet that comes in pieces is asked for its length more than once.
            for _ in 0..3 {
                let length = opener.length(seq, sealed[..4].try_into().unwrap());
                assert_eq!(length, 28, "{suite:?}");
            }
            opener.open(seq, &mut sealed).unwrap();
            assert_eq!(sealed[4..32], packet()[4..]);
        }
    }
}

#[test]
fn any_changed_bit_and_any_cut_is_refused() {
    for suite in suites() {
        let sealed = seal(&mut pair(suite).0, 5);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                pair(suite).1.open(5, &mut changed),
                Err(Error::BadTag),
                "{suite:?} bit {bit}"
            );
        }
        for end in 0..sealed.len() {
            assert!(pair(suite).1.open(5, &mut sealed[..end].to_vec()).is_err());
        }
    }
}

#[test]
fn a_packet_at_another_place_in_the_stream_is_refused() {
    for suite in suites() {
        let (mut sealer, mut opener) = pair(suite);
        let _first = seal(&mut sealer, 0);
        let mut second = seal(&mut sealer, 1);
        assert_eq!(opener.open(0, &mut second), Err(Error::BadTag));
    }
}

#[test]
fn shapes_are_those_that_the_packet_layer_pads_for() {
    let shape = |suite: (Cipher, Option<Mac>)| {
        let (c, (s, o)) = (suite.0, pair(suite));
        assert_eq!(
            (s.block(), s.tag_len(), s.aad_len()),
            (o.block(), o.tag_len(), o.aad_len())
        );
        (key_len(c), iv_len(c), s.block(), s.tag_len(), s.aad_len())
    };
    assert_eq!(shape((Cipher::ChaCha20Poly1305, None)), (64, 0, 8, 16, 4));
    assert_eq!(shape((Cipher::Aes256Gcm, None)), (32, 12, 16, 16, 4));
    assert_eq!(shape((Cipher::Aes128Gcm, None)), (16, 12, 16, 16, 4));
    let ctr = |cipher, mac| shape((cipher, Some(mac)));
    assert_eq!(ctr(Cipher::Aes128Ctr, Mac::HmacSha256), (16, 16, 16, 32, 0));
    assert_eq!(ctr(Cipher::Aes192Ctr, Mac::HmacSha512), (24, 16, 16, 64, 0));
    assert_eq!(
        ctr(Cipher::Aes256Ctr, Mac::HmacSha256Etm),
        (32, 16, 16, 32, 4)
    );
    assert_eq!(
        ctr(Cipher::Aes256Ctr, Mac::HmacSha512Etm),
        (32, 16, 16, 64, 4)
    );
    let plain = Sealer::Plain;
    assert_eq!((plain.block(), plain.tag_len(), plain.aad_len()), (8, 0, 0));
}

#[test]
fn before_the_first_exchange_packets_pass_unchanged() {
    let mut bytes = packet();
    Sealer::Plain.seal(0, &mut bytes, &mut []).unwrap();
    assert_eq!(bytes, packet());
    assert_eq!(Opener::Plain.length(0, [0, 0, 0, 28]), 28);
    Opener::Plain.open(0, &mut bytes).unwrap();
    assert_eq!(bytes, packet());
}

#[test]
fn keys_of_a_wrong_length_are_refused() {
    for (cipher, mac) in suites() {
        let good = |keys: &Keys<'_>| {
            let sealer = Sealer::new(cipher, mac, keys).is_ok();
            assert_eq!(sealer, Opener::new(cipher, mac, keys).is_ok());
            sealer
        };
        with_keys(cipher, mac, |keys| {
            assert!(good(keys));
            let key = &keys.key[1..];
            assert!(!good(&Keys { key, ..*keys }));
            if !keys.iv.is_empty() {
                let iv = &keys.iv[1..];
                assert!(!good(&Keys { iv, ..*keys }));
            }
            if mac.is_some() {
                let mac = &keys.mac[1..];
                assert!(!good(&Keys { mac, ..*keys }));
                assert!(Sealer::new(cipher, None, keys).is_err());
            }
        });
    }
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let (sealer, opener) = pair((Cipher::Aes128Gcm, None));
    assert_eq!(
        format!("{sealer:?} {opener:?}"),
        "Sealer::Gcm(..) Opener::Gcm(..)"
    );
}
