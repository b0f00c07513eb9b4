//! Forwards and policy that change under a living tunnel.

use super::*;

const WANTED: Happening = Happening::ForwardWanted { index: 0 };
const UNWANTED: Happening = Happening::ForwardUnwanted { index: 0 };
const REQUEST: Action = Action::RequestForward { index: 0 };
const CANCEL: Action = Action::CancelForward { index: 0 };
const CONFIRMED: Happening = Happening::ForwardConfirmed {
    index: 0,
    port: 1111,
};

fn cancelled(done: bool) -> Happening {
    Happening::ForwardCancelled { index: 0, done }
}

/// Authenticated, the request of its one forward on its way.
fn requested() -> Bench {
    let mut bench = Bench::with(Policy::default(), 1);
    bench.actions();
    bench.reach(Stage::Authentication);
    assert_eq!(bench.on(Happening::Authenticated), [REQUEST]);
    bench
}

#[test]
fn a_forward_is_added_to_a_living_tunnel() {
    let mut bench = Bench::new().up();
    assert_eq!(bench.dog.vacant(), Some(2));
    let added = bench.on(Happening::ForwardWanted { index: 2 });
    assert_eq!(added, [Action::RequestForward { index: 2 }]);
    let port = 1113;
    let up = bench.on(Happening::ForwardConfirmed { index: 2, port });
    assert_eq!(up, [Action::TunnelUp]);
}

#[test]
fn a_forward_is_taken_from_a_living_tunnel_and_its_index_is_free_after_the_reply() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    assert_eq!(bench.on(UNWANTED), [CANCEL]);
    assert_eq!(bench.dog.vacant(), Some(1));
    assert_eq!(bench.on(cancelled(true)), []);
    assert_eq!(bench.dog.vacant(), Some(0));
}

#[test]
fn a_cancellation_that_crosses_the_confirmation_is_sent_after_it() {
    let mut bench = requested();
    assert!(
        !bench.on(UNWANTED).contains(&CANCEL),
        "nothing to cancel yet"
    );
    assert_eq!(bench.on(CONFIRMED), [CANCEL]);
}

#[test]
fn a_cancellation_that_crosses_the_refusal_is_not_sent() {
    let mut bench = requested();
    bench.on(UNWANTED);
    assert_eq!(bench.on(Happening::ForwardRefused { index: 0 }), []);
    assert_eq!(bench.dog.vacant(), Some(0));
}

#[test]
fn a_forward_wanted_again_before_its_cancellation_is_answered_is_asked_for_after_it() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.on(UNWANTED);
    assert_eq!(bench.on(WANTED), [], "one thing at a time");
    assert_eq!(bench.on(cancelled(true)), [REQUEST]);
    assert_eq!(bench.on(CONFIRMED), [Action::TunnelUp]);
}

#[test]
fn a_forward_wanted_again_that_the_server_kept_is_up() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.on(UNWANTED);
    bench.on(WANTED);
    assert_eq!(bench.on(cancelled(false)), [Action::TunnelUp]);
}

#[test]
fn a_listener_that_the_server_keeps_against_our_will_ends_with_its_connection() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.pass(1000);
    bench.on(UNWANTED);
    let renewed = [Action::Abandon(Failure::Asked), Action::Resolve];
    assert_eq!(bench.on(cancelled(false)), renewed);
}

#[test]
fn a_cancellation_without_reply_has_a_deadline() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.on(UNWANTED);
    let (timer, actions) = bench.next_timer();
    assert_eq!(timer, Timer::Stage(Stage::Forward));
    let overdue = Failure::Timeout(Stage::Forward);
    assert!(actions.contains(&Action::Abandon(overdue)), "{actions:?}");
}

#[test]
fn what_is_unwanted_is_not_asked_for_on_the_next_connection() {
    let mut bench = Bench::new().up();
    bench.on(UNWANTED);
    bench.on(Happening::Failed(Failure::Lost));
    bench.next_timer();
    bench.reach(Stage::Authentication);
    let asked = bench.on(Happening::Authenticated);
    assert_eq!(asked, [Action::RequestForward { index: 1 }]);
}

#[test]
fn a_new_interval_holds_at_once_and_begins_with_a_probe() {
    let mut bench = Bench::new().up();
    let alive_interval = Duration::from_secs(7);
    let policy = Policy {
        alive_interval,
        ..Policy::default()
    };
    bench.dog.set_policy(bench.now, policy);
    assert_eq!(bench.actions(), [Action::Probe]);
    bench.on(Happening::Inbound);
    let due = Some((bench.now + alive_interval, Timer::Probe));
    assert_eq!(bench.dog.poll_timeout(), due);
}

const ELSEWHERE: Happening = Happening::ForwardElsewhere { index: 0 };

#[test]
fn a_forward_that_leads_elsewhere_is_taken_back_and_asked_for_again_after_longer_and_longer() {
    let mut bench = requested();
    let mut waits = Vec::new();
    for round in 0..6 {
        let up = bench.on(CONFIRMED);
        assert_eq!(up.contains(&Action::TunnelUp), round == 0, "told once");
        assert_eq!(bench.on(ELSEWHERE), [CANCEL]);
        assert_eq!(bench.on(ELSEWHERE), [], "it is on its way out");
        let waiting = bench.on(cancelled(true));
        let [Action::ForwardWaits { index: 0, until }] = waiting[..] else {
            panic!("{waiting:?}");
        };
        waits.push(until.since(bench.now).as_secs());
        bench.now = until;
        bench.dog.handle_timeout(until);
        assert!(bench.actions().contains(&REQUEST));
    }
    assert!((1..=2).contains(&waits[0]), "{waits:?}");
    assert!(waits[1..].iter().all(|wait| (1..=60).contains(wait)));
    assert!(waits.iter().any(|wait| *wait > 4), "{waits:?}");
}

#[test]
fn a_server_that_keeps_a_listener_that_leads_elsewhere_is_not_asked_in_a_loop() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    assert_eq!(bench.on(ELSEWHERE), [CANCEL]);
    assert_eq!(bench.on(cancelled(false)), []);
    let port = 1111;
    assert_eq!(bench.dog.forwards(), [ForwardState::Confirmed { port }]);
}

#[test]
fn leading_elsewhere_is_a_refusal_for_exit_on_forward_failure_too() {
    let policy = Policy {
        exit_on_forward_failure: true,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, 1);
    bench.actions();
    bench.reach(Stage::Authentication);
    bench.on(Happening::Authenticated);
    bench.on(CONFIRMED);
    assert_eq!(bench.on(ELSEWHERE), [Action::Disconnect]);
    assert_eq!(bench.dog.exit_reason(), ExitReason::ForwardRefused);
}

#[test]
fn a_forward_that_leads_elsewhere_and_is_unwanted_meanwhile_stays_away() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.on(ELSEWHERE);
    bench.on(UNWANTED);
    assert_eq!(bench.on(cancelled(true)), []);
    assert_eq!(bench.dog.vacant(), Some(0));
}
