//! The exchange of keys, the first one and every renewal (RFC 4253 sections 7 to 9).

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::Transport;
use crate::algorithms::{self, Cipher, Mac, Negotiated};
use crate::cipher::{self, Keys, MAX_IV, MAX_KEY, MAX_TAG, Opener, Sealer};
use crate::ident::{CLIENT_IDENT, Ident};
use crate::kex::{self, Exchange, Reply, Transcript};
use crate::limits::{
    HASTY_REKEY_BYTES, HASTY_REKEY_MS, HASTY_REKEYS, REKEY_DEADLINE_MS, REKEY_LIMIT_MS,
    REKEY_PACKETS,
};
use crate::message as msg;
use crate::{Error, Event, certificate, hostkey};

/// Where the exchange of keys stands (RFC 4253 section 7).
pub(super) enum Kex {
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
    AwaitingNewKeys {
        opener: Opener,
        negotiated: Negotiated,
    },
}

/// Room for the keys of one direction.
struct KeyBytes {
    key: Zeroizing<[u8; MAX_KEY]>,
    iv: [u8; MAX_IV],
    mac: Zeroizing<[u8; MAX_TAG]>,
}

impl KeyBytes {
    fn new() -> KeyBytes {
        KeyBytes {
            key: Zeroizing::new([0; MAX_KEY]),
            iv: [0; MAX_IV],
            mac: Zeroizing::new([0; MAX_TAG]),
        }
    }

    /// Derives the initial IV, the encryption key and the integrity key by their letters
    /// (RFC 4253 section 7.2).
    fn derive(
        &mut self,
        cipher: Cipher,
        mac: Option<Mac>,
        letters: &[u8; 3],
        reply: &Reply,
        session: &kex::Hash,
    ) -> Keys<'_> {
        let iv = &mut self.iv[..cipher::iv_len(cipher)];
        let key = &mut self.key[..cipher::key_len(cipher)];
        let mac = &mut self.mac[..mac.map_or(0, cipher::mac_key_len)];
        let (secret, hash) = (&reply.secret, &reply.exchange_hash);
        kex::derive(secret, hash, session.as_ref(), letters[0], iv);
        kex::derive(secret, hash, session.as_ref(), letters[1], key);
        kex::derive(secret, hash, session.as_ref(), letters[2], mac);
        Keys { key, iv, mac }
    }
}

impl Transport {
    pub(super) fn start_kex(&mut self) -> Result<(), Error> {
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
        let bytes = self.bytes_under_keys();
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

    /// In the busier direction.
    fn bytes_under_keys(&self) -> u64 {
        self.inbound.bytes.max(self.outbound.bytes)
    }

    /// A server that renews without end would have all of the controller's processor.
    fn check_haste(&mut self) -> Result<(), Error> {
        let soon = self.now_ms - self.kex_ended_ms < HASTY_REKEY_MS;
        if soon && self.bytes_under_keys() < HASTY_REKEY_BYTES {
            self.hasty += 1;
        } else {
            self.hasty = 0;
        }
        if self.hasty > HASTY_REKEYS {
            return Err(Error::Limit("renewals of keys"));
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

    /// Which messages may come now: nothing but the exchange itself between the server's KEXINIT
    /// and its NEWKEYS (RFC 4253 section 7.1), and in the first exchange nothing else at all once
    /// it is strict (OpenSSH PROTOCOL section 1.10).
    pub(super) fn check_order(&self, number: u8) -> Result<(), Error> {
        let first = !self.exchanged;
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

    pub(super) fn handle_kexinit(&mut self) -> Result<Option<Event<'static>>, Error> {
        let theirs = self.inbound.payload().to_vec();
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
            self.check_haste()?;
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
        Ok(None)
    }

    pub(super) fn handle_kex_reply(&mut self) -> Result<Option<Event<'static>>, Error> {
        let payload = self.inbound.payload();
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
                Ok(None)
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
                let certified;
                let key = match negotiated.certificate {
                    true => {
                        certified = certificate::read(&reply.host_key)?.key;
                        &certified
                    }
                    false => &reply.host_key,
                };
                hostkey::verify(
                    negotiated.host_key,
                    key,
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
    fn proven(
        &mut self,
        reply: Reply,
        negotiated: Negotiated,
    ) -> Result<Option<Event<'static>>, Error> {
        if self.session_id.is_none() {
            let event = Event::HostKey {
                key_type: negotiated.host_key.key_type(),
                blob: reply.host_key.clone(),
            };
            self.kex = Kex::AwaitingCaller { reply, negotiated };
            return Ok(Some(event));
        }
        if reply.host_key != self.host_key {
            return Err(Error::HostKeySwapped);
        }
        self.send_newkeys(reply, negotiated)?;
        Ok(None)
    }

    /// What was agreed on, while the caller judges the host key.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        match &self.kex {
            Kex::AwaitingCaller { negotiated, .. } => Some(negotiated),
            _ => None,
        }
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
        let Negotiated {
            cipher_c2s,
            cipher_s2c,
            mac_c2s,
            mac_s2c,
            ..
        } = negotiated;
        let mut keys = KeyBytes::new();
        let sealer = Sealer::new(
            cipher_c2s,
            mac_c2s,
            &keys.derive(cipher_c2s, mac_c2s, b"ACE", &reply, &session),
        )?;
        let opener = Opener::new(
            cipher_s2c,
            mac_s2c,
            &keys.derive(cipher_s2c, mac_s2c, b"BDF", &reply, &session),
        )?;
        self.send_now(&[msg::NEWKEYS])?;
        self.outbound.set_sealer(sealer, self.strict);
        self.kex = Kex::AwaitingNewKeys { opener, negotiated };
        self.release_held()
    }

    pub(super) fn handle_newkeys(&mut self) -> Result<Option<Event<'static>>, Error> {
        if self.inbound.payload().len() != 1 {
            return Err(Error::Malformed("SSH_MSG_NEWKEYS"));
        }
        match core::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::AwaitingNewKeys { opener, negotiated } => {
                self.inbound.set_opener(opener, self.strict);
                self.kex_ended_ms = self.now_ms;
                let first = !core::mem::replace(&mut self.exchanged, true);
                Ok(Some(Event::KeysExchanged { first, negotiated }))
            }
            _ => Err(Error::Unexpected {
                message: msg::NEWKEYS,
                during: "no key exchange",
            }),
        }
    }
}
