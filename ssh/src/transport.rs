//! Identification, packets, key exchange and renewal of keys as one state machine
//! (RFC 4253 sections 4 to 9).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use crate::algorithms::{Negotiated, Offer};
use crate::ident::{CLIENT_IDENT, Ident, IdentReader};
use crate::kex;
use crate::limits::HELD_MESSAGES;
use crate::message as msg;
use crate::packet::{Inbound, Outbound};
use crate::{Error, Rng};

mod exchange;
use exchange::Kex;

/// What the transport made of a packet.
pub(crate) enum Step {
    /// Nothing that anybody else need know.
    Handled,
    /// The server's identification line was read.
    Identified,
    /// The server proved the first host key; [`Transport::accept_host_key`] goes on.
    HostKey,
    /// New keys are in use both ways; `first` for the first time.
    NewKeys { first: bool },
    /// A payload for the layers above (RFC 4250 section 4.1.2: 50 and more, and
    /// `SSH_MSG_SERVICE_ACCEPT`, `SSH_MSG_EXT_INFO`).
    Payload(Range<usize>),
}

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
    /// In use since the server's last NEWKEYS.
    negotiated: Option<Negotiated>,
    /// Comes into use with the server's next NEWKEYS.
    pending: Option<Negotiated>,
    strict: bool,
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
            negotiated: None,
            pending: None,
            strict: false,
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

    pub(crate) fn ident(&self) -> Option<&Ident> {
        self.ident.as_ref()
    }

    pub(crate) fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    pub(crate) fn session_id(&self) -> &[u8] {
        self.session_id.as_ref().map_or(&[], kex::Hash::as_ref)
    }

    /// The host key blob that was proven (RFC 4253 section 8).
    pub(crate) fn host_key(&self) -> &[u8] {
        match &self.kex {
            Kex::AwaitingCaller { reply, .. } => &reply.host_key,
            _ => &self.host_key,
        }
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
        self.outbound
            .begin(payload.len())?
            .extend_from_slice(payload);
        self.outbound.finish(&mut *self.rng)
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

    /// Takes the next step with the bytes at hand; `None` when more are needed, or when the
    /// caller must act first.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, Error> {
        if self.ident.is_none() {
            let (used, ident) = self.ident_reader.push(self.inbound.raw())?;
            self.inbound.consume_raw(used);
            self.ident = ident;
            return Ok(self.ident.is_some().then_some(Step::Identified));
        }
        if matches!(self.kex, Kex::AwaitingCaller { .. }) || !self.outbound.has_reserve() {
            return Ok(None);
        }
        let Some(range) = self.inbound.next()? else {
            return Ok(None);
        };
        let Some(&number) = self.inbound.slice(range.clone()).first() else {
            return Err(Error::Malformed("empty packet"));
        };
        if matches!(self.kex, Kex::SentInit { .. }) {
            self.kex_stepped_ms = self.now_ms;
        }
        self.check_order(number)?;
        match number {
            msg::DISCONNECT => Err(msg::disconnected(self.inbound.slice(range))),
            msg::IGNORE | msg::UNIMPLEMENTED | msg::DEBUG => Ok(Some(Step::Handled)),
            msg::KEXINIT => self.handle_kexinit(range).map(Some),
            msg::NEWKEYS => self.handle_newkeys(range).map(Some),
            30..=49 => self.handle_kex_reply(range).map(Some),
            msg::SERVICE_ACCEPT | msg::EXT_INFO | 50..=u8::MAX => Ok(Some(Step::Payload(range))),
            _ => {
                self.unimplemented()?;
                Ok(Some(Step::Handled))
            }
        }
    }

    /// Tells the server that its last message is not known here (RFC 4253 section 11.4).
    pub(crate) fn unimplemented(&mut self) -> Result<(), Error> {
        let [a, b, c, d] = self.inbound.last_sequence().to_be_bytes();
        self.send(&[msg::UNIMPLEMENTED, a, b, c, d])
    }
}
