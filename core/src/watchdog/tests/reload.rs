//! Forwards and policy that change under a living tunnel.

use super::*;

const ID: ForwardId = ForwardId(0);
const REQUEST: Action = Action::RequestForward { id: ForwardId(0) };
const CANCEL: Action = Action::CancelForward { id: ForwardId(0) };
const CONFIRMED: Input = Input::ForwardConfirmed {
    id: ForwardId(0),
    port: 1111,
};

fn want(bench: &mut Bench, number: usize) -> Vec<Action> {
    let spec = spec(number);
    bench.dog.want(bench.now, &spec, Origin::Configuration);
    bench.actions()
}

fn unwant(bench: &mut Bench) -> Vec<Action> {
    bench.dog.unwant(bench.now, ID, Origin::Configuration);
    bench.actions()
}

/// How many records are in use.
fn in_use(bench: &Bench) -> usize {
    let forwards = bench.dog.forwards().iter();
    let idle = |forward: &crate::forwards::Forward| forward.state() == ForwardState::Idle;
    forwards.filter(|(_, f)| f.is_wanted() || !idle(f)).count()
}

fn cancelled(done: bool) -> Input {
    Input::ForwardCancelled {
        id: ForwardId(0),
        done,
    }
}

/// Authenticated, the request of its one forward on its way.
fn requested() -> Bench {
    let mut bench = Bench::with(Policy::default(), 1);
    bench.actions();
    bench.reach(Stage::Authentication);
    assert_eq!(bench.on(Input::Authenticated), [REQUEST]);
    bench
}

#[test]
fn a_forward_is_added_to_a_living_tunnel() {
    let mut bench = Bench::new().up();
    let added = want(&mut bench, 2);
    assert_eq!(added, [Action::RequestForward { id: ForwardId(2) }]);
    let port = 1113;
    let up = bench.on(Input::ForwardConfirmed {
        id: ForwardId(2),
        port,
    });
    assert_eq!(up, [Action::TunnelUp]);
}

#[test]
fn a_forward_is_taken_from_a_living_tunnel_and_its_index_is_free_after_the_reply() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    assert_eq!(unwant(&mut bench), [CANCEL]);
    assert_eq!(in_use(&bench), 1);
    assert_eq!(bench.on(cancelled(true)), []);
    assert_eq!(in_use(&bench), 0);
}

#[test]
fn a_cancellation_that_crosses_the_confirmation_is_sent_after_it() {
    let mut bench = requested();
    assert!(
        !unwant(&mut bench).contains(&CANCEL),
        "nothing to cancel yet"
    );
    assert_eq!(bench.on(CONFIRMED), [CANCEL]);
}

#[test]
fn a_cancellation_that_crosses_the_refusal_is_not_sent() {
    let mut bench = requested();
    unwant(&mut bench);
    assert_eq!(bench.on(Input::ForwardRefused { id: ForwardId(0) }), []);
    assert_eq!(in_use(&bench), 0);
}

#[test]
fn a_forward_wanted_again_before_its_cancellation_is_answered_is_asked_for_after_it() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    unwant(&mut bench);
    assert_eq!(want(&mut bench, 0), [], "one thing at a time");
    assert_eq!(bench.on(cancelled(true)), [REQUEST]);
    assert_eq!(bench.on(CONFIRMED), [Action::TunnelUp]);
}

#[test]
fn a_forward_wanted_again_that_the_server_kept_is_up() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    unwant(&mut bench);
    want(&mut bench, 0);
    assert_eq!(bench.on(cancelled(false)), [Action::TunnelUp]);
}

/// The server listens for a forward that nobody wants, and does not let it go.
fn kept() -> Bench {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.pass(1000);
    unwant(&mut bench);
    assert_eq!(bench.on(cancelled(false)), [], "somebody may be served");
    bench
}

#[test]
fn a_listener_that_the_server_keeps_ends_with_its_connection_once_nobody_uses_that() {
    let renewed = [Action::Abandon(Failure::Asked), Action::Resolve];
    assert_eq!(kept().on(Input::Idle), renewed);

    let mut used = kept();
    let since = used.now;
    loop {
        used.inbound();
        let actions = used.next_timer();
        if actions == renewed {
            break;
        }
        assert_eq!(actions, [Action::Probe]);
    }
    assert_eq!(used.now.since(since), KEPT);
}

#[test]
fn an_idle_tunnel_is_renewed_for_nothing_else() {
    let mut bench = requested();
    assert_eq!(bench.on(Input::Idle), []);
    bench.on(CONFIRMED);
    assert_eq!(bench.on(Input::Idle), []);

    let mut wanted_again = kept();
    want(&mut wanted_again, 0);
    assert_eq!(wanted_again.on(Input::Idle), []);
    wanted_again.inbound();
    wanted_again.on(CONFIRMED);
    assert_eq!(wanted_again.next_timer(), [Action::Probe]);
}

#[test]
fn a_cancellation_without_reply_has_a_deadline() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    unwant(&mut bench);
    let actions = bench.next_timer();
    let overdue = Failure::Timeout(Stage::Forward);
    assert!(actions.contains(&Action::Abandon(overdue)), "{actions:?}");
}

#[test]
fn what_is_unwanted_is_not_asked_for_on_the_next_connection() {
    let mut bench = Bench::new().up();
    unwant(&mut bench);
    bench.on(Input::Failed(Failure::Lost));
    bench.next_timer();
    bench.reach(Stage::Authentication);
    let asked = bench.on(Input::Authenticated);
    assert_eq!(asked, [Action::RequestForward { id: ForwardId(1) }]);
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
    assert_eq!(bench.next_timer(), [Action::Probe]);
    bench.inbound();
    assert_eq!(bench.dog.poll_timeout(), Some(bench.now + alive_interval));
}

const ELSEWHERE: Input = Input::ForwardElsewhere { id: ForwardId(0) };

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
        let [
            Action::ForwardWaits {
                id: ForwardId(0),
                until,
                ..
            },
        ] = waiting[..]
        else {
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
    assert_eq!(bench.states(), [ForwardState::Confirmed { port }]);
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
    bench.on(Input::Authenticated);
    bench.on(CONFIRMED);
    assert_eq!(bench.on(ELSEWHERE), [Action::Disconnect]);
    assert_eq!(bench.dog.exit_reason(), ExitReason::ForwardRefused);
}

#[test]
fn a_forward_that_leads_elsewhere_and_is_unwanted_meanwhile_stays_away() {
    let mut bench = requested();
    bench.on(CONFIRMED);
    bench.on(ELSEWHERE);
    unwant(&mut bench);
    assert_eq!(bench.on(cancelled(true)), []);
    assert_eq!(in_use(&bench), 0);
}

#[test]
fn only_who_takes_away_the_last_wish_takes_the_forward_away() {
    let mut bench = Bench::with(Policy::default(), 1).up();
    let first = ForwardId(0);
    let spec = bench.dog.forwards().get(first).unwrap().spec.clone();
    bench.dog.want(bench.now, &spec, Origin::Caller);
    assert!(!bench.dog.unwant(bench.now, first, Origin::Configuration));
    assert_eq!(bench.actions(), [], "the caller still wants it");
    assert!(bench.dog.unwant(bench.now, first, Origin::Caller));
    assert_eq!(bench.actions(), [Action::CancelForward { id: first }]);
    assert!(!bench.dog.unwant(bench.now, first, Origin::Caller));
    assert_eq!(bench.actions(), []);
}
