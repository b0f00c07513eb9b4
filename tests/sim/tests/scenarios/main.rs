//! Named faults with their bounds, on virtual time: the watchdog and the client together.
#![allow(clippy::unwrap_used)]

mod crowded;
mod drift;
mod fallback;
mod orders;
mod recovery;
mod session_channel;
mod silence;
mod steady;
mod targets;
mod verify;

use reachback_core::backoff;
use reachback_core::control::ForwardStatus;
use reachback_core::failure::{Class, Failure, Stage};
use reachback_core::forwards::ForwardState;
use reachback_core::history::Kind;
use reachback_core::watchdog::{Policy, State};
use reachback_sim::net::HUB;
use reachback_sim::network::{Dns, Path};
use reachback_sim::server::{Answer, Stall};
use reachback_sim::setup::Setup;
use reachback_sim::targets::Manner;
use reachback_sim::world::World;
use reachback_ssh::Rekey;
use reachback_ssh::limits::CHANNEL_WINDOW;

const S: u64 = 1_000;
const MIN: u64 = 60 * S;
const HOUR: u64 = 60 * MIN;

/// As the program has it without `RekeyLimit`.
const DEFAULT_REKEY: Rekey = Rekey {
    bytes: 1 << 30,
    interval_ms: u64::MAX,
};
const NO_REKEY: Rekey = Rekey {
    bytes: u64::MAX,
    interval_ms: u64::MAX,
};

fn world_with(policy: Policy, rekey: Rekey) -> World {
    let setup = Setup {
        policy,
        rekey,
        ..Setup::default()
    };
    World::new(setup, 11)
}

/// A tunnel that is up at the program's defaults, some seconds old.
fn up() -> World {
    up_with(Policy::default(), DEFAULT_REKEY)
}

fn up_with(policy: Policy, rekey: Rekey) -> World {
    let mut world = world_with(policy, rekey);
    assert!(world.run_until(5 * S, |world| world.is_whole()));
    world.run_for(5 * S);
    world
}

/// The end of the connection or attempt that comes next: when, and why.
fn next_end(world: &mut World, within_ms: u64) -> (u64, Failure) {
    let before = world.invariants.waits.len();
    let end_ms = world.now_ms() + within_ms;
    let came = world.run_until(end_ms, |world| world.invariants.waits.len() > before);
    assert!(came, "no end; {}", world.tunnel.state());
    let (at, why, _) = world.invariants.waits[before];
    (at, why)
}

/// The tunnel is whole again; gives after how long.
fn whole_within(world: &mut World, ms: u64) -> u64 {
    let (began, end_ms) = (world.now_ms(), world.now_ms() + ms);
    let whole = world.run_until(end_ms, |world| world.is_whole());
    assert!(whole, "{}", world.tunnel.state());
    world.now_ms() - began
}

fn clean(world: &World) {
    assert_eq!(world.invariants.violations, [""; 0]);
    assert_eq!(world.net().breaches, [""; 0]);
}

fn black_hole(world: &mut World) {
    world.net().path.hole_to_server = true;
    world.net().path.hole_to_client = true;
}

/// Until the controller is logged in; gives after how long.
fn whole_or_connected(world: &mut World) -> u64 {
    let (began, end_ms) = (world.now_ms(), world.now_ms() + 2 * MIN);
    let up = |world: &World| matches!(world.tunnel.state(), State::Up { .. });
    assert!(world.run_until(end_ms, up));
    world.now_ms() - began
}

/// As [`World::connect`] and [`World::exchange`], to a forward of the configuration.
fn connect(world: &mut World, index: usize, bytes: u64) -> Option<u64> {
    let spec = world.setup.forwards[index].clone();
    world.connect(&spec, bytes)
}

fn exchange(world: &mut World, index: usize, bytes: u64, ms: u64) -> bool {
    let spec = world.setup.forwards[index].clone();
    world.exchange(&spec, bytes, ms)
}

/// Both targets do this.
fn set_targets(world: &World, manner: Manner) {
    let manners = ["81", "82"].map(|port| (port.to_owned(), manner));
    world.net().targets.manners.extend(manners);
}

/// Probes that came to the server on this connection.
fn probes(world: &World) -> usize {
    world.net().server().unwrap().keepalives
}
