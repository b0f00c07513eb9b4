//! An SSH-2 client without sockets, clock or threads, made for reverse forwards.
//!
//! The caller moves the bytes, says what time it is, and does what the events ask for:
//!
//! ```
//! use std::io::{self, Read, Write};
//!
//! use reachback_ssh::{Client, Event, ForwardId, Refusal};
//!
//! /// One turn: what came from the server, what it means, and what goes back.
//! fn turn(client: &mut Client, socket: &mut (impl Read + Write), now_ms: u64) -> io::Result<()> {
//!     let n = socket.read(client.input_space())?;
//!     client.handle_input(n, now_ms);
//!     handle_events(client).map_err(|error| io::Error::other(error.to_string()))?;
//!     let n = socket.write(client.poll_output())?;
//!     client.handle_written(n);
//!     Ok(())
//! }
//!
//! fn handle_events(client: &mut Client) -> Result<(), reachback_ssh::Error> {
//!     while let Some(event) = client.poll_event()? {
//!         match event {
//!             // The caller compares it with the key it knows.
//!             Event::HostKey { .. } => client.accept_host_key()?,
//!             Event::Authenticated { .. } => {
//!                 client.request_forward(ForwardId(0), "localhost", 8022)?
//!             }
//!             Event::ForwardConfirmed { port, .. } => println!("the server listens on {port}"),
//!             Event::ChannelOpened { channel, .. } => {
//!                 client.refuse_channel(channel, Refusal::ConnectFailed, "no target")?
//!             }
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! # use reachback_ssh::{Config, Error, Rekey, Rng, algorithms::Offer};
//! # struct Counter;
//! # impl Rng for Counter {
//! #     fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error> { buf.fill(0); Ok(()) }
//! # }
//! # let rekey = Rekey { bytes: 1 << 30, interval_ms: 3_600_000 };
//! # let config = Config { user: "controller".into(), keys: [].into(), offer: Offer::default(), rekey };
//! # let mut client = Client::new(config, Box::new(Counter), 0).unwrap();
//! # let mut socket = io::Cursor::new(b"SSH-2.0-Example\r\n".to_vec());
//! # turn(&mut client, &mut socket, 0).unwrap();
//! # assert!(socket.into_inner().windows(8).any(|said| said == b"SSH-2.0-"));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::use_debug))]

extern crate alloc;

pub mod algorithms;
mod auth;
pub mod certificate;
mod channel;
pub mod cipher;
mod client;
mod connection;
pub mod error;
mod event;
mod forward;
pub mod hostkey;
pub mod ident;
pub mod interactive;
pub mod kex;
pub mod limits;
mod message;
mod packet;
pub mod rng;
mod transport;
pub mod userkey;
pub mod wire;

pub use channel::{ChannelId, Program};
pub use client::{Client, Config, Phase};
pub use connection::Refusal;
pub use error::Error;
pub use event::Event;
pub use forward::ForwardId;
pub use rng::Rng;
pub use transport::Rekey;
