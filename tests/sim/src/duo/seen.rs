//! Events of the client, to be kept and compared.

use reachback_ssh::{Event, Refusal};

/// An event of the client, without what it borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Seen {
    Identified(String),
    HostKey(Vec<u8>),
    Keys {
        first: bool,
    },
    Banner(String),
    Authenticated,
    Confirmed {
        forward: u8,
        port: u16,
    },
    /// Confirmed without a reply.
    InUse {
        forward: u8,
        port: u16,
    },
    AddressDiffers {
        forward: u8,
        address: String,
    },
    OpenRefused {
        refusal: Refusal,
        address: String,
        port: u32,
    },
    Refused {
        forward: u8,
    },
    Cancelled {
        forward: u8,
        done: bool,
    },
    KeepaliveAnswered,
    HostKeysAnnounced(Vec<Vec<u8>>),
    HostKeysProven(Vec<Vec<u8>>),
    HostKeysRefused(&'static str),
    Opened {
        channel: usize,
        forward: u8,
    },
    Data {
        channel: usize,
        data: Vec<u8>,
    },
    Eof {
        channel: usize,
    },
    Closed {
        channel: usize,
    },
    OpenConfirmed {
        channel: usize,
    },
    OpenFailed {
        channel: usize,
        reason: u32,
        text: String,
    },
    ProgramAnswered {
        channel: usize,
        done: bool,
    },
    Exited {
        channel: usize,
        status: Option<u32>,
    },
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        match event {
            Event::Identified(software) => Seen::Identified(software),
            Event::HostKey { blob, .. } => Seen::HostKey(blob),
            Event::KeysExchanged { first, .. } => Seen::Keys { first },
            Event::Banner(text) => Seen::Banner(text),
            Event::Authenticated { .. } => Seen::Authenticated,
            Event::ForwardConfirmed {
                forward,
                port,
                replied: true,
            } => Seen::Confirmed {
                forward: forward.0,
                port,
            },
            Event::ForwardConfirmed {
                forward,
                port,
                replied: false,
            } => Seen::InUse {
                forward: forward.0,
                port,
            },
            Event::AddressDiffers { forward, address } => Seen::AddressDiffers {
                forward: forward.0,
                address,
            },
            Event::OpenRefused {
                refusal,
                address,
                port,
            } => Seen::OpenRefused {
                refusal,
                address,
                port,
            },
            Event::ForwardRefused { forward } => Seen::Refused { forward: forward.0 },
            Event::ForwardCancelled { forward, done } => Seen::Cancelled {
                forward: forward.0,
                done,
            },
            Event::KeepaliveAnswered => Seen::KeepaliveAnswered,
            Event::HostKeysAnnounced { keys } => Seen::HostKeysAnnounced(keys),
            Event::HostKeysProven { keys } => Seen::HostKeysProven(keys),
            Event::HostKeysRefused(why) => Seen::HostKeysRefused(why),
            Event::ChannelOpened {
                channel, forward, ..
            } => Seen::Opened {
                channel: channel.index(),
                forward: forward.0,
            },
            Event::ChannelData { channel, data } => Seen::Data {
                channel: channel.index(),
                data: data.to_vec(),
            },
            Event::ChannelEof { channel } => Seen::Eof {
                channel: channel.index(),
            },
            Event::ChannelClosed { channel } => Seen::Closed {
                channel: channel.index(),
            },
            Event::OpenConfirmed { channel } => Seen::OpenConfirmed {
                channel: channel.index(),
            },
            Event::OpenFailed {
                channel,
                reason,
                text,
            } => Seen::OpenFailed {
                channel: channel.index(),
                reason,
                text,
            },
            Event::ProgramAnswered { channel, done } => Seen::ProgramAnswered {
                channel: channel.index(),
                done,
            },
            Event::Exited { channel, status } => Seen::Exited {
                channel: channel.index(),
                status,
            },
        }
    }
}
