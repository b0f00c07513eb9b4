//! What a tunnel that works costs, and what does not end it.

use super::*;

#[test]
fn an_idle_tunnel_costs_one_probe_a_minute_and_nothing_else() {
    let mut world = up_with(Policy::default(), NO_REKEY);
    world.run_for(10 * MIN);
    let (bytes, segments) = world.net().sent();
    let before = probes(&world);
    let (turns, began) = (world.turns, world.now_ms());
    world.run_for(24 * HOUR);
    assert_eq!(world.now_ms() - began, 24 * HOUR);
    let probes = (probes(&world) - before) as u64;
    // The next minute begins with the answer, a round trip after the probe.
    assert!((1437..=1440).contains(&probes), "{probes} probes");
    let (bytes_now, segments_now) = world.net().sent();
    assert_eq!(segments_now - segments, probes);
    // Length, padding, 25 + 1 bytes of request in multiples of 8, and the tag.
    assert_eq!((bytes_now - bytes) % probes, 0);
    assert!((bytes_now - bytes) / probes <= 68);
    let turns = (world.turns - turns) / 24;
    assert!(turns <= 6 * 60, "{turns} turns an hour");
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn a_server_that_has_its_own_name_for_the_address_is_served() {
    for name in ["127.0.0.1", "0.0.0.0", "", "192.0.2.1"] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().hub().knobs.calls_it = Some(name);
        whole_within(&mut world, 5 * S);
        for index in [0, 1, 0] {
            assert!(exchange(&mut world, index, 100, 5 * S), "'{name}'");
        }
        clean(&world);
    }
}

#[test]
fn a_tunnel_in_use_is_not_probed() {
    let mut world = up();
    let before = probes(&world);
    for _ in 0..60 {
        assert!(exchange(&mut world, 1, 100, 5 * S));
        world.run_for(30 * S);
    }
    assert_eq!(probes(&world), before);
    clean(&world);
}

#[test]
fn any_byte_is_life_even_when_probes_are_never_answered() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().knobs.keepalive = Answer::Silence;
    world.net().hub().patience_ms = 24 * HOUR;
    whole_within(&mut world, 5 * S);
    for _ in 0..100 {
        world.run_for(70 * S);
        world.net().server().unwrap().send(&[2, 0, 0, 0, 0]);
    }
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn late_answers_and_lost_segments_do_not_end_a_connection() {
    let mut world = up();
    world.net().hub().patience_ms = HOUR;
    world.net().path.delay_ms = 7_000;
    world.run_for(2 * HOUR);
    assert_eq!(
        world.invariants.attempts.len(),
        1,
        "{:?}",
        world.invariants.waits
    );
    world.net().path.delay_ms = 300;
    world.net().path.loss_percent = 10;
    world.run_for(6 * HOUR);
    assert_eq!(
        world.invariants.attempts.len(),
        1,
        "{:?}",
        world.invariants.waits
    );
    clean(&world);
}

#[test]
fn a_link_that_flaps_under_a_tunnel_does_not_end_it() {
    let mut world = up();
    for _ in 0..50 {
        world.set_link(false, false);
        world.run_for(3 * S);
        world.set_link(true, true);
        world.run_for(20 * S);
    }
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn a_program_that_was_held_up_reads_what_lies_in_its_socket_before_it_judges() {
    let policy = Policy {
        alive_count_max: 1,
        ..Policy::default()
    };
    let mut world = up_with(policy, NO_REKEY);
    world.net().hub().patience_ms = HOUR;
    let before = probes(&world);
    let end_ms = world.now_ms() + 2 * MIN;
    assert!(world.run_until(end_ms, |world| probes(world) > before));
    // The answer comes while the program stands still, and the deadline passes.
    world.freeze_for(50 * S);
    world.run_for(10 * MIN);
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn bulk_on_a_slow_lossy_link_with_renewals_from_both_sides_arrives_whole() {
    let rekey = Rekey {
        bytes: 500_000,
        interval_ms: 10 * MIN,
    };
    let mut world = up_with(Policy::default(), rekey);
    world.net().path.loss_percent = 5;
    world.net().path.delay_ms = 150;
    let users: Vec<u64> = (0..6)
        .map(|n| connect(&mut world, n % 2, 700_000).unwrap())
        .collect();
    let whole = |world: &World| {
        let answered = |id: &u64| world.user(*id).unwrap().is_answered();
        users.iter().all(answered)
    };
    let end_ms = world.now_ms() + HOUR;
    while !whole(&world) && world.now_ms() < end_ms {
        world.run_for(S);
        world.net().server().unwrap().start_kex();
    }
    assert!(whole(&world));
    let exchanges = world.net().server().unwrap().exchanges;
    assert!(exchanges > 6, "{exchanges}");
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn a_target_that_takes_nothing_holds_up_neither_the_other_forward_nor_the_probes() {
    let mut world = up();
    set_targets(&world, Manner::TakesNothing);
    connect(&mut world, 0, 1_000_000).unwrap();
    world.run_for(2 * HOUR);
    assert_eq!(world.invariants.attempts.len(), 1);
    black_hole(&mut world);
    let lost_ms = world.now_ms();
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - lost_ms <= 75 * S);
    clean(&world);
}

/// Bytes and segments that a day of an idle tunnel costs besides its probes.
fn idle_day(rekey: Rekey) -> (u64, u64) {
    let mut world = up_with(Policy::default(), rekey);
    let (bytes, segments) = world.net().sent();
    let before = probes(&world);
    world.run_for(24 * HOUR);
    clean(&world);
    assert_eq!(world.invariants.attempts.len(), 1);
    let (bytes_now, segments_now) = world.net().sent();
    let probes = (probes(&world) - before) as u64;
    (bytes_now - bytes, segments_now - segments - probes)
}

#[test]
fn an_idle_tunnel_renews_no_keys_unless_it_is_told_to() {
    assert_eq!(idle_day(DEFAULT_REKEY), idle_day(NO_REKEY));
    let (bytes, others) = idle_day(DEFAULT_REKEY);
    assert_eq!(others, 0);
    let hourly = Rekey {
        interval_ms: HOUR,
        ..DEFAULT_REKEY
    };
    let (more, others) = idle_day(hourly);
    // Proposal, share and NEWKEYS, each at most in a segment of its own.
    assert!(others <= 24 * 3, "{others} segments besides the probes");
    let an_hour = (more - bytes) / 24;
    assert!(
        (500..2_000).contains(&an_hour),
        "{an_hour} bytes for a renewal"
    );
}

#[test]
fn a_download_widens_its_window_unless_its_target_is_slow() {
    let widest = |manner| {
        let mut world = up();
        world.net().path.delay_ms = 50;
        set_targets(&world, manner);
        connect(&mut world, 0, 3_000_000).unwrap();
        world.run_for(MIN);
        clean(&world);
        world.invariants.widest_window
    };
    let fast = widest(Manner::Echoes);
    // What this network carries in half a second.
    assert!(fast >= 4 * u64::from(CHANNEL_WINDOW), "{fast}");
    let slow = widest(Manner::Trickles(20_000));
    // The target's kernel takes the first window at once.
    assert!(slow <= 2 * u64::from(CHANNEL_WINDOW), "{slow}");
}

#[test]
fn downloads_side_by_side_keep_to_one_budget_also_when_their_targets_stop() {
    let mut world = up();
    world.net().path.delay_ms = 150;
    let downloads: Vec<u64> = (0..24)
        .filter_map(|index| connect(&mut world, index % 2, 2_000_000))
        .collect();
    assert_eq!(downloads.len(), 24);
    world.run_for(2 * S);
    let widest = world.invariants.widest_window;
    assert!(widest > u64::from(CHANNEL_WINDOW), "{widest}");
    set_targets(&world, Manner::TakesNothing);
    world.run_for(MIN);
    clean(&world);
}
