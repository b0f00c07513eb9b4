//! The owner's side of the control socket: a few clients at a time, none of whom can make the
//! loop wait.

mod caller;

use std::io::{self, Write};
use std::time::Duration;

use log::{debug, warn};
use mio::event::Event;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use reachback_core::control::{Refusal, Reply};
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::Origin;
use reachback_core::time::Instant;
use reachback_tunnel::Progress;

use crate::exit::Exit;
use crate::instance::lock::Ownership;
use crate::sys::file::reason;
use caller::{Client, Turn};

/// Clients at once; one more is told so and sent away.
pub const CLIENTS: usize = 8;
/// First token; above those of every tunnel.
const TOKENS: usize = 1 << 20;
/// Clients that are taken or sent away in one turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Between two tries to take a client for whom there was no descriptor.
const RETRY: Duration = Duration::from_secs(1);

/// What the control socket can ask of a tunnel.
pub trait Tunnel {
    /// Adds a forward; in words what came of it.
    fn add_forward(&mut self, spec: &ForwardSpec, origin: Origin, now: Instant) -> Reply;
    /// Takes a forward away.
    fn remove_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Reply;
    /// Takes a forward away if callers added it, and ends with the last.
    fn withdraw_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Reply;
    /// The forwards that are wanted.
    fn forwards(&self) -> Vec<ForwardSpec>;
    /// Whether these forwards (all, if none is named) are confirmed; what they wait for if not.
    /// `limit` is when the asker goes away.
    fn confirmed(&self, specs: &[ForwardSpec], limit: Instant) -> Progress;
    /// The lines of a snapshot.
    fn status(&self, now: Instant) -> String;
    /// Whether an option of a caller differs from what holds; why it cannot be taken over.
    fn asks(&self, option: &str) -> Result<bool, String>;
    /// Takes these options over, and tries now what waits.
    fn call(&mut self, asked: Vec<String>, now: Instant) -> Reply;
    /// Connects anew.
    fn reconnect(&mut self, now: Instant);
    /// Ends; `why` is for the log.
    fn stop(&mut self, why: &str, now: Instant);
    /// Reads the configuration again, soon.
    fn reload(&mut self);
    /// Becomes the program that is installed now, once the tunnel has ended for it; why not.
    fn renew(&mut self, now: Instant) -> Result<(), String>;
    /// True once it is ending.
    fn is_ending(&self) -> bool;
}

/// The socket of one owner and its clients.
pub struct Control {
    listener: UnixListener,
    acceptable: bool,
    /// When it is tried again to take a client for whom there was no descriptor or no memory.
    again: Option<Instant>,
    clients: [Option<Client>; CLIENTS],
}

impl Control {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses to watch the socket.
    pub fn new(ownership: &Ownership, registry: &Registry) -> Result<Control, Exit> {
        let failed = |error: io::Error| Exit::os("cannot watch the control socket", error);
        let listener = ownership.listener().map_err(failed)?;
        let mut listener = UnixListener::from_std(listener);
        registry
            .register(&mut listener, Token(TOKENS), Interest::READABLE)
            .map_err(failed)?;
        Ok(Control {
            listener,
            acceptable: true,
            again: None,
            clients: Default::default(),
        })
    }

    /// Whether a token is of this socket.
    pub fn owns(token: Token) -> bool {
        token.0 >= TOKENS
    }

    /// The socket or one of its clients is ready.
    pub fn handle_ready(&mut self, event: &Event) {
        match event.token().0 - TOKENS {
            0 => self.acceptable = true,
            place => {
                if let Some(Some(client)) = self.clients.get_mut(place - 1) {
                    client.readable |= event.is_readable() || event.is_read_closed();
                    client.writable |= event.is_writable() || event.is_write_closed();
                }
            }
        }
    }

    /// When the next turn is due at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter().flatten().map(|c| c.deadline);
        clients.chain(self.again).min()
    }

    /// One turn; true when there is more to do at once.
    pub fn drive(&mut self, tunnel: &mut impl Tunnel, registry: &Registry, now: Instant) -> bool {
        let served = self.serve(tunnel, registry, now);
        self.acceptable |= self.again.is_some_and(|at| at <= now);
        if !self.acceptable {
            return served;
        }
        let more = self.accept(registry, now);
        // Who has come has asked already, as a rule.
        self.serve(tunnel, registry, now) || served || more
    }

    fn serve(&mut self, tunnel: &mut impl Tunnel, registry: &Registry, now: Instant) -> bool {
        let mut more = false;
        for slot in &mut self.clients {
            if let Some(client) = slot {
                match client.drive(tunnel, now) {
                    Turn::Idle => {}
                    Turn::More => more = true,
                    Turn::Over => {
                        // The last thing that it asked for may still be to be done.
                        more = true;
                        let _ = registry.deregister(&mut client.stream);
                        *slot = None;
                    }
                }
            }
        }
        more
    }

    /// True when there may be more to take.
    fn accept(&mut self, registry: &Registry, now: Instant) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.acceptable {
                return false;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.again = None;
                    self.welcome(stream, registry, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.acceptable = false;
                    self.again = None;
                }
                Err(error) => {
                    self.acceptable = false;
                    // The kernel does not say again that there is somebody.
                    if self.again.replace(now + RETRY).is_none() {
                        warn!("cannot take a control client: {}", reason(&error));
                    }
                }
            }
        }
        self.acceptable
    }

    fn welcome(&mut self, mut stream: UnixStream, registry: &Registry, now: Instant) {
        // The directory's mode keeps others out already.
        match getsockopt(&stream, sockopt::PeerCredentials) {
            Ok(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => {}
            _ => {
                debug!("a control client of another user was sent away");
                return;
            }
        }
        let Some(place) = self.clients.iter().position(Option::is_none) else {
            let text = format!("{CLIENTS} clients are being served: try again");
            // A new socket takes a line; a client that is gone misses nothing.
            let _ = writeln!(stream, "{}", Reply::refused(Refusal::Busy, text));
            return;
        };
        let token = Token(TOKENS + 1 + place);
        let interest = Interest::READABLE | Interest::WRITABLE;
        match registry.register(&mut stream, token, interest) {
            Ok(()) => self.clients[place] = Some(Client::new(stream, now)),
            Err(error) => warn!("cannot watch a control client: {}", reason(&error)),
        }
    }

    /// The tunnel has ended: tells those who wait.
    pub fn end(&mut self, why: &str) {
        for client in self.clients.iter_mut().flatten() {
            if client.waiting {
                client.say(&Reply::refused(Refusal::Ended, why));
            }
            client.writable = true;
            client.write();
        }
    }
}
