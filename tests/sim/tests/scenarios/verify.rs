//! `VerifyForward`: proof through the whole path, and a path that is bad.

use reachback_core::verify::Proof;

use super::*;

fn world() -> World {
    let setup = Setup {
        verify_forward: true,
        ..Setup::default()
    };
    World::new(setup, 11)
}

fn proof(world: &World) -> Proof {
    world.status().forwards[0].proof
}

fn proven(world: &World) -> bool {
    matches!(proof(world), Proof::Here { .. })
}

/// The client has a check out.
fn checks(world: &World) -> bool {
    let mut net = world.net();
    net.server()
        .is_some_and(|server| server.channels().any(|(_, channel)| channel.is_direct))
}

#[test]
fn every_forward_is_proven_and_again_every_ten_minutes() {
    let mut world = world();
    whole_within(&mut world, 5 * S);
    world.run_for(5 * S);
    let found = |world: &World| -> Vec<u64> {
        let at = |forward: &ForwardStatus| match forward.proof {
            Proof::Here { at } => at.0,
            proof => panic!("{proof:?}"),
        };
        world.status().forwards.iter().map(at).collect()
    };
    let before = found(&world);
    world.run_for(13 * MIN);
    for (before, now) in before.iter().zip(found(&world)) {
        assert!((8 * MIN..=13 * MIN).contains(&(now - before)), "{now}");
    }
    assert_eq!(world.net().targets.moved(), (0, 0), "no target knows of it");
    clean(&world);
}

#[test]
fn another_program_on_the_servers_port_is_found_and_the_forward_taken_back() {
    for greets in [false, true] {
        let mut world = world();
        // The session gets 127.0.0.1 alone, and sshd confirms that.
        world.net().hub().set_foreign_at((true, 1111), true, greets);
        let end_ms = world.now_ms() + MIN;
        let elsewhere = |world: &World| matches!(proof(world), Proof::Elsewhere { .. });
        assert!(
            world.run_until(end_ms, |world| world.tunnel.state() != before_login()
                && !world.status().forwards.is_empty()
                && elsewhere(world))
        );
        world.run_for(S);
        assert!(!world.is_whole());
        world.net().hub().clear_foreign();
        world.run_for(2 * MIN);
        assert!(proven(&world), "{:?}", proof(&world));
        assert_eq!(world.invariants.attempts.len(), 1);
        clean(&world);
    }
}

fn before_login() -> State {
    State::Connecting(Stage::Resolve)
}

#[test]
fn a_server_that_does_not_connect_or_only_says_so_turns_the_checks_off() {
    for answer in [Answer::No, Answer::Yes, Answer::Silence] {
        let mut world = world();
        world.net().set_knobs(|knobs| knobs.direct = answer);
        whole_within(&mut world, 5 * S);
        world.run_for(MIN);
        assert_eq!(proof(&world), Proof::NotPermitted, "{answer:?}");
        assert!(world.is_whole());
        assert!(exchange(&mut world, 0, 10_000, 10 * S));
        clean(&world);
    }
}

#[test]
fn a_path_that_stalls_in_a_check_proves_nothing_and_leads_no_token_to_a_target() {
    for (forth, back) in [(true, false), (false, true), (true, true)] {
        for stall_s in [3, 6, 9, 11, 13, 16, 20, 25] {
            let mut world = world();
            world.net().hub().patience_ms = HOUR;
            let end_ms = world.now_ms() + 5 * S;
            assert!(world.run_until(end_ms, checks));
            world.net().path.hole_to_server = forth;
            world.net().path.hole_to_client = back;
            world.run_for(stall_s * S);
            world.net().path = Path::good();
            world.run_for(2 * MIN);
            let events = world.status().events;
            let refused = events.iter().any(|e| e.kind == Kind::ForwardRefused);
            assert!(!refused, "{stall_s} s, {forth} {back}");
            assert!(world.is_whole() && proven(&world), "{stall_s} s");
            assert_eq!(world.net().targets.moved(), (0, 0));
            clean(&world);
        }
    }
}

#[test]
fn people_who_come_during_a_check_are_served() {
    let mut world = world();
    let end_ms = world.now_ms() + 5 * S;
    assert!(world.run_until(end_ms, checks));
    let users: Vec<u64> = (0..4)
        .map(|n| connect(&mut world, 0, 8 + n * 20_000).unwrap())
        .collect();
    world.run_for(5 * S);
    for id in users {
        assert!(world.user(id).unwrap().is_answered());
    }
    assert!(proven(&world));
    clean(&world);
}

#[test]
fn who_says_nothing_beside_a_check_that_gets_lost_is_served_soon() {
    let mut world = world();
    // Nothing ever comes of a check at ::1, and there is one again soon after each.
    world.net().hub().set_foreign_at((true, 1111), true, false);
    let end_ms = world.now_ms() + 5 * S;
    let checked = |world: &World| world.is_whole() && checks(world);
    assert!(world.run_until(end_ms, checked));
    // The check at 127.0.0.1 takes some round trips.
    world.run_for(S);
    let spec = world.setup.forwards[0].clone();
    let silent = world.visit(&spec).unwrap();
    world.run_for(10 * S);
    assert_eq!(world.net().target_count(), 0, "it may be the check");
    world.run_for(15 * S);
    assert_eq!(world.net().target_count(), 1, "{}", world.status());
    world.hang_up(silent);
    world.run_for(MIN);
    assert_eq!(world.net().target_count(), 0);
    clean(&world);
}
