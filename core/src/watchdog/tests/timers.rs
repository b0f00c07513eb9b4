//! Timers that are not up yet, the numbers that draw the waits, and the words for the states.

use super::*;
use std::string::ToString;

#[test]
fn a_call_before_a_timer_is_up_does_nothing() {
    let mut connecting = Bench::new();
    connecting.actions();
    let mut waiting = Bench::new();
    waiting.actions();
    waiting.on(Input::Failed(Failure::Unreachable));
    let mut stopping = Bench::new().up();
    stopping.on(Input::Stop);
    for bench in [&mut connecting, &mut waiting, &mut stopping] {
        let at = bench.dog.poll_timeout().unwrap();
        assert_eq!(bench.pass(at.since(bench.now).as_millis() as u64 - 1), []);
        assert_eq!(bench.dog.poll_timeout(), Some(at));
        assert_ne!(bench.pass(1), []);
    }
}

#[test]
fn an_attempt_that_skips_a_stage_has_the_whole_time_of_the_next() {
    let mut bench = Bench::new();
    bench.actions();
    bench.pass(20 * S);
    bench.on(Input::Connected);
    let begun = bench.now;
    let why = Failure::Timeout(Stage::Ident);
    assert_eq!(bench.next_timer()[0], Action::Abandon(why));
    assert_eq!(bench.now.since(begun), Duration::from_secs(30));
}

#[test]
fn a_link_that_comes_again_changes_nothing_about_a_wait_that_is_at_its_floor() {
    let mut bench = Bench::new();
    bench.actions();
    bench.on(Input::Failed(Failure::AuthRefused));
    let cut = bench.on(Input::LinkUp);
    assert!(matches!(cut[..], [Action::Wait { .. }]), "{cut:?}");
    assert_eq!(bench.on(Input::LinkUp), []);
}

#[test]
fn the_numbers_that_draw_the_waits_are_those_of_splitmix64() {
    let mut dog = Watchdog::new(Policy::default(), &[], 1_234_567, Instant(0));
    let drawn: Vec<u32> = (0..3).map(|_| dog.random()).collect();
    // The upper and the lower half folded into one, without the last shift.
    assert_eq!(drawn, [0x11ab_8cbc, 0x2cc0_1e29, 0x3bb1_b95a]);
}

#[test]
fn each_state_has_its_words() {
    let words = |bench: &Bench| bench.dog.state().to_string();
    let mut bench = Bench::new();
    assert!(words(&bench).starts_with("connecting ("));
    bench.actions();
    bench.reach(Stage::Forward);
    let id = ForwardId(0);
    bench.on(Input::ForwardConfirmed { id, port: 1111 });
    assert_eq!(words(&bench), "up (1 of 2 forwards)");
    let id = ForwardId(1);
    bench.on(Input::ForwardConfirmed { id, port: 1112 });
    assert_eq!(words(&bench), "up");
}

#[test]
fn what_has_never_worked_for_a_day_is_tried_every_ten_minutes() {
    let mut bench = Bench::new();
    let began = bench.now;
    let wait = |bench: &mut Bench| {
        bench.on(Input::Failed(Failure::Unreachable));
        let before = bench.now;
        bench.next_timer();
        bench.now.since(before)
    };
    while bench.now.since(began) < HOPE {
        assert!(wait(&mut bench) <= Duration::from_secs(60));
    }
    for _ in 0..20 {
        let rare = wait(&mut bench);
        assert!((600..=660).contains(&rare.as_secs()), "{rare:?}");
    }
    // A network that comes, and a call, do not wait for that.
    bench.on(Input::Failed(Failure::Unreachable));
    bench.pass(S);
    assert!(bench.on(Input::LinkUp).contains(&Action::Resolve));
    // Once it has worked, it is an outage.
    bench.reach(Stage::Forward);
    bench.on(Input::Failed(Failure::Lost));
    bench.next_timer();
    for _ in 0..2_000 {
        assert!(wait(&mut bench) <= Duration::from_secs(60));
    }
}
