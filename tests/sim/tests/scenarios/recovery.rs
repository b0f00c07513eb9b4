//! The way back, and how long it takes.

use super::*;

/// How long names are waited for while an address is remembered.
const PATIENCE: u64 = 6 * S;

#[test]
fn refused_authentication_is_tried_so_seldom_that_no_penalty_box_minds() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().knobs.auth = Answer::No;
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
    world.net().hub().knobs.auth = Answer::Yes;
    whole_within(&mut world, cap + S);
    clean(&world);
}

#[test]
fn a_changed_host_key_is_never_logged_in_to_and_looked_at_slowly() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().knobs.host_key = 9;
    let (_, why) = next_end(&mut world, MIN);
    assert_eq!(why, Failure::HostKeyChanged);
    world.run_for(12 * HOUR);
    assert!(!world.net().servers().any(|server| server.authenticated));
    assert_eq!(world.invariants.ups, [0u64; 0]);
    let attempts = world.invariants.attempts.len();
    let floor = backoff::range(Class::HostKey).floor.as_millis() as u64;
    assert!(
        (24..=12 * HOUR / floor).contains(&(attempts as u64)),
        "{attempts} in 12 hours"
    );
    world.net().hub().knobs.host_key = 1;
    whole_within(&mut world, 30 * MIN + S);
    clean(&world);
}

#[test]
fn a_listener_of_the_lost_session_is_taken_back_as_soon_as_the_server_lets_go() {
    let mut world = up();
    world.net().hub().patience_ms = 20 * MIN;
    // The old connection is gone without a word to the server, as a NAT box forgets it.
    world.move_address(true);
    let back = whole_or_connected(&mut world);
    assert!(back <= 5 * S, "connected again after {back} ms");
    let accepted = world.net().hub().accepted;
    world.run_for(10 * MIN);
    assert!(!world.is_whole());
    let held = |forward: &ForwardStatus| matches!(forward.state, ForwardState::Refused { .. });
    assert!(world.status().forwards.iter().all(held));
    // 60 s at most from the moment at which the server gives the old session up.
    let freed = |world: &World| !world.net().hub().has_sessions();
    let end_ms = world.now_ms() + 20 * MIN;
    assert!(world.run_until(end_ms, freed));
    let taken = whole_within(&mut world, 2 * MIN);
    assert!(taken <= MIN + S, "{taken} ms");
    assert_eq!(
        world.net().hub().accepted,
        accepted,
        "on the living connection"
    );
    assert!(exchange(&mut world, 0, 1_000, 5 * S));
    clean(&world);
}

#[test]
fn one_forward_that_is_refused_leaves_the_other_in_service() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().set_foreign(1111, true);
    world.run_for(10 * MIN);
    let confirmed =
        |forward: &ForwardStatus| matches!(forward.state, ForwardState::Confirmed { .. });
    let states: Vec<bool> = world.status().forwards.iter().map(confirmed).collect();
    assert_eq!(states, [false, true]);
    assert!(exchange(&mut world, 1, 50_000, 10 * S));
    assert_eq!(world.invariants.attempts.len(), 1);
    world.net().hub().clear_foreign();
    assert!(whole_within(&mut world, 2 * MIN) <= MIN + S);
    assert!(exchange(&mut world, 0, 50_000, 10 * S));
    assert_eq!(world.invariants.attempts.len(), 1, "all on one connection");
    clean(&world);
}

#[test]
fn a_server_that_restarts_is_used_again_at_once() {
    let mut world = up();
    world.run_for(5 * MIN);
    world.net().kill_server(0);
    let (_, why) = next_end(&mut world, S);
    assert_eq!(why, Failure::Lost);
    world.run_for(10 * S);
    world.net().hub().listening = true;
    // Waits after 10 s of refusals are 16 s at most.
    assert!(whole_within(&mut world, MIN) <= 18 * S);
    clean(&world);
}

#[test]
fn a_machine_that_lost_its_power_is_noticed_and_used_again() {
    let mut world = up();
    world.net().cut_power(0);
    let (at, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(at <= world.now_ms());
    world.run_for(2 * HOUR);
    world.net().hub().powered = true;
    assert!(whole_within(&mut world, 3 * MIN) <= 92 * S);
    clean(&world);
}

#[test]
fn an_hour_without_names_costs_few_attempts_and_their_return_a_minute() {
    let mut world = up();
    world.net().path.dns = Dns::Fails;
    // As on a controller that has never been up.
    world.net().remembered.clear();
    world.net().reset_all(0);
    let before = world.invariants.attempts.len();
    world.run_for(HOUR);
    let attempts = world.invariants.attempts.len() - before;
    assert!((60..=180).contains(&attempts), "{attempts} attempts");
    world.net().path.dns = Dns::Answers;
    assert!(whole_within(&mut world, 2 * MIN) <= 62 * S);
    clean(&world);
}

#[test]
fn without_names_the_last_address_that_worked_is_used() {
    for (dns, bound) in [(Dns::Fails, 3 * S), (Dns::Silent, PATIENCE + 3 * S)] {
        let mut world = up();
        world.net().path.dns = dns;
        world.net().reset_all(0);
        world.run_for(S);
        let took = whole_within(&mut world, MIN);
        assert!(took <= bound, "{dns:?}: {took} ms");
        clean(&world);
    }
}

#[test]
fn a_stranger_at_the_remembered_address_is_no_changed_host_key() {
    let mut world = up();
    world.net().path.dns = Dns::Fails;
    world.net().hub().knobs.host_key = 9;
    world.net().reset_all(0);
    world.run_for(S);
    let (_, why) = next_end(&mut world, MIN);
    assert_eq!(why, Failure::Unreachable);
    assert!(world.net().remembered.is_empty(), "it is forgotten");
    // The server has moved, and the name server knows where to.
    world.net().path.dns = Dns::Answers;
    world.net().hub().knobs.host_key = 1;
    whole_within(&mut world, MIN);
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
        assert!(exchange(&mut world, 0, 1_000, 5 * S));
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
    world.net().path = Path::good();
    world.set_link(true, true);
    assert!(whole_within(&mut world, MIN) <= 2 * S + 12 * 80);
    clean(&world);
}

#[test]
fn a_moved_address_is_left_at_once_when_the_kernel_tells_and_within_75_s_when_not() {
    let mut world = up();
    world.net().hub().patience_ms = 30 * S;
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
    world.net().hub().patience_ms = 10 * HOUR;
    world.freeze_for(3 * HOUR);
    world.run_for(10 * MIN);
    assert_eq!(world.invariants.attempts.len(), 1);
    assert!(exchange(&mut world, 0, 1_000, 5 * S));
    // And makes a new one when it did not.
    world.net().hub().patience_ms = 5 * MIN;
    world.freeze_for(3 * HOUR);
    assert!(whole_within(&mut world, 2 * MIN) <= 3 * S);
    clean(&world);
}

#[test]
fn a_server_that_says_goodbye_before_login_is_respected_as_its_reason_asks() {
    const TRIES: &str = "Too many authentication failures";
    let auth = Stall::Authentication;
    for (stall, reason, text, class) in [
        (Stall::KexReply, 12, "too many connections", Class::Unserved),
        (Stall::KexReply, 11, "maintenance", Class::Unserved),
        (Stall::KexReply, 2, "bad packet length", Class::Normal),
        (auth, 12, "too many connections", Class::Unserved),
        (auth, 11, "maintenance", Class::Throttled),
        (auth, 2, TRIES, Class::Slow),
    ] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().hub().knobs.stall = Some(stall);
        world.run_for(5 * S);
        world.net().end_all(0, reason, text);
        let (at, why) = next_end(&mut world, S);
        assert_eq!(why.class(), class, "{text}");
        let waits = world.invariants.waits[0].2 - at;
        let range = backoff::range(class);
        let longest = range.cap.as_millis() as u64;
        assert!((range.floor.as_millis() as u64..=longest).contains(&waits));
        clean(&world);
    }
}

#[test]
fn a_server_that_turns_everybody_away_is_used_within_60_s_of_its_return() {
    for reason in [1, 7, 12] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().hub().knobs.stall = Some(Stall::KexInit);
        let back_ms = 2 * HOUR;
        while world.now_ms() < back_ms {
            world.run_for(S);
            world.net().end_all(0, reason, "too many connections");
        }
        world.net().hub().knobs.stall = None;
        let attempts = world.invariants.attempts.len() as u64;
        assert!(attempts <= 2 * 60 * 6, "{attempts} in 2 hours");
        whole_within(&mut world, MIN);
        clean(&world);
    }
}
