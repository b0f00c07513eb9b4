//! Each exchange against a server side made of other implementations (x25519-dalek, p256)
//! whose own answers are first checked against the published vectors.

use hex_literal::hex;
use ml_kem::kem::TryKeyInit;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use ring::digest::{Algorithm, SHA256, SHA384, digest};

use reachback_ssh::algorithms::Kex;
use reachback_ssh::kex::{Exchange, MSG_INIT, MSG_REPLY, Reply, Transcript, derive};
use reachback_ssh::wire::{Put, Reader};
use reachback_ssh::{Error, Rng};

/// RFC 7748 section 6.1: Bob's private and public key, Alice's public key, the secret.
const BOB: [u8; 32] = hex!("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
const BOB_PUBLIC: [u8; 32] =
    hex!("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
const ALICE_PUBLIC: [u8; 32] =
    hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
const ALICE_AND_BOB: [u8; 32] =
    hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");

/// RFC 5903 section 8.1: the responder's key and public point, the initiator's point, the
/// x coordinate that both arrive at.
const RESPONDER: [u8; 32] =
    hex!("c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53");
const RESPONDER_POINT: [u8; 65] = hex!(
    "04"
    "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
    "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
);
const INITIATOR_POINT: [u8; 65] = hex!(
    "04"
    "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
    "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
);
const BOTH_POINTS_X: [u8; 32] =
    hex!("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");

const TRANSCRIPT: Transcript<'static> = Transcript {
    client_ident: b"SSH-2.0-reachback_test",
    server_ident: b"SSH-2.0-peer",
    client_kexinit: b"\x14ours",
    server_kexinit: b"\x14theirs",
};

/// Hands out the given bytes and then none.
struct Bytes(Vec<u8>);

impl Rng for Bytes {
    fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        if self.0.len() < buf.len() {
            return Err(Error::Rng);
        }
        buf.copy_from_slice(&self.0.drain(..buf.len()).collect::<Vec<_>>());
        Ok(())
    }
}

fn start(kex: Kex) -> Exchange {
    Exchange::start(kex, &mut Bytes(vec![0x5a; 64])).unwrap()
}

/// The client's share, after a look at the message's frame.
fn share(exchange: &Exchange) -> Vec<u8> {
    let mut reader = Reader::new(exchange.init_payload());
    assert_eq!(reader.u8().unwrap(), MSG_INIT);
    let share = reader.string().unwrap().to_vec();
    reader.finish().unwrap();
    share
}

fn reply(server_share: &[u8]) -> Vec<u8> {
    let mut out = vec![MSG_REPLY];
    out.put_string(b"host key");
    out.put_string(server_share);
    out.put_string(b"signature");
    out
}

/// What a server hashes: the fields of RFC 5656 section 4 and its own encoding of K.
fn servers_hash(
    algorithm: &'static Algorithm,
    client_share: &[u8],
    server_share: &[u8],
    encoded_k: &[u8],
) -> Vec<u8> {
    let mut all = Vec::new();
    for field in [
        TRANSCRIPT.client_ident,
        TRANSCRIPT.server_ident,
        TRANSCRIPT.client_kexinit,
        TRANSCRIPT.server_kexinit,
        b"host key",
        client_share,
        server_share,
    ] {
        all.put_string(field);
    }
    all.put(encoded_k);
    digest(algorithm, &all).as_ref().to_vec()
}

/// Compares everything that depends on K: the exchange hash and a key derived from it.
fn assert_agreed(reply: &Reply, client_share: &[u8], server_share: &[u8], encoded_k: &[u8]) {
    // The hash's length tells which one it is.
    let algorithm = match reply.exchange_hash.as_ref().len() {
        48 => &SHA384,
        _ => &SHA256,
    };
    let hash = servers_hash(algorithm, client_share, server_share, encoded_k);
    assert_eq!(reply.host_key, b"host key");
    assert_eq!(reply.signature, b"signature");
    assert_eq!(reply.exchange_hash.as_ref(), hash);

    let expected = digest(algorithm, &[encoded_k, &hash, b"E", b"session"].concat());
    let mut key = [0; 32];
    derive(
        &reply.secret,
        &reply.exchange_hash,
        b"session",
        b'E',
        &mut key,
    );
    assert_eq!(key, expected.as_ref()[..32]);
}

fn number(k: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_mpint(k);
    out
}

fn failure(kex: Kex, server_share: &[u8]) -> Error {
    start(kex)
        .finish(&reply(server_share), &TRANSCRIPT)
        .unwrap_err()
}

#[test]
fn the_x25519_peer_itself_gives_the_answers_of_rfc_7748() {
    assert_eq!(
        x25519_dalek::x25519(BOB, x25519_dalek::X25519_BASEPOINT_BYTES),
        BOB_PUBLIC
    );
    assert_eq!(x25519_dalek::x25519(BOB, ALICE_PUBLIC), ALICE_AND_BOB);
}

#[test]
fn curve25519_agrees_with_another_implementation_under_both_names() {
    for kex in [Kex::Curve25519, Kex::Curve25519LibSsh] {
        // Often enough that a secret with its top bit set is among them, and one without.
        for _ in 0..16 {
            let exchange = start(kex);
            let client = share(&exchange);
            let k = x25519_dalek::x25519(BOB, client.as_slice().try_into().unwrap());
            let done = exchange.finish(&reply(&BOB_PUBLIC), &TRANSCRIPT).unwrap();
            assert_agreed(&done, &client, &BOB_PUBLIC, &number(&k));
        }
    }
}

#[test]
fn curve25519_refuses_points_that_lead_to_zero_and_shares_of_a_wrong_length() {
    // RFC 7748 section 6.1 and RFC 8731 section 3: an all-zero secret ends the exchange.
    let mut one = [0; 32];
    one[0] = 1;
    let order_eight = hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    for bad in [&[0; 32][..], &one, &order_eight, &BOB_PUBLIC[..31], b""] {
        assert_eq!(
            failure(Kex::Curve25519, bad),
            Error::Crypto("key agreement")
        );
    }
}

#[test]
fn nistp256_agrees_with_another_implementation_that_gives_the_answers_of_rfc_5903() {
    let secret = p256::SecretKey::from_slice(&RESPONDER).unwrap();
    assert_eq!(
        secret.public_key().to_encoded_point(false).as_bytes(),
        RESPONDER_POINT
    );
    let x_with = |point: &[u8]| {
        let point = p256::PublicKey::from_sec1_bytes(point).unwrap();
        let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
        shared.raw_secret_bytes().to_vec()
    };
    assert_eq!(x_with(&INITIATOR_POINT), BOTH_POINTS_X);

    for _ in 0..16 {
        let exchange = start(Kex::EcdhNistp256);
        let client = share(&exchange);
        let k = x_with(&client);
        let done = exchange
            .finish(&reply(&RESPONDER_POINT), &TRANSCRIPT)
            .unwrap();
        assert_agreed(&done, &client, &RESPONDER_POINT, &number(&k));
    }
}

#[test]
fn nistp256_refuses_points_off_the_curve_and_other_encodings() {
    let mut off_curve = RESPONDER_POINT;
    off_curve[64] ^= 1;
    let mut compressed = RESPONDER_POINT[..33].to_vec();
    compressed[0] = 3;
    for bad in [&off_curve[..], &compressed, &[0], &[4; 65], b""] {
        assert_eq!(
            failure(Kex::EcdhNistp256, bad),
            Error::Crypto("key agreement")
        );
    }
}

#[test]
fn nistp384_agrees_with_another_implementation_that_gives_the_answers_of_rfc_5903() {
    // RFC 5903 section 8.2.
    let initiator = hex!(
        "04667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa"
        "9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c"
    );
    let responder = hex!(
        "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc"
    );
    let responder_point = hex!(
        "04e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571"
        "dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c"
    );
    let both = hex!(
        "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746"
    );
    let secret = p384::SecretKey::from_slice(&responder).unwrap();
    assert_eq!(
        secret.public_key().to_encoded_point(false).as_bytes(),
        responder_point
    );
    let x_with = |point: &[u8]| {
        let point = p384::PublicKey::from_sec1_bytes(point).unwrap();
        let shared = p384::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
        shared.raw_secret_bytes().to_vec()
    };
    assert_eq!(x_with(&initiator), both);
    for _ in 0..8 {
        let exchange = start(Kex::EcdhNistp384);
        let client = share(&exchange);
        let k = x_with(&client);
        let done = exchange
            .finish(&reply(&responder_point), &TRANSCRIPT)
            .unwrap();
        assert_eq!(done.exchange_hash.as_ref().len(), 48);
        assert_agreed(&done, &client, &responder_point, &number(&k));
    }
    let mut off_curve = responder_point;
    off_curve[96] ^= 1;
    for bad in [&off_curve[..], &responder_point[..49], &[0], b""] {
        assert_eq!(
            failure(Kex::EcdhNistp384, bad),
            Error::Crypto("key agreement")
        );
    }
}

/// Wycheproof's ML-KEM-768 test: seed, SHA-256 of the public key, ciphertext, secret.
fn ml_kem_vector() -> [Vec<u8>; 4] {
    let lines = include_str!("../data/ml_kem_768.hex").lines();
    let decoded: Vec<Vec<u8>> = lines
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap())
                .collect()
        })
        .collect();
    decoded.try_into().unwrap()
}

#[test]
fn the_hybrid_exchange_gives_the_known_ml_kem_key_and_secret() {
    let [seed, public_digest, ciphertext, post_quantum] = ml_kem_vector();
    let exchange = Exchange::start(Kex::MlKem768X25519, &mut Bytes(seed)).unwrap();
    let client = share(&exchange);
    assert_eq!(client.len(), 1184 + 32);
    assert_eq!(digest(&SHA256, &client[..1184]).as_ref(), public_digest);

    let classic = x25519_dalek::x25519(BOB, client[1184..].try_into().unwrap());
    let server = [&ciphertext[..], &BOB_PUBLIC].concat();
    let k = digest(&SHA256, &[&post_quantum[..], &classic].concat());
    let mut encoded = Vec::new();
    encoded.put_string(k.as_ref());

    let done = exchange.finish(&reply(&server), &TRANSCRIPT).unwrap();
    assert_agreed(&done, &client, &server, &encoded);
}

#[test]
fn the_hybrid_exchange_agrees_with_a_server_that_encapsulates() {
    let exchange = start(Kex::MlKem768X25519);
    let client = share(&exchange);
    let key = ml_kem::EncapsulationKey768::new_from_slice(&client[..1184]).unwrap();
    let message = [0x42u8; 32];
    let (ciphertext, post_quantum) = key.encapsulate_deterministic(&message.into());

    let classic = x25519_dalek::x25519(BOB, client[1184..].try_into().unwrap());
    let server = [&ciphertext[..], &BOB_PUBLIC].concat();
    let k = digest(&SHA256, &[&post_quantum[..], &classic].concat());
    let mut encoded = Vec::new();
    encoded.put_string(k.as_ref());

    let done = exchange.finish(&reply(&server), &TRANSCRIPT).unwrap();
    assert_agreed(&done, &client, &server, &encoded);
}

#[test]
fn the_hybrid_exchange_refuses_shares_of_a_wrong_length_and_a_zero_secret() {
    for len in [0, 32, 1088, 1088 + 31, 1088 + 33, 1184 + 32] {
        assert!(matches!(
            failure(Kex::MlKem768X25519, &vec![9; len]),
            Error::Malformed(_)
        ));
    }
    assert_eq!(
        failure(Kex::MlKem768X25519, &[0; 1088 + 32]),
        Error::Crypto("key agreement")
    );
}

#[test]
fn a_random_source_that_fails_ends_the_exchange_before_it_starts() {
    assert_eq!(
        Exchange::start(Kex::MlKem768X25519, &mut Bytes(vec![1; 63])).unwrap_err(),
        Error::Rng
    );
}

#[test]
fn replies_that_do_not_parse_or_are_too_long_are_refused() {
    let finish = |bytes: &[u8]| start(Kex::Curve25519).finish(bytes, &TRANSCRIPT);
    let whole = reply(&BOB_PUBLIC);
    assert!(finish(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(matches!(finish(&whole[..end]), Err(Error::Malformed(_))));
    }
    assert!(finish(&[&whole[..], b"\0"].concat()).is_err());
    let mut other = whole.clone();
    other[0] = MSG_INIT;
    assert!(finish(&other).is_err());

    for (host_key, signature) in [(2049, 1), (1, 2049)] {
        let mut long = vec![MSG_REPLY];
        long.put_string(&vec![0; host_key]);
        long.put_string(&BOB_PUBLIC);
        long.put_string(&vec![0; signature]);
        assert!(matches!(finish(&long), Err(Error::Limit(_))));
    }
}

#[test]
fn two_exchanges_never_share_a_public_key() {
    for kex in [Kex::Curve25519, Kex::EcdhNistp256, Kex::EcdhNistp384] {
        assert_ne!(share(&start(kex)), share(&start(kex)));
    }
}
