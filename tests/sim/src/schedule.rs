//! Seeded schedules of everything that goes wrong.

use reachback_core::backoff;
use reachback_core::failure::Class;
use reachback_ssh::Rekey;

use crate::dice::Dice;
use crate::faults::{Fault, heal};
use crate::log;
use crate::setup::Setup;
use crate::world::World;

/// Longest time between two faults.
const PAUSE_MS: u64 = 180_000;

/// The bound of invariant 7 for a server with this patience.
pub fn bound_ms(patience_ms: u64) -> u64 {
    let classes = [
        Class::Normal,
        Class::Slow,
        Class::HostKey,
        Class::Local,
        Class::Throttled,
        Class::Unserved,
    ];
    let longest = classes.map(|class| backoff::range(class).cap.as_millis() as u64);
    let longest = longest.into_iter().max().unwrap_or(0);
    longest + 150_000 + 75_000 + patience_ms + 60_000 + 10_000
}

/// What a schedule came to.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Attempts made.
    pub attempts: usize,
    /// How often every forward was confirmed.
    pub ups: usize,
    /// Time from the healing to the tunnel's use.
    pub recovery_ms: u64,
    /// Bytes that went to targets and came from them.
    pub carried: (u64, u64),
}

/// Runs the schedule of a seed: 5 to 40 faults, then a good network.
pub fn run(seed: u64) -> Report {
    let mut dice = Dice::new(seed);
    let mut setup = Setup {
        verify_forward: dice.chance(40),
        rekey: Rekey {
            bytes: dice.between(100_000, 2_000_000),
            interval_ms: dice.between(600_000, 3_600_000),
        },
        ..Setup::default()
    };
    if dice.chance(50) {
        setup.servers = Setup::with_fallback().servers;
    }
    let mut world = World::new(setup, seed);
    let patience_ms = dice.between(30_000, 300_000);
    for host in &mut world.net().hosts {
        host.patience_ms = patience_ms;
    }
    for _ in 0..dice.between(5, 40) {
        let pause = if dice.chance(30) {
            dice.between(0, 2_000)
        } else {
            dice.between(0, PAUSE_MS)
        };
        world.run_for(pause);
        let fault = Fault::draw(&mut dice);
        log::say(format_args!("FAULT: {fault:?}"));
        fault.strike(&mut world);
        if dice.chance(25) {
            world.run_for(dice.between(0, 60_000));
            log::say(format_args!("everything is put right"));
            heal(&mut world);
        }
    }
    log::say(format_args!("everything is put right for good"));
    heal(&mut world);
    let recovery_ms = recover(&mut world, patience_ms);
    let mut violations = std::mem::take(&mut world.invariants.violations);
    violations.append(&mut world.net().breaches);
    let carried = world.net().targets.moved();
    Report {
        seed,
        violations,
        attempts: world.invariants.attempts.len(),
        ups: world.invariants.ups.len(),
        recovery_ms,
        carried,
    }
}

/// The network is good: the tunnel is to be used within its bound. Gives after how long it is.
fn recover(world: &mut World, patience_ms: u64) -> u64 {
    let healed_ms = world.now_ms();
    let end_ms = healed_ms + bound_ms(patience_ms);
    let mut good = false;
    while !good && world.now_ms() < end_ms && world.run_until(end_ms, World::is_whole) {
        let forwards = world.wanted.forwards();
        good = forwards
            .iter()
            .all(|spec| world.exchange(spec, 10_000, 10_000));
        if !good {
            // A connection that is up and dead: the watchdog has to find out.
            world.run_for(1_000);
        }
    }
    let recovery_ms = world.now_ms() - healed_ms;
    if !good {
        let state = world.tunnel.state();
        let text = format!("not up {recovery_ms} ms after the network was good: {state:?}");
        world.invariants.broken(end_ms, text);
        return recovery_ms;
    }
    // Those who waited for the network are served as well.
    world.run_for(10_000);
    for user in world.unserved() {
        let now_ms = world.now_ms();
        let text = format!("user {} waits at a good network", user.id);
        world.invariants.broken(now_ms, text);
    }
    recovery_ms
}
