//! Host certificates that ssh-keygen made (OpenSSH 9.2), and what is no certificate.

use reachback_ssh::Error;
use reachback_ssh::certificate::{CERTIFIED, is_certificate, read};
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64};
use reachback_ssh::wire::{Put, Reader};

/// `ssh-keygen -s ca -I 'the hub' -h -n hub.example,10.0.0.1 -V 20260101Z:20270101Z -z 7 host.pub`
const HUB: &str = "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIMsOeuLh/qhfgTeAeMil7CnlA9+Ah6gMfCVvusFHEqedAAAA\
    IK2RE25e3KAhXufSj1wOwSWVVGnpab8LFwWjZGUDHwNJAAAAAAAAAAcAAAACAAAAB3RoZSBodWIAAAAbAAAAC2h1Yi5leGFtcGxl\
    AAAACDEwLjAuMC4xAAAAAGlVuQAAAAAAazbsgAAAAAAAAAAAAAAAAAAAADMAAAALc3NoLWVkMjU1MTkAAAAgM7LkEUrciE0rq8Wc\
    OtSBEpc6dtvUOD+1CBGuS3AWQs8AAABTAAAAC3NzaC1lZDI1NTE5AAAAQJbiFAk9J/z38yqIhXkqwuulKdVrF+VdkHBvjgKPnfP6\
    VET1P0NATErnLOlqD9Y099eWlRkRLYQxma+tKDe1uAc=";
/// `ssh-keygen -s ca -I 'a user' -n op host.pub`
const USER: &str = "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAINQKtSTx6hAWcu+zHT+Y2RN6XbyJ1gYvwTR7iLi4sDGJAAAA\
    IK2RE25e3KAhXufSj1wOwSWVVGnpab8LFwWjZGUDHwNJAAAAAAAAAAAAAAABAAAABmEgdXNlcgAAAAYAAAACb3AAAAAAAAAAAP//\
    ////////AAAAAAAAAIIAAAAVcGVybWl0LVgxMS1mb3J3YXJkaW5nAAAAAAAAABdwZXJtaXQtYWdlbnQtZm9yd2FyZGluZwAAAAAA\
    AAAWcGVybWl0LXBvcnQtZm9yd2FyZGluZwAAAAAAAAAKcGVybWl0LXB0eQAAAAAAAAAOcGVybWl0LXVzZXItcmMAAAAAAAAAAAAA\
    ADMAAAALc3NoLWVkMjU1MTkAAAAgM7LkEUrciE0rq8WcOtSBEpc6dtvUOD+1CBGuS3AWQs8AAABTAAAAC3NzaC1lZDI1NTE5AAAA\
    QAOnvRXPgKcJUeQpgyXppC3G3kRoCeb08fa4kDDG0CoZ4sdUSit46YyDm4dYdBUOL3k8I7AdxMnkPsx4s3ZHPwo=";
/// `ssh-keygen -s rsa -t ssh-rsa -I sha1 -h -n hub host.pub`
const SHA1: &str = "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIIUlnyk3o4kCZ55DIsaZDZNADdjyR949WyYU+tUv6krsAAAA\
    IK2RE25e3KAhXufSj1wOwSWVVGnpab8LFwWjZGUDHwNJAAAAAAAAAAAAAAACAAAABHNoYTEAAAAHAAAAA2h1YgAAAAAAAAAA////\
    //////8AAAAAAAAAAAAAAAAAAAEXAAAAB3NzaC1yc2EAAAADAQABAAABAQCzuLuwSIs4wx+hq17Er1es6BcCPmXE2v/9N2/9Gn+a\
    FY97Nequdh1QnkXmMrVhJQfB1rwaCWJURRGQ9tBy0BwTw5Z9xixhnAdH2G3beE50IIdzK3E5G/48hVhmRI7eCT2Kp2rAdlQcbBAA\
    b2OR1sBaZo6XsdP94cU/1sd6C//NduFdO2r0CiGSERVHbYBD124He5a1x779V2x/NckFsjMUXVqeEprcvx/q+jKhJH3SewCqwg4A\
    KU+oTJrdp8jy3NveqIkz+leSHZ+PxQpkyKJLDDPBM7rBbPVZezcWN9Ui/T9YSUkgCKMBdk8hbtIvQ2X1DjkxWiNMIOPOvLf+MwK9\
    AAABDwAAAAdzc2gtcnNhAAABAGRwEOKp5Og2M2ZTXWCNNSGtQyXtuVjgRS9kIHIOcsxOLHlwV/6claM0igImaIZlqHGe5L79YkOu\
    k+Jlts9hNanZ//lk+5zQ8eOcus35Uf6wQ/ozMi98QPo19b29OyspjkW1qZ0LBUkQMNt2mK+YdzEogfkQ1T2pxs9Q2alpwFXVkFAw\
    ZbUf8hrnGWvTeT7u4LUmErDFmWhhyrTGd81qJ+i5Y7KopRl00Sq5sowv7wCtKG2NTWnJFPBxtsVuOj+pWJcA1H+YmKmlkGbxdT5y\
    J0tpNxe9YMpkaJtj5ytLMUZUxKdvRa3M46Qmu1B9aqps97mo2TxD4owhhwWZ2hDqrns=";
/// The key in them, and the authority of the first two.
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIK2RE25e3KAhXufSj1wOwSWVVGnpab8LFwWjZGUDHwNJ";
const AUTHORITY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIDOy5BFK3IhNK6vFnDrUgRKXOnbb1Dg/tQgRrktwFkLP";

fn blob(text: &str) -> Vec<u8> {
    base64_to_blob(text).unwrap()
}

#[test]
fn what_a_certificate_says_is_what_ssh_keygen_was_told() {
    let hub = read(&blob(HUB)).unwrap();
    assert_eq!(blob_to_base64(&hub.key), KEY);
    assert_eq!(blob_to_base64(&hub.authority), AUTHORITY);
    assert!(hub.is_host && !hub.is_limited);
    assert_eq!(hub.name, "the hub");
    assert_eq!(hub.principals, ["hub.example", "10.0.0.1"]);
    assert_eq!(
        (hub.valid_after, hub.valid_before),
        (1_767_225_600, 1_798_761_600)
    );
    let user = read(&blob(USER)).unwrap();
    assert!(!user.is_host && !user.is_limited);
    assert_eq!((user.valid_after, user.valid_before), (0, u64::MAX));
    assert!(is_certificate(&blob(HUB)) && !is_certificate(&blob(KEY)));
}

#[test]
fn no_bit_of_it_can_be_changed_and_no_byte_be_missing_or_more() {
    let whole = blob(HUB);
    for at in 0..whole.len() {
        assert!(read(&whole[..at]).is_err(), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).is_err(), "changed at {at}");
    }
    assert!(read(&[&whole[..], &[0]].concat()).is_err());
}

#[test]
fn a_signature_with_sha_1_and_a_key_without_one_are_no_certificates() {
    assert_eq!(read(&blob(SHA1)), Err(Error::BadHostSignature));
    assert!(matches!(read(&blob(KEY)), Err(Error::Malformed(_))));
    assert!(matches!(read(&[]), Err(Error::Malformed(_))));
}

/// A certificate whose authority is a certificate, its own key, or of a type that nobody knows.
#[test]
fn an_authority_is_a_plain_key() {
    let whole = blob(HUB);
    let mut signature = Vec::new();
    signature.put_string(b"ssh-ed25519");
    signature.put_string(&[0; 64]);
    let end = 4 + 51 + 4 + 83;
    for authority in [
        whole.clone(),
        blob(KEY),
        b"\0\0\0\x01x".to_vec(),
        Vec::new(),
    ] {
        let mut forged = whole[..whole.len() - end].to_vec();
        forged.put_string(&authority);
        forged.put_string(&signature);
        assert!(read(&forged).is_err());
    }
    let mut reader = Reader::new(&whole);
    assert!(reader.text().unwrap().ends_with(CERTIFIED));
}
