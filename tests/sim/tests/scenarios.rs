//! Named faults with their bounds, on virtual time: the watchdog and the client together.
#![allow(clippy::unwrap_used)]

use reachback_core::backoff;
use reachback_core::failure::{Class, Failure, Stage};
use reachback_core::forwards::ForwardState;
use reachback_core::watchdog::{Policy, State};
use reachback_sim::network::{Dns, Path};
use reachback_sim::server::{Answer, Stall};
use reachback_sim::world::World;
use reachback_ssh::Rekey;

const S: u64 = 1_000;
const MIN: u64 = 60 * S;
const HOUR: u64 = 60 * MIN;

/// As the program has it without `RekeyLimit`.
const DEFAULT_REKEY: Rekey = Rekey {
    bytes: 1 << 30,
    interval_ms: HOUR,
};
const NO_REKEY: Rekey = Rekey {
    bytes: u64::MAX,
    interval_ms: u64::MAX,
};

fn world_with(policy: Policy, rekey: Rekey) -> World {
    World::new(policy, 2, rekey, 11)
}

/// A tunnel that is up at the program's defaults, some seconds old.
fn up() -> World {
    up_with(Policy::default(), DEFAULT_REKEY)
}

fn up_with(policy: Policy, rekey: Rekey) -> World {
    let mut world = world_with(policy, rekey);
    assert!(world.run_until(5 * S, |world| world.controller.is_whole()));
    world.run_for(5 * S);
    world
}

/// The end of the connection or attempt that comes next: when, and why.
fn next_end(world: &mut World, within_ms: u64) -> (u64, Failure) {
    let before = world.invariants.waits.len();
    let end_ms = world.now_ms() + within_ms;
    let came = world.run_until(end_ms, |world| world.invariants.waits.len() > before);
    assert!(came, "no end; {}", world.controller.watchdog.state());
    let (at, why, _) = world.invariants.waits[before];
    (at, why)
}

/// The tunnel is whole again; gives after how long.
fn whole_within(world: &mut World, ms: u64) -> u64 {
    let (began, end_ms) = (world.now_ms(), world.now_ms() + ms);
    let whole = world.run_until(end_ms, |world| world.controller.is_whole());
    assert!(whole, "{}", world.controller.watchdog.state());
    world.now_ms() - began
}

fn clean(world: &World) {
    assert_eq!(world.invariants.violations, [""; 0]);
    assert_eq!(world.outside.breaches, [""; 0]);
}

fn black_hole(world: &mut World) {
    world.outside.path.hole_to_server = true;
    world.outside.path.hole_to_client = true;
}

#[test]
fn a_silent_loss_is_noticed_within_75_s_of_it_whenever_and_whichever_way() {
    for (forth, back) in [(true, true), (true, false), (false, true)] {
        for at in 0..13 {
            let mut world = up();
            world.run_for(at * 7 * S + 1);
            let lost_ms = world.now_ms();
            world.outside.path.hole_to_server = forth;
            world.outside.path.hole_to_client = back;
            let (noticed, why) = next_end(&mut world, 2 * MIN);
            assert_eq!(why, Failure::Silent);
            assert!(noticed - lost_ms <= 75 * S, "{} ms", noticed - lost_ms);
            world.outside.path = Path::good();
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
    world.controller.targets_take = false;
    for _ in 0..4 {
        world.begin_exchange(0, 400_000).unwrap();
    }
    world.run_for(20 * S);
    world.outside.host.hung = true;
    world.controller.targets_take = true;
    world.run_for(2 * S);
    let lost_ms = world.now_ms();
    black_hole(&mut world);
    world.run_for(S);
    let socket = world.controller.socket().unwrap();
    assert_eq!(
        world.outside.client_room(socket),
        0,
        "the kernel takes nothing"
    );
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - lost_ms <= 75 * S, "{}", noticed - lost_ms);
    world.outside.path = Path::good();
    world.outside.host.hung = false;
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
        world.outside.host.knobs.stall = Some(stall);
        let (ended, why) = next_end(&mut world, 3 * MIN);
        assert_eq!(why, Failure::Timeout(stage), "{stall:?}");
        // Resolution and round trips come before.
        assert!(
            (bound_ms..=bound_ms + S).contains(&ended),
            "{stall:?} {ended}"
        );
        world.outside.host.knobs.stall = None;
        whole_within(&mut world, MIN);
        clean(&world);
    }
}

#[test]
fn a_name_server_and_a_server_that_say_nothing_have_30_s_each() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.path.dns = Dns::Silent;
    assert_eq!(
        next_end(&mut world, MIN),
        (30 * S, Failure::Timeout(Stage::Resolve))
    );
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.powered = false;
    let (ended, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Timeout(Stage::Tcp));
    assert_eq!(ended, 30 * S + 80);
    clean(&world);
}

#[test]
fn a_forward_that_is_never_answered_ends_the_connection_after_30_s() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.knobs.forward = Answer::Silence;
    let (ended, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Timeout(Stage::Forward));
    assert!((30 * S..=31 * S).contains(&ended), "{ended}");
    world.outside.host.knobs.forward = Answer::Ask;
    whole_within(&mut world, MIN);
    clean(&world);
}

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
    let held = |state: &ForwardState| matches!(state, ForwardState::Refused { .. });
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

/// Until the controller is logged in; gives after how long.
fn whole_or_connected(world: &mut World) -> u64 {
    let (began, end_ms) = (world.now_ms(), world.now_ms() + 2 * MIN);
    let up = |world: &World| matches!(world.controller.watchdog.state(), State::Up { .. });
    assert!(world.run_until(end_ms, up));
    world.now_ms() - began
}

#[test]
fn one_forward_that_is_refused_leaves_the_other_in_service() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.foreign = vec![1111];
    world.run_for(10 * MIN);
    let confirmed = |state: &ForwardState| matches!(state, ForwardState::Confirmed { .. });
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
fn a_renewal_of_keys_in_a_black_hole_is_noticed_no_later() {
    let rekey = Rekey {
        bytes: u64::MAX,
        interval_ms: 10 * MIN,
    };
    // Before, in the middle of and behind the begin of the renewal.
    for before in [70 * S, 30 * S, 1, 0] {
        let mut world = up_with(Policy::default(), rekey);
        let due = world.controller.poll_timeout().map(|_| 10 * MIN).unwrap();
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
        world.outside.path = Path::good();
        whole_within(&mut world, 4 * MIN);
        assert!(world.exchange(0, 10_000, 5 * S));
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
        world.server().unwrap().knobs.stall = Some(stall);
        world.run_until(10 * MIN, |_| false);
        let (ended, _) = next_end(&mut world, 2 * MIN);
        assert!(ended - 10 * MIN <= 75 * S, "{stall:?}: {ended}");
        whole_within(&mut world, 4 * MIN);
        clean(&world);
    }
}

#[test]
fn an_idle_tunnel_costs_one_probe_a_minute_and_nothing_else() {
    let mut world = up_with(Policy::default(), NO_REKEY);
    world.run_for(10 * MIN);
    let ((bytes, segments), probes) = (world.outside.sent(), world.invariants.probes.len());
    let (turns, began) = (world.turns, world.now_ms());
    world.run_for(24 * HOUR);
    assert_eq!(world.now_ms() - began, 24 * HOUR);
    let probes = (world.invariants.probes.len() - probes) as u64;
    // The next minute begins with the answer, a round trip after the probe.
    assert!((1437..=1440).contains(&probes), "{probes} probes");
    let (bytes_now, segments_now) = world.outside.sent();
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
fn a_tunnel_in_use_is_not_probed() {
    let mut world = up();
    let probes = world.invariants.probes.len();
    for _ in 0..60 {
        assert!(world.exchange(1, 100, 5 * S));
        world.run_for(30 * S);
    }
    assert_eq!(world.invariants.probes.len(), probes);
    clean(&world);
}

#[test]
fn any_byte_is_life_even_when_probes_are_never_answered() {
    let mut world = world_with(Policy::default(), DEFAULT_REKEY);
    world.outside.host.knobs.keepalive = Answer::Silence;
    world.outside.host.patience_ms = 24 * HOUR;
    whole_within(&mut world, 5 * S);
    for _ in 0..100 {
        world.run_for(70 * S);
        world.server().unwrap().send(&[2, 0, 0, 0, 0]);
    }
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn late_answers_and_lost_segments_do_not_end_a_connection() {
    let mut world = up();
    world.outside.host.patience_ms = HOUR;
    world.outside.path.delay_ms = 7_000;
    world.run_for(2 * HOUR);
    assert_eq!(
        world.invariants.attempts.len(),
        1,
        "{:?}",
        world.invariants.waits
    );
    world.outside.path.delay_ms = 300;
    world.outside.path.loss_percent = 10;
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
fn a_program_that_was_held_up_reads_what_lies_in_its_socket_before_it_judges() {
    let policy = Policy {
        alive_count_max: 1,
        ..Policy::default()
    };
    let mut world = up_with(policy, NO_REKEY);
    world.outside.host.patience_ms = HOUR;
    let probes = world.invariants.probes.len();
    let end_ms = world.now_ms() + 2 * MIN;
    assert!(world.run_until(end_ms, |world| world.invariants.probes.len() > probes));
    // The answer comes while the program stands still, and the deadline passes.
    world.freeze_for(50 * S);
    world.run_for(10 * MIN);
    assert_eq!(world.invariants.attempts.len(), 1);
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
fn a_server_whose_kernel_lives_and_whose_process_hangs_is_noticed_too() {
    let mut world = up();
    world.outside.host.hung = true;
    let hung_ms = world.now_ms();
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - hung_ms <= 75 * S);
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

#[test]
fn bulk_on_a_slow_lossy_link_with_renewals_from_both_sides_arrives_whole() {
    let rekey = Rekey {
        bytes: 500_000,
        interval_ms: 10 * MIN,
    };
    let mut world = up_with(Policy::default(), rekey);
    world.outside.path.loss_percent = 5;
    world.outside.path.delay_ms = 150;
    let channels: Vec<u32> = (0..6)
        .map(|n| world.begin_exchange(n % 2, 700_000).unwrap())
        .collect();
    let whole = |world: &mut World| {
        let server = world.server().unwrap();
        channels
            .iter()
            .all(|n| server.channel(*n).received_bytes == 700_000)
    };
    let end_ms = world.now_ms() + HOUR;
    while !whole(&mut world) && world.now_ms() < end_ms {
        world.run_for(S);
        world.server().unwrap().start_kex();
    }
    assert!(whole(&mut world));
    let exchanges = world.server().unwrap().exchanges;
    assert!(exchanges > 6, "{exchanges}");
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn a_target_that_takes_nothing_holds_up_neither_the_other_forward_nor_the_probes() {
    let mut world = up();
    world.controller.targets_take = false;
    world.begin_exchange(0, 1_000_000).unwrap();
    world.run_for(2 * HOUR);
    assert_eq!(world.invariants.attempts.len(), 1);
    black_hole(&mut world);
    let lost_ms = world.now_ms();
    let (noticed, why) = next_end(&mut world, 2 * MIN);
    assert_eq!(why, Failure::Silent);
    assert!(noticed - lost_ms <= 75 * S);
    clean(&world);
}
