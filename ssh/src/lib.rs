//! An SSH-2 client without sockets, clock or threads, made for reverse forwards.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::use_debug))]

extern crate alloc;

pub mod algorithms;
mod auth;
mod channel;
pub mod cipher;
mod client;
mod connection;
pub mod error;
mod forward;
pub mod hostkey;
pub mod ident;
pub mod kex;
pub mod limits;
mod message;
mod packet;
pub mod rng;
mod transport;
pub mod userkey;
pub mod wire;

pub use channel::ChannelId;
pub use client::{Client, Config, Event, Phase};
pub use connection::Refusal;
pub use error::Error;
pub use forward::ForwardId;
pub use rng::Rng;
pub use transport::Rekey;
