//! RFC 4251 section 5, with the examples given there.

use hex_literal::hex;
use reachback_ssh::Error;
use reachback_ssh::wire::{Hasher, Put, Reader, names};

#[test]
fn numbers_are_written_as_in_the_rfc() {
    let examples: [(&[u8], &[u8]); 4] = [
        (&hex!("00"), &hex!("00000000")),
        (
            &hex!("09a378f9b2e332a7"),
            &hex!("00000008 09a378f9b2e332a7"),
        ),
        (&hex!("80"), &hex!("00000002 0080")),
        (&hex!("000012"), &hex!("00000001 12")),
    ];
    for (magnitude, encoded) in examples {
        let mut out = Vec::new();
        out.put_mpint(magnitude);
        assert_eq!(out, encoded);
    }
}

#[test]
fn numbers_are_read_without_leading_zeros_and_negative_ones_are_refused() {
    assert_eq!(Reader::new(&hex!("00000002 0080")).mpint().unwrap(), [0x80]);
    assert_eq!(Reader::new(&hex!("00000003 000001")).mpint().unwrap(), [1]);
    assert!(Reader::new(&hex!("00000000")).mpint().unwrap().is_empty());
    for negative in [&hex!("00000002 edcc")[..], &hex!("00000005 ff21524111")] {
        assert!(matches!(
            Reader::new(negative).mpint(),
            Err(Error::Malformed(_))
        ));
    }
}

#[test]
fn name_lists_are_written_and_read_as_in_the_rfc() {
    let examples: [(&[&str], &[u8]); 3] = [
        (&[], &hex!("00000000")),
        (&["zlib"], &hex!("00000004 7a6c6962")),
        (&["zlib", "none"], &hex!("00000009 7a6c69622c6e6f6e65")),
    ];
    for (list, encoded) in examples {
        let mut out = Vec::new();
        out.put_name_list(list.iter().copied());
        assert_eq!(out, encoded);
        let read = Reader::new(encoded).name_list().unwrap();
        assert_eq!(names(read).collect::<Vec<_>>(), list);
    }
}

#[test]
fn a_name_list_with_control_characters_or_spaces_is_refused() {
    for bad in [&b"a\nb"[..], b"a b", b"a\0", b"\xc3\xa9", b"\xff"] {
        let mut out = Vec::new();
        out.put_string(bad);
        assert!(Reader::new(&out).name_list().is_err());
    }
    let mut long = Vec::new();
    long.put_string(&vec![b'a'; reachback_ssh::limits::NAME_LIST + 1]);
    assert!(matches!(
        Reader::new(&long).name_list(),
        Err(Error::Limit(_))
    ));
}

#[test]
fn every_type_comes_back_as_it_was_written() {
    let mut out = Vec::new();
    out.put_u8(7);
    out.put_boolean(true);
    out.put_u32(0x0102_0304);
    out.put_string(b"bytes\xff");
    out.put_string("text".as_bytes());
    out.put(b"end");
    assert_eq!(out[2..6], [1, 2, 3, 4]);

    let mut reader = Reader::new(&out);
    assert_eq!(reader.u8().unwrap(), 7);
    assert!(reader.boolean().unwrap());
    assert_eq!(reader.u32().unwrap(), 0x0102_0304);
    assert_eq!(reader.string().unwrap(), b"bytes\xff");
    assert_eq!(reader.text().unwrap(), "text");
    assert!(reader.finish().is_err());
    assert_eq!(reader.rest(), b"end");
    assert_eq!(reader.take(3).unwrap(), b"end");
    assert!(reader.is_empty());
    reader.finish().unwrap();
}

#[test]
fn a_string_longer_than_the_message_is_refused_and_nothing_is_consumed() {
    let bytes = hex!("00000005 61626364");
    let mut reader = Reader::new(&bytes);
    assert!(reader.string().is_err());
    assert_eq!(reader.rest(), bytes);
    let bytes = hex!("ffffffff 00");
    assert!(Reader::new(&bytes).string().is_err());
    assert!(Reader::new(&bytes[..3]).u32().is_err());
}

#[test]
fn hashing_fields_is_hashing_their_encoding() {
    let mut encoded = Vec::new();
    encoded.put_string(b"abc");
    encoded.put_mpint(&[0x80]);
    let mut hash = Hasher::new(&ring::digest::SHA256);
    hash.put_string(b"abc");
    hash.put_mpint(&[0x80]);
    let whole = ring::digest::digest(&ring::digest::SHA256, &encoded);
    assert_eq!(hash.0.finish().as_ref(), whole.as_ref());
}
