//! Names to addresses, with the last address that worked for when no name server answers.

use std::net::IpAddr;
use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::time::Instant;

use crate::outside::{Outside, Resolution, Token};

/// How long the name servers may take while an address is at hand that worked before: the
/// first server its 5 s (resolv.conf(5), `timeout`), and the next one a second. Without such an
/// address they have all of the attempt's time.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// The addresses to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// 1 to 8 of them.
    pub addresses: Vec<IpAddr>,
    /// Why they come from memory, if they do: the name servers' failure.
    pub failure: Option<String>,
}

/// A resolution and what stands in for it. Names go first: an address from memory is used only
/// when there is no answer, alone, and never beside a fresh answer that does not have it, since
/// the server may have moved and left its address to a stranger.
pub struct Lookup<O: Outside> {
    resolution: O::Resolution,
    remembered: Option<IpAddr>,
    give_up_at: Option<Instant>,
}

impl<O: Outside> Lookup<O> {
    /// Begins. `tokens` are used for at most two sockets.
    pub fn start(
        name: &str,
        family: AddressFamily,
        remembered: Option<IpAddr>,
        tokens: [Token; 2],
        outside: &mut O,
        now: Instant,
    ) -> Self {
        let remembered = remembered.filter(|address| family.admits(address));
        Lookup {
            resolution: outside.resolve(name, family, tokens, now),
            remembered,
            give_up_at: remembered.map(|_| now + PATIENCE),
        }
    }

    /// One of the two tokens is ready. Other tokens are ignored.
    pub fn handle_ready(&mut self, token: Token, now: Instant) {
        self.resolution.handle_ready(token, now);
    }

    /// When [`Lookup::poll`] is due at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resolution = self.resolution.poll_timeout();
        resolution.into_iter().chain(self.give_up_at).min()
    }

    /// Goes on; gives the addresses, or in words why there are none, once.
    pub fn poll(&mut self, now: Instant) -> Option<Result<Addresses, String>> {
        self.resolution.handle_timeout(now);
        let result = self.resolution.result();
        let late = self.give_up_at.is_some_and(|at| at <= now);
        let failure = match (result, self.remembered) {
            (Some(Ok(addresses)), _) => {
                self.give_up_at = None;
                return Some(Ok(Addresses {
                    addresses,
                    failure: None,
                }));
            }
            (Some(Err(error)), None) => return Some(Err(error)),
            (Some(Err(error)), Some(_)) => error,
            (None, Some(_)) if late => format!("no answer within {} s", PATIENCE.as_secs()),
            (None, _) => return None,
        };
        self.give_up_at = None;
        self.remembered.take().map(|address| {
            Ok(Addresses {
                addresses: vec![address],
                failure: Some(failure),
            })
        })
    }
}
