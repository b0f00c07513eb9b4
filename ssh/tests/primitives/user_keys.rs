//! Keys made by ssh-keygen, openssl and dropbearkey (`tests/data/README.md`).

use reachback_ssh::algorithms::PublicKeyAlgorithm::*;
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, verify};
use reachback_ssh::userkey::{KeyError, UserKey};
use reachback_ssh::wire::Reader;

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../data/", $name))
    };
}

/// A private key's text and the public line that ssh-keygen wrote for it.
const PAIRS: [(&str, &str); 10] = [
    (data!("test_rsa"), data!("test_rsa.pub")),
    (data!("test_rsa_PEM"), data!("test_rsa.pub")),
    (data!("test_rsa_PKCS8"), data!("test_rsa.pub")),
    (data!("test_ed25519"), data!("test_ed25519.pub")),
    (data!("test_ecdsa256"), data!("test_ecdsa256.pub")),
    (data!("test_ecdsa256_PEM"), data!("test_ecdsa256.pub")),
    (data!("test_ecdsa256_PKCS8"), data!("test_ecdsa256.pub")),
    (data!("test_ecdsa384"), data!("test_ecdsa384.pub")),
    (data!("test_ecdsa384_PEM"), data!("test_ecdsa384.pub")),
    (data!("test_ecdsa384_PKCS8"), data!("test_ecdsa384.pub")),
];

fn blob(line: &str) -> Vec<u8> {
    base64_to_blob(line.split(' ').nth(1).unwrap().trim()).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// Signs with every algorithm of the key and lets the host key code verify it.
fn assert_signs(key: &UserKey) {
    let algorithms = key.algorithms(None);
    assert!(!algorithms.is_empty());
    // ECDSA values differ in length from one signature to the next.
    for round in 0..20u8 {
        for &algorithm in algorithms {
            let message = [b"message".as_slice(), &[round]].concat();
            let signature = key.sign(algorithm, &message).unwrap();
            verify(algorithm, key.public_blob(), &signature, &message).unwrap();
            assert!(verify(algorithm, key.public_blob(), &signature, b"other").is_err());
        }
    }
}

fn dropbear(file: &[u8]) -> Result<UserKey, KeyError> {
    let mut fields = Reader::new(file);
    match fields.text().unwrap() {
        "ssh-rsa" => {
            let mut next = || fields.mpint().unwrap();
            let (e, n, d, p, q) = (next(), next(), next(), next(), next());
            UserKey::rsa(n, e, d, p, q)
        }
        "ssh-ed25519" => {
            let both = fields.string().unwrap();
            UserKey::ed25519(
                both[..32].try_into().unwrap(),
                both[32..].try_into().unwrap(),
            )
        }
        _ => {
            let curve = fields.text().unwrap();
            let point = fields.string().unwrap();
            UserKey::ecdsa(curve, fields.mpint().unwrap(), point)
        }
    }
}

#[test]
fn keys_in_every_text_form_have_the_public_half_that_ssh_keygen_names_and_sign() {
    for (private, public) in PAIRS {
        let key = UserKey::from_file(private).unwrap();
        assert_eq!(key.public_blob(), blob(public));
        assert_eq!(key.key_type(), public.split(' ').next().unwrap());
        assert_signs(&key);
    }
}

#[test]
fn keys_that_openssl_wrote_are_read() {
    let key = UserKey::from_file(data!("test_ed25519_PKCS8")).unwrap();
    assert!(
        key.public_blob()
            .ends_with(&from_hex(data!("test_ed25519_PKCS8.raw.hex")))
    );
    assert_signs(&key);
    // This one begins with a block of its own for the curve.
    let key = UserKey::from_file(data!("test_ecdsa256_openssl")).unwrap();
    assert!(
        key.public_blob()
            .ends_with(&from_hex(data!("test_ecdsa256_openssl.point.hex")))
    );
    assert_signs(&key);
}

#[test]
fn keys_that_dropbearkey_wrote_have_the_public_half_that_it_names_and_sign() {
    let files: [(&[u8], &str); 4] = [
        (
            include_bytes!("../data/test_dropbear_rsa2048"),
            data!("test_dropbear_rsa2048.pub"),
        ),
        (
            include_bytes!("../data/test_dropbear_ed25519"),
            data!("test_dropbear_ed25519.pub"),
        ),
        (
            include_bytes!("../data/test_dropbear_ecdsa256"),
            data!("test_dropbear_ecdsa256.pub"),
        ),
        (
            include_bytes!("../data/test_dropbear_ecdsa384"),
            data!("test_dropbear_ecdsa384.pub"),
        ),
    ];
    for (file, public) in files {
        let key = dropbear(file).unwrap();
        assert_eq!(key.public_blob(), blob(public));
        assert_eq!(key.comment(), "");
        assert_signs(&key);
    }
}

#[test]
fn rsa_signatures_are_byte_for_byte_those_of_openssl() {
    let key = UserKey::from_file(data!("test_rsa")).unwrap();
    for (algorithm, expected) in [
        (RsaSha256, data!("test_rsa.sha256.sig.hex")),
        (RsaSha512, data!("test_rsa.sha512.sig.hex")),
    ] {
        let signature = key.sign(algorithm, b"reachback known answer").unwrap();
        let mut fields = Reader::new(&signature);
        assert_eq!(fields.text().unwrap(), algorithm.name());
        assert_eq!(fields.string().unwrap(), from_hex(expected));
        fields.finish().unwrap();
    }
}

#[test]
fn the_primes_may_come_in_any_order() {
    let mut fields = Reader::new(include_bytes!("../data/test_dropbear_rsa2048"));
    fields.string().unwrap();
    let mut next = || fields.mpint().unwrap();
    let (e, n, d, p, q) = (next(), next(), next(), next(), next());
    assert_signs(&UserKey::rsa(n, e, d, p, q).unwrap());
    assert_signs(&UserKey::rsa(n, e, d, q, p).unwrap());
}

#[test]
fn fingerprint_and_comment_are_those_in_the_file() {
    let key = UserKey::from_file(data!("test_ed25519")).unwrap();
    assert_eq!(key.fingerprint(), data!("test_ed25519.fingerprint").trim());
    assert_eq!(key.comment(), "TEST-KEY-never-use");
    assert_eq!(
        UserKey::from_file(data!("test_rsa_PEM")).unwrap().comment(),
        ""
    );
}

#[test]
fn an_openssh_key_whose_halves_or_padding_were_changed_is_refused() {
    let text = data!("test_ed25519");
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = base64_to_blob(&body).unwrap();
    let with = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let body = blob_to_base64(&bytes);
        UserKey::from_file(format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"
        ))
    };
    // All but the comment and the key derivation's unused options is bound to the rest.
    let comment = text_position(&bytes, b"TEST-KEY-never-use");
    for at in (0..bytes.len()).filter(|at| !comment.contains(at)) {
        assert!(with(at).is_err(), "byte {at}");
    }
}

fn text_position(bytes: &[u8], text: &[u8]) -> std::ops::Range<usize> {
    let start = bytes
        .windows(text.len())
        .position(|window| window == text)
        .unwrap();
    start..start + text.len()
}

#[test]
fn an_ecdsa_scalar_with_leading_zeros_is_read() {
    // One key in 256 has one, and its file holds a shorter number.
    let key = UserKey::from_file(data!("test_ecdsa256_short")).unwrap();
    assert_eq!(key.public_blob(), blob(data!("test_ecdsa256_short.pub")));
    assert_signs(&key);
}

#[test]
fn text_around_the_key_and_other_line_ends_do_not_matter() {
    let text = format!("note\n\n{}\n\ntrailer\n", data!("test_rsa_PEM"));
    let key = UserKey::from_file(&text).unwrap();
    assert_eq!(key.public_blob(), blob(data!("test_rsa.pub")));
    let crlf = data!("test_ecdsa256").replace('\n', "\r\n");
    let key = UserKey::from_file(&crlf).unwrap();
    assert_eq!(key.public_blob(), blob(data!("test_ecdsa256.pub")));
}

#[test]
fn keys_with_a_passphrase_are_told_apart_from_damaged_ones() {
    for text in [
        data!("test_ed25519_passphrase"),
        data!("test_rsa_PEM_passphrase"),
        data!("test_rsa_PKCS8_passphrase"),
    ] {
        assert_eq!(
            UserKey::from_file(text.as_bytes()).unwrap_err(),
            KeyError::Encrypted
        );
    }
}

#[test]
fn keys_of_other_types_and_sizes_are_named() {
    let error = UserKey::from_file(data!("test_ecdsa521")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "keys of type ecdsa-sha2-nistp521 are not supported; \
         make one with ssh-keygen -t ed25519 or dropbearkey -t ed25519"
    );
    assert_eq!(
        UserKey::from_file(data!("test_rsa1024")).unwrap_err(),
        KeyError::TooSmall { bits: 1024 }
    );
    assert_eq!(
        UserKey::rsa(&[0xff; 513], &[1, 0, 1], &[3], &[5], &[7]).unwrap_err(),
        KeyError::TooLarge { bits: 4104 }
    );
    assert!(matches!(
        UserKey::rsa(&[0xff; 256], &[3], &[3], &[5], &[7]),
        Err(KeyError::UnsupportedType(_))
    ));
}

#[test]
fn what_is_no_private_key_says_what_it_is() {
    let public = UserKey::from_file(data!("test_rsa.pub")).unwrap_err();
    assert_eq!(
        public,
        KeyError::UnknownFormat("a public key; name the private key file beside it")
    );
    let cases = ["", "hello", "PuTTY-User-Key-File-3: ssh-rsa\n"];
    for text in cases {
        assert!(matches!(
            UserKey::from_file(text.as_bytes()),
            Err(KeyError::UnknownFormat(_))
        ));
    }
    let long = "x".repeat(40_000);
    assert!(matches!(
        UserKey::from_file(&long),
        Err(KeyError::UnknownFormat(_))
    ));
}

#[test]
fn a_text_cut_anywhere_is_refused() {
    for text in [
        data!("test_ed25519"),
        data!("test_ecdsa256_PEM"),
        data!("test_ecdsa256_PKCS8"),
    ] {
        // The last line feed, and only that, may be missing.
        for end in 0..text.len() - 1 {
            assert!(UserKey::from_file(&text[..end]).is_err(), "cut at {end}");
        }
        assert!(UserKey::from_file(&text[..text.len() - 1]).is_ok());
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let file = include_bytes!("../data/test_dropbear_ed25519");
    let seed: [u8; 32] = file[file.len() - 64..file.len() - 32].try_into().unwrap();
    assert!(matches!(
        UserKey::ed25519(&seed, &[9; 32]),
        Err(KeyError::Corrupt(_))
    ));

    for (name, at) in [
        ("ecdsa", 140),
        ("rsa d", 400),
        ("rsa p", 600),
        ("rsa q", 800),
    ] {
        let mut file = if name == "ecdsa" {
            include_bytes!("../data/test_dropbear_ecdsa256").to_vec()
        } else {
            include_bytes!("../data/test_dropbear_rsa2048").to_vec()
        };
        dropbear(&file).unwrap();
        file[at] ^= 1;
        assert!(
            matches!(dropbear(&file), Err(KeyError::Corrupt(_))),
            "{name}"
        );
    }
}

/// The signer looks at what follows from it only.
#[test]
fn every_bit_of_an_rsa_private_exponent_counts() {
    // d is the third number: type, e, n, d (RFC 4251 section 5).
    let file = include_bytes!("../data/test_dropbear_rsa2048");
    let end = |start: usize| {
        let length = file[start..start + 4].try_into().unwrap();
        start + 4 + u32::from_be_bytes(length) as usize
    };
    let start = end(end(end(0)));
    let length = end(start) - start - 4;
    for at in [1, length / 2, length - 1] {
        let mut file = file.to_vec();
        file[start + 4 + at] ^= 0x10;
        assert!(
            matches!(
                dropbear(&file),
                Err(KeyError::Corrupt("RSA private exponent"))
            ),
            "byte {at} of {length}"
        );
    }
}

#[test]
fn rsa_primes_that_cannot_be_are_refused_without_a_panic() {
    let n = [0xff; 256];
    let cases: [(&[u8], &[u8]); 6] = [
        (&[], &[]),
        (&[1], &[1]),
        (&[0], &[7]),
        (&[8], &[4]),
        (&[0xff; 300], &[3]),
        (&[0xff; 600], &[0xff; 600]),
    ];
    for (p, q) in cases {
        for d in [&[][..], &[1], &[0xff; 600]] {
            assert!(matches!(
                UserKey::rsa(&n, &[1, 0, 1], d, p, q),
                Err(KeyError::Corrupt(_))
            ));
        }
    }
}

#[test]
fn the_order_of_algorithms_follows_the_servers_list() {
    let rsa = UserKey::from_file(data!("test_rsa")).unwrap();
    let (a256, a512) = (RsaSha256, RsaSha512);
    assert_eq!(rsa.algorithms(None), [a256, a512]);
    assert_eq!(
        rsa.algorithms(Some("ssh-ed25519,rsa-sha2-256,rsa-sha2-512")),
        [a512, a256]
    );
    assert_eq!(rsa.algorithms(Some("rsa-sha2-256,ssh-rsa")), [a256]);
    assert_eq!(rsa.algorithms(Some("rsa-sha2-512")), [a512]);
    assert_eq!(rsa.algorithms(Some("ssh-rsa")), [a256, a512]);

    let ed25519 = UserKey::from_file(data!("test_ed25519")).unwrap();
    assert_eq!(ed25519.algorithms(Some("rsa-sha2-256")), [Ed25519]);
    let p384 = UserKey::from_file(data!("test_ecdsa384")).unwrap();
    assert_eq!(p384.algorithms(None), [EcdsaP384]);
}

#[test]
fn sha_1_and_algorithms_of_other_keys_are_never_used() {
    for (private, _) in PAIRS {
        let key = UserKey::from_file(private).unwrap();
        assert!(matches!(
            key.sign(RsaSha1, b"x"),
            Err(KeyError::UnsupportedType(_))
        ));
    }
    let ed25519 = UserKey::from_file(data!("test_ed25519")).unwrap();
    assert!(ed25519.sign(RsaSha256, b"x").is_err());
}

#[test]
fn debug_output_shows_the_fingerprint_only() {
    let key = UserKey::from_file(data!("test_ed25519")).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("UserKey(ssh-ed25519 {})", key.fingerprint())
    );
}
