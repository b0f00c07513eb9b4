//! The server's half of curve25519-sha256 with an Ed25519 host key (RFC 8731, RFC 8709),
//! written without the client's own key exchange code.

use reachback_ssh::cipher::{self, Keys, Opener, Sealer};
use reachback_ssh::ident::CLIENT_IDENT;
use reachback_ssh::wire::{Hasher, Put, Reader};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::Knobs;
use super::numbers::{KEX_REPLY, KEXINIT};

/// The host key of a seed.
pub fn host_key(seed: u8) -> Ed25519KeyPair {
    match Ed25519KeyPair::from_seed_unchecked(&[seed; 32]) {
        Ok(key) => key,
        Err(_) => unreachable!("32 bytes are a seed"),
    }
}

/// The public half of [`host_key`] as RFC 8709 section 4 encodes it.
pub fn host_key_blob(seed: u8) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(b"ssh-ed25519");
    blob.put_string(host_key(seed).public_key().as_ref());
    blob
}

/// The server's `SSH_MSG_KEXINIT`.
pub(crate) fn kexinit(knobs: &Knobs, first: bool, cookie: [u8; 16]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_u8(KEXINIT);
    payload.put(&cookie);
    let strict = (knobs.strict && first).then_some("kex-strict-s-v00@openssh.com");
    payload.put_name_list([knobs.kex_list].into_iter().chain(strict));
    let certified = "ssh-ed25519-cert-v01@openssh.com";
    let certified = knobs.certificate.is_some().then_some(certified);
    payload.put_name_list(certified.into_iter().chain(["ssh-ed25519"]));
    for _ in 0..2 {
        payload.put_name_list([knobs.cipher.name()]);
    }
    for _ in 0..2 {
        payload.put_name_list([knobs.mac.name()]);
    }
    for _ in 0..2 {
        payload.put_name_list(["none"]);
    }
    for _ in 0..2 {
        payload.put_name_list([]);
    }
    payload.put_boolean(knobs.wrong_guess);
    payload.put_u32(0);
    payload
}

/// What the exchange gave the server.
pub(crate) struct Agreed {
    pub(crate) reply: Vec<u8>,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) session_id: Vec<u8>,
}

/// Answers the client's half. `session_id` is that of the first exchange, if there was one.
pub(crate) fn answer(
    knobs: &Knobs,
    ident: &[u8],
    client_kexinit: &[u8],
    server_kexinit: &[u8],
    init: &[u8],
    session_id: Option<&[u8]>,
) -> Result<Agreed, String> {
    let text = |what: &'static str| move |_| what.to_owned();
    let client_share = Reader::new(&init[1..])
        .string()
        .map_err(|error| error.to_string())?;
    let private = EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new())
        .map_err(text("no ephemeral key"))?;
    let public = private
        .compute_public_key()
        .map_err(text("no ephemeral key"))?;
    let mut share = public.as_ref().to_vec();
    if knobs.zero_share {
        share.fill(0);
    }
    let peer = UnparsedPublicKey::new(&agreement::X25519, client_share);
    let shared = agreement::agree_ephemeral(private, &peer, <[u8]>::to_vec)
        .map_err(text("the client's share"))?;
    let mut secret = Vec::new();
    secret.put_mpint(&shared);

    let plain = || host_key_blob(knobs.host_key);
    let blob = knobs.certificate.clone().unwrap_or_else(plain);
    let mut hash = Hasher::new(&ring::digest::SHA256);
    hash.put_string(CLIENT_IDENT.as_bytes());
    hash.put_string(ident);
    hash.put_string(client_kexinit);
    hash.put_string(server_kexinit);
    hash.put_string(&blob);
    hash.put_string(client_share);
    hash.put_string(&share);
    hash.put(&secret);
    let hash = hash.0.finish().as_ref().to_vec();
    let session_id = session_id.unwrap_or(&hash).to_vec();

    let mut signed = host_key(knobs.host_key).sign(&hash).as_ref().to_vec();
    if knobs.bad_signature {
        signed[5] ^= 1;
    }
    let mut signature = Vec::new();
    signature.put_string(b"ssh-ed25519");
    signature.put_string(&signed);
    let mut reply = vec![KEX_REPLY];
    reply.put_string(&blob);
    reply.put_string(&share);
    reply.put_string(&signature);

    let key = |letter, length: usize| derived(&secret, &hash, letter, &session_id, length);
    let keys = |letters: [u8; 3]| {
        [
            key(letters[0], cipher::iv_len(knobs.cipher)),
            key(letters[1], cipher::key_len(knobs.cipher)),
            key(letters[2], cipher::mac_key_len(knobs.mac)),
        ]
    };
    let (out, into) = (keys(*b"BDF"), keys(*b"ACE"));

    let (cipher, mac) = (knobs.cipher, Some(knobs.mac));
    let sealer = Sealer::new(cipher, mac, &borrowed(&out));
    let opener = Opener::new(cipher, mac, &borrowed(&into));
    Ok(Agreed {
        reply,
        sealer: sealer.map_err(|error| error.to_string())?,
        opener: opener.map_err(|error| error.to_string())?,
        session_id,
    })
}

fn borrowed([iv, key, mac]: &[Vec<u8>; 3]) -> Keys<'_> {
    Keys { key, iv, mac }
}

/// Up to 64 bytes of key (RFC 4253 section 7.2): two blocks of SHA-256.
fn derived(secret: &[u8], hash: &[u8], letter: u8, session_id: &[u8], length: usize) -> Vec<u8> {
    let block = |parts: &[&[u8]]| {
        let mut digest = Hasher::new(&ring::digest::SHA256);
        digest.put(secret);
        digest.put(hash);
        for part in parts {
            digest.put(part);
        }
        digest.0.finish().as_ref().to_vec()
    };
    let mut key = block(&[&[letter], session_id]);
    let second = block(&[&key]);
    key.extend(second);
    key.truncate(length);
    key
}
