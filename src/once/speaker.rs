//! The clients that a [`Connection`](super::Connection) can be driven with, and what they say.

use reachback_ssh::interactive::Prompts;
use reachback_ssh::{ChannelId, Client, Error, Event};

/// `SSH_DISCONNECT_BY_APPLICATION` (RFC 4250 section 4.2.2).
pub const BY_APPLICATION: u32 = 11;

/// An SSH client without its socket.
pub trait Speaker {
    /// What it has to say next; none when it needs more input.
    fn next(&mut self) -> Result<Option<Heard>, Error>;

    /// Sends what waited until it could be sent.
    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// As [`Client::input_space`].
    fn input_space(&mut self) -> &mut [u8];

    /// As [`Client::handle_input`].
    fn handle_input(&mut self, n: usize, now_ms: u64);

    /// As [`Client::poll_output`].
    fn poll_output(&self) -> &[u8];

    /// As [`Client::handle_written`].
    fn handle_written(&mut self, n: usize);

    /// As [`Client::said_before_identification`].
    fn said_before_identification(&self) -> String;

    /// As [`Client::disconnect`].
    fn goodbye(&mut self);
}

/// The part of [`Speaker`] that a client has under the same names.
macro_rules! speaks {
    ($($client:ident)?) => {
        fn input_space(&mut self) -> &mut [u8] {
            self$(.$client)?.input_space()
        }

        fn handle_input(&mut self, n: usize, now_ms: u64) {
            self$(.$client)?.handle_input(n, now_ms);
        }

        fn poll_output(&self) -> &[u8] {
            self$(.$client)?.poll_output()
        }

        fn handle_written(&mut self, n: usize) {
            self$(.$client)?.handle_written(n);
        }

        fn said_before_identification(&self) -> String {
            self$(.$client)?.said_before_identification()
        }

        fn goodbye(&mut self) {
            self$(.$client)?.disconnect($crate::once::BY_APPLICATION, "");
        }
    };
}
pub(crate) use speaks;

impl Speaker for Client {
    fn next(&mut self) -> Result<Option<Heard>, Error> {
        Ok(self.poll_event()?.map(heard))
    }

    speaks!();
}

/// What the client has to say, as far as it matters to one who waits.
pub enum Heard {
    /// [`Event::Identified`].
    Identified(String),
    /// [`Event::HostKey`].
    HostKey(&'static str, Vec<u8>),
    /// [`Event::Banner`].
    Banner(String),
    /// [`Step::Ask`](reachback_ssh::interactive::Step::Ask).
    Ask(Prompts),
    /// Logged in; with which key.
    Authenticated(Option<usize>),
    /// The channel that was asked for is open.
    Opened(ChannelId),
    /// There is none, or no program on it; reason (RFC 4254 section 5.1) and why.
    NotOpened(u32, String),
    /// The program printed this.
    Printed(ChannelId, Vec<u8>),
    /// A channel is closed.
    Closed,
    /// The server listens on this port, or it does not.
    Listens(Option<u16>),
    /// Somebody connected to the listener of a forward; there is one.
    Came(ChannelId),
    /// The server was asked to listen no more, and has answered.
    Cancelled,
    /// Nothing to do for.
    Other,
}

/// An event, with what matters of it.
pub fn heard(event: Event<'_>) -> Heard {
    match event {
        Event::HostKey { key_type, blob } => Heard::HostKey(key_type, blob),
        Event::Identified(software) => Heard::Identified(software),
        Event::Banner(text) => Heard::Banner(text),
        Event::Authenticated { key } => Heard::Authenticated(key),
        Event::OpenConfirmed { channel } => Heard::Opened(channel),
        Event::OpenFailed { text, reason, .. } => Heard::NotOpened(reason, text),
        Event::ProgramAnswered { done: false, .. } => {
            Heard::NotOpened(0, "it runs no commands".to_owned())
        }
        Event::ChannelData { channel, data } => Heard::Printed(channel, data.to_vec()),
        Event::ChannelClosed { .. } => Heard::Closed,
        Event::ForwardConfirmed { port, .. } => Heard::Listens(Some(port)),
        Event::ForwardRefused { .. } => Heard::Listens(None),
        Event::ForwardCancelled { .. } => Heard::Cancelled,
        Event::ChannelOpened { channel, .. } => Heard::Came(channel),
        _ => Heard::Other,
    }
}
