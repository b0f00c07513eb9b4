//! From addresses to an SSH client on a connection.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use log::{info, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reachback_core::failure::{Class, Failure};
use reachback_core::time::Instant;
use reachback_core::watchdog::Happening;
use reachback_ssh::algorithms::Offer;
use reachback_ssh::{Client, Config};

use super::{DIAL, Link, RELAY, SERVER, Tunnel};
use crate::ended::Ended;
use crate::net::connect::Dial;
use crate::net::lookup::Found;
use crate::plan::Settings;
use crate::session::Session;
use crate::sys::random::KernelRandom;
use crate::sys::sockopt;

impl Tunnel {
    /// The addresses to try, and a word about those that come from memory.
    pub(super) fn take_found(&mut self, found: Found) -> Vec<IpAddr> {
        self.from_memory = found.failure.is_some();
        if let Some(failure) = found.failure {
            warn!("name resolution failed ({failure}); using the last address that worked");
        }
        found.addresses
    }

    /// Logged in: this is the server, and its address is worth remembering.
    pub(super) fn remember(&mut self) {
        if let Some(address) = self.unproven.take() {
            let Settings { host, port, .. } = &self.settings;
            self.remembered.keep(host, *port, address);
        }
    }

    /// Another host key at an address from memory says that the server has moved, not that
    /// someone is in its place.
    pub(super) fn distrust_memory(&mut self, ended: &mut Ended) {
        if self.from_memory && ended.failure.class() == Class::HostKey {
            let Settings { host, port, .. } = &self.settings;
            self.remembered.forget(host, *port);
            ended.failure = Failure::Unreachable;
            ended.reason = format!(
                "the last address that worked belongs to another server now: {}",
                ended.reason
            );
        }
    }

    /// Tries the addresses (RFC 8305).
    pub(super) fn dial(&mut self, addresses: &[IpAddr], registry: &Registry, now: Instant) {
        self.watchdog.handle(now, Happening::Resolved);
        let Settings {
            host, port, family, ..
        } = &self.settings;
        for address in addresses {
            info!("connecting to {host} port {port} ({address})");
        }
        let first = self.first_token + DIAL;
        let source = self.settings.source.clone();
        let dial = Dial::start(addresses, *port, registry, first, now, *family, source);
        self.link = Link::Dialling(Box::new(dial));
    }

    /// A TCP connection is there: the SSH client begins on it.
    pub(super) fn connected(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) -> Result<(), Ended> {
        let local = |error: &dyn std::fmt::Display| Ended {
            failure: Failure::Local,
            reason: error.to_string(),
        };
        let token = Token(self.first_token + SERVER);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry
            .register(&mut stream, token, interest)
            .map_err(|error| local(&error))?;
        let (user_timeout, keep_alive) = (self.settings.user_timeout, self.settings.keep_alive);
        sockopt::prepare_tunnel(&stream, user_timeout, keep_alive)
            .map_err(|error| local(&error))?;
        self.unproven = Some(address.ip());
        let Settings {
            user,
            host,
            port,
            keys,
            rekey,
            family,
            ..
        } = &self.settings;
        info!("connected to {host} port {port} ({})", address.ip());
        let mut offer = Offer::default();
        let pinned = self.trust.pinned_types();
        offer.prefer_host_key_types(&pinned.iter().map(String::as_str).collect::<Vec<_>>());
        let config = Config {
            user: user.clone(),
            keys: Rc::clone(keys),
            offer,
            rekey: *rekey,
        };
        let client = Client::new(config, Box::new(KernelRandom::new()), now.0)
            .map_err(|error| local(&error))?;
        let session = Session::new(stream, client, self.first_token + RELAY, *family);
        self.link = Link::Up(Box::new(session));
        self.record.connected(address.ip(), now);
        self.watchdog.handle(now, Happening::Connected);
        Ok(())
    }
}
