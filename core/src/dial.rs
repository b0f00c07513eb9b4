//! Which address to connect to next: Happy Eyeballs (RFC 8305) for one list of addresses.

use core::net::IpAddr;
use core::time::Duration;

use heapless::Vec;

use crate::time::Instant;

/// Most addresses that are tried in one attempt.
pub const MAX_ADDRESSES: usize = 8;
/// Head start of one address over the next (RFC 8305, 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Head start of an address over one that is in doubt.
pub const DOUBT_DELAY: Duration = Duration::from_secs(2);

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

/// Addresses at which somebody accepted a connection and no login came of it.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    /// The last one failed last.
    addresses: Vec<IpAddr, MAX_ADDRESSES>,
}

impl Doubts {
    /// An attempt failed there after its TCP connection. Of too many, the oldest is forgotten.
    pub fn doubt(&mut self, address: IpAddr) {
        self.trust(address);
        if self.addresses.is_full() {
            self.addresses.remove(0);
        }
        // There is room.
        let _ = self.addresses.push(address);
    }

    /// A login succeeded there.
    pub fn trust(&mut self, address: IpAddr) {
        self.addresses.retain(|doubted| *doubted != address);
    }

    /// No address could be reached: none is better than another.
    pub fn forget(&mut self) {
        self.addresses.clear();
    }
}

/// Hands out the addresses of one attempt: the families in turn, IPv6 first, within a family
/// in the order given; the next one 250 ms after the last, or as soon as that has failed. Those in
/// doubt go last, the one that failed last behind the others, and 2 s after the one before.
///
/// The deadline of the whole is the watchdog's.
#[derive(Clone, Debug)]
pub struct Dialler {
    addresses: Vec<IpAddr, MAX_ADDRESSES>,
    /// So many of them come before those in doubt.
    undoubted: usize,
    started: usize,
    failed: [bool; MAX_ADDRESSES],
    next_at: Option<Instant>,
}

impl Dialler {
    /// A dialler for these addresses, as far as they are of this family. Duplicates and those beyond
    /// [`MAX_ADDRESSES`] after interleaving are left out.
    pub fn new(addresses: &[IpAddr], family: AddressFamily, doubts: &Doubts) -> Self {
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
        let doubted: Vec<IpAddr, MAX_ADDRESSES> = {
            let doubts = doubts.addresses.iter();
            doubts.filter(|a| ordered.contains(a)).copied().collect()
        };
        ordered.retain(|address| !doubted.contains(address));
        let undoubted = ordered.len();
        ordered.extend(doubted);
        Self {
            addresses: ordered,
            undoubted,
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
        let doubted = self.started >= self.undoubted;
        let delay = if doubted { DOUBT_DELAY } else { ATTEMPT_DELAY };
        self.next_at = Some(now + delay);
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

    fn dialler(addresses: &[IpAddr]) -> Dialler {
        Dialler::new(addresses, AddressFamily::Any, &Doubts::default())
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
        assert_eq!(order(dialler(&given)), wanted);
    }

    #[test]
    fn one_family_can_be_asked_for() {
        let given = list(&["10.0.0.1", "2001:db8::1", "10.0.0.2"]);
        let only = |family| order(Dialler::new(&given, family, &Doubts::default()));
        assert_eq!(only(AddressFamily::V4), list(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(only(AddressFamily::V6), list(&["2001:db8::1"]));
    }

    #[test]
    fn those_in_doubt_go_last_and_what_failed_last_behind_the_others() {
        let given = list(&["2001:db8::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let mut doubts = Doubts::default();
        let mut order_after = |failed: &str| {
            doubts.doubt(failed.parse().unwrap());
            order(Dialler::new(&given, AddressFamily::Any, &doubts))
        };
        let wanted = list(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"]);
        assert_eq!(order_after("2001:db8::1"), wanted);
        let wanted = list(&["10.0.0.2", "10.0.0.3", "2001:db8::1", "10.0.0.1"]);
        assert_eq!(order_after("10.0.0.1"), wanted);
        order_after("10.0.0.3");
        let wanted = list(&["2001:db8::1", "10.0.0.1", "10.0.0.3", "10.0.0.2"]);
        assert_eq!(order_after("10.0.0.2"), wanted, "all of them, in turn");
        assert_eq!(order_after("192.0.2.7"), wanted);
        doubts.trust(given[0]);
        doubts.trust(given[1]);
        let wanted = list(&["2001:db8::1", "10.0.0.1", "10.0.0.3", "10.0.0.2"]);
        assert_eq!(
            order(Dialler::new(&given, AddressFamily::Any, &doubts)),
            wanted
        );
        doubts.forget();
        assert_eq!(
            order(Dialler::new(&given, AddressFamily::Any, &doubts)),
            given
        );
    }

    #[test]
    fn one_in_doubt_starts_2_s_after_the_one_before_or_when_that_failed() {
        let given = list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let mut doubts = Doubts::default();
        doubts.doubt(given[0]);
        let mut dialler = Dialler::new(&given, AddressFamily::Any, &doubts);
        dialler.poll(Instant(0)).unwrap();
        assert_eq!(dialler.poll_timeout(), Some(Instant(250)));
        dialler.poll(Instant(250)).unwrap();
        assert_eq!(dialler.poll_timeout(), Some(Instant(2_250)));
        dialler.handle_failed(1);
        assert_eq!(dialler.poll(Instant(300)).unwrap().address, given[0]);
        let mut dialler = Dialler::new(&given[..1], AddressFamily::Any, &doubts);
        assert_eq!(dialler.poll(Instant(0)).unwrap().address, given[0]);
    }

    #[test]
    fn the_next_address_starts_after_250_ms() {
        let mut dialler = dialler(&list(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(dialler.poll(Instant(1000)).unwrap().index, 0);
        assert_eq!(dialler.poll(Instant(1249)), None);
        assert_eq!(dialler.poll_timeout(), Some(Instant(1250)));
        assert_eq!(dialler.poll(Instant(1250)).unwrap().index, 1);
        assert_eq!(dialler.poll_timeout(), None);
        assert!(!dialler.exhausted());
    }

    #[test]
    fn a_failure_of_the_last_one_starts_the_next_at_once() {
        let mut dialler = dialler(&list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
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
        let mut dialler = dialler(&list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        dialler.poll(Instant(0)).unwrap();
        dialler.poll(Instant(250)).unwrap();
        dialler.handle_failed(1);
        assert_eq!(dialler.poll(Instant(251)).unwrap().index, 2);
        assert!(!dialler.exhausted());
    }

    #[test]
    fn without_addresses_it_is_exhausted_at_once() {
        let mut dialler = dialler(&[]);
        assert!(dialler.exhausted());
        assert_eq!(dialler.poll(Instant(0)), None);
        assert_eq!(dialler.poll_timeout(), None);
        dialler.handle_failed(0);
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_up_to_the_bound(
            given in proptest::collection::vec(any::<IpAddr>(), 0..20),
            doubted in proptest::collection::vec(0usize..25, 0..12)
        ) {
            let mut doubts = Doubts::default();
            for index in doubted {
                doubts.doubt(given.get(index).copied().unwrap_or([192, 0, 2, 1].into()));
            }
            let tried = order(Dialler::new(&given, AddressFamily::Any, &doubts));
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
