//! Several servers, and several addresses of one.

use super::*;

/// How often the first server is looked at from a fallback.
const LOOK: u64 = 10 * MIN;

/// Up at the fallback, whose first server is away.
fn up_at_fallback() -> World {
    let mut world = World::new(Setup::with_fallback(), 11);
    world.net().hub().listening = false;
    whole_within(&mut world, 30 * S);
    assert_eq!(world.net().host_in_use(), Some(1));
    world
}

#[test]
fn a_server_that_is_away_is_left_for_the_fallback_and_gone_back_to() {
    let mut world = up_at_fallback();
    assert!(exchange(&mut world, 0, 1_000, 5 * S));
    world.run_for(2 * LOOK);
    assert_eq!(world.net().host_in_use(), Some(1), "the first is away");
    let attempts = world.invariants.attempts.len();
    world.net().hub().listening = true;
    let end_ms = world.now_ms() + LOOK + S;
    assert!(world.run_until(end_ms, |world| world.net().host_in_use() == Some(0)));
    assert!(whole_within(&mut world, 5 * S) <= S);
    assert_eq!(world.invariants.attempts.len(), attempts + 1, "one login");
    assert_eq!(
        world.net().hub().accepted,
        1,
        "on the connection of the look"
    );
    assert!(exchange(&mut world, 1, 1_000, 5 * S));
    clean(&world);
}

#[test]
fn a_tunnel_in_use_stays_at_its_fallback() {
    let mut world = up_at_fallback();
    set_targets(&world, Manner::TakesNothing);
    let user = connect(&mut world, 0, 400_000).unwrap();
    world.net().hub().listening = true;
    world.run_for(3 * LOOK);
    assert_eq!(world.net().host_in_use(), Some(1));
    set_targets(&world, Manner::Echoes);
    world.run_for(MIN);
    assert!(world.user(user).unwrap().is_answered());
    world.hang_up(user);
    let end_ms = world.now_ms() + LOOK + S;
    assert!(world.run_until(end_ms, |world| world.net().host_in_use() == Some(0)));
    clean(&world);
}

#[test]
fn a_first_server_that_fails_after_the_look_leads_back_to_the_fallback() {
    let mut world = up_at_fallback();
    world.net().hub().listening = true;
    world.net().hub().knobs.auth = Answer::No;
    world.run_for(LOOK + S);
    assert!(whole_within(&mut world, 5 * S) <= 5 * S);
    assert_eq!(world.net().host_in_use(), Some(1));
    clean(&world);
}

#[test]
fn a_first_server_that_accepts_and_says_nothing_does_not_end_the_tunnel() {
    let mut world = up_at_fallback();
    world.net().hub().listening = true;
    world.net().hub().knobs.stall = Some(Stall::Ident);
    world.run_for(3 * LOOK);
    assert_eq!(world.net().host_in_use(), Some(1));
    assert!(world.is_whole());
    clean(&world);
}

#[test]
fn the_connection_of_a_look_is_let_go_of_when_the_attempt_cannot_begin() {
    let mut world = up_at_fallback();
    world.net().hub().listening = true;
    world.net().randomness = false;
    // No socket while the tunnel waits: the invariants look after that.
    world.run_for(LOOK + MIN);
    world.net().randomness = true;
    whole_within(&mut world, 2 * MIN);
    clean(&world);
}

#[test]
fn an_address_where_nobody_answers_costs_a_quarter_of_a_second() {
    for (before, behind) in [(1, 0), (2, 0), (0, 2), (2, 2)] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().set_addresses(before, behind);
        let took = whole_within(&mut world, 5 * S);
        assert!(took <= before * 250 + 12 * 80, "{took} ms");
        world.run_for(MIN);
        assert_eq!(world.invariants.attempts.len(), 1);
        clean(&world);
    }
}

/// The name server has an address of the spare machine as well, in front of the server's own.
fn with_another_in_front() -> World {
    let world = world_with(Policy::default(), DEFAULT_REKEY);
    let other = [192, 0, 2, 99].into();
    {
        let mut net = world.net();
        net.hosts[1].knobs.host_key = 1;
        net.addresses.insert((other, HUB.1).into(), 1);
        net.names.get_mut(HUB.0).unwrap().insert(0, other);
    }
    world
}

#[test]
fn an_address_that_failed_after_tcp_goes_last_in_the_next_attempt() {
    for stall in [Stall::Ident, Stall::KexInit, Stall::Authentication] {
        let mut world = with_another_in_front();
        world.net().hosts[1].knobs.stall = Some(stall);
        // The deadlines of its stages are 30 and 60 s.
        whole_within(&mut world, 65 * S);
        assert_eq!(world.net().host_in_use(), Some(0), "{stall:?}");
        assert_eq!(world.invariants.attempts.len(), 2);
        assert_eq!(world.net().hosts[1].accepted, 1);
        // It stays so when the good one is lost.
        world.net().reset_all(0);
        world.run_for(100);
        whole_within(&mut world, 10 * S);
        assert_eq!(world.net().hosts[1].accepted, 1);
        clean(&world);
    }
}

#[test]
fn an_address_in_doubt_is_used_when_the_others_are_away() {
    let mut world = with_another_in_front();
    world.net().hosts[1].knobs.stall = Some(Stall::Ident);
    whole_within(&mut world, 35 * S);
    world.net().hosts[1].knobs.stall = None;
    world.net().cut_power(0);
    world.run_for(80 * S);
    whole_within(&mut world, 10 * S);
    assert_eq!(world.net().host_in_use(), Some(1));
    clean(&world);
}

#[test]
fn an_unknown_host_key_is_refused_or_pinned() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().pins.clear();
    let (_, why) = next_end(&mut world, MIN);
    assert_eq!(why, Failure::HostKeyUnknown);
    world.run_for(HOUR);
    assert!(!world.net().servers().any(|server| server.authenticated));
    world.net().accept_new = true;
    whole_within(&mut world, 30 * MIN + S);
    assert_eq!(world.net().pins.len(), 1);
    clean(&world);
}
