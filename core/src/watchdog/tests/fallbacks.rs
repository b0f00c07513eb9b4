//! Several destinations, on virtual time.

use super::*;
use crate::destinations::{FAILBACK_INTERVAL, PATIENCE};

/// One forward, two fallbacks.
fn bench() -> Bench {
    let mut bench = Bench::with(Policy::default(), 1);
    bench.dog.set_fallbacks(2);
    bench.actions();
    bench
}

/// Fails the attempt under way and lets time pass to the next one; gives its destination and
/// how long it took to begin.
fn fail(bench: &mut Bench, why: Failure) -> (usize, Duration) {
    let failed = bench.now;
    bench.on(Input::Failed(why));
    assert_eq!(bench.next_timer(), [Action::Resolve]);
    (bench.dog.destination(), bench.now.since(failed))
}

/// Up at the first fallback.
fn away() -> Bench {
    let mut bench = bench();
    for _ in 0..PATIENCE {
        fail(&mut bench, Failure::Unreachable);
    }
    assert_eq!(bench.dog.destination(), 1);
    bench.up()
}

#[test]
fn a_first_destination_that_stays_unreachable_is_left_within_seconds() {
    let mut bench = bench();
    let began = bench.now;
    let tried: Vec<_> = (0..6)
        .map(|_| fail(&mut bench, Failure::Unreachable).0)
        .collect();
    assert_eq!(tried, [0, 0, 1, 1, 1, 2]);
    assert!(bench.now.since(began) < Duration::from_secs(10));
}

#[test]
fn a_refused_login_leads_to_the_next_destination_and_not_back_before_its_pause() {
    let mut bench = bench();
    let refused = bench.now;
    assert_eq!(fail(&mut bench, Failure::AuthRefused), (1, ATTEMPT_GAP));
    assert_eq!(fail(&mut bench, Failure::AuthRefused), (2, ATTEMPT_GAP));
    while bench.now.since(refused) < range(Class::Slow).floor {
        assert_eq!(bench.dog.destination(), 2);
        fail(&mut bench, Failure::Lost);
    }
    let mut last = 2;
    while bench.now.since(refused) < Duration::from_secs(3600) && last == 2 {
        last = fail(&mut bench, Failure::Lost).0;
    }
    assert_ne!(last, 2, "those that refused are tried again");
}

#[test]
fn a_fallback_stays_until_the_first_answers() {
    let mut bench = away();
    let up = bench.now;
    while !bench.next_timer().contains(&Action::TryFirst) {
        assert!(bench.now.since(up) < FAILBACK_INTERVAL);
        bench.inbound();
    }
    assert_eq!(bench.now.since(up), FAILBACK_INTERVAL);
    assert!(
        matches!(bench.dog.state(), State::Up { .. }),
        "it stays up meanwhile"
    );
    let home = [Action::Abandon(Failure::Failback), Action::Resolve];
    assert_eq!(bench.on(Input::FirstAnswers), home);
    assert_eq!(bench.dog.destination(), 0);
}

#[test]
fn a_first_that_answers_and_then_fails_leads_back_to_the_fallback_after_one_attempt() {
    let mut bench = away();
    bench.pass(1_000_000);
    bench.inbound();
    bench.on(Input::FirstAnswers);
    assert_eq!(bench.dog.destination(), 0);
    assert_eq!(fail(&mut bench, Failure::Lost), (1, ATTEMPT_GAP));
}

#[test]
fn at_the_first_destination_nothing_looks_for_it() {
    let mut bench = bench().up();
    assert_eq!(bench.on(Input::FirstAnswers), []);
    for _ in 0..50 {
        assert_eq!(bench.next_timer(), [Action::Probe]);
        bench.inbound();
    }
}

#[test]
fn a_link_that_comes_back_begins_with_the_first_destination() {
    let mut bench = bench();
    for _ in 0..4 {
        fail(&mut bench, Failure::Resolve);
    }
    assert_eq!(bench.dog.destination(), 1);
    bench.on(Input::Failed(Failure::Resolve));
    bench.on(Input::LinkUp);
    assert_eq!(bench.dog.destination(), 0);
    bench.next_timer();
    assert_eq!(bench.dog.state(), State::Connecting(Stage::Resolve));
}
