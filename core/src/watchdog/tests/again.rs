//! When the next attempt begins.

use super::*;

#[test]
fn a_lost_connection_is_made_again_with_all_its_forwards() {
    let mut bench = Bench::new().up();
    let actions = bench.on(Input::Failed(Failure::Lost));
    assert!(matches!(
        actions[..],
        [Action::Wait {
            why: Failure::Lost,
            ..
        }]
    ));
    assert_eq!(bench.states(), [ForwardState::Idle; 2]);
    assert_eq!(bench.next_timer(), [Action::Resolve]);
    bench.reach(Stage::Authentication);
    let request = |id| Action::RequestForward { id: ForwardId(id) };
    assert_eq!(bench.on(Input::Authenticated), [request(0), request(1)]);
}

#[test]
fn a_login_that_was_lost_is_repeated_at_once_however_often() {
    for why in [
        Failure::Lost,
        Failure::Silent,
        Failure::Timeout(Stage::Forward),
    ] {
        let mut bench = Bench::new();
        for _ in 0..50 {
            bench.reach(Stage::Forward);
            bench.pass(S);
            bench.on(Input::Failed(why));
            assert!(bench.waiting().0 <= Duration::from_secs(1), "{why}");
            bench.next_timer();
        }
    }
}

#[test]
fn waits_grow_until_a_connection_has_held_for_a_minute() {
    let mut bench = Bench::new();
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        bench.reach(Stage::Forward);
        bench.pass(S);
        bench.on(Input::Failed(Failure::ServerClosed));
        longest = longest.max(bench.waiting().0);
        bench.next_timer();
    }
    assert!(longest > Duration::from_secs(5) && longest <= Duration::from_secs(60));
    bench.reach(Stage::Forward);
    for _ in 0..60 {
        bench.inbound();
        bench.on(Input::ForwardConfirmed {
            id: ForwardId(0),
            port: 1,
        });
        bench.on(Input::ForwardConfirmed {
            id: ForwardId(1),
            port: 1,
        });
        bench.pass(S);
    }
    bench.on(Input::Failed(Failure::ServerClosed));
    assert!(
        bench.waiting().0 <= Duration::from_secs(1),
        "it started over"
    );
}

#[test]
fn a_server_that_is_not_there_is_tried_for_ever_and_seldom() {
    for seed in 0..20 {
        let mut now = Instant(0);
        let mut dog = Watchdog::new(Policy::default(), &specs(2), seed, now);
        let (mut attempts, hour) = (0, Instant(3600 * S));
        while now < hour {
            while let Some(action) = dog.poll_action() {
                if action == Action::Resolve {
                    attempts += 1;
                    dog.handle(now, Input::Failed(Failure::Unreachable));
                }
                assert!(!matches!(action, Action::Exit | Action::Disconnect));
            }
            now = dog.poll_timeout().unwrap();
            dog.handle_timeout(now);
        }
        // About 30 s on average, and 7 more while the waits are still short.
        assert!(
            (90..=180).contains(&attempts),
            "{attempts} attempts in an hour"
        );
    }
}

#[test]
fn classes_wait_within_their_bounds_and_a_link_cuts_a_wait_to_its_floor_at_most() {
    for (failure, class) in [
        (Failure::Unreachable, Class::Normal),
        // One flipped bit on the way is not a changed key.
        (Failure::Protocol, Class::Normal),
        (Failure::AuthRefused, Class::Slow),
        (Failure::Incompatible, Class::Slow),
        (Failure::HostKeyChanged, Class::HostKey),
        (Failure::HostKeyUnknown, Class::HostKey),
        (Failure::Local, Class::Local),
        (Failure::GoneAway, Class::Throttled),
        (Failure::NotServed, Class::Unserved),
    ] {
        let bounds = range(class);
        let mut bench = Bench::new();
        bench.actions();
        for _ in 0..12 {
            bench.on(Input::Failed(failure));
            let failed_at = bench.now;
            let (wait, why) = bench.waiting();
            assert_eq!(why, failure);
            assert!(wait >= bounds.floor && wait <= bounds.cap, "{wait:?}");
            bench.pass(10);
            bench.on(Input::LinkUp);
            assert_eq!(bench.next_timer(), [Action::Resolve]);
            assert_eq!(bench.now.since(failed_at), bounds.floor, "{failure}");
        }
    }
}

#[test]
fn a_link_that_comes_back_late_in_a_wait_begins_the_attempt_at_once() {
    let mut bench = Bench::new();
    loop {
        bench.on(Input::Failed(Failure::Unreachable));
        if bench.waiting().0 > Duration::from_secs(10) {
            break;
        }
        bench.next_timer();
    }
    bench.pass(5 * S);
    assert_eq!(bench.on(Input::LinkUp), [Action::Resolve]);
    assert_eq!(bench.on(Input::LinkUp), [], "an attempt is under way");
}

#[test]
fn a_link_that_comes_back_begins_an_attempt_anew_that_has_lasted_too_long() {
    for (stage, stale) in [
        (Stage::Resolve, STALE_DIAL),
        (Stage::Tcp, STALE_DIAL),
        (Stage::Ident, STALE_HANDSHAKE),
        (Stage::Authentication, STALE_HANDSHAKE),
    ] {
        let mut bench = Bench::new();
        bench.actions();
        bench.reach(stage);
        let stale_ms = stale.as_millis() as u64;
        bench.pass(stale_ms - 1);
        assert_eq!(bench.on(Input::LinkUp), [], "{stage}");
        bench.pass(1);
        let anew = [Action::Abandon(Failure::NetworkChanged), Action::Resolve];
        assert_eq!(bench.on(Input::LinkUp), anew, "{stage}");
        assert_eq!(bench.dog.state(), State::Connecting(Stage::Resolve));
    }
}

#[test]
fn a_link_that_comes_back_under_a_living_tunnel_probes_it_at_once_and_once() {
    let mut bench = Bench::new().up();
    bench.pass(S);
    assert_eq!(bench.on(Input::LinkUp), [Action::Probe]);
    assert_eq!(bench.on(Input::LinkUp), []);
    let lost_by = bench.now + Duration::from_secs(15);
    while !matches!(bench.next_timer()[0], Action::Abandon(_)) {}
    assert_eq!(bench.now, lost_by);
}

#[test]
fn a_link_never_makes_a_wait_longer() {
    let mut bench = Bench::new();
    bench.on(Input::Failed(Failure::AuthRefused));
    bench.on(Input::ReconnectNow);
    let (wait, _) = bench.waiting();
    assert_eq!(wait, ATTEMPT_GAP);
    assert_eq!(bench.on(Input::LinkUp), []);
    assert_eq!(bench.waiting().0, wait);
}
