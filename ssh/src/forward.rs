//! What was asked of the server: listeners and their replies (RFC 4254 section 7.1).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Error;
use crate::limits::FORWARDS;
use crate::message as msg;
use crate::wire::{Put, Reader};

/// Names one forward between the caller and the client; chosen by the caller, unique on one
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardId(pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `tcpip-forward` is out.
    Requested,
    Confirmed,
    /// `cancel-tcpip-forward` is out.
    Cancelling,
}

#[derive(Debug)]
struct Forward {
    id: ForwardId,
    bind: String,
    /// The port the server listens on: the requested one, or the one it chose for 0.
    port: u16,
    state: State,
}

/// Whether an inbound open belongs to a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To a confirmed one.
    Now(ForwardId),
    /// To one whose reply has not come yet.
    Later(ForwardId),
    No,
}

/// The table of forwards, at most [`FORWARDS`].
pub(crate) struct Forwards(Vec<Forward>);

impl Forwards {
    pub(crate) fn new() -> Forwards {
        Forwards(Vec::with_capacity(FORWARDS))
    }

    /// Enters a forward and writes its request.
    pub(crate) fn request(
        &mut self,
        id: ForwardId,
        bind: &str,
        port: u16,
    ) -> Result<Vec<u8>, Error> {
        if self.0.len() >= FORWARDS {
            return Err(Error::Limit("forwards"));
        }
        if self.0.iter().any(|f| f.id == id) {
            return Err(Error::Limit("forwards of one name"));
        }
        self.0.push(Forward {
            id,
            bind: bind.to_string(),
            port,
            state: State::Requested,
        });
        Ok(global(b"tcpip-forward", bind, port))
    }

    /// The request that takes a confirmed forward back: same address, and the port that the
    /// server chose where it chose one. `None` when there is nothing to take back.
    pub(crate) fn cancel(&mut self, id: ForwardId) -> Option<Vec<u8>> {
        let forward = self
            .0
            .iter_mut()
            .find(|f| f.id == id && f.state == State::Confirmed)?;
        forward.state = State::Cancelling;
        Some(global(b"cancel-tcpip-forward", &forward.bind, forward.port))
    }

    /// The server's success for a request; gives the port it listens on. A fixed port comes back
    /// empty from OpenSSH and echoed from others; port 0 always comes back (RFC 4254 section 7.1).
    pub(crate) fn confirmed(&mut self, id: ForwardId, reply: &[u8]) -> Result<u16, Error> {
        let forward = self
            .0
            .iter_mut()
            .find(|f| f.id == id)
            .ok_or(Error::Malformed("forward reply"))?;
        if forward.port == 0 {
            let port = Reader::new(reply).u32()?;
            forward.port = u16::try_from(port)
                .ok()
                .filter(|p| *p != 0)
                .ok_or(Error::Malformed("allocated port"))?;
        }
        forward.state = State::Confirmed;
        Ok(forward.port)
    }

    /// The forward is no more: refused, or cancelled.
    pub(crate) fn remove(&mut self, id: ForwardId) {
        self.0.retain(|f| f.id != id);
    }

    /// Cancellation was refused: the listener is still there, and so is the forward.
    pub(crate) fn kept(&mut self, id: ForwardId) {
        if let Some(forward) = self.0.iter_mut().find(|f| f.id == id) {
            forward.state = State::Confirmed;
        }
    }

    /// The forward an inbound open names: the address as it was requested, and the port. A
    /// forward being cancelled takes no more.
    pub(crate) fn owner_of(&self, address: &[u8], port: u32) -> Belongs {
        let named =
            |f: &&Forward| f.port != 0 && u32::from(f.port) == port && f.bind.as_bytes() == address;
        match self.0.iter().find(named) {
            Some(Forward {
                id,
                state: State::Confirmed,
                ..
            }) => Belongs::Now(*id),
            Some(Forward {
                id,
                state: State::Requested,
                ..
            }) => Belongs::Later(*id),
            _ => Belongs::No,
        }
    }
}

fn global(name: &[u8], bind: &str, port: u16) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    payload.put_u8(msg::GLOBAL_REQUEST);
    payload.put_string(name);
    payload.put_boolean(true);
    payload.put_string(bind.as_bytes());
    payload.put_u32(u32::from(port));
    payload
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: ForwardId = ForwardId(3);

    fn requested() -> Forwards {
        let mut forwards = Forwards::new();
        forwards.request(ID, "localhost", 1111).unwrap();
        forwards
    }

    #[test]
    fn a_request_without_reply_cannot_be_cancelled_yet() {
        let mut forwards = requested();
        assert_eq!(forwards.cancel(ID), None);
        assert_eq!(forwards.confirmed(ID, &[]).unwrap(), 1111);
        assert!(forwards.cancel(ID).is_some());
        assert_eq!(forwards.cancel(ID), None, "once is enough");
    }

    #[test]
    fn an_open_that_crosses_the_cancellation_belongs_to_nobody() {
        let mut forwards = requested();
        forwards.confirmed(ID, &[]).unwrap();
        assert_eq!(forwards.owner_of(b"localhost", 1111), Belongs::Now(ID));
        forwards.cancel(ID).unwrap();
        assert_eq!(forwards.owner_of(b"localhost", 1111), Belongs::No);
        forwards.kept(ID);
        assert_eq!(forwards.owner_of(b"localhost", 1111), Belongs::Now(ID));
    }

    #[test]
    fn a_name_is_free_again_only_after_the_reply_to_its_cancellation() {
        let mut forwards = requested();
        forwards.confirmed(ID, &[]).unwrap();
        forwards.cancel(ID).unwrap();
        assert!(forwards.request(ID, "localhost", 1112).is_err());
        forwards.remove(ID);
        assert!(forwards.request(ID, "localhost", 1112).is_ok());
    }

    #[test]
    fn port_0_is_cancelled_by_the_port_that_the_server_chose() {
        let mut forwards = Forwards::new();
        forwards.request(ID, "localhost", 0).unwrap();
        assert!(
            forwards.confirmed(ID, &[]).is_err(),
            "the reply must name it"
        );
        assert!(forwards.confirmed(ID, &0u32.to_be_bytes()).is_err());
        assert_eq!(
            forwards.confirmed(ID, &40_001u32.to_be_bytes()).unwrap(),
            40_001
        );
        let cancel = forwards.cancel(ID).unwrap();
        assert_eq!(cancel[cancel.len() - 4..], 40_001u32.to_be_bytes());
    }
}
