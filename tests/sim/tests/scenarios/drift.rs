//! What a copy of the tunnel once did in another way than the tunnel itself.

use super::*;

#[test]
fn a_renewal_of_keys_whose_answer_lies_in_the_socket_is_not_overdue() {
    // The deadline of the renewal passes while the program stands still, and its answer has come.
    let hourly = Rekey {
        interval_ms: 10 * MIN,
        ..NO_REKEY
    };
    let mut world = up_with(Policy::default(), hourly);
    world.net().hub().patience_ms = HOUR;
    world.net().path.delay_ms = 200;
    let end_ms = world.now_ms() + 11 * MIN;
    let begun = |world: &World| {
        world
            .net()
            .server()
            .is_some_and(|server| server.is_in_kex())
    };
    assert!(world.run_until(end_ms, begun));
    world.freeze_for(2 * MIN);
    world.run_for(MIN);
    assert_eq!(world.invariants.attempts.len(), 1);
    assert!(exchange(&mut world, 0, 1_000, 5 * S));
    clean(&world);
}

#[test]
fn a_reset_before_login_is_respected_like_a_close() {
    for (stall, failure) in [
        (Stall::KexInit, Failure::NotServed),
        (Stall::KexReply, Failure::NotServed),
        (Stall::Authentication, Failure::GoneAway),
    ] {
        let mut world = world_with(Policy::default(), DEFAULT_REKEY);
        world.net().hub().knobs.stall = Some(stall);
        world.run_for(5 * S);
        world.net().reset_all(0);
        let (_, why) = next_end(&mut world, S);
        assert_eq!(why, failure, "{stall:?}");
        clean(&world);
    }
    // Once it is logged in, it is a loss.
    let mut world = up();
    world.net().reset_all(0);
    assert_eq!(next_end(&mut world, S).1, Failure::Lost);
}

#[test]
fn one_turn_reads_four_times_at_most_and_once_if_that_takes_long() {
    for (read_ms, reads) in [(0, 2..=4), (1, 2..=4), (5, 1..=1)] {
        let mut world = up();
        world.net().read_ms = read_ms;
        set_targets(&world, Manner::TakesNothing);
        for _ in 0..16 {
            connect(&mut world, 0, 120_000).unwrap();
        }
        world.most_reads = 0;
        world.run_for(10 * S);
        let most = world.most_reads;
        assert!(reads.contains(&most), "{most} of {read_ms} ms");
        clean(&world);
    }
}

#[test]
fn a_forward_that_nobody_wants_is_cancelled_at_the_server() {
    let mut world = up();
    let spec = world.setup.forwards[0].clone();
    world.remove_forward(&spec);
    world.run_for(S);
    assert_eq!(world.net().server().unwrap().listeners.len(), 1);
    // If the server keeps it, only a new connection gets rid of it.
    world.net().set_knobs(|knobs| knobs.cancel = Answer::No);
    let spec = world.setup.forwards[1].clone();
    world.remove_forward(&spec);
    world.run_for(5 * S);
    assert_eq!(world.net().server().unwrap().listeners, []);
    assert_eq!(world.invariants.attempts.len(), 2);
    clean(&world);
}
