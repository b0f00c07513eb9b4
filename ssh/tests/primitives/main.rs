//! The lower half of the client: wire types, negotiation, key exchange, ciphers, keys.
#![allow(clippy::unwrap_used)]

mod certificates;
mod cipher;
mod exchange;
mod host_keys;
mod ident;
mod lists;
mod negotiation;
mod properties;
mod user_keys;
mod wire;

use reachback_ssh::algorithms::{Cipher, Mac};

/// Every way to protect a packet: each cipher, with each MAC where it needs one.
fn suites() -> Vec<(Cipher, Option<Mac>)> {
    let mut all = Vec::new();
    for &cipher in Cipher::ALL {
        if cipher.name().ends_with("-ctr") {
            all.extend(Mac::ALL.iter().map(|mac| (cipher, Some(*mac))));
        } else {
            all.push((cipher, None));
        }
    }
    all
}
