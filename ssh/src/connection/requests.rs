//! Global requests of ours and their replies (RFC 4254 sections 4 and 7.1).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Connection;
use crate::forward::ForwardId;
use crate::limits::{GLOBAL_REQUESTS, KEEPALIVES};
use crate::message as msg;
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Error, Event};

/// A request of ours that wants a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Forward(ForwardId),
    /// A forward whose connections come although there is no reply: what it says does not matter.
    InUse,
    Cancel(ForwardId),
    Keepalive,
    Proofs,
}

/// What was asked and not answered. Replies carry no name and come in the order of the requests
/// (RFC 4254 section 4).
pub(super) struct Requests {
    asked: VecDeque<Asked>,
    /// Replies that may still come for forwards in use, after others were taken for them.
    late: usize,
}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests {
            asked: VecDeque::with_capacity(GLOBAL_REQUESTS),
            late: 0,
        }
    }

    /// A connection for this forward came before the reply.
    pub(super) fn in_use(&mut self, id: ForwardId) {
        for asked in &mut self.asked {
            if *asked == Asked::Forward(id) {
                *asked = Asked::InUse;
            }
        }
    }

    /// The request that a reply is for; `None` for a reply that no longer matters.
    fn next(&mut self, transport: &mut Transport) -> Result<Option<Asked>, Error> {
        transport.requests.pop_front();
        let mut asked = self.asked.pop_front();
        // The server may be one that never replies to a forward: then a keepalive behind them
        // has its answer, and not the forwards.
        if asked == Some(Asked::InUse) {
            let in_use = self
                .asked
                .iter()
                .take_while(|a| **a == Asked::InUse)
                .count();
            if self.asked.get(in_use) == Some(&Asked::Keepalive) {
                self.late += 1 + in_use;
                self.asked.drain(..in_use);
                transport
                    .requests
                    .drain(..in_use.min(transport.requests.len()));
                asked = Some(Asked::Keepalive);
                self.asked.pop_front();
                transport.requests.pop_front();
            }
        }
        if asked.is_none() {
            self.late = self
                .late
                .checked_sub(1)
                .ok_or(Error::Malformed("order of replies"))?;
        }
        Ok(asked)
    }
}

impl Connection {
    pub(super) fn ask(
        &mut self,
        asked: Asked,
        payload: &[u8],
        transport: &mut Transport,
    ) -> Result<(), Error> {
        if self.requests.asked.len() >= GLOBAL_REQUESTS {
            return Err(Error::Limit("unanswered requests"));
        }
        transport.send(payload)?;
        self.requests.asked.push_back(asked);
        Ok(())
    }

    pub(crate) fn request_forward(
        &mut self,
        id: ForwardId,
        bind: &str,
        port: u16,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let payload = self.forwards.request(id, bind, port)?;
        self.ask(Asked::Forward(id), &payload, transport)
    }

    pub(crate) fn request_socket_forward(
        &mut self,
        id: ForwardId,
        path: &str,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let payload = self.forwards.request_socket(id, path)?;
        self.ask(Asked::Forward(id), &payload, transport)
    }

    pub(crate) fn cancel_forward(
        &mut self,
        id: ForwardId,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        match self.forwards.cancel(id) {
            Some(payload) => self.ask(Asked::Cancel(id), &payload, transport),
            None => Ok(()),
        }
    }

    pub(crate) fn keepalive(&mut self, transport: &mut Transport) -> Result<(), Error> {
        let asked = self.requests.asked.iter();
        let waiting = asked.filter(|a| matches!(a, Asked::Keepalive));
        if waiting.count() >= KEEPALIVES {
            return Ok(());
        }
        let mut payload = Vec::new();
        payload.put_u8(msg::GLOBAL_REQUEST);
        payload.put_string(b"keepalive@openssh.com");
        payload.put_boolean(true);
        self.ask(Asked::Keepalive, &payload, transport)
    }

    /// `SSH_MSG_REQUEST_SUCCESS`.
    pub(super) fn granted(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let Some(asked) = self.requests.next(transport)? else {
            return Ok(None);
        };
        Ok(Some(match asked {
            Asked::InUse => return Ok(None),
            Asked::Keepalive => Event::KeepaliveAnswered,
            Asked::Proofs => self.proofs(transport),
            Asked::Forward(forward) => {
                let reply = &transport.inbound.payload()[1..];
                let port = self.forwards.confirmed(forward, reply)?;
                Event::ForwardConfirmed {
                    forward,
                    port,
                    replied: true,
                }
            }
            Asked::Cancel(forward) => {
                self.forwards.remove(forward);
                Event::ForwardCancelled {
                    forward,
                    done: true,
                }
            }
        }))
    }

    /// `SSH_MSG_REQUEST_FAILURE`.
    pub(super) fn refused(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let asked = self.requests.next(transport)?;
        Ok(asked.and_then(|asked| self.failed(asked)))
    }

    /// `SSH_MSG_UNIMPLEMENTED` (RFC 4253 section 11.4) settles the request that it names.
    pub(crate) fn not_implemented(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let sequence = Reader::new(&transport.inbound.payload()[1..]).u32().ok();
        let named = |sent: &u32| Some(*sent) == sequence;
        let Some(at) = transport.requests.iter().position(named) else {
            return Ok(None);
        };
        transport.requests.remove(at);
        let asked = self.requests.asked.remove(at);
        Ok(asked.and_then(|asked| self.failed(asked)))
    }

    fn failed(&mut self, asked: Asked) -> Option<Event<'static>> {
        Some(match asked {
            Asked::InUse => return None,
            // Any answer proves life: OpenSSH says failure, others success.
            Asked::Keepalive => Event::KeepaliveAnswered,
            Asked::Proofs => Event::HostKeysRefused("it does not prove them"),
            Asked::Forward(forward) => {
                self.forwards.remove(forward);
                Event::ForwardRefused { forward }
            }
            Asked::Cancel(forward) => {
                self.forwards.kept(forward);
                Event::ForwardCancelled {
                    forward,
                    done: false,
                }
            }
        })
    }
}
