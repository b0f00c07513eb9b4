//! The client whole: bytes, time and commands in; bytes, events and deadlines out.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use zeroize::Zeroizing;

use crate::algorithms::{Negotiated, Offer};
use crate::auth::Auth;
use crate::channel::{ChannelId, Program};
use crate::connection::{Connection, Refusal};
use crate::forward::ForwardId;
use crate::limits::{LOGIN_PACKET_LENGTH, PACKET_LENGTH};
use crate::message as msg;
use crate::transport::{Rekey, Transport};
use crate::userkey::UserKey;
use crate::wire::Put;
use crate::{Error, Event, Rng};

/// What a connection is made with.
pub struct Config {
    /// Name to log in with.
    pub user: String,
    /// Keys to try in this order, at most [`crate::limits::USER_KEYS`].
    pub keys: Rc<[UserKey]>,
    /// Algorithms, in order of preference.
    pub offer: Offer,
    /// When keys are renewed.
    pub rekey: Rekey,
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

/// An SSH connection without its socket.
///
/// After an [`Error`], or after [`Client::disconnect`], it only has its last bytes to give.
pub struct Client {
    transport: Transport,
    auth: Auth,
    connection: Connection,
    phase: Phase,
}

impl Client {
    /// A client for one connection; its first bytes are ready to be written at once. `now_ms` is
    /// any monotonic clock in milliseconds, the same for all calls.
    pub fn new(config: Config, rng: Box<dyn Rng>, now_ms: u64) -> Result<Client, Error> {
        Ok(Client {
            auth: Auth::new(config.user, config.keys, config.offer.user_keys.clone()),
            transport: Transport::new(config.offer, config.rekey, rng, now_ms)?,
            connection: Connection::new(),
            phase: Phase::Identification,
        })
    }

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the server said before its identification line, cut and escaped for a log: servers
    /// that turn a caller away give their reason there. Empty when it said nothing.
    pub fn said_before_identification(&self) -> String {
        self.transport.said()
    }

    /// Where to read bytes of the network to. Empty while [`Client::poll_event`] has to be
    /// called first, or the output has to drain.
    pub fn input_space(&mut self) -> &mut [u8] {
        self.transport.inbound.space()
    }

    /// What of the buffers holds nothing: for a caller that can give the memory back which a transfer
    /// used. What is in it afterwards does not matter.
    pub fn unused_memory(&mut self) -> (&mut [u8], &mut [MaybeUninit<u8>]) {
        let Transport {
            inbound, outbound, ..
        } = &mut self.transport;
        (inbound.space(), outbound.unused())
    }

    /// `n` bytes were read into [`Client::input_space`].
    pub fn handle_input(&mut self, n: usize, now_ms: u64) {
        self.transport.set_now(now_ms);
        self.transport.inbound.filled(n);
    }

    /// The next event; `None` when more input, or an answer of the caller, is needed. An error
    /// is final; bytes that tell the server why may still be written.
    pub fn poll_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        let event = self.poll_unlent()?;
        Ok(event.map(|event| self.lend(event)))
    }

    /// The next event, without the bytes that it lends.
    pub(crate) fn poll_unlent(&mut self) -> Result<Option<Event<'static>>, Error> {
        if self.phase == Phase::Ended {
            return Ok(None);
        }
        let event = self.next_event();
        self.checked(event)
    }

    pub(crate) fn lend<'a>(&'a self, event: Event<'a>) -> Event<'a> {
        event.lend(self.transport.inbound.payload())
    }

    pub(crate) fn auth(&mut self) -> &mut Auth {
        &mut self.auth
    }

    /// For an interactive login: answers to its prompts; false when they cannot be sent yet.
    pub(crate) fn answer(&mut self, answers: &[Zeroizing<Vec<u8>>]) -> Result<bool, Error> {
        if self.phase != Phase::Authentication {
            return Ok(true);
        }
        let result = self.auth.answer(answers, &mut self.transport);
        self.checked(result)
    }

    /// Bytes to write to the network now.
    pub fn poll_output(&self) -> &[u8] {
        self.transport.outbound.pending()
    }

    /// The network took the first `n` bytes of [`Client::poll_output`].
    pub fn handle_written(&mut self, n: usize) {
        self.transport.outbound.written(n);
    }

    /// True while no packet is handled because answers would find no room: the server asks
    /// without reading. [`Client::handle_written`] ends it.
    pub fn waits_for_output(&self) -> bool {
        !self.transport.outbound.has_reserve()
    }

    /// Channel data is added while less than so many bytes are unwritten, in packets that are no longer;
    /// at most, and at first, [`crate::limits::OUTBOUND_HIGH`].
    pub fn set_data_limit(&mut self, bytes: usize) {
        self.transport.outbound.set_high(bytes);
    }

    /// When [`Client::handle_timeout`] is to be called: the keys are due for renewal, or their
    /// renewal is overdue.
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.phase == Phase::Connected {
            self.transport.poll_timeout()
        } else {
            None
        }
    }

    /// Time passed. An error is final.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), Error> {
        self.transport.set_now(now_ms);
        if self.phase != Phase::Connected {
            return Ok(());
        }
        let result = self.transport.handle_timeout();
        self.checked(result)
    }

    /// The caller knows the key of [`Event::HostKey`]; the connection goes on.
    pub fn accept_host_key(&mut self) -> Result<(), Error> {
        let result = self.transport.accept_host_key();
        self.checked(result)
    }

    /// What was agreed on, from [`Event::HostKey`] to [`Client::accept_host_key`].
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.transport.negotiated()
    }

    /// Asks the server to listen on `port` of `bind` (RFC 4254 section 7.1: empty for all
    /// addresses, `localhost` for loopback). The answer is an event.
    pub fn request_forward(&mut self, id: ForwardId, bind: &str, port: u16) -> Result<(), Error> {
        self.command(|connection, transport| connection.request_forward(id, bind, port, transport))
    }

    /// Asks the server to listen on a Unix socket (OpenSSH's PROTOCOL, 2.4). The answer is an
    /// event, as for a port, with port 0.
    pub fn request_socket_forward(&mut self, id: ForwardId, path: &str) -> Result<(), Error> {
        self.command(|connection, transport| connection.request_socket_forward(id, path, transport))
    }

    /// Takes a confirmed forward back. The answer is an event; without a confirmed forward of
    /// that name nothing is sent.
    pub fn cancel_forward(&mut self, id: ForwardId) -> Result<(), Error> {
        self.command(|connection, transport| connection.cancel_forward(id, transport))
    }

    /// Asks for a sign of life.
    pub fn keepalive(&mut self) -> Result<(), Error> {
        self.command(Connection::keepalive)
    }

    /// Asks the server for proofs of keys that it announced ([`Event::HostKeysAnnounced`]), once. The
    /// answer is an event.
    pub fn prove_host_keys(&mut self, keys: Vec<Vec<u8>>) -> Result<(), Error> {
        self.command(|connection, transport| connection.prove_host_keys(keys, transport))
    }

    /// Whether a host key is of use here: its type is offered, and RSA has 2048 to 8192 bits.
    pub fn takes_host_key(&self, blob: &[u8]) -> bool {
        self.transport.takes_host_key(blob)
    }

    /// The host key of this connection; empty before [`Client::accept_host_key`].
    pub fn host_key(&self) -> &[u8] {
        self.transport.host_key()
    }

    /// The target answered: the channel is open.
    pub fn accept_channel(&mut self, id: ChannelId) -> Result<(), Error> {
        self.command(|connection, transport| connection.accept(id, transport))
    }

    /// Asks the server to connect to `port` of `host` as it sees them (RFC 4254 section 7.2,
    /// `direct-tcpip`). The answer is an event, however long the server takes; a channel that is
    /// closed before is closed as soon as it is answered. `None` when every channel is in use.
    pub fn open_direct(&mut self, host: &str, port: u16) -> Result<Option<ChannelId>, Error> {
        self.command(|connection, transport| connection.open_direct(host, port, transport))
    }

    /// Opens a session channel (RFC 4254 section 6.1), on which nothing runs. The answer is an event.
    /// `None` when every channel is in use.
    pub fn open_session_channel(&mut self) -> Result<Option<ChannelId>, Error> {
        self.command(Connection::open_session_channel)
    }

    /// Asks the server to run a program on an open session channel. The answer is an event; what it
    /// prints comes as [`Event::ChannelData`], without what it prints on its standard error.
    pub fn request_program(&mut self, id: ChannelId, program: Program<'_>) -> Result<(), Error> {
        self.command(|connection, transport| connection.request_program(id, program, transport))
    }

    /// The channel of [`Event::ChannelOpened`] cannot be served; its identifier is free again. A
    /// channel that was accepted already is closed.
    pub fn refuse_channel(
        &mut self,
        id: ChannelId,
        refusal: Refusal,
        text: &str,
    ) -> Result<(), Error> {
        self.command(|connection, transport| connection.refuse(id, refusal, text, transport))
    }

    /// The target took `n` bytes of the channel's data, so the peer may send as many more.
    pub fn channel_taken(&mut self, id: ChannelId, n: usize) -> Result<(), Error> {
        self.command(|connection, transport| connection.taken(id, n, transport))
    }

    /// What the peer may send on the channel before the target has taken it; none of one that is closed.
    pub fn channel_window(&self, id: ChannelId) -> usize {
        self.connection.window(id)
    }

    /// Doubles the channel's window up to [`crate::limits::WIDEST_WINDOW`], with at most `most` bytes
    /// more. A target that falls behind makes it narrow again.
    pub fn channel_widen(&mut self, id: ChannelId, most: usize) {
        self.connection.widen(id, most);
    }

    /// Room for up to `most` bytes of the target, in the packet they will travel in; `None` while the peer's
    /// window, an exchange of keys or unwritten output forbid it. To be followed by
    /// [`Client::channel_filled`].
    pub fn channel_space(
        &mut self,
        id: ChannelId,
        most: usize,
    ) -> Result<Option<&mut [u8]>, Error> {
        if self.phase == Phase::Ended {
            return Ok(None);
        }
        self.connection.data_space(id, most, &mut self.transport)
    }

    /// Whether [`Client::channel_space`] would give room.
    pub fn channel_takes_data(&self, id: ChannelId) -> bool {
        self.connection.takes_data(id, &self.transport)
    }

    /// Whether the peer's window has room for data of the channel, whatever waits before it.
    pub fn channel_peer_takes_data(&self, id: ChannelId) -> bool {
        self.connection.peer_takes_data(id)
    }

    /// The target's bytes fill the first `n` bytes of [`Client::channel_space`]; 0 drops it.
    pub fn channel_filled(&mut self, id: ChannelId, n: usize) -> Result<(), Error> {
        self.command(|connection, transport| {
            connection.data_filled(id, n, transport)?;
            transport.rekey_if_due()
        })
    }

    /// The target will send no more.
    pub fn channel_eof(&mut self, id: ChannelId) -> Result<(), Error> {
        self.command(|connection, transport| connection.eof(id, transport))
    }

    /// The channel is done with; it ends with [`Event::ChannelClosed`].
    pub fn channel_close(&mut self, id: ChannelId) -> Result<(), Error> {
        self.command(|connection, transport| connection.close(id, transport))
    }

    /// Says goodbye (RFC 4253 section 11.1: 11 is "by application"); only the last bytes remain
    /// to be written.
    pub fn disconnect(&mut self, reason: u32, text: &str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        let mut payload = Vec::with_capacity(64);
        payload.put_u8(msg::DISCONNECT);
        payload.put_u32(reason);
        payload.put_string(text.as_bytes());
        payload.put_string(b"");
        // A full buffer leaves no room for manners.
        let _ = self.transport.send_now(&payload);
    }

    /// Carries out a command; once the connection is over, nothing.
    fn command<T: Default>(
        &mut self,
        run: impl FnOnce(&mut Connection, &mut Transport) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.phase == Phase::Ended {
            return Ok(T::default());
        }
        let result = run(&mut self.connection, &mut self.transport);
        self.checked(result)
    }

    fn checked<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.end(error);
        }
        result
    }

    /// Tells the server why, in RFC 4250's reason codes, unless it left first.
    fn end(&mut self, error: &Error) {
        let reason = match error {
            Error::Disconnected { .. } => {
                self.phase = Phase::Ended;
                return;
            }
            Error::NoCommon { .. } => 3,
            Error::BadTag => 5,
            Error::BadHostSignature | Error::HostKeySwapped => 9,
            Error::AuthRefused { .. } => 14,
            Error::Crypto(_) | Error::Rng | Error::RekeyTimeout => 11,
            Error::Malformed(_) | Error::Unexpected { .. } | Error::Limit(_) => 2,
        };
        self.disconnect(reason, "");
    }

    fn next_event(&mut self) -> Result<Option<Event<'static>>, Error> {
        if self.phase == Phase::Identification {
            let identified = self.transport.identify()?;
            if identified.is_some() {
                self.phase = Phase::KeyExchange;
            }
            return Ok(identified);
        }
        loop {
            if let Some(event) = self.connection.announce() {
                return Ok(Some(event));
            }
            self.transport.rekey_if_due()?;
            let Some(number) = self.transport.next_message()? else {
                return Ok(None);
            };
            if let Some(event) = self.handle(number)? {
                self.advance(&event)?;
                return Ok(Some(event));
            }
        }
    }

    /// Which layer a message is for depends on how far the connection has come: nothing of the
    /// connection layer before authentication (RFC 4252 section 6).
    fn handle(&mut self, number: u8) -> Result<Option<Event<'static>>, Error> {
        let transport = &mut self.transport;
        match (number, self.phase) {
            (msg::EXT_INFO, _) => {
                self.auth.handle_ext_info(transport.inbound.payload())?;
                Ok(None)
            }
            (msg::UNIMPLEMENTED, Phase::Connected) => self.connection.not_implemented(transport),
            (0..50, _) if number != msg::SERVICE_ACCEPT => transport.handle(number),
            (_, Phase::Authentication) => self.auth.handle(transport),
            // Answers to authentication that come late are to be ignored (RFC 4252 section 5.3).
            (50..80, Phase::Connected) => Ok(None),
            (80.., Phase::Connected) => self.connection.handle(transport),
            (message, Phase::Connected) => Err(Error::Unexpected {
                message,
                during: "the connection",
            }),
            (message, _) => Err(Error::Unexpected {
                message,
                during: "the key exchange",
            }),
        }
    }

    /// Some events take the connection a phase further.
    fn advance(&mut self, event: &Event<'_>) -> Result<(), Error> {
        match event {
            Event::KeysExchanged { first: true, .. } => {
                self.phase = Phase::Authentication;
                self.transport.inbound.set_longest(LOGIN_PACKET_LENGTH);
                self.auth.start(&mut self.transport)
            }
            Event::Authenticated { .. } => {
                self.phase = Phase::Connected;
                self.transport.inbound.set_longest(PACKET_LENGTH);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
