//! The way back, and how long it takes.

use super::*;
use reachback_core::forwards::{Forward, ForwardId};

#[test]
fn refused_authentication_is_tried_so_seldom_that_no_penalty_box_minds() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.knobs.auth = Answer::No;
    world.run_for(24 * HOUR);
    let attempts = world.invariants.attempts.clone();
    let bounds = backoff::range(Class::Slow);
    let (floor, cap) = (
        bounds.floor.as_millis() as u64,
        bounds.cap.as_millis() as u64,
    );
    assert!(attempts.len() >= 24 * 3, "{} a day", attempts.len());
    for pair in attempts.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((floor..=cap + S).contains(&gap), "{gap} ms");
    }
    // fail2ban's usual limit is 5 in 10 minutes.
    for three in attempts.windows(3) {
        assert!(three[2] - three[0] >= 10 * MIN);
    }
    world.outside.host.knobs.auth = Answer::Yes;
    whole_within(&mut world, cap + S);
    clean(&world);
}

#[test]
fn a_changed_host_key_is_never_logged_in_to_and_looked_at_slowly() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.knobs.host_key = 9;
    let (_, why) = next_end(&mut world, MIN);
    assert_eq!(why, Failure::HostKeyChanged);
    world.run_for(12 * HOUR);
    assert!(!world.outside.servers().any(|server| server.authenticated));
    assert_eq!(world.invariants.ups, [0u64; 0]);
    let attempts = world.invariants.attempts.len();
    let floor = backoff::range(Class::HostKey).floor.as_millis() as u64;
    assert!(
        (24..=12 * HOUR / floor).contains(&(attempts as u64)),
        "{attempts} in 12 hours"
    );
    world.outside.host.knobs.host_key = 1;
    whole_within(&mut world, 30 * MIN + S);
    clean(&world);
}

#[test]
fn a_listener_of_the_lost_session_is_taken_back_as_soon_as_the_server_lets_go() {
    let mut world = up();
    world.outside.host.patience_ms = 20 * MIN;
    // The old connection is gone without a word to the server, as a NAT box forgets it.
    world.move_address(true);
    let back = whole_or_connected(&mut world);
    assert!(back <= 5 * S, "connected again after {back} ms");
    let accepted = world.outside.host.accepted;
    world.run_for(10 * MIN);
    assert!(!world.controller.is_whole());
    let held = |(_, f): (ForwardId, &Forward)| matches!(f.state(), ForwardState::Refused { .. });
    assert!(world.controller.watchdog.forwards().iter().all(held));
    // 60 s at most from the moment at which the server gives the old session up.
    let freed = |world: &World| world.outside.host.ports.is_empty();
    let end_ms = world.now_ms() + 20 * MIN;
    assert!(world.run_until(end_ms, freed));
    let taken = whole_within(&mut world, 2 * MIN);
    assert!(taken <= MIN + S, "{taken} ms");
    assert_eq!(
        world.outside.host.accepted, accepted,
        "on the living connection"
    );
    assert!(world.exchange(0, 1_000, 5 * S));
    clean(&world);
}

#[test]
fn one_forward_that_is_refused_leaves_the_other_in_service() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.foreign = vec![1111];
    world.run_for(10 * MIN);
    let confirmed =
        |(_, f): (ForwardId, &Forward)| matches!(f.state(), ForwardState::Confirmed { .. });
    let states: Vec<bool> = world
        .controller
        .watchdog
        .forwards()
        .iter()
        .map(confirmed)
        .collect();
    assert_eq!(states, [false, true]);
    assert!(world.exchange(1, 50_000, 10 * S));
    assert_eq!(world.invariants.attempts.len(), 1);
    world.outside.host.foreign.clear();
    assert!(whole_within(&mut world, 2 * MIN) <= MIN + S);
    assert!(world.exchange(0, 50_000, 10 * S));
    assert_eq!(world.invariants.attempts.len(), 1, "all on one connection");
    clean(&world);
}

#[test]
fn a_server_that_restarts_is_used_again_at_once() {
    let mut world = up();
    world.run_for(5 * MIN);
    world.outside.kill_server();
    let (_, why) = next_end(&mut world, S);
    assert_eq!(why, Failure::Lost);
    world.run_for(10 * S);
    world.outside.host.listening = true;
    // Waits after 10 s of refusals are 16 s at most.
    assert!(whole_within(&mut world, MIN) <= 18 * S);
    clean(&world);
}

#[test]
fn a_machine_that_lost_its_power_is_noticed_and_used_again() {
    let mut world = up();
    world.outside.cut_power();
    let (at, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(at <= world.now_ms());
    world.run_for(2 * HOUR);
    world.outside.host.powered = true;
    assert!(whole_within(&mut world, 3 * MIN) <= 92 * S);
    clean(&world);
}

#[test]
fn an_hour_without_names_costs_few_attempts_and_their_return_a_minute() {
    let mut world = up();
    world.outside.path.dns = Dns::Fails;
    world.outside.reset_all();
    let before = world.invariants.attempts.len();
    world.run_for(HOUR);
    let attempts = world.invariants.attempts.len() - before;
    assert!((60..=180).contains(&attempts), "{attempts} attempts");
    world.outside.path.dns = Dns::Answers;
    assert!(whole_within(&mut world, 2 * MIN) <= 62 * S);
    clean(&world);
}

#[test]
fn with_the_link_back_the_tunnel_is_usable_within_2_s_and_round_trips() {
    for away in [2 * MIN, 10 * MIN, 11 * MIN + 7 * S, HOUR] {
        let mut world = up();
        world.set_link(false, false);
        world.run_for(away);
        world.set_link(true, true);
        let took = whole_within(&mut world, MIN);
        assert!(took <= 2 * S + 12 * 80, "{took} ms after {away} ms");
        assert!(world.exchange(0, 1_000, 5 * S));
        clean(&world);
    }
}

#[test]
fn an_attempt_that_hangs_when_the_link_comes_back_is_begun_anew() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    black_hole(&mut world);
    for hang in [10 * S, 20 * S] {
        world.run_for(hang);
        world.set_link(false, false);
        world.run_for(2 * S);
    }
    world.outside.path = Path::good();
    world.set_link(true, true);
    assert!(whole_within(&mut world, MIN) <= 2 * S + 12 * 80);
    clean(&world);
}

#[test]
fn a_moved_address_is_left_at_once_when_the_kernel_tells_and_within_75_s_when_not() {
    let mut world = up();
    world.outside.host.patience_ms = 30 * S;
    world.move_address(true);
    assert!(whole_or_connected(&mut world) <= 2 * S + 12 * 80);
    whole_within(&mut world, 3 * MIN);
    let moved_ms = world.now_ms();
    world.move_address(false);
    let (noticed, _) = next_end(&mut world, 2 * MIN);
    assert!(noticed - moved_ms <= 75 * S);
    clean(&world);
}

#[test]
fn a_suspended_controller_goes_on_with_its_connection_when_the_server_kept_it() {
    let mut world = up();
    world.outside.host.patience_ms = 10 * HOUR;
    world.freeze_for(3 * HOUR);
    world.run_for(10 * MIN);
    assert_eq!(world.invariants.attempts.len(), 1);
    assert!(world.exchange(0, 1_000, 5 * S));
    // And makes a new one when it did not.
    world.outside.host.patience_ms = 5 * MIN;
    world.freeze_for(3 * HOUR);
    assert!(whole_within(&mut world, 2 * MIN) <= 3 * S);
    clean(&world);
}

#[test]
fn a_server_that_says_goodbye_before_login_is_respected() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.knobs.stall = Some(Stall::Authentication);
    world.run_for(5 * S);
    world.outside.end_all(12);
    let (at, why) = next_end(&mut world, S);
    assert_eq!(why, Failure::GoneAway);
    let until = world.invariants.waits[0].2;
    assert!((30 * S..=60 * S).contains(&(until - at)));
    clean(&world);
}
