//! Names to addresses, with the last address that worked for when no name server answers.

use std::net::IpAddr;
use std::time::Duration;

use mio::{Registry, Token};
use reachback_core::dial::AddressFamily;
use reachback_core::time::Instant;

use super::resolve::{Paths, Resolution, ResolveError};

/// How long the name servers may take while an address is at hand that worked before: the
/// first server its 5 s (resolv.conf(5), `timeout`), and the next one a second. Without such an
/// address they have all of the attempt's time.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// The addresses to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// 1 to 8 of them.
    pub addresses: Vec<IpAddr>,
    /// Why they come from memory, if they do: the name servers' failure.
    pub failure: Option<String>,
}

/// A resolution and what stands in for it. Names go first: an address from memory is used only
/// when there is no answer, alone, and never beside a fresh answer that does not have it, since
/// the server may have moved and left its address to a stranger.
pub struct Lookup {
    resolution: Resolution,
    remembered: Option<IpAddr>,
    give_up_at: Option<Instant>,
}

impl Lookup {
    /// Begins, with the machine's own files. `tokens` are used for at most two sockets.
    pub fn start(
        name: &str,
        family: AddressFamily,
        remembered: Option<IpAddr>,
        registry: &Registry,
        tokens: [Token; 2],
        now: Instant,
    ) -> Self {
        let paths = Paths::default();
        Self::start_with(&paths, name, family, remembered, registry, tokens, now)
    }

    /// Begins with these files.
    pub fn start_with(
        paths: &Paths,
        name: &str,
        family: AddressFamily,
        remembered: Option<IpAddr>,
        registry: &Registry,
        tokens: [Token; 2],
        now: Instant,
    ) -> Self {
        let remembered = remembered.filter(|address| family.admits(address));
        Lookup {
            resolution: Resolution::start_with(paths, name, family, registry, tokens, now),
            remembered,
            give_up_at: remembered.map(|_| now + PATIENCE),
        }
    }

    /// One of the two tokens is ready. Other tokens are ignored.
    pub fn handle_ready(&mut self, token: Token, now: Instant, registry: &Registry) {
        self.resolution.handle_ready(token, now, registry);
    }

    /// To be called when [`Lookup::poll_timeout`] is due; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant, registry: &Registry) {
        self.resolution.handle_timeout(now, registry);
    }

    /// When [`Lookup::handle_timeout`] and [`Lookup::result`] are due at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resolution = self.resolution.poll_timeout();
        resolution.into_iter().chain(self.give_up_at).min()
    }

    /// The addresses, or why there are none. Given out once.
    pub fn result(&mut self, now: Instant) -> Option<Result<Found, ResolveError>> {
        let result = self.resolution.result();
        let late = self.give_up_at.is_some_and(|at| at <= now);
        let failure = match (result, self.remembered) {
            (Some(Ok(addresses)), _) => {
                self.give_up_at = None;
                return Some(Ok(Found {
                    addresses,
                    failure: None,
                }));
            }
            (Some(Err(error)), None) => return Some(Err(error)),
            (Some(Err(error)), Some(_)) => error.to_string(),
            (None, Some(_)) if late => format!("no answer within {} s", PATIENCE.as_secs()),
            (None, _) => return None,
        };
        self.give_up_at = None;
        self.remembered.take().map(|address| {
            Ok(Found {
                addresses: vec![address],
                failure: Some(failure),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::resolve::tests::{Files, Server, reply};
    use super::*;
    use crate::sys::clock;
    use domain::base::iana::Rcode;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn run(files: &Files, family: AddressFamily, remembered: Option<IpAddr>) -> Found {
        let mut poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let (start, tokens) = (clock::now(), [Token(1), Token(2)]);
        let paths = &files.paths;
        let mut lookup = Lookup::start_with(
            paths, "hub.test", family, remembered, &registry, tokens, start,
        );
        let mut events = mio::Events::with_capacity(8);
        loop {
            let now = clock::now();
            if let Some(result) = lookup.result(now) {
                assert_eq!(lookup.result(now), None, "given out twice");
                return result.unwrap();
            }
            let due = lookup.poll_timeout().expect("no deadline").since(now);
            let wait = due + Duration::from_millis(1);
            poll.poll(&mut events, Some(wait)).unwrap();
            for event in &events {
                lookup.handle_ready(event.token(), clock::now(), &registry);
            }
            lookup.handle_timeout(clock::now(), &registry);
        }
    }

    #[test]
    fn a_fresh_answer_is_used_alone_whatever_is_remembered() {
        let server = Server::start(|query, owner, _| {
            let records = [(owner, "10.0.0.1"), (owner, "10.0.0.2")];
            vec![reply(query, Rcode::NOERROR, &records)]
        });
        for remembered in [None, Some(ip("10.0.0.2")), Some(ip("10.9.9.9"))] {
            let found = run(&server.files(), AddressFamily::V4, remembered);
            assert_eq!(found.addresses, [ip("10.0.0.1"), ip("10.0.0.2")]);
            assert_eq!(found.failure, None);
        }
    }

    #[test]
    fn when_the_name_servers_fail_the_last_address_is_used_and_the_reason_is_told() {
        let server = Server::start(|query, _, _| vec![reply(query, Rcode::SERVFAIL, &[])]);
        let found = run(&server.files(), AddressFamily::Any, Some(ip("10.0.0.2")));
        assert_eq!(found.addresses, [ip("10.0.0.2")]);
        let failure = found.failure.unwrap();
        assert!(failure.contains("hub.test"), "{failure}");
    }

    #[test]
    fn silent_name_servers_are_given_up_after_6_s() {
        let server = Server::start(|_, _, _| vec![]);
        let conf = "nameserver 127.0.0.1\noptions timeout:30";
        let files = Files::new("", conf, server.port);
        let begin = std::time::Instant::now();
        let found = run(&files, AddressFamily::Any, Some(ip("10.0.0.2")));
        assert_eq!(found.addresses, [ip("10.0.0.2")]);
        assert_eq!(found.failure.as_deref(), Some("no answer within 6 s"));
        let took = begin.elapsed();
        assert!(took >= PATIENCE && took < PATIENCE * 2, "{took:?}");
    }

    #[test]
    fn an_address_of_the_wrong_family_does_not_stand_in() {
        let server = Server::start(|query, _, _| vec![reply(query, Rcode::SERVFAIL, &[])]);
        let files = server.files();
        let mut poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let tokens = [Token(1), Token(2)];
        let (start, six) = (clock::now(), AddressFamily::V6);
        let own = Some(ip("10.0.0.2"));
        let paths = &files.paths;
        let mut lookup = Lookup::start_with(paths, "hub.test", six, own, &registry, tokens, start);
        let mut events = mio::Events::with_capacity(8);
        let result = loop {
            if let Some(result) = lookup.result(clock::now()) {
                break result;
            }
            poll.poll(&mut events, Some(Duration::from_millis(100)))
                .unwrap();
            for event in &events {
                lookup.handle_ready(event.token(), clock::now(), &registry);
            }
            lookup.handle_timeout(clock::now(), &registry);
        };
        assert!(result.is_err());
    }
}
