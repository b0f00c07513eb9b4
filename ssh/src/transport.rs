//! Identification, packets, key exchange and renewal of keys as one state machine
//! (RFC 4253 sections 4 to 9).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::algorithms::Offer;
use crate::ident::{CLIENT_IDENT, Ident, IdentReader};
use crate::kex;
use crate::limits::{GLOBAL_REQUESTS, HELD_MESSAGES, SECRET_LENGTH};
use crate::message as msg;
use crate::packet::{Inbound, Outbound};
use crate::{Error, Event, Rng, hostkey};

mod exchange;
use exchange::Kex;

/// When keys are renewed (RFC 4253 section 9, RFC 4344 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rekey {
    /// Bytes in either direction.
    pub bytes: u64,
    /// Milliseconds since the last exchange.
    pub interval_ms: u64,
}

pub(crate) struct Transport {
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) rng: Box<dyn Rng>,
    offer: Offer,
    kex: Kex,
    ident_reader: IdentReader,
    ident: Option<Ident>,
    session_id: Option<kex::Hash>,
    host_key: Vec<u8>,
    /// The first exchange of keys is over.
    exchanged: bool,
    strict: bool,
    /// Sequence numbers of the global requests that went out and wait for a reply, in order:
    /// `SSH_MSG_UNIMPLEMENTED` names a message by its number.
    pub(crate) requests: VecDeque<u32>,
    /// Control messages held back between our KEXINIT and our NEWKEYS, each behind its length.
    held: Vec<u8>,
    rekey: Rekey,
    kex_started_ms: u64,
    kex_stepped_ms: u64,
    kex_ended_ms: u64,
    /// Renewals in a row that the server began sooner than anybody needs.
    hasty: u32,
    now_ms: u64,
}

impl Transport {
    pub(crate) fn new(
        offer: Offer,
        rekey: Rekey,
        rng: Box<dyn Rng>,
        now_ms: u64,
    ) -> Result<Transport, Error> {
        let mut transport = Transport {
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            rng,
            offer,
            kex: Kex::Idle,
            ident_reader: IdentReader::new(),
            ident: None,
            session_id: None,
            host_key: Vec::new(),
            exchanged: false,
            strict: false,
            requests: VecDeque::with_capacity(GLOBAL_REQUESTS),
            held: Vec::new(),
            rekey,
            kex_started_ms: now_ms,
            kex_stepped_ms: now_ms,
            kex_ended_ms: now_ms,
            hasty: 0,
            now_ms,
        };
        transport.outbound.push_raw(CLIENT_IDENT.as_bytes());
        transport.outbound.push_raw(b"\r\n");
        transport.start_kex()?;
        Ok(transport)
    }

    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(crate) fn session_id(&self) -> &[u8] {
        self.session_id.as_ref().map_or(&[], kex::Hash::as_ref)
    }

    pub(crate) fn host_key(&self) -> &[u8] {
        &self.host_key
    }

    pub(crate) fn takes_host_key(&self, blob: &[u8]) -> bool {
        let named = hostkey::key_type(blob);
        let mut offered = self.offer.host_keys.iter();
        offered.any(|offered| named == Ok(offered.key_type())) && hostkey::has_good_length(blob)
    }

    /// False between our KEXINIT and our NEWKEYS (RFC 4253 section 7.1).
    pub(crate) fn may_send(&self) -> bool {
        matches!(self.kex, Kex::Idle | Kex::AwaitingNewKeys { .. }) && self.session_id.is_some()
    }

    /// Sends a message above the transport layer, or holds it until the exchange of keys is over.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<(), Error> {
        if self.may_send() && self.held.is_empty() {
            return self.send_now(payload);
        }
        if self.held.len() + payload.len() + 2 > HELD_MESSAGES {
            return Err(Error::Limit("messages during a key exchange"));
        }
        self.held
            .extend_from_slice(&(payload.len() as u16).to_be_bytes());
        self.held.extend_from_slice(payload);
        Ok(())
    }

    /// Sends at once, whatever the exchange of keys: for the transport's own messages.
    pub(crate) fn send_now(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.first() == Some(&msg::GLOBAL_REQUEST) {
            self.requests.push_back(self.outbound.next_sequence());
        }
        self.outbound
            .begin(payload.len())?
            .extend_from_slice(payload);
        self.outbound.finish(&mut *self.rng)
    }

    /// Sends a message of authentication whose length is to stay a secret: a password, or answers to
    /// prompts. False while an exchange of keys forbids it: no copy is held.
    pub(crate) fn send_secret(&mut self, payload: &[u8]) -> Result<bool, Error> {
        if !self.may_send() || !self.held.is_empty() {
            return Ok(false);
        }
        self.outbound
            .begin(payload.len() + SECRET_LENGTH)?
            .extend_from_slice(payload);
        self.outbound.finish_padded(SECRET_LENGTH, &mut *self.rng)?;
        Ok(true)
    }

    fn release_held(&mut self) -> Result<(), Error> {
        let held = core::mem::take(&mut self.held);
        let mut rest = &held[..];
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (payload, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
            self.send_now(payload)?;
            rest = tail;
        }
        Ok(())
    }

    /// Reads the server's identification line; `None` while it is not whole.
    pub(crate) fn identify(&mut self) -> Result<Option<Event<'static>>, Error> {
        let (used, ident) = self.ident_reader.push(self.inbound.raw())?;
        self.inbound.consume_raw(used);
        self.ident = ident;
        let software = self.ident.as_ref().map(|ident| ident.software().into());
        Ok(software.map(Event::Identified))
    }

    /// What the server said before its identification line.
    pub(crate) fn said(&self) -> String {
        self.ident_reader.said()
    }

    /// Opens the next packet and gives the number of its message, whose payload is then
    /// [`Inbound::payload`]. `None` when more bytes are needed, when the caller must act first,
    /// or when answers would find no room.
    pub(crate) fn next_message(&mut self) -> Result<Option<u8>, Error> {
        let waits = matches!(self.kex, Kex::AwaitingCaller { .. }) || !self.outbound.has_reserve();
        if waits || !self.inbound.next()? {
            return Ok(None);
        }
        let Some(&number) = self.inbound.payload().first() else {
            return Err(Error::Malformed("empty packet"));
        };
        if matches!(self.kex, Kex::SentInit { .. }) {
            self.kex_stepped_ms = self.now_ms;
        }
        self.check_order(number)?;
        Ok(Some(number))
    }

    /// A message of the transport layer (RFC 4250 section 4.1.2: below 50).
    pub(crate) fn handle(&mut self, number: u8) -> Result<Option<Event<'static>>, Error> {
        match number {
            msg::DISCONNECT => Err(msg::disconnected(self.inbound.payload())),
            msg::IGNORE | msg::UNIMPLEMENTED | msg::DEBUG => Ok(None),
            msg::KEXINIT => self.handle_kexinit(),
            msg::NEWKEYS => self.handle_newkeys(),
            30..=49 => self.handle_kex_reply(),
            _ => self.unimplemented(),
        }
    }

    /// Tells the server that its last message is not known here (RFC 4253 section 11.4).
    pub(crate) fn unimplemented(&mut self) -> Result<Option<Event<'static>>, Error> {
        let [a, b, c, d] = self.inbound.last_sequence().to_be_bytes();
        self.send(&[msg::UNIMPLEMENTED, a, b, c, d])?;
        Ok(None)
    }
}
