//! What is known of the machine's network, so that only what is new counts as news.
//!
//! The kernel tells an address again whenever a router advertisement or a lease renews it, and
//! a link for every counter that someone reads: none of that may cost a probe.

use std::net::IpAddr;

use super::message::{Change, Route};

/// Interfaces, addresses and default routes remembered of each; beyond it everything is news.
const REMEMBERED: usize = 64;

/// The links that are up, the addresses and the default routes, as far as they were told.
#[derive(Debug, Default)]
pub struct Known {
    links: Vec<u32>,
    addresses: Vec<(u32, IpAddr)>,
    routes: Vec<Route>,
}

impl Known {
    /// Takes in a change. True when something came that was not there before, and by which a
    /// server may have come into reach.
    pub fn take_in(&mut self, change: Change) -> bool {
        match change {
            Change::LinkUp(index) => add(&mut self.links, index),
            Change::LinkDown(index) => {
                self.links.retain(|known| *known != index);
                // The kernel drops the IPv4 routes of a link that goes down without a word.
                self.routes.retain(|route| route.interface != index);
                false
            }
            Change::AddressAdded(index, address) => {
                // A link-local address leads to no server beyond the link, and one comes with
                // every link, which has been told by then.
                add(&mut self.addresses, (index, address)) && !is_link_local(&address)
            }
            Change::AddressRemoved(index, address) => {
                self.addresses.retain(|known| *known != (index, address));
                false
            }
            Change::RouteAdded(route) => add(&mut self.routes, route),
            Change::RouteRemoved(route) => {
                self.routes.retain(|known| *known != route);
                false
            }
        }
    }

    /// Forgets everything: messages were lost, so anything may have changed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

fn add<T: PartialEq>(known: &mut Vec<T>, item: T) -> bool {
    if known.contains(&item) {
        return false;
    }
    if known.len() < REMEMBERED {
        known.push(item);
    }
    true
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
