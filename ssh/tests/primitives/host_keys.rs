//! Host key signatures against published vectors (RFC 8032, RFC 6979) and OpenSSL's RSA.

use hex_literal::hex;
use reachback_ssh::Error;
use reachback_ssh::algorithms::PublicKeyAlgorithm::{self, *};
use reachback_ssh::hostkey::{base64_to_blob, blob_to_base64, fingerprint, key_type, verify};
use reachback_ssh::userkey::UserKey;
use reachback_ssh::wire::{Put, magnitude};

/// A key blob, a signature blob and a message that belong together.
struct Signed {
    algorithm: PublicKeyAlgorithm,
    key: Vec<u8>,
    signature: Vec<u8>,
    message: &'static [u8],
}

impl Signed {
    fn verify(&self) -> Result<(), Error> {
        verify(self.algorithm, &self.key, &self.signature, self.message)
    }
}

fn strings(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|field| out.put_string(field));
    out
}

/// RFC 8032 section 7.1, test 2, in the blobs of RFC 8709.
fn ed25519() -> Signed {
    let public = hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let value = hex!(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    Signed {
        algorithm: Ed25519,
        key: strings(&[b"ssh-ed25519", &public]),
        signature: strings(&[b"ssh-ed25519", &value]),
        message: b"\x72",
    }
}

fn ecdsa(algorithm: PublicKeyAlgorithm, curve: &str, point: &[u8], r: &[u8], s: &[u8]) -> Signed {
    let mut numbers = Vec::new();
    numbers.put_mpint(r);
    numbers.put_mpint(s);
    let name = algorithm.name().as_bytes();
    Signed {
        algorithm,
        key: strings(&[name, curve.as_bytes(), point]),
        signature: strings(&[name, &numbers]),
        message: b"sample",
    }
}

/// RFC 6979 appendix A.2.5, SHA-256.
fn p256() -> Signed {
    ecdsa(
        EcdsaP256,
        "nistp256",
        &hex!(
            "04"
            "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
            "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
        ),
        &hex!("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"),
        &hex!("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"),
    )
}

/// RFC 6979 appendix A.2.6, SHA-384.
fn p384() -> Signed {
    ecdsa(
        EcdsaP384,
        "nistp384",
        &hex!(
            "04"
            "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64"
            "def8f0ea9055866064a254515480bc13"
            "8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1"
            "288b231c3ae0d4fe7344fd2533264720"
        ),
        &hex!(
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c"
            "81a648152e44acf96e36dd1e80fabe46"
        ),
        &hex!(
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94f"
            "a329c145786e679e7b82c71a38628ac8"
        ),
    )
}

fn public_line(line: &str) -> Vec<u8> {
    base64_to_blob(line.split(' ').nth(1).unwrap().trim()).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn rsa(algorithm: PublicKeyAlgorithm, key: &str, value: &str) -> Signed {
    Signed {
        algorithm,
        key: public_line(key),
        signature: strings(&[algorithm.name().as_bytes(), &from_hex(value)]),
        message: b"reachback known answer",
    }
}

fn rsa_256() -> Signed {
    rsa(
        RsaSha256,
        include_str!("../data/test_rsa.pub"),
        include_str!("../data/test_rsa.sha256.sig.hex"),
    )
}

fn rsa_512() -> Signed {
    rsa(
        RsaSha512,
        include_str!("../data/test_rsa.pub"),
        include_str!("../data/test_rsa.sha512.sig.hex"),
    )
}

fn rsa_1() -> Signed {
    rsa(
        RsaSha1,
        include_str!("../data/test_rsa.pub"),
        include_str!("../data/test_rsa.sha1.sig.hex"),
    )
}

fn all() -> [Signed; 6] {
    [ed25519(), p256(), p384(), rsa_256(), rsa_512(), rsa_1()]
}

#[test]
fn published_signatures_verify() {
    for signed in all() {
        assert_eq!(signed.verify(), Ok(()), "{:?}", signed.algorithm);
    }
}

#[test]
fn another_message_does_not_verify() {
    for mut signed in all() {
        signed.message = b"another";
        assert_eq!(signed.verify(), Err(Error::BadHostSignature));
    }
}

#[test]
fn a_changed_bit_in_key_or_signature_does_not_verify() {
    for mut signed in all() {
        for byte in 0..signed.signature.len() {
            signed.signature[byte] ^= 1;
            assert!(signed.verify().is_err(), "{:?}", signed.algorithm);
            signed.signature[byte] ^= 1;
        }
        for byte in 0..signed.key.len() {
            signed.key[byte] ^= 1;
            assert!(signed.verify().is_err(), "{:?}", signed.algorithm);
            signed.key[byte] ^= 1;
        }
        signed.verify().unwrap();
    }
}

#[test]
fn cut_and_extended_blobs_do_not_verify() {
    for signed in all() {
        let mut longer = signed.signature.clone();
        longer.push(0);
        assert!(verify(signed.algorithm, &signed.key, &longer, signed.message).is_err());
        let mut longer = signed.key.clone();
        longer.push(0);
        assert!(verify(signed.algorithm, &longer, &signed.signature, signed.message).is_err());
        for end in 0..signed.signature.len() {
            let cut = &signed.signature[..end];
            assert!(verify(signed.algorithm, &signed.key, cut, signed.message).is_err());
        }
        for end in 0..signed.key.len() {
            let cut = &signed.key[..end];
            assert!(verify(signed.algorithm, cut, &signed.signature, signed.message).is_err());
        }
    }
}

#[test]
fn a_signature_by_another_algorithm_than_the_negotiated_one_is_refused() {
    // The signature is good; only its name is not what was settled (RFC 8332 section 3).
    let signed = rsa_256();
    for other in [RsaSha512, RsaSha1, Ed25519, EcdsaP256, EcdsaP384] {
        assert_eq!(
            verify(other, &signed.key, &signed.signature, signed.message),
            Err(Error::BadHostSignature)
        );
    }
}

#[test]
fn an_rsa_key_of_1024_bits_is_refused_although_its_signature_is_good() {
    let small = rsa(
        RsaSha256,
        include_str!("../data/test_rsa1024.pub"),
        include_str!("../data/test_rsa1024.sha256.sig.hex"),
    );
    assert_eq!(small.verify(), Err(Error::BadHostSignature));
}

#[test]
fn an_rsa_signature_without_its_leading_zeros_verifies() {
    let key = UserKey::from_file(include_str!("../data/test_rsa")).unwrap();
    let (message, value) = (0u32..10_000)
        .find_map(|i| {
            let message = i.to_be_bytes();
            let blob = key.sign(RsaSha256, &message).unwrap();
            let value = blob[blob.len() - 256..].to_vec();
            (value[0] == 0).then_some((message, value))
        })
        .unwrap();
    let short = strings(&[b"rsa-sha2-256", magnitude(&value)]);
    assert_eq!(
        verify(RsaSha256, key.public_blob(), &short, &message),
        Ok(())
    );
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    for (line, expected) in [
        (
            include_str!("../data/test_rsa.pub"),
            include_str!("../data/test_rsa.fingerprint"),
        ),
        (
            include_str!("../data/test_ed25519.pub"),
            include_str!("../data/test_ed25519.fingerprint"),
        ),
        (
            include_str!("../data/test_ecdsa384.pub"),
            include_str!("../data/test_ecdsa384.fingerprint"),
        ),
    ] {
        let blob = public_line(line);
        assert_eq!(fingerprint(&blob), expected.trim());
        assert_eq!(key_type(&blob).unwrap(), line.split(' ').next().unwrap());
        assert_eq!(
            blob_to_base64(&blob),
            line.split(' ').nth(1).unwrap().trim()
        );
    }
}

#[test]
fn base64_that_is_not_a_key_is_refused() {
    assert!(matches!(base64_to_blob("AAA"), Err(Error::Malformed(_))));
    assert!(matches!(base64_to_blob("A A="), Err(Error::Malformed(_))));
    assert!(matches!(
        base64_to_blob(&"A".repeat(4000)),
        Err(Error::Limit(_))
    ));
    assert!(key_type(b"\0\0\0\x09short").is_err());
}
