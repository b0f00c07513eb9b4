//! From the choice of a server to an SSH client on a connection.

use std::net::IpAddr;
use std::rc::Rc;

use log::{debug, info, warn};
use reachback_core::failure::{Class, Failure, Stage};
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::Input;
use reachback_ssh::{Client, Config};

use super::{Connection, DIAL, RELAYS, RESOLVE, Tunnel};
use crate::dial::{Dial, Dialled, Way};
use crate::ended::{Ended, reason};
use crate::lookup::{Addresses, Lookup};
use crate::outside::{Outside, Stream, StreamOptions, Token};
use crate::session::Session;

impl<O: Outside> Tunnel<O> {
    /// Begins an attempt to the watchdog's destination.
    pub(super) fn begin_attempt(&mut self, outside: &mut O, now: Instant) -> Result<(), Ended> {
        self.select_server();
        // Whatever comes of this attempt, nobody else has a use for it.
        let answered = self.answered.take();
        if !outside.has_randomness() {
            let reason = "the kernel has no randomness yet (dmesg: crng init done); a board \
                          without a source of its own needs one, such as rngd or jitterentropy";
            return Err(Ended::new(Failure::Local, reason));
        }
        outside.pinned_types(&self.server.host, self.server.port)?;
        if let Some(dialled) = answered
            && self.watchdog.destination() == 0
        {
            self.say_connecting(dialled.address);
            self.from_memory = false;
            self.watchdog.handle(now, Input::Resolved);
            return self.connected(dialled, outside, now);
        }
        let (host, port) = self.way().next();
        debug!("looking up {host}");
        let known = outside.remembered(host, port);
        let tokens = [RESOLVE, RESOLVE + 1].map(|place| Token(self.first_token + place));
        let lookup = Lookup::start(host, self.plan.family, known, tokens, outside, now);
        self.connection = Connection::Resolving(lookup);
        Ok(())
    }

    /// The way to the server of this attempt or connection.
    fn way(&self) -> Way<'_> {
        self.plan.way(&self.server)
    }

    /// Makes the destination of the attempt the current server, and says so if it is another.
    fn select_server(&mut self) {
        let index = self.watchdog.destination();
        let Some(server) = self.plan.servers.get(index) else {
            return;
        };
        if self.server != *server {
            match index {
                0 => warn!("going back to {server}"),
                _ => warn!("going to fallback {index}: {server}"),
            }
            self.server = server.clone();
        }
    }

    /// The addresses to try, and a word about those that come from memory.
    pub(super) fn take_found(&mut self, found: Addresses) -> Vec<IpAddr> {
        self.from_memory = found.failure.is_some();
        if let Some(failure) = found.failure {
            warn!("name resolution failed ({failure}); using the last address that worked");
        }
        found.addresses
    }

    /// Logged in: this is the server, and its address is worth remembering.
    pub(super) fn remember(&mut self, outside: &mut O) {
        if let Some(address) = self.unproven.take() {
            self.doubts.trust(address);
            let (host, port) = self.way().next();
            outside.remember(host, port, address);
        }
    }

    /// An attempt is over. Its address goes last in the next ones, unless the fault is here.
    pub(super) fn doubt(&mut self, why: Failure) {
        use Failure::{Asked, Failback, Local, NetworkChanged, Timeout, Unreachable};
        match (self.unproven.take(), why) {
            (_, Asked | Failback | Local | NetworkChanged) => {}
            (Some(address), _) => self.doubts.doubt(address),
            (None, Unreachable | Timeout(Stage::Tcp)) => self.doubts.forget(),
            (None, _) => {}
        }
    }

    /// Another host key at an address from memory says that the server has moved, not that
    /// someone is in its place. Of a proxy's address it says nothing.
    pub(super) fn distrust_memory(&mut self, ended: &mut Ended, outside: &mut O) {
        if self.from_memory && self.plan.proxy.is_none() && ended.failure.class() == Class::HostKey
        {
            outside.forget(&self.server.host, self.server.port);
            (ended.failure, ended.cause) = (Failure::Unreachable, None);
            ended.reason = format!(
                "the last address that worked belongs to another server now: {}",
                ended.reason
            );
        }
    }

    /// Tries the addresses (RFC 8305).
    pub(super) fn dial(&mut self, addresses: &[IpAddr], outside: &mut O, now: Instant) {
        self.watchdog.handle(now, Input::Resolved);
        for address in addresses {
            self.say_connecting(*address);
        }
        let first = self.first_token + DIAL;
        let dial = Dial::start(addresses, &self.way(), &self.doubts, first, outside, now);
        self.connection = Connection::Dialling(Box::new(dial));
    }

    fn say_connecting(&self, address: IpAddr) {
        let (host, port) = (&self.server.host, self.server.port);
        let by = self.by();
        info!("connecting to {host} port {port}{by} ({address})");
    }

    /// ` by the proxy HOST:PORT`, if there is one.
    fn by(&self) -> String {
        let proxy = self.plan.proxy.as_ref();
        proxy.map_or_else(String::new, |proxy| {
            format!(" by the proxy {} port {}", proxy.host, proxy.port)
        })
    }

    /// A TCP connection is there: the SSH client begins on it.
    pub(super) fn connected(
        &mut self,
        dialled: Dialled<O::Server>,
        outside: &mut O,
        now: Instant,
    ) -> Result<(), Ended> {
        let Dialled {
            mut stream,
            token,
            address,
        } = dialled;
        let options = StreamOptions::Server {
            keep_alive: self.plan.keep_alive,
        };
        stream
            .prepare(&options)
            .map_err(|error| Ended::new(Failure::Local, reason(&error)))?;
        self.unproven = Some(address);
        let (host, port) = (&self.server.host, self.server.port);
        let by = self.by();
        info!("connected to {host} port {port}{by} ({address})");
        let mut offer = self.plan.offer.clone();
        let pinned = outside.pinned_types(host, port)?;
        offer.prefer_host_key_types(&pinned.iter().map(String::as_str).collect::<Vec<_>>());
        let config = Config {
            user: self.server.user.clone(),
            keys: Rc::clone(&self.plan.keys),
            offer,
            rekey: self.plan.rekey,
        };
        let client = Client::new(config, outside.randomness(), now.0)
            .map_err(|error| Ended::new(Failure::Local, error.to_string()))?;
        let relays = self.first_token + RELAYS;
        let session = Session::new((stream, token), client, relays, self.plan.family, outside);
        self.connection = Connection::Up(Box::new(session));
        self.stats.connected(address);
        self.note(Kind::Connected, address, outside, now);
        self.watchdog.handle(now, Input::Connected);
        Ok(())
    }
}
