//! Targets that misbehave, and people who come to them.

use super::*;

/// A user at a target of this manner, some time later, with the invariants looked after.
fn served(manner: Manner, bytes: u64, ms: u64) -> (World, u64) {
    let mut world = up();
    set_targets(&world, manner);
    let user = connect(&mut world, 0, bytes).unwrap();
    world.run_for(ms);
    (world, user)
}

#[test]
fn a_target_that_refuses_or_does_not_answer_is_a_refused_connection() {
    for (manner, within) in [(Manner::Refuses, S), (Manner::Stalls, 11 * S)] {
        let (world, user) = served(manner, 1_000, within);
        let user = world.user(user).unwrap();
        assert!(user.over && user.received == 0, "{manner:?}");
        clean(&world);
    }
}

#[test]
fn a_target_that_resets_or_closes_ends_its_connection_and_no_other() {
    for manner in [Manner::Resets(50_000), Manner::Closes(50_000)] {
        let (mut world, user) = served(manner, 400_000, 5 * S);
        assert!(!world.user(user).unwrap().is_answered());
        world.net().targets.manners.remove("82");
        assert!(exchange(&mut world, 1, 400_000, 10 * S));
        world.hang_up(user);
        world.run_for(MIN);
        assert!(world.user(user).unwrap().over, "{manner:?}");
        assert_eq!(world.invariants.attempts.len(), 1);
        clean(&world);
    }
}

#[test]
fn a_target_that_ends_early_still_gets_everything_and_its_last_byte_arrives() {
    let (world, user) = served(Manner::Ends(70_000), 400_000, 10 * S);
    let user = world.user(user).unwrap();
    assert!(
        (70_000..=400_000).contains(&user.received),
        "{}",
        user.received
    );
    assert!(user.over, "both ends are done");
    assert_eq!(world.net().targets.moved().0, 400_000);
    clean(&world);
}

#[test]
fn a_target_that_dawdles_gets_every_byte_for_30_s_after_its_user_hung_up() {
    for (dawdles_s, all) in [(25, true), (35, false)] {
        let (mut world, user) = served(Manner::TakesNothing, 150_000, S);
        world.hang_up(user);
        world.run_for(dawdles_s * S);
        // It takes everything, and answers nothing that nobody would read.
        set_targets(&world, Manner::Ends(0));
        world.run_for(MIN);
        let taken = world.net().targets.moved().0;
        assert_eq!(taken == 150_000, all, "{taken} bytes");
        clean(&world);
    }
}
