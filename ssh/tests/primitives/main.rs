//! The lower half of the client: wire types, negotiation, key exchange, ciphers, keys.
#![allow(clippy::unwrap_used)]

mod cipher;
mod exchange;
mod host_keys;
mod ident;
mod lists;
mod negotiation;
mod properties;
mod user_keys;
mod wire;
