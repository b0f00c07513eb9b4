//! What callers ask for.

use super::*;

#[test]
fn a_reconnection_asked_for_cuts_everything_short() {
    let mut bench = Bench::new().up();
    bench.pass(10 * S);
    let actions = bench.on(Input::ReconnectNow);
    assert_eq!(actions, [Action::Abandon(Failure::Asked), Action::Resolve]);
    bench.on(Input::Failed(Failure::AuthRefused));
    bench.pass(S);
    assert_eq!(bench.on(Input::ReconnectNow), [Action::Resolve]);
    let actions = bench.on(Input::ReconnectNow);
    assert!(matches!(
        actions[..],
        [Action::Abandon(_), Action::Wait { .. }]
    ));
    assert_eq!(bench.waiting().0, ATTEMPT_GAP, "not faster than that");
}

#[test]
fn a_call_cuts_a_wait_short_and_one_too_many_has_its_turn_later() {
    let mut bench = Bench::new();
    bench.actions();
    for _ in 0..3 {
        bench.on(Input::Failed(Failure::AuthRefused));
        bench.pass(10 * S);
        assert_eq!(bench.on(Input::Called), [Action::Resolve]);
        assert_eq!(bench.on(Input::Called), [], "an attempt is under way");
    }
    bench.on(Input::Failed(Failure::AuthRefused));
    let (before, _) = bench.waiting();
    assert!(matches!(bench.on(Input::Called)[..], [Action::Wait { .. }]));
    let (after, why) = bench.waiting();
    assert!(
        after < before && after > Duration::from_secs(500),
        "{after:?}"
    );
    assert_eq!(why, Failure::AuthRefused);
    assert_eq!(
        bench.on(Input::Called),
        [],
        "no call makes it sooner or later"
    );
    assert_eq!(bench.next_timer(), [Action::Resolve]);
}

#[test]
fn a_call_asks_again_for_a_refused_forward_and_leaves_the_connection_alone() {
    let mut bench = Bench::new();
    bench.reach(Stage::Forward);
    bench.actions();
    let id = ForwardId(0);
    bench.on(Input::ForwardConfirmed {
        id: ForwardId(1),
        port: 1112,
    });
    bench.on(Input::ForwardRefused { id });
    assert_eq!(bench.on(Input::Called), [Action::RequestForward { id }]);
    bench.on(Input::ForwardConfirmed { id, port: 1111 });
    assert_eq!(bench.on(Input::Called), []);
}

#[test]
fn stop_ends_a_connection_gracefully_and_within_2_s() {
    for stage in [Stage::Resolve, Stage::KeyExchange, Stage::Forward] {
        let mut bench = Bench::new();
        bench.actions();
        bench.reach(stage);
        assert_eq!(bench.on(Input::Stop), [Action::Disconnect]);
        assert_eq!(bench.on(Input::Stop), []);
        assert_eq!(bench.on(Input::ReconnectNow), []);
        let begun = bench.now;
        assert_eq!(bench.next_timer(), [Action::Exit]);
        assert_eq!(bench.now.since(begun), Duration::from_secs(2));
        assert_eq!(bench.dog.state(), State::Stopped);
        assert_eq!(bench.dog.exit_reason(), ExitReason::Stopped);
    }
}

#[test]
fn stop_ends_at_once_when_the_connection_is_closed_or_there_is_none() {
    let mut bench = Bench::new().up();
    bench.on(Input::Stop);
    assert_eq!(
        bench.on(Input::Failed(Failure::ServerClosed)),
        [Action::Exit]
    );
    let mut bench = Bench::new();
    bench.actions();
    bench.on(Input::Failed(Failure::Resolve));
    assert_eq!(bench.on(Input::Stop), [Action::Exit]);
    assert_eq!(bench.dog.poll_timeout(), None);
}

#[test]
fn what_is_not_carried_out_in_time_is_taken_back() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Authentication);
    bench.dog.handle(bench.now, Input::Authenticated);
    bench.dog.handle(bench.now, Input::Failed(Failure::Lost));
    let actions = bench.actions();
    assert!(matches!(actions[..], [Action::Wait { .. }]), "{actions:?}");
}

#[test]
fn a_stop_takes_back_what_was_not_carried_out() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Authentication);
    bench.dog.handle(bench.now, Input::Authenticated);
    bench.dog.handle(bench.now, Input::Stop);
    assert_eq!(bench.actions(), [Action::Disconnect]);
}
