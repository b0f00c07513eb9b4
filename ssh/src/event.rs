//! What a [`Client`] tells its caller, and how its layers tell each other.

use alloc::string::String;
use alloc::vec::Vec;

#[cfg(doc)]
use crate::Client;
use crate::algorithms::Negotiated;
use crate::channel::ChannelId;
use crate::connection::{DATA_HEADER, Refusal};
use crate::forward::ForwardId;

/// What happened, in the order in which it happened.
///
/// A message that nobody else need know of is no event: the layers give `None` for it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The server's identification line was read; its software version, fit for a log.
    Identified(String),
    /// The server proved this host key. Nothing goes on until [`Client::accept_host_key`].
    HostKey {
        /// Key type, for example `ssh-ed25519`.
        key_type: &'static str,
        /// The public key as RFC 4253 section 6.6 encodes it, or its certificate
        /// ([`crate::certificate::read`]) where these were asked for.
        blob: Vec<u8>,
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
    /// Logged in.
    Authenticated {
        /// Index into [`crate::Config::keys`]; `None` when the server asked for nothing.
        key: Option<usize>,
    },
    /// The server listens.
    ForwardConfirmed {
        /// Which forward.
        forward: ForwardId,
        /// The port it listens on; 0 for a Unix socket.
        port: u16,
        /// False when the server has not replied, but sent a connection for it; its reply is
        /// then no event any more.
        replied: bool,
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
    /// The server has these host keys, that of this login among them, and others perhaps from now on
    /// (OpenSSH's PROTOCOL, section 2.5). Comes once on a connection, after the login.
    HostKeysAnnounced {
        /// At most [`crate::limits::HOST_KEYS`] blobs, each once, of any type.
        keys: Vec<Vec<u8>>,
    },
    /// The answer to [`Client::prove_host_keys`].
    HostKeysProven {
        /// Those that the server has; one that it proved with SHA-1 is not among them.
        keys: Vec<Vec<u8>>,
    },
    /// The announcement of host keys, or its proof, breaks the rules, and counts for nothing. The
    /// text says why, with "it" for the server.
    HostKeysRefused(&'static str),
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
        originator: String,
        /// Port of the originator.
        originator_port: u32,
    },
    /// The server calls a forward's address by another name than the one asked for, and its
    /// connections are taken nevertheless, since no other forward has that port. Comes once for
    /// each forward.
    AddressDiffers {
        /// Which forward.
        forward: ForwardId,
        /// The server's word for the address, fit for a log.
        address: String,
    },
    /// The server opened a channel that was refused here, for want of a forward or of room.
    OpenRefused {
        /// Why.
        refusal: Refusal,
        /// The listener that the server named, fit for a log.
        address: String,
        /// Its port; 0 for a Unix socket.
        port: u32,
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
    /// The server opened the channel of [`Client::open_direct`] or [`Client::open_session_channel`].
    OpenConfirmed {
        /// Which channel.
        channel: ChannelId,
    },
    /// The server did not open it; the identifier is free again.
    OpenFailed {
        /// Which channel.
        channel: ChannelId,
        /// The server's reason (RFC 4254 section 5.1: 1 prohibited, 2 connect failed, 3 unknown
        /// type, 4 resource shortage), or any other number.
        reason: u32,
        /// The server's text, fit for a log.
        text: String,
    },
    /// The answer to [`Client::request_program`].
    ProgramAnswered {
        /// Which channel.
        channel: ChannelId,
        /// Whether the server does it.
        done: bool,
    },
    /// The program of a session channel ended (RFC 4254 section 6.10).
    Exited {
        /// Which channel.
        channel: ChannelId,
        /// Its exit status; none if a signal ended it.
        status: Option<u32>,
    },
}

impl<'a> Event<'a> {
    /// Lends the bytes of a message's `payload` to the event that was made of it.
    pub(crate) fn lend(self, payload: &'a [u8]) -> Event<'a> {
        match self {
            Event::ChannelData { channel, .. } => Event::ChannelData {
                channel,
                data: payload.get(DATA_HEADER..).unwrap_or_default(),
            },
            other => other,
        }
    }
}
