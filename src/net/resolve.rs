//! Names to addresses without waiting and without threads.
//!
//! Literal addresses and hosts(5) answer at once. Otherwise A and AAAA are asked for side by
//! side, each on a socket of its own that the caller's poll watches. resolv.conf(5) is read
//! afresh by each resolution.

mod message;
mod query;
mod system;
#[cfg(test)]
pub mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::{Registry, Token};
use reachback_core::dial::AddressFamily;
use reachback_core::time::Instant;

use message::{ADDRESSES, Record};
use query::{Outcome, Query};
use system::ResolvConf;

pub use system::Paths;

/// How long the other kind of address is waited for when one kind is known. Longer than
/// RFC 8305 section 3 suggests: its 50 ms would make a slow mobile link choose the family by
/// chance, and a reconnect is in no hurry.
const OTHER_KIND: Duration = Duration::from_secs(2);

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    name: String,
    servers: String,
    why: String,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}: {}", self.name, self.why)?;
        if !self.servers.is_empty() {
            write!(f, " (asked {})", self.servers)?;
        }
        Ok(())
    }
}

impl std::error::Error for ResolveError {}

/// What has to be reached for a name: its addresses where it is one or the hosts file knows it, else
/// the name servers that would be asked, in their order; and the word for it.
pub fn needed(name: &str) -> (Vec<SocketAddr>, &'static str) {
    let paths = Paths::default();
    let known = known(&paths, name).0;
    match known.is_empty() {
        false => {
            let port = paths.server_port;
            let known = known
                .into_iter()
                .map(|address| SocketAddr::new(address, port));
            (known.collect(), "")
        }
        true => (ResolvConf::load(&paths).servers, "name server "),
    }
}

/// The addresses of a name that nobody has to be asked for, and why.
fn known(paths: &Paths, name: &str) -> (Vec<IpAddr>, &'static str) {
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(address) => (vec![address], "it is an address"),
        Err(_) => (
            system::hosts_addresses(paths, name),
            "the hosts file knows it",
        ),
    }
}

/// One name on its way to its addresses. Dropping it closes its sockets.
pub struct Resolution {
    name: String,
    family: AddressFamily,
    tokens: [Token; 2],
    conf: ResolvConf,
    candidates: VecDeque<String>,
    queries: Vec<Query>,
    give_up_other_at: Option<Instant>,
    why: String,
    answered: Option<SocketAddr>,
    result: Option<Result<Vec<IpAddr>, ResolveError>>,
}

impl Resolution {
    /// Begins, with these files. `tokens` are used for at most two sockets.
    pub fn start(
        paths: &Paths,
        name: &str,
        family: AddressFamily,
        registry: &Registry,
        tokens: [Token; 2],
        now: Instant,
    ) -> Self {
        let mut resolution = Resolution {
            name: name.to_owned(),
            family,
            tokens,
            conf: ResolvConf::load(paths),
            candidates: VecDeque::new(),
            queries: Vec::new(),
            give_up_other_at: None,
            why: String::new(),
            answered: None,
            result: None,
        };
        let (known, source) = known(paths, name);
        if known.is_empty() {
            resolution.candidates = resolution.conf.candidates(name).into();
            resolution.ask_next_candidate(registry, now);
        } else {
            resolution.finish_with_known(known, source);
        }
        resolution
    }

    fn finish_with_known(&mut self, mut known: Vec<IpAddr>, source: &str) {
        known.retain(|address| self.family.admits(address));
        known.truncate(ADDRESSES);
        self.result = Some(if known.is_empty() {
            Err(ResolveError {
                name: self.name.clone(),
                servers: String::new(),
                why: format!("{source}, but not of the family that AddressFamily asks for"),
            })
        } else {
            Ok(known)
        });
    }

    /// One of the two tokens is ready. Other tokens are ignored.
    pub fn handle_ready(&mut self, token: Token, now: Instant, registry: &Registry) {
        for query in &mut self.queries {
            if query.token() == token {
                query.handle_ready(&self.conf, registry, now);
            }
        }
        self.conclude(now, registry);
    }

    /// To be called when [`Resolution::poll_timeout`] is due; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant, registry: &Registry) {
        for query in &mut self.queries {
            query.handle_timeout(&self.conf, registry, now);
        }
        self.conclude(now, registry);
    }

    /// When [`Resolution::handle_timeout`] is due at the latest; `None` from the result on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let queries = self.queries.iter().filter_map(Query::poll_timeout);
        queries.chain(self.give_up_other_at).min()
    }

    /// The addresses, 1 to 8, IPv6 first, or why there are none. Given out once.
    pub fn result(&mut self) -> Option<Result<Vec<IpAddr>, ResolveError>> {
        self.result.take()
    }

    /// The name server that gave the addresses; none for an address and for a name of the hosts
    /// file.
    pub fn answered(&self) -> Option<SocketAddr> {
        self.answered
    }

    /// Asks for the next full name, and goes on while names end at once. The loop is bounded
    /// by the search list.
    fn ask_next_candidate(&mut self, registry: &Registry, now: Instant) {
        self.give_up_other_at = None;
        self.queries.clear();
        let Some(name) = self.candidates.pop_front() else {
            let servers: Vec<String> = self.conf.servers.iter().map(ToString::to_string).collect();
            self.result = Some(Err(ResolveError {
                name: self.name.clone(),
                servers: servers.join(", "),
                why: std::mem::take(&mut self.why),
            }));
            return;
        };
        let records: &[Record] = match self.family {
            AddressFamily::Any => &[Record::Aaaa, Record::A],
            AddressFamily::V4 => &[Record::A],
            AddressFamily::V6 => &[Record::Aaaa],
        };
        for (record, token) in records.iter().zip(self.tokens) {
            let query = Query::start(&name, *record, token, &self.conf, registry, now);
            self.queries.push(query);
        }
        self.conclude(now, registry);
    }

    fn conclude(&mut self, now: Instant, registry: &Registry) {
        if self.queries.is_empty() {
            return;
        }
        let all_ended = self.queries.iter().all(|query| query.outcome().is_some());
        let found = self.addresses();
        if !found.is_empty() {
            let give_up_at = *self.give_up_other_at.get_or_insert(now + OTHER_KIND);
            if all_ended || now >= give_up_at {
                self.give_up_other_at = None;
                let gave = |query: &&Query| matches!(query.outcome(), Some(Outcome::Addresses(list)) if !list.is_empty());
                let answered = self.queries.iter().find(gave);
                self.answered = answered.map(|query| query.server(&self.conf));
                self.queries.clear();
                self.result = Some(Ok(found));
            }
        } else if all_ended {
            self.why = self.reason();
            self.ask_next_candidate(registry, now);
        }
    }

    /// At most 8, and of each family at most half of them while the other has that many.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut lists = self
            .queries
            .iter()
            .filter_map(|query| match query.outcome() {
                Some(Outcome::Addresses(list)) => Some(list.as_slice()),
                _ => None,
            });
        let first = lists.next().unwrap_or_default();
        let second = lists.next().unwrap_or_default();
        let of_first = first.len().min(ADDRESSES - second.len().min(ADDRESSES / 2));
        let chosen = first.iter().take(of_first).chain(second);
        chosen.take(ADDRESSES).copied().collect()
    }

    /// The most telling of the outcomes: a failed server before a name that does not exist.
    fn reason(&self) -> String {
        let outcomes = || self.queries.iter().filter_map(Query::outcome);
        for outcome in outcomes() {
            if let Outcome::Failed(why) = outcome {
                return why.clone();
            }
        }
        if outcomes().any(|outcome| *outcome == Outcome::NoSuchName) {
            "there is no such name".to_owned()
        } else {
            "it has no address".to_owned()
        }
    }
}
