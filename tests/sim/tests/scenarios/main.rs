//! Named faults with their bounds, on virtual time: the watchdog and the client together.
#![allow(clippy::unwrap_used)]

mod recovery;
mod silence;
mod steady;

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

/// Until the controller is logged in; gives after how long.
fn whole_or_connected(world: &mut World) -> u64 {
    let (began, end_ms) = (world.now_ms(), world.now_ms() + 2 * MIN);
    let up = |world: &World| matches!(world.controller.watchdog.state(), State::Up { .. });
    assert!(world.run_until(end_ms, up));
    world.now_ms() - began
}
