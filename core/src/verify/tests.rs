#![allow(clippy::unwrap_used)]

mod places;
mod server;

use super::*;
use crate::forward::{Bind, ForwardSpec};
use proptest::prelude::*;
use std::format;
use std::vec::Vec;

const T0: Instant = Instant(1_000_000);
const PROHIBITED: u32 = 1;

/// Checks and the forwards that they are about; forwards are numbered.
struct Checks {
    verify: Verify,
    forwards: Forwards,
}

impl Checks {
    /// Not enabled.
    fn new(seed: u64) -> Checks {
        let specs: Vec<ForwardSpec> = (0..6)
            .map(|number| ForwardSpec::parse(&format!("{}:localhost:22", 1111 + number)).unwrap())
            .collect();
        Checks {
            verify: Verify::new(seed),
            forwards: Forwards::new(&specs),
        }
    }

    fn set_enabled(&mut self, enabled: bool, now: Instant) {
        self.verify.set_enabled(enabled, &mut self.forwards, now);
    }

    /// The server listens for a forward that is to be found at one or two places.
    fn handle_confirmed(&mut self, number: u8, places: u8, spare: bool, now: Instant) {
        let bind = match (places, spare) {
            (1, _) => "127.0.0.1",
            (_, true) => "192.0.2.1",
            (_, false) => "localhost",
        };
        let id = ForwardId(number);
        let text = format!("{bind}:{}:localhost:22", 1111 + u16::from(number));
        if let Some(forward) = self.forwards.get_mut(id) {
            forward.spec = ForwardSpec::parse(&text).unwrap();
        }
        self.forwards.request(id, now, DEADLINE);
        self.forwards.handle_confirmed(id, 1111);
        self.verify.handle_confirmed(id, &mut self.forwards, now);
    }

    fn handle_cancelled(&mut self, number: u8, now: Instant) {
        let id = ForwardId(number);
        self.verify.handle_cancelled(id, &mut self.forwards, now);
    }

    fn handle_opened(&mut self, now: Instant) {
        self.verify.handle_opened(now);
    }

    fn handle_refused(&mut self, reason: u32, now: Instant) {
        self.verify.handle_refused(reason, &mut self.forwards, now);
    }

    fn handle_found(&mut self, now: Instant) {
        self.verify.handle_found(&mut self.forwards, now);
    }

    fn handle_stranger(&mut self, now: Instant) {
        self.verify.handle_stranger(&mut self.forwards, now);
    }

    fn handle_alive(&mut self, now: Instant) {
        self.verify.handle_alive(&mut self.forwards, now);
    }

    fn handle_crowded(&mut self, now: Instant) {
        self.verify.handle_crowded(&mut self.forwards, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.verify.handle_timeout(&mut self.forwards, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.verify.poll_timeout(&self.forwards)
    }

    /// What is news has a test of its own.
    fn poll_action(&mut self) -> Option<Action> {
        Some(match self.verify.poll_action(&mut self.forwards)? {
            Action::Found { id, finding, .. } => says(id.number(), finding),
            action => action,
        })
    }

    fn proof(&self, number: u8) -> Proof {
        self.verify
            .proof(self.forwards.get(ForwardId(number)).unwrap())
    }
}

struct Bench {
    verify: Checks,
    now: Instant,
}

impl Bench {
    /// Enabled, with forwards that are to be found at so many places each.
    fn new(places: &[u8]) -> Bench {
        let mut verify = Checks::new(7);
        verify.set_enabled(true, T0);
        for (number, places) in places.iter().enumerate() {
            verify.handle_confirmed(number as u8, *places, false, T0);
        }
        Bench { verify, now: T0 }
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.verify.poll_action()).collect()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now = self.now + time;
        self.verify.handle_timeout(self.now);
        self.actions()
    }

    fn on(&mut self, what: impl FnOnce(&mut Checks, Instant)) -> Vec<Action> {
        what(&mut self.verify, self.now);
        self.verify.handle_timeout(self.now);
        self.actions()
    }

    fn here(&mut self) -> Vec<Action> {
        self.on(Checks::handle_opened);
        self.on(Checks::handle_found)
    }
}

fn open(number: u8, place: u8) -> Action {
    let id = ForwardId(number);
    Action::Open { id, place }
}

fn says(number: u8, finding: Finding) -> Action {
    Action::Found {
        id: ForwardId(number),
        finding,
        news: true,
    }
}

#[test]
fn a_forward_is_checked_once_confirmed_and_then_every_8_to_12_minutes() {
    let mut bench = Bench::new(&[2]);
    assert_eq!(bench.actions(), [open(0, 0)]);
    for _ in 0..20 {
        assert_eq!(bench.here(), [Action::Close, open(0, 1)]);
        assert_eq!(bench.here(), [Action::Close, says(0, Finding::Here)]);
        let at = bench.now;
        assert_eq!(bench.verify.proof(0), Proof::Here { at });
        let wait = bench.verify.poll_timeout().unwrap().since(bench.now);
        assert!((480..=720).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(bench.pass(wait), [open(0, 0)]);
    }
}

#[test]
fn without_the_keyword_nothing_is_opened() {
    let mut verify = Checks::new(1);
    verify.handle_confirmed(0, 2, false, T0);
    verify.handle_timeout(T0 + INTERVAL);
    assert_eq!((verify.poll_action(), verify.poll_timeout()), (None, None));
    verify.set_enabled(true, T0);
    assert_eq!(verify.poll_action(), Some(open(0, 0)));
}

#[test]
fn turned_on_again_it_checks_at_once_what_was_checked_before() {
    let mut bench = Bench::new(&[1]);
    bench.actions();
    bench.here();
    bench.on(|verify, now| verify.set_enabled(false, now));
    assert_eq!(
        bench.on(|verify, now| verify.set_enabled(true, now)),
        [open(0, 0)]
    );
}

#[test]
fn that_a_forward_leads_here_is_news_once_and_when_it_changes() {
    let mut bench = Bench::new(&[1]);
    let mut news = Vec::new();
    let findings = [
        Finding::Here,
        Finding::Here,
        Finding::Loopback,
        Finding::Loopback,
        Finding::Gone,
        Finding::Gone,
        Finding::Here,
    ];
    for finding in findings {
        let Checks { verify, forwards } = &mut bench.verify;
        verify.close = false;
        verify.open = None;
        verify.conclude(ForwardId(0), finding, forwards, T0);
        match verify.poll_action(forwards) {
            Some(Action::Found { news: is, .. }) => news.push(is),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(news, [true, false, true, false, true, true, true]);
}

#[test]
fn one_check_is_under_way_at_a_time() {
    let mut bench = Bench::new(&[1, 1, 1]);
    for index in 0..3 {
        assert_eq!(bench.actions(), [open(index, 0)]);
        bench.verify.handle_opened(bench.now);
        bench.verify.handle_found(bench.now);
        assert_eq!(bench.actions(), [Action::Close, says(index, Finding::Here)]);
        bench.verify.handle_timeout(bench.now);
    }
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_full_table_postpones_and_says_nothing_about_the_forward() {
    for full in [Checks::handle_crowded, |v: &mut Checks, now| {
        v.handle_refused(RESOURCE_SHORTAGE, now)
    }] {
        let mut bench = Bench::new(&[1, 1]);
        bench.actions();
        bench.on(Checks::handle_opened);
        assert_eq!(bench.on(full), [Action::Close]);
        assert_eq!(bench.verify.proof(0), Proof::Unknown);
        assert_eq!(bench.pass(POSTPONED), [open(0, 0)]);
    }
}

#[test]
fn a_forward_that_is_taken_back_is_not_checked_any_more() {
    let mut bench = Bench::new(&[1, 1]);
    bench.actions();
    bench.on(Checks::handle_opened);
    let actions = bench.on(|v, now| v.handle_cancelled(0, now));
    assert_eq!(actions, [Action::Close, open(1, 0)]);
    bench.here();
    let actions = bench.on(|v, now| v.handle_cancelled(1, now));
    assert_eq!((actions, bench.verify.poll_timeout()), (std::vec![], None));
}

proptest! {
    #[test]
    fn no_order_of_events_stalls_it_or_opens_two_at_once(
        events in prop::collection::vec((0u8..10, 0u32..6, 0u64..15_000), 0..200)
    ) {
        let mut verify = Checks::new(3);
        let mut now = T0;
        let mut out = false;
        for (what, number, ms) in events {
            now.0 += ms;
            match what {
                0 => verify.set_enabled(number > 0, now),
                1 => verify.handle_confirmed(number as u8, 1 + (ms % 2) as u8, ms % 4 == 1, now),
                2 => verify.handle_cancelled(number as u8, now),
                3 => verify.handle_opened(now),
                4 => verify.handle_refused(number, now),
                5 => verify.handle_found(now),
                6 => verify.handle_stranger(now),
                7 => verify.handle_alive(now),
                8 => verify.handle_crowded(now),
                _ => {}
            }
            // A refusal ends the connection by itself.
            out &= what != 4;
            verify.handle_timeout(now);
            while let Some(action) = verify.poll_action() {
                match action {
                    Action::Close => out = false,
                    Action::Open { .. } | Action::OpenNothing { .. } => {
                        prop_assert!(!out, "two at once");
                        out = true;
                    }
                    _ => {}
                }
            }
            verify.handle_timeout(now);
            while verify.poll_action().is_some_and(|a| {
                out |= matches!(a, Action::Open { .. } | Action::OpenNothing { .. });
                true
            }) {}
            if let Some(at) = verify.poll_timeout() {
                prop_assert!(at > now, "a busy loop");
            }
        }
    }
}
