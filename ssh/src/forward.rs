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
    /// The server listens: it said so, or it sent a connection.
    Confirmed,
    /// `cancel-tcpip-forward` is out.
    Cancelling,
}

#[derive(Debug, PartialEq, Eq)]
enum Listener {
    Tcp {
        bind: String,
        /// The port the server listens on: the requested one, or the one it chose for 0.
        port: u16,
    },
    /// A Unix socket (OpenSSH's PROTOCOL, 2.4).
    Unix { path: String },
}

#[derive(Debug)]
struct Forward {
    id: ForwardId,
    listener: Listener,
    state: State,
    /// The server names its address in other words than we did, which was said.
    renamed: bool,
}

/// The forward that an inbound open belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) id: ForwardId,
    /// There is something about it that was not said before.
    pub(crate) news: Option<News>,
}

/// What an inbound open tells about a forward, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is in use, on this port, although its request was not answered.
    Unanswered { port: u16 },
    /// The server names another address than the one asked for.
    Renamed,
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
        let bind = bind.to_string();
        self.enter(id, Listener::Tcp { bind, port })
    }

    /// The same for a Unix socket.
    pub(crate) fn request_socket(&mut self, id: ForwardId, path: &str) -> Result<Vec<u8>, Error> {
        let path = path.to_string();
        self.enter(id, Listener::Unix { path })
    }

    fn enter(&mut self, id: ForwardId, listener: Listener) -> Result<Vec<u8>, Error> {
        if self.0.len() >= FORWARDS {
            return Err(Error::Limit("forwards"));
        }
        if self.0.iter().any(|f| f.id == id) {
            return Err(Error::Limit("forwards of one name"));
        }
        let request = listener.global("");
        self.0.push(Forward {
            id,
            listener,
            state: State::Requested,
            renamed: false,
        });
        Ok(request)
    }

    /// The request that takes a confirmed forward back: same address, and the port that the
    /// server chose where it chose one. `None` when there is nothing to take back.
    pub(crate) fn cancel(&mut self, id: ForwardId) -> Option<Vec<u8>> {
        let forward = self
            .0
            .iter_mut()
            .find(|f| f.id == id && f.state == State::Confirmed)?;
        forward.state = State::Cancelling;
        Some(forward.listener.global("cancel-"))
    }

    /// The server's success for a request; gives the port it listens on, 0 for a socket. A fixed
    /// port comes back empty from OpenSSH and echoed from others; port 0 always comes back
    /// (RFC 4254 section 7.1).
    pub(crate) fn confirmed(&mut self, id: ForwardId, reply: &[u8]) -> Result<u16, Error> {
        let forward = self
            .0
            .iter_mut()
            .find(|f| f.id == id)
            .ok_or(Error::Malformed("forward reply"))?;
        forward.state = State::Confirmed;
        if let Listener::Tcp { port, .. } = &mut forward.listener
            && *port == 0
        {
            let named = Reader::new(reply).u32().ok();
            *port = named
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0)
                .ok_or(Error::Malformed(
                    "reply to a forward of port 0 (it names no port)",
                ))?;
        }
        Ok(forward.listener.port())
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

    /// The forward an inbound open names: the address as it was requested, and the port. An
    /// address in other words is let through when exactly one confirmed forward has the port,
    /// as dbclient does. A forward being cancelled takes no more.
    pub(crate) fn owner_of(&mut self, address: &[u8], port: u32) -> Option<Owner> {
        let of_port = |f: &Forward| match &f.listener {
            Listener::Tcp { port: own, .. } => *own != 0 && u32::from(*own) == port,
            Listener::Unix { .. } => false,
        };
        let named = |f: &Forward| matches!(&f.listener, Listener::Tcp { bind, .. } if bind.as_bytes() == address);
        if let Some(forward) = self.0.iter_mut().find(|f| of_port(f) && named(f)) {
            return forward.take();
        }
        let mut candidates = self.0.iter_mut().filter(|f| of_port(f));
        let forward = candidates.next()?;
        if candidates.next().is_some() || forward.state != State::Confirmed {
            return None;
        }
        let news = !core::mem::replace(&mut forward.renamed, true);
        Some(Owner {
            id: forward.id,
            news: news.then_some(News::Renamed),
        })
    }

    /// The same for a Unix socket: the path as it was requested, byte for byte.
    pub(crate) fn owner_of_socket(&mut self, named: &[u8]) -> Option<Owner> {
        let is_named = |f: &&mut Forward| matches!(&f.listener, Listener::Unix { path } if path.as_bytes() == named);
        self.0.iter_mut().find(is_named)?.take()
    }
}

impl Forward {
    /// A connection for this forward came.
    fn take(&mut self) -> Option<Owner> {
        let (id, port) = (self.id, self.listener.port());
        match self.state {
            State::Cancelling => None,
            State::Requested => {
                self.state = State::Confirmed;
                let news = Some(News::Unanswered { port });
                Some(Owner { id, news })
            }
            State::Confirmed => Some(Owner { id, news: None }),
        }
    }
}

impl Listener {
    /// 0 for a Unix socket, and for a port that the server has yet to choose.
    fn port(&self) -> u16 {
        match self {
            Listener::Tcp { port, .. } => *port,
            Listener::Unix { .. } => 0,
        }
    }

    /// The global request about this listener; `verb` stands before its name.
    fn global(&self, verb: &str) -> Vec<u8> {
        let name = match self {
            Listener::Tcp { .. } => "tcpip-forward",
            Listener::Unix { .. } => "streamlocal-forward@openssh.com",
        };
        let mut payload = Vec::with_capacity(64);
        payload.put_u8(msg::GLOBAL_REQUEST);
        payload.put_string([verb, name].concat().as_bytes());
        payload.put_boolean(true);
        match self {
            Listener::Tcp { bind, port } => {
                payload.put_string(bind.as_bytes());
                payload.put_u32(u32::from(*port));
            }
            Listener::Unix { path } => payload.put_string(path.as_bytes()),
        }
        payload
    }
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

    fn confirmed(bind: &str) -> Forwards {
        let mut forwards = Forwards::new();
        forwards.request(ID, bind, 1111).unwrap();
        forwards.confirmed(ID, &[]).unwrap();
        forwards
    }

    const OURS: Option<Owner> = Some(Owner { id: ID, news: None });

    #[test]
    fn an_open_that_crosses_the_cancellation_belongs_to_nobody() {
        let mut forwards = confirmed("localhost");
        assert_eq!(forwards.owner_of(b"localhost", 1111), OURS);
        forwards.cancel(ID).unwrap();
        assert_eq!(forwards.owner_of(b"localhost", 1111), None);
        assert_eq!(forwards.owner_of(b"127.0.0.1", 1111), None);
        forwards.kept(ID);
        assert_eq!(forwards.owner_of(b"localhost", 1111), OURS);
    }

    #[test]
    fn another_name_for_the_address_is_taken_by_its_port_and_said_once() {
        let renamed = Some(Owner {
            id: ID,
            news: Some(News::Renamed),
        });
        for name in [
            &b"127.0.0.1"[..],
            b"0.0.0.0",
            b"::1",
            b"LOCALHOST",
            b"",
            b"192.0.2.1",
        ] {
            let mut forwards = confirmed("localhost");
            assert_eq!(forwards.owner_of(name, 1111), renamed);
            assert_eq!(forwards.owner_of(name, 1111), OURS);
            assert_eq!(forwards.owner_of(name, 1112), None);
            assert_eq!(forwards.owner_of(name, 1111 + 65_536), None);
        }
    }

    #[test]
    fn another_name_is_nobodys_when_two_forwards_have_the_port_or_none_is_confirmed() {
        let mut forwards = confirmed("localhost");
        let other = ForwardId(4);
        forwards.request(other, "192.0.2.1", 1111).unwrap();
        assert_eq!(forwards.owner_of(b"127.0.0.1", 1111), None);
        forwards.confirmed(other, &[]).unwrap();
        assert_eq!(forwards.owner_of(b"127.0.0.1", 1111), None);
        assert_eq!(forwards.owner_of(b"localhost", 1111), OURS);
        assert_eq!(requested().owner_of(b"127.0.0.1", 1111), None);
    }

    #[test]
    fn a_connection_confirms_a_request_without_reply_once() {
        let mut forwards = requested();
        let news = Some(News::Unanswered { port: 1111 });
        let first = forwards.owner_of(b"localhost", 1111);
        assert_eq!(first, Some(Owner { id: ID, news }));
        assert_eq!(forwards.owner_of(b"localhost", 1111), OURS);
        assert!(forwards.cancel(ID).is_some());
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
    fn a_socket_is_named_byte_for_byte_and_never_mistaken_for_a_port() {
        let mut forwards = Forwards::new();
        let request = forwards.request_socket(ID, "/run/a.sock").unwrap();
        let at = request
            .windows(31)
            .position(|w| w == b"streamlocal-forward@openssh.com");
        assert_eq!(at, Some(5));
        assert!(request.ends_with(b"\x01\x00\x00\x00\x0b/run/a.sock"));
        assert_eq!(forwards.confirmed(ID, b"whatever").unwrap(), 0);
        assert_eq!(forwards.owner_of_socket(b"/run/a.sock"), OURS);
        for other in [&b"/run/a.soc"[..], b"/run/a.sock\0", b"/run//a.sock", b""] {
            assert_eq!(forwards.owner_of_socket(other), None);
        }
        assert_eq!(forwards.owner_of(b"/run/a.sock", 0), None);
        let cancel = forwards.cancel(ID).unwrap();
        assert_eq!(cancel[5..43], *b"cancel-streamlocal-forward@openssh.com");
        assert_eq!(forwards.owner_of_socket(b"/run/a.sock"), None);
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
