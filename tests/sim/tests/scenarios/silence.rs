//! Servers and networks that say nothing any more, and how soon that is noticed.

use super::*;

#[test]
fn a_silent_loss_is_noticed_within_75_s_of_it_whenever_and_whichever_way() {
    for (forth, back) in [(true, true), (true, false), (false, true)] {
        for at in 0..13 {
            let mut world = up();
            world.run_for(at * 7 * S + 1);
            let lost_ms = world.now_ms();
            world.net().path.hole_to_server = forth;
            world.net().path.hole_to_client = back;
            let (noticed, why) = next_end(&mut world, 2 * MIN);
            assert_eq!(why, Failure::Silent);
            assert!(noticed - lost_ms <= 75 * S, "{} ms", noticed - lost_ms);
            world.net().path = Path::good();
            whole_within(&mut world, 3 * MIN);
            clean(&world);
        }
    }
}

#[test]
fn a_loss_under_a_full_send_buffer_is_noticed_as_fast() {
    let mut world = up();
    // Four windows full of data wait at the targets, and then want to go back all at once, to a
    // server that takes nothing.
    set_targets(&world, Manner::TakesNothing);
    for _ in 0..4 {
        connect(&mut world, 0, 400_000).unwrap();
    }
    world.run_for(20 * S);
    world.net().hub().hung = true;
    set_targets(&world, Manner::Echoes);
    world.run_for(2 * S);
    let lost_ms = world.now_ms();
    black_hole(&mut world);
    world.run_for(S);
    assert_eq!(world.net().send_room(), Some(0), "the kernel takes nothing");
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - lost_ms <= 75 * S, "{}", noticed - lost_ms);
    world.net().path = Path::good();
    world.net().hub().hung = false;
    whole_within(&mut world, 4 * MIN);
    clean(&world);
}

#[test]
fn a_server_that_falls_silent_is_left_at_the_deadline_of_its_stage() {
    for (stall, stage, bound_ms) in [
        (Stall::Ident, Stage::Ident, 30 * S),
        (Stall::KexInit, Stage::KeyExchange, 30 * S),
        (Stall::KexReply, Stage::KeyExchange, 30 * S),
        (Stall::NewKeys, Stage::KeyExchange, 30 * S),
        (Stall::Service, Stage::Authentication, 60 * S),
        (Stall::Authentication, Stage::Authentication, 60 * S),
    ] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().hub().knobs.stall = Some(stall);
        let (ended, why) = next_end(&mut world, 3 * MIN);
        assert_eq!(why, Failure::Timeout(stage), "{stall:?}");
        // Resolution and round trips come before.
        assert!(
            (bound_ms..=bound_ms + S).contains(&ended),
            "{stall:?} {ended}"
        );
        world.net().hub().knobs.stall = None;
        whole_within(&mut world, MIN);
        clean(&world);
    }
}

#[test]
fn a_name_server_and_a_server_that_say_nothing_have_30_s_each() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().path.dns = Dns::Silent;
    assert_eq!(
        next_end(&mut world, MIN),
        (30 * S, Failure::Timeout(Stage::Resolve))
    );
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().powered = false;
    let (ended, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Timeout(Stage::Tcp));
    assert_eq!(ended, 30 * S + 80);
    clean(&world);
}

#[test]
fn a_forward_that_is_never_answered_ends_the_connection_after_30_s() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.net().hub().knobs.forward = Answer::Silence;
    let (ended, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Timeout(Stage::Forward));
    assert!((30 * S..=31 * S).contains(&ended), "{ended}");
    world.net().hub().knobs.forward = Answer::Ask;
    whole_within(&mut world, MIN);
    clean(&world);
}

#[test]
fn a_renewal_of_keys_in_a_black_hole_is_noticed_no_later() {
    let rekey = Rekey {
        bytes: u64::MAX,
        interval_ms: 10 * MIN,
    };
    // Before, in the middle of and behind the begin of the renewal.
    for before in [70 * S, 30 * S, 1, 0] {
        let mut world = up_with(Policy::default(), rekey);
        let due = 10 * MIN;
        let now_ms = world.now_ms();
        world.run_for(due - before - now_ms);
        let lost_ms = world.now_ms();
        black_hole(&mut world);
        let (noticed, why) = next_end(&mut world, 2 * MIN);
        assert!(
            matches!(why, Failure::Silent | Failure::Protocol),
            "{why:?}"
        );
        assert!(
            noticed - lost_ms <= 75 * S,
            "{why}: {} ms",
            noticed - lost_ms
        );
        world.net().path = Path::good();
        whole_within(&mut world, 4 * MIN);
        assert!(exchange(&mut world, 0, 10_000, 5 * S));
        clean(&world);
    }
}

#[test]
fn a_server_that_stops_in_a_renewal_is_left_within_75_s() {
    let rekey = Rekey {
        bytes: u64::MAX,
        interval_ms: 10 * MIN,
    };
    for stall in [Stall::KexInit, Stall::KexReply, Stall::NewKeys] {
        let mut world = up_with(Policy::default(), rekey);
        world.net().server().unwrap().knobs.stall = Some(stall);
        world.run_until(10 * MIN, |_| false);
        let (ended, _) = next_end(&mut world, 2 * MIN);
        assert!(ended - 10 * MIN <= 75 * S, "{stall:?}: {ended}");
        whole_within(&mut world, 4 * MIN);
        clean(&world);
    }
}

#[test]
fn a_server_whose_kernel_lives_and_whose_process_hangs_is_noticed_too() {
    let mut world = up();
    world.net().hub().hung = true;
    let hung_ms = world.now_ms();
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - hung_ms <= 75 * S);
    clean(&world);
}

#[test]
fn a_server_that_takes_our_bytes_slowly_and_says_nothing_lives() {
    let mut world = up();
    // As above, a lot that wants to go to the server at once.
    set_targets(&world, Manner::TakesNothing);
    for _ in 0..4 {
        connect(&mut world, 0, 400_000).unwrap();
    }
    world.run_for(20 * S);
    world.net().hub().hung = true;
    set_targets(&world, Manner::Echoes);
    world.net().path.rate = Some(500);
    let ends = world.invariants.waits.len();
    world.run_for(110 * S);
    assert_eq!(world.invariants.waits[ends..], [], "no connection ended");
    clean(&world);
}
