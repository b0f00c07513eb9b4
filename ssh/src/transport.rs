//! Identification, packets, key exchange and renewal of keys as one state machine
//! (RFC 4253 sections 4 to 9).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::algorithms::{self, Negotiated, Offer};
use crate::cipher::{self, Opener, Sealer};
use crate::ident::{CLIENT_IDENT, Ident, IdentReader};
use crate::kex::{self, Exchange, Reply, Transcript};
use crate::limits::{HELD_MESSAGES, REKEY_DEADLINE_MS, REKEY_LIMIT_MS, REKEY_PACKETS};
use crate::message as msg;
use crate::packet::{Inbound, Outbound};
use crate::{Error, Rng, hostkey};

/// Where the exchange of keys stands (RFC 4253 section 7).
enum Kex {
    /// No exchange is under way.
    Idle,
    /// Our `SSH_MSG_KEXINIT` is out; the server's has not come.
    SentInit { ours: Vec<u8> },
    /// Our half of the exchange is out; the server's reply has not come.
    Exchanging {
        exchange: Exchange,
        negotiated: Negotiated,
        ours: Vec<u8>,
        theirs: Vec<u8>,
        skip_guess: bool,
    },
    /// The server proved a host key that the caller has not yet accepted.
    AwaitingCaller {
        reply: Reply,
        negotiated: Negotiated,
    },
    /// Our `SSH_MSG_NEWKEYS` is out; the server's has not come.
    AwaitingNewKeys { opener: Opener },
}

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

    fn start_kex(&mut self) -> Result<(), Error> {
        let mut cookie = [0; 16];
        self.rng.fill(&mut cookie)?;
        let mut ours = Vec::with_capacity(1024);
        algorithms::write_kexinit(&self.offer, cookie, self.session_id.is_none(), &mut ours);
        self.send_now(&ours)?;
        self.kex_started_ms = self.now_ms;
        self.kex_stepped_ms = self.now_ms;
        self.kex = Kex::SentInit { ours };
        Ok(())
    }

    /// Renews the keys when a limit says so.
    pub(crate) fn rekey_if_due(&mut self) -> Result<(), Error> {
        let idle = matches!(self.kex, Kex::Idle) && self.session_id.is_some();
        let bytes = self.inbound.bytes.max(self.outbound.bytes);
        let packets = self.inbound.packets.max(self.outbound.packets);
        let age_ms = self.now_ms - self.kex_ended_ms;
        let due = bytes >= self.rekey.bytes
            || packets >= REKEY_PACKETS
            || age_ms >= self.rekey.interval_ms;
        if idle && due {
            self.start_kex()?;
        }
        Ok(())
    }

    /// When [`Transport::handle_timeout`] has something to do, in milliseconds.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.session_id.as_ref()?;
        Some(match self.kex {
            Kex::Idle => self.kex_ended_ms.saturating_add(self.rekey.interval_ms),
            _ => self.kex_deadline_ms(),
        })
    }

    fn kex_deadline_ms(&self) -> u64 {
        let step = self.kex_stepped_ms + REKEY_DEADLINE_MS;
        step.min(self.kex_started_ms + REKEY_LIMIT_MS)
    }

    pub(crate) fn handle_timeout(&mut self) -> Result<(), Error> {
        let renewing = self.session_id.is_some() && !matches!(self.kex, Kex::Idle);
        if renewing && self.now_ms >= self.kex_deadline_ms() {
            return Err(Error::RekeyTimeout);
        }
        self.rekey_if_due()
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

    /// Which messages may come now: nothing but the exchange itself between the server's KEXINIT
    /// and its NEWKEYS (RFC 4253 section 7.1), and in the first exchange nothing else at all once
    /// it is strict (OpenSSH PROTOCOL section 1.10).
    fn check_order(&self, number: u8) -> Result<(), Error> {
        let first = self.negotiated.is_none();
        let during = match &self.kex {
            Kex::Idle => return Ok(()),
            Kex::SentInit { .. } if !first => return Ok(()),
            Kex::SentInit { .. } => "the first key exchange",
            Kex::Exchanging { .. } | Kex::AwaitingCaller { .. } => "a key exchange",
            Kex::AwaitingNewKeys { .. } => "a change of keys",
        };
        let allowed = match number {
            msg::DISCONNECT => true,
            msg::IGNORE | msg::UNIMPLEMENTED | msg::DEBUG => !(first && self.strict),
            msg::KEXINIT => matches!(self.kex, Kex::SentInit { .. }),
            30..=49 => matches!(self.kex, Kex::Exchanging { .. }),
            msg::NEWKEYS => matches!(self.kex, Kex::AwaitingNewKeys { .. }),
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::Unexpected {
                message: number,
                during,
            })
        }
    }

    fn handle_kexinit(&mut self, range: Range<usize>) -> Result<Step, Error> {
        let theirs = self.inbound.slice(range).to_vec();
        let first = self.session_id.is_none();
        let negotiated = algorithms::negotiate(&self.offer, &theirs)?;
        if first {
            self.strict = negotiated.strict;
            if self.strict && !self.inbound.last_was_first() {
                return Err(Error::Unexpected {
                    message: msg::KEXINIT,
                    during: "a strict key exchange that did not begin with it",
                });
            }
        }
        if matches!(self.kex, Kex::Idle) {
            self.start_kex()?;
        }
        let Kex::SentInit { ours } = core::mem::replace(&mut self.kex, Kex::Idle) else {
            return Err(Error::Unexpected {
                message: msg::KEXINIT,
                during: "a key exchange",
            });
        };
        let exchange = Exchange::start(negotiated.kex, &mut *self.rng)?;
        self.send_now(exchange.init_payload())?;
        let skip_guess = negotiated.ignore_guess;
        self.kex = Kex::Exchanging {
            exchange,
            negotiated,
            ours,
            theirs,
            skip_guess,
        };
        Ok(Step::Handled)
    }

    fn handle_kex_reply(&mut self, range: Range<usize>) -> Result<Step, Error> {
        let payload = self.inbound.slice(range);
        match core::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::Exchanging {
                exchange,
                negotiated,
                ours,
                theirs,
                skip_guess: true,
            } => {
                self.kex = Kex::Exchanging {
                    exchange,
                    negotiated,
                    ours,
                    theirs,
                    skip_guess: false,
                };
                Ok(Step::Handled)
            }
            Kex::Exchanging {
                exchange,
                negotiated,
                ours,
                theirs,
                ..
            } => {
                let transcript = Transcript {
                    client_ident: CLIENT_IDENT.as_bytes(),
                    server_ident: self.ident.as_ref().map_or(&[][..], Ident::line),
                    client_kexinit: &ours,
                    server_kexinit: &theirs,
                };
                let reply = exchange.finish(payload, &transcript)?;
                hostkey::verify(
                    negotiated.host_key,
                    &reply.host_key,
                    &reply.signature,
                    reply.exchange_hash.as_ref(),
                )?;
                self.proven(reply, negotiated)
            }
            _ => Err(Error::Unexpected {
                message: payload.first().copied().unwrap_or_default(),
                during: "no key exchange",
            }),
        }
    }

    /// The first host key is the caller's to judge; later ones must be the same.
    fn proven(&mut self, reply: Reply, negotiated: Negotiated) -> Result<Step, Error> {
        if self.session_id.is_none() {
            self.kex = Kex::AwaitingCaller { reply, negotiated };
            return Ok(Step::HostKey);
        }
        if reply.host_key != self.host_key {
            return Err(Error::HostKeySwapped);
        }
        self.send_newkeys(reply, negotiated)?;
        Ok(Step::Handled)
    }

    /// The caller knows the host key, so the keys may be used.
    pub(crate) fn accept_host_key(&mut self) -> Result<(), Error> {
        match core::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::AwaitingCaller { reply, negotiated } => self.send_newkeys(reply, negotiated),
            other => {
                self.kex = other;
                Ok(())
            }
        }
    }

    fn send_newkeys(&mut self, mut reply: Reply, negotiated: Negotiated) -> Result<(), Error> {
        self.host_key = core::mem::take(&mut reply.host_key);
        let session = *self.session_id.get_or_insert(reply.exchange_hash);
        // 64 bytes is the longest key (chacha20-poly1305@openssh.com), 12 the longest IV.
        let derive = |cipher, iv_letter, key_letter, out: &mut [u8; 64], iv: &mut [u8; 12]| {
            let (key_len, iv_len) = (cipher::key_len(cipher), cipher::iv_len(cipher));
            let hash = &reply.exchange_hash;
            kex::derive(
                &reply.secret,
                hash,
                session.as_ref(),
                iv_letter,
                &mut iv[..iv_len],
            );
            kex::derive(
                &reply.secret,
                hash,
                session.as_ref(),
                key_letter,
                &mut out[..key_len],
            );
            (key_len, iv_len)
        };
        let (mut key, mut iv) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 12]));
        let (k, i) = derive(negotiated.cipher_c2s, b'A', b'C', &mut key, &mut iv);
        let sealer = Sealer::new(negotiated.cipher_c2s, &key[..k], &iv[..i])?;
        let (k, i) = derive(negotiated.cipher_s2c, b'B', b'D', &mut key, &mut iv);
        let opener = Opener::new(negotiated.cipher_s2c, &key[..k], &iv[..i])?;
        self.send_now(&[msg::NEWKEYS])?;
        self.outbound.set_sealer(sealer, self.strict);
        self.kex = Kex::AwaitingNewKeys { opener };
        self.pending = Some(negotiated);
        self.release_held()
    }

    fn handle_newkeys(&mut self, range: Range<usize>) -> Result<Step, Error> {
        if range.len() != 1 {
            return Err(Error::Malformed("SSH_MSG_NEWKEYS"));
        }
        match core::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::AwaitingNewKeys { opener } => {
                self.inbound.set_opener(opener, self.strict);
                self.kex_ended_ms = self.now_ms;
                let first = self.negotiated.is_none();
                self.negotiated = self.pending.take();
                Ok(Step::NewKeys { first })
            }
            _ => Err(Error::Unexpected {
                message: msg::NEWKEYS,
                during: "no key exchange",
            }),
        }
    }
}
