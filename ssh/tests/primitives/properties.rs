//! Whatever bytes come, nothing panics, and what is written is read back.

use proptest::collection::vec;
use proptest::prelude::*;

use reachback_ssh::Error;
use reachback_ssh::algorithms::{Offer, PublicKeyAlgorithm, negotiate};
use reachback_ssh::cipher::{Keys, Opener, Sealer, iv_len, key_len, mac_key_len};
use reachback_ssh::hostkey;
use reachback_ssh::ident::IdentReader;
use reachback_ssh::userkey::UserKey;
use reachback_ssh::wire::{Put, Reader, magnitude};

use crate::suites;

/// Bytes in which 32-bit lengths often make sense.
fn wire_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![
            vec(any::<u8>(), 0..24).prop_map(|bytes| {
                let mut out = Vec::new();
                out.put_string(&bytes);
                out
            }),
            vec(any::<u8>(), 0..8),
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_field_reader_panics_and_a_failed_read_consumes_nothing(
        bytes in wire_bytes(),
        kinds in vec(0u8..8, 0..24),
    ) {
        let mut reader = Reader::new(&bytes);
        for kind in kinds {
            let before = reader.rest().len();
            let failed = match kind {
                0 => reader.u8().is_err(),
                1 => reader.boolean().is_err(),
                2 => reader.u32().is_err(),
                3 => reader.take(8).is_err(),
                4 => reader.string().is_err(),
                5 => reader.text().is_err(),
                6 => reader.name_list().is_err(),
                _ => reader.mpint().is_err(),
            };
            if failed {
                prop_assert_eq!(reader.rest().len(), before);
            } else {
                prop_assert!(reader.rest().len() < before);
            }
        }
    }

    #[test]
    fn numbers_come_back_as_their_magnitude(bytes in vec(any::<u8>(), 0..80)) {
        let mut out = Vec::new();
        out.put_mpint(&bytes);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.mpint().unwrap(), magnitude(&bytes));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn no_proposal_panics(tail in wire_bytes()) {
        let mut payload = vec![20; 17];
        payload.extend(tail);
        let _ = negotiate(&Offer::default(), &payload);
    }

    #[test]
    fn no_key_or_signature_blob_panics_or_verifies(
        key in wire_bytes(),
        signature in wire_bytes(),
        which in 0usize..5,
    ) {
        let algorithm = PublicKeyAlgorithm::ALL[which];
        let mut named_key = Vec::new();
        named_key.put_string(algorithm.key_type().as_bytes());
        named_key.extend(&key);
        let mut named_signature = Vec::new();
        named_signature.put_string(algorithm.name().as_bytes());
        named_signature.extend(&signature);
        prop_assert!(hostkey::verify(algorithm, &key, &signature, b"m").is_err());
        prop_assert!(
            hostkey::verify(algorithm, &named_key, &named_signature, b"m").is_err()
        );
        let _ = hostkey::key_type(&key);
    }

    #[test]
    fn the_identification_line_does_not_depend_on_how_bytes_are_cut(
        stream in "([ -~]{0,20}\r?\n){0,3}SSH-2\\.0-[ -~]{1,40}\r?\n[ -~]{0,9}",
        cuts in vec(1usize..9, 1..60),
    ) {
        let whole = IdentReader::new().push(stream.as_bytes());
        let mut reader = IdentReader::new();
        let mut at = 0;
        let mut cuts = cuts.iter().cycle();
        let pieces = loop {
            if at == stream.len() {
                break Ok((at, None));
            }
            let end = (at + cuts.next().unwrap()).min(stream.len());
            match reader.push(&stream.as_bytes()[at..end]) {
                Ok((taken, None)) => at += taken,
                Ok((taken, ident)) => break Ok((at + taken, ident)),
                Err(error) => break Err(error),
            }
        };
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn no_identification_bytes_panic(bytes in vec(any::<u8>(), 0..600)) {
        let _ = IdentReader::new().push(&bytes);
    }

    #[test]
    fn no_key_text_panics(
        label in "(RSA |EC |OPENSSH |)PRIVATE KEY",
        body in vec(any::<u8>(), 0..200),
        noise in "\\PC{0,60}",
    ) {
        let base64 = hostkey::blob_to_base64(&body);
        let text = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
        prop_assert!(UserKey::from_file(&text).is_err());
        prop_assert!(UserKey::from_file(&noise).is_err());
        let framed = format!("-----BEGIN {noise}");
        prop_assert!(UserKey::from_file(&framed).is_err());
    }

    #[test]
    fn every_cipher_opens_what_it_sealed(
        which in 0usize..15,
        seq in any::<u32>(),
        key in vec(any::<u8>(), 64),
        body in vec(any::<u8>(), 1..400),
    ) {
        let (cipher, mac) = suites()[which];
        let keys = Keys {
            key: &key[..key_len(cipher)],
            iv: &key[64 - iv_len(cipher)..],
            mac: &key[..mac.map_or(0, mac_key_len)],
        };
        let mut packet = (body.len() as u32).to_be_bytes().to_vec();
        packet.extend(&body);
        let mut sealer = Sealer::new(cipher, mac, &keys).unwrap();
        let mut tag = vec![0; sealer.tag_len()];
        sealer.seal(seq, &mut packet, &mut tag).unwrap();
        packet.extend(tag);

        let mut opener = Opener::new(cipher, mac, &keys).unwrap();
        let first4 = packet[..4].try_into().unwrap();
        prop_assert_eq!(opener.length(seq, first4) as usize, body.len());
        opener.open(seq, &mut packet).unwrap();
        prop_assert_eq!(&packet[4..4 + body.len()], &body[..]);
    }

    #[test]
    fn no_sealed_bytes_panic_and_none_open_without_the_key(
        which in 0usize..15,
        seq in any::<u32>(),
        mut bytes in vec(any::<u8>(), 0..100),
    ) {
        let (cipher, mac) = suites()[which];
        let keys = Keys {
            key: &[7; 64][..key_len(cipher)],
            iv: &[7; 16][..iv_len(cipher)],
            mac: &[7; 64][..mac.map_or(0, mac_key_len)],
        };
        let mut opener = Opener::new(cipher, mac, &keys).unwrap();
        let opened = opener.open(seq, &mut bytes);
        prop_assert!(matches!(opened, Err(Error::BadTag | Error::Malformed(_))));
    }
}
