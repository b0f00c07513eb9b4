//! Which address to connect to next: Happy Eyeballs (RFC 8305) for one list of addresses.

use core::net::IpAddr;
use core::time::Duration;

use heapless::Vec;

use crate::time::Instant;

/// Most addresses that are tried in one attempt.
pub const MAX_ADDRESSES: usize = 8;
/// Head start of one address over the next (RFC 8305, 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Which addresses to use (ssh_config(5), AddressFamily).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum AddressFamily {
    /// Both, IPv6 first.
    #[default]
    Any,
    /// IPv4 only (`inet`, `-4`).
    V4,
    /// IPv6 only (`inet6`, `-6`).
    V6,
}

impl AddressFamily {
    /// Whether an address is of this family.
    pub fn admits(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// A connection to begin.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Dial {
    /// Names the connection to [`Dialler::handle_failed`]; below [`MAX_ADDRESSES`].
    pub index: usize,
    /// Where to.
    pub address: IpAddr,
}

/// Hands out the addresses of one attempt: the families in turn, IPv6 first, within a family
/// in the order given; the next one 250 ms after the last, or as soon as that has failed.
///
/// The deadline of the whole is the watchdog's.
#[derive(Clone, Debug)]
pub struct Dialler {
    addresses: Vec<IpAddr, MAX_ADDRESSES>,
    started: usize,
    failed: [bool; MAX_ADDRESSES],
    next_at: Option<Instant>,
}

impl Dialler {
    /// A dialler for these addresses of any family. Duplicates and those beyond
    /// [`MAX_ADDRESSES`] after interleaving are left out.
    pub fn new(addresses: &[IpAddr]) -> Self {
        Self::with_family(addresses, AddressFamily::Any)
    }

    /// As [`Dialler::new`], with the addresses of one family only.
    pub fn with_family(addresses: &[IpAddr], family: AddressFamily) -> Self {
        let admitted = || addresses.iter().filter(|a| family.admits(a));
        let mut v6 = admitted().filter(|a| a.is_ipv6());
        let mut v4 = admitted().filter(|a| a.is_ipv4());
        let mut ordered = Vec::new();
        loop {
            let pair = (next_new(&mut v6, &ordered), next_new(&mut v4, &ordered));
            if pair == (None, None) {
                break;
            }
            for address in [pair.0, pair.1].into_iter().flatten() {
                // Full: the rest is left out.
                let _ = ordered.push(address);
            }
            if ordered.is_full() {
                break;
            }
        }
        Self {
            addresses: ordered,
            started: 0,
            failed: [false; MAX_ADDRESSES],
            next_at: Some(Instant::default()),
        }
    }

    /// The connection with this index failed. An index that was not handed out is ignored.
    pub fn handle_failed(&mut self, index: usize) {
        if index >= self.started {
            return;
        }
        self.failed[index] = true;
        if index + 1 == self.started {
            self.next_at = Some(Instant::default());
        }
    }

    /// The next connection to begin at `now`, if it is time. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Dial> {
        if self.poll_timeout()? > now {
            return None;
        }
        let index = self.started;
        let address = *self.addresses.get(index)?;
        self.started += 1;
        self.next_at = Some(now + ATTEMPT_DELAY);
        Some(Dial { index, address })
    }

    /// When [`Dialler::poll`] has something next, if ever. A time in the past means now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.started < self.addresses.len() {
            self.next_at
        } else {
            None
        }
    }

    /// Whether every address has been tried and has failed; at once if there were none.
    pub fn exhausted(&self) -> bool {
        self.started == self.addresses.len() && self.failed[..self.started].iter().all(|&f| f)
    }
}

/// The next address that is not in `seen`.
fn next_new<'a>(
    addresses: &mut impl Iterator<Item = &'a IpAddr>,
    seen: &[IpAddr],
) -> Option<IpAddr> {
    addresses.find(|a| !seen.contains(a)).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec as StdVec;

    fn list(texts: &[&str]) -> StdVec<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn order(mut dialler: Dialler) -> StdVec<IpAddr> {
        let mut out = StdVec::new();
        while let Some(dial) = dialler.poll(Instant(0)) {
            dialler.handle_failed(dial.index);
            out.push(dial.address);
        }
        assert!(dialler.exhausted());
        out
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let given = list(&[
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.3",
            "2001:db8::1",
            "10.0.0.1",
        ]);
        let wanted = list(&["2001:db8::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(order(Dialler::new(&given)), wanted);
    }

    #[test]
    fn one_family_can_be_asked_for() {
        let given = list(&["10.0.0.1", "2001:db8::1", "10.0.0.2"]);
        let only = |family| order(Dialler::with_family(&given, family));
        assert_eq!(only(AddressFamily::V4), list(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(only(AddressFamily::V6), list(&["2001:db8::1"]));
    }

    #[test]
    fn the_next_address_starts_after_250_ms() {
        let mut dialler = Dialler::new(&list(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(dialler.poll(Instant(1000)).unwrap().index, 0);
        assert_eq!(dialler.poll(Instant(1249)), None);
        assert_eq!(dialler.poll_timeout(), Some(Instant(1250)));
        assert_eq!(dialler.poll(Instant(1250)).unwrap().index, 1);
        assert_eq!(dialler.poll_timeout(), None);
        assert!(!dialler.exhausted());
    }

    #[test]
    fn a_failure_of_the_last_one_starts_the_next_at_once() {
        let mut dialler = Dialler::new(&list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        dialler.poll(Instant(1000)).unwrap();
        dialler.handle_failed(0);
        assert_eq!(dialler.poll(Instant(1001)).unwrap().index, 1);
        dialler.handle_failed(0);
        assert_eq!(
            dialler.poll(Instant(1002)),
            None,
            "the second is still under way"
        );
        dialler.handle_failed(1);
        assert_eq!(dialler.poll(Instant(1003)).unwrap().index, 2);
    }

    #[test]
    fn a_failure_of_the_last_one_counts_while_an_earlier_one_is_under_way() {
        let mut dialler = Dialler::new(&list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        dialler.poll(Instant(0)).unwrap();
        dialler.poll(Instant(250)).unwrap();
        dialler.handle_failed(1);
        assert_eq!(dialler.poll(Instant(251)).unwrap().index, 2);
        assert!(!dialler.exhausted());
    }

    #[test]
    fn without_addresses_it_is_exhausted_at_once() {
        let mut dialler = Dialler::new(&[]);
        assert!(dialler.exhausted());
        assert_eq!(dialler.poll(Instant(0)), None);
        assert_eq!(dialler.poll_timeout(), None);
        dialler.handle_failed(0);
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_up_to_the_bound(
            given in proptest::collection::vec(any::<IpAddr>(), 0..20)
        ) {
            let tried = order(Dialler::new(&given));
            let mut distinct = given.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(tried.len(), distinct.len().min(MAX_ADDRESSES));
            prop_assert!(tried.iter().all(|a| given.contains(a)));
            let mut unique = tried.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), tried.len());
        }
    }
}
