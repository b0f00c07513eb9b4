//! More people than places, and people who vanished without a word.

use std::time::Duration;

use reachback_core::places::{HOLDERS, PLACES};

use super::*;

/// A tunnel that is up, and so many people who connected to it and say nothing.
fn visited(mut world: World, visitors: usize) -> (World, Vec<u64>) {
    whole_within(&mut world, 30 * S);
    let (spec, before) = (world.setup.forwards[0].clone(), world.status().serving);
    let ids = (0..visitors).map(|_| world.visit(&spec).unwrap()).collect();
    world.run_for(S);
    assert_eq!(world.status().serving as usize, before as usize + visitors);
    (world, ids)
}

fn over(world: &World, id: u64) -> bool {
    world.user(id).unwrap().over
}

#[test]
fn who_finds_no_place_waits_10_s_for_one_and_is_refused_then() {
    let (mut world, visitors) = visited(up(), PLACES);
    let (served, refused) = (connect(&mut world, 1, 1_000), connect(&mut world, 1, 1_000));
    let (served, refused) = (served.unwrap(), refused.unwrap());
    world.run_for(9 * S);
    assert!(!over(&world, served) && !over(&world, refused));
    world.hang_up(visitors[7]);
    world.run_for(S / 2);
    assert!(world.user(served).unwrap().is_answered());
    assert!(!over(&world, refused));
    world.run_for(S);
    assert!(over(&world, refused));
    let status = world.status();
    assert_eq!((status.refused, status.closed_idle), (1, 0));
    assert_eq!(status.serving as usize, PLACES);
    clean(&world);
}

#[test]
fn after_a_minute_the_longest_idle_gives_way_to_a_newcomer_and_nobody_else_does() {
    let mut world = up();
    set_targets(&world, Manner::Trickles(100));
    let busy = connect(&mut world, 0, 60_000).unwrap();
    world.run_for(S);
    let (mut world, visitors) = visited(world, PLACES - 1);
    world.run_for(30 * S);
    let early = connect(&mut world, 1, 1_000).unwrap();
    world.run_for(11 * S);
    assert!(over(&world, early), "nobody was idle for a minute");
    world.run_for(13 * S);
    let late = connect(&mut world, 1, 1_000).unwrap();
    world.run_for(4 * S);
    assert!(!over(&world, visitors[0]));
    world.run_for(20 * S);
    assert!(world.user(late).unwrap().is_answered());
    assert!(over(&world, visitors[0]), "the first of them");
    let others = visitors[1..].iter().chain([&busy]);
    assert!(others.clone().all(|id| !over(&world, *id)));
    let status = world.status();
    assert_eq!((status.refused, status.closed_idle), (1, 1));
    world.run_for(10 * MIN);
    assert!(others.clone().all(|id| !over(&world, *id)), "nobody came");
    assert!(world.user(busy).unwrap().is_answered());
    clean(&world);
}

#[test]
fn the_vanished_lock_nobody_out_however_many_they_are() {
    let (mut world, _) = visited(up(), PLACES);
    for _ in 0..5 {
        world.run_for(MIN);
        let spec = world.setup.forwards[1].clone();
        for _ in 0..PLACES {
            world.visit(&spec).unwrap();
        }
        world.run_for(11 * S);
        assert_eq!(world.status().refused, 0);
        assert_eq!(world.status().serving as usize, PLACES);
    }
    assert_eq!(world.status().closed_idle as usize, 5 * PLACES);
    clean(&world);
}

#[test]
fn sixty_who_come_and_go_all_at_once_are_all_served() {
    let mut world = up();
    world.net().path.delay_ms = 100;
    let mut done = 0;
    let mut here: Vec<u64> = Vec::new();
    while done < 1_200 {
        while here.len() < 60 {
            here.push(connect(&mut world, here.len() % 2, 100).unwrap());
        }
        world.run_for(20);
        here.retain(|id| {
            let user = world.user(*id).unwrap();
            assert!(!user.over, "refused after {done}");
            let answered = user.is_answered();
            if answered {
                world.hang_up(*id);
                done += 1;
            }
            !answered
        });
    }
    assert_eq!(world.status().refused, 0);
    clean(&world);
}

#[test]
fn who_waits_behind_a_slow_link_is_not_idle() {
    let mut world = up();
    set_targets(&world, Manner::TakesNothing);
    let users: Vec<u64> = (0..PLACES)
        .map(|n| connect(&mut world, n % 2, 100_000).unwrap())
        .collect();
    world.run_for(5 * S);
    world.net().path.rate = Some(1_200);
    set_targets(&world, Manner::Echoes);
    world.run_for(5 * MIN);
    connect(&mut world, 0, 100).unwrap();
    world.run_for(11 * S);
    let waiting = users.iter().filter(|id| {
        let user = world.user(**id).unwrap();
        !user.over && !user.is_answered()
    });
    assert!(waiting.count() > PLACES / 2, "the link is slow");
    assert_eq!(world.status().closed_idle, 0);
    clean(&world);
}

fn with_limit(limit_s: u64, setup: Setup) -> World {
    let limit = Duration::from_secs(limit_s);
    let setup = Setup {
        channel_idle_timeout: limit,
        ..setup
    };
    World::new(setup, 11)
}

#[test]
fn the_idle_leave_after_their_limit_and_hold_up_neither_the_end_nor_the_way_back() {
    let idle_timeout = Duration::from_secs(600);
    let setup = Setup {
        idle_timeout,
        ..Setup::default()
    };
    let (mut world, _) = visited(with_limit(1_800, setup), 3);
    world.run_for(29 * MIN);
    assert_eq!(world.status().closed_idle, 0);
    world.run_for(2 * MIN);
    assert_eq!(world.status().closed_idle, 3);
    assert!(!world.tunnel.is_ending());
    world.run_for(10 * MIN);
    assert!(world.tunnel.is_finished());
    clean(&world);

    let world = with_limit(1_800, Setup::with_fallback());
    world.net().hub().listening = false;
    let (mut world, _) = visited(world, 3);
    world.net().hub().listening = true;
    world.run_for(29 * MIN);
    assert_eq!(world.net().host_in_use(), Some(1));
    world.run_for(12 * MIN);
    assert_eq!(world.net().host_in_use(), Some(0));
    clean(&world);
}

#[test]
fn a_server_that_never_closes_a_channel_holds_up_the_way_back_for_5_minutes() {
    let world = with_limit(60, Setup::with_fallback());
    world.net().hub().listening = false;
    world.net().set_knobs(|knobs| knobs.answers_close = false);
    let (mut world, _) = visited(world, 3);
    world.net().hub().listening = true;
    world.run_for(5 * MIN);
    assert_eq!(world.status().serving, 0);
    world.run_for(16 * MIN);
    assert_eq!(world.net().host_in_use(), Some(0));
    clean(&world);
}

#[test]
fn a_limit_that_comes_with_a_reload_counts_what_has_passed() {
    let (mut world, _) = visited(up(), 2);
    world.run_for(5 * MIN);
    let mut setup = world.setup.clone();
    setup.channel_idle_timeout = Duration::from_secs(240);
    world.reload(setup);
    world.run_for(S);
    assert_eq!(world.status().closed_idle, 2);
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn targets_are_never_more_than_there_are_places_for() {
    let mut world = up();
    set_targets(&world, Manner::TakesNothing);
    for _ in 0..6 {
        let users: Vec<u64> = (0..40)
            .map(|n| connect(&mut world, n % 2, 200_000).unwrap())
            .collect();
        world.run_for(2 * S);
        for id in users {
            world.hang_up(id);
        }
        assert!(world.net().target_count() <= HOLDERS);
        world.run_for(S);
    }
    assert!(world.net().target_count() <= HOLDERS);
    world.run_for(MIN);
    clean(&world);
}
