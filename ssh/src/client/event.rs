//! What a [`Client`] tells its caller.

use alloc::string::String;

use super::Client;
use crate::algorithms::Negotiated;
use crate::channel::ChannelId;
use crate::connection::Step;
use crate::forward::ForwardId;
use crate::ident::Ident;
use crate::{Error, hostkey};

/// What happened, in the order in which it happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The server's identification line was read; its software version, fit for a log.
    Identified(&'a str),
    /// The server proved this host key. Nothing goes on until [`Client::accept_host_key`].
    HostKey {
        /// Key type, for example `ssh-ed25519`.
        key_type: &'a str,
        /// The public key as RFC 4253 section 6.6 encodes it.
        blob: &'a [u8],
    },
    /// New keys are in use; `first` for the first time.
    KeysExchanged {
        /// True for the first exchange of the connection.
        first: bool,
        /// What is in use now.
        negotiated: Negotiated,
    },
    /// Text of the server for the user (RFC 4252 section 5.4), fit for a log.
    Banner(String),
    /// Logged in with the key of this index.
    Authenticated {
        /// Index into [`super::Config::keys`].
        key: usize,
    },
    /// The server listens.
    ForwardConfirmed {
        /// Which forward.
        forward: ForwardId,
        /// The port it listens on; 0 for a Unix socket.
        port: u16,
    },
    /// The server does not listen; the forward is forgotten and may be asked for again.
    ForwardRefused {
        /// Which forward.
        forward: ForwardId,
    },
    /// The answer to [`Client::cancel_forward`].
    ForwardCancelled {
        /// Which forward.
        forward: ForwardId,
        /// False when the server kept its listener.
        done: bool,
    },
    /// The server answered a keepalive.
    KeepaliveAnswered,
    /// Somebody connected to a forward's listener. To be answered with
    /// [`Client::accept_channel`] or [`Client::refuse_channel`].
    ChannelOpened {
        /// The new channel.
        channel: ChannelId,
        /// The forward it belongs to, which the server confirmed.
        forward: ForwardId,
        /// Who connected, in the server's words, fit for a log.
        originator: &'a str,
        /// Port of the originator.
        originator_port: u32,
    },
    /// Data for a target. Every byte is to be given back through [`Client::channel_taken`] once
    /// the target took it, and not before.
    ChannelData {
        /// Which channel.
        channel: ChannelId,
        /// The bytes, in the packet they came in.
        data: &'a [u8],
    },
    /// The peer will send no more on this channel.
    ChannelEof {
        /// Which channel.
        channel: ChannelId,
    },
    /// Both sides closed; the identifier may be used again from now on.
    ChannelClosed {
        /// Which channel.
        channel: ChannelId,
    },
    /// The server made the connection of [`Client::open_direct`].
    DirectOpened {
        /// Which channel.
        channel: ChannelId,
    },
    /// The server did not make the connection of [`Client::open_direct`]; the identifier is free
    /// again.
    DirectRefused {
        /// Which channel.
        channel: ChannelId,
        /// The server's reason (RFC 4254 section 5.1: 1 prohibited, 2 connect failed, 3 unknown
        /// type, 4 resource shortage), or any other number.
        reason: u32,
        /// The server's text, fit for a log.
        text: String,
    },
}

/// How far a connection has come, for deadlines and for saying where it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the identification line.
    Identification,
    /// First key exchange.
    KeyExchange,
    /// Logging in.
    Authentication,
    /// Logged in.
    Connected,
    /// Over.
    Ended,
}

/// An event whose bytes are still to be borrowed.
pub(super) enum Found {
    Identified,
    HostKey,
    NewKeys { first: bool },
    Banner(String),
    Authenticated { key: usize },
    Opened(ChannelId),
    Connection(Step),
}

impl Client {
    pub(super) fn event(&mut self, found: Found) -> Result<Event<'_>, Error> {
        Ok(match found {
            Found::Identified => {
                Event::Identified(self.transport.ident().map_or("", Ident::software))
            }
            Found::HostKey => {
                let blob = self.transport.host_key();
                Event::HostKey {
                    key_type: hostkey::key_type(blob)?,
                    blob,
                }
            }
            Found::NewKeys { first } => {
                let negotiated = self
                    .transport
                    .negotiated()
                    .ok_or(Error::Malformed("key exchange"))?;
                Event::KeysExchanged { first, negotiated }
            }
            Found::Banner(text) => Event::Banner(text),
            Found::Authenticated { key } => Event::Authenticated { key },
            Found::Opened(channel) => {
                let described = self.connection.described(channel);
                let (forward, originator, originator_port) =
                    described.ok_or(Error::Malformed("channel number"))?;
                Event::ChannelOpened {
                    channel,
                    forward,
                    originator,
                    originator_port,
                }
            }
            Found::Connection(step) => match step {
                Step::ForwardConfirmed { forward, port } => {
                    Event::ForwardConfirmed { forward, port }
                }
                Step::ForwardRefused { forward } => Event::ForwardRefused { forward },
                Step::ForwardCancelled { forward, done } => {
                    Event::ForwardCancelled { forward, done }
                }
                Step::Data { channel, range } => Event::ChannelData {
                    channel,
                    data: self.transport.inbound.slice(range),
                },
                Step::Eof { channel } => Event::ChannelEof { channel },
                Step::Closed { channel } => Event::ChannelClosed { channel },
                Step::DirectOpened { channel } => Event::DirectOpened { channel },
                Step::DirectRefused {
                    channel,
                    reason,
                    text,
                } => Event::DirectRefused {
                    channel,
                    reason,
                    text,
                },
                Step::Handled | Step::KeepaliveAnswered => Event::KeepaliveAnswered,
            },
        })
    }
}
