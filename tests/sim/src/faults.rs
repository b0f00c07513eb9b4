//! Seeded schedules of everything that goes wrong.

use reachback_core::backoff;
use reachback_core::failure::Class;
use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;

use crate::dice::Dice;
use crate::network::{Dns, Path};
use crate::server::{Answer, Stall};
use crate::world::World;

/// Longest time between two faults.
const PAUSE_MS: u64 = 180_000;
const STALLS: [Stall; 6] = [
    Stall::Ident,
    Stall::KexInit,
    Stall::KexReply,
    Stall::NewKeys,
    Stall::Service,
    Stall::Authentication,
];

/// One thing that goes wrong, or is put right again.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Fault {
    Delay(u64),
    Loss(u64),
    HoleToServer(bool),
    HoleToClient(bool),
    Link { up: bool, told: bool },
    Dns(Dns),
    Reset,
    Kill,
    Restart,
    PowerCut,
    PowerBack,
    EndAll,
    Stall(Option<Stall>),
    Authentication(Answer),
    HostKey(u8),
    ForeignPort(bool),
    SilentForward(bool),
    MoveAddress { told: bool },
    Reconnect,
    Freeze(u64),
    ServerRekey,
    Load { bytes: usize, stuck: bool },
    LostKeepalives(bool),
    Hang(bool),
}

impl Fault {
    /// The next one.
    pub fn draw(dice: &mut Dice) -> Fault {
        let flip = dice.chance(50);
        match dice.between(0, 24) {
            0 => Fault::Delay(dice.between(1, 2_000)),
            1 => Fault::Loss(dice.between(0, 40)),
            2 => Fault::HoleToServer(flip),
            3 => Fault::HoleToClient(flip),
            4 | 5 => Fault::Link {
                up: flip,
                told: dice.chance(70),
            },
            6 => Fault::Dns([Dns::Answers, Dns::Fails, Dns::Silent][dice.between(0, 2) as usize]),
            7 => Fault::Reset,
            8 => Fault::Kill,
            9 => Fault::Restart,
            10 => Fault::PowerCut,
            11 => Fault::PowerBack,
            12 => Fault::EndAll,
            13 => Fault::Stall(flip.then(|| STALLS[dice.between(0, 5) as usize])),
            14 => Fault::Authentication(if flip { Answer::Yes } else { Answer::No }),
            15 => Fault::HostKey(if dice.chance(30) { 2 } else { 1 }),
            16 => Fault::ForeignPort(flip),
            17 => Fault::SilentForward(flip),
            18 => Fault::MoveAddress {
                told: dice.chance(50),
            },
            19 => Fault::Reconnect,
            20 => Fault::Freeze(dice.between(10, 400_000)),
            21 => Fault::ServerRekey,
            22 => Fault::Load {
                bytes: dice.between(1, 400_000) as usize,
                stuck: dice.chance(20),
            },
            23 => Fault::LostKeepalives(flip),
            _ => Fault::Hang(flip),
        }
    }

    /// Does it.
    pub fn strike(self, world: &mut World) {
        match self {
            Fault::Delay(ms) => world.outside.path.delay_ms = ms,
            Fault::Loss(percent) => world.outside.path.loss_percent = percent,
            Fault::HoleToServer(hole) => world.outside.path.hole_to_server = hole,
            Fault::HoleToClient(hole) => world.outside.path.hole_to_client = hole,
            Fault::Link { up, told } => world.set_link(up, told),
            Fault::Dns(dns) => world.outside.path.dns = dns,
            Fault::Reset => world.outside.reset_all(),
            Fault::Kill => world.outside.kill_server(),
            Fault::Restart => world.outside.host.listening = true,
            Fault::PowerCut => world.outside.cut_power(),
            Fault::PowerBack => world.outside.host.powered = true,
            Fault::EndAll => world.outside.end_all(11),
            Fault::Stall(stall) => world.outside.host.knobs.stall = stall,
            Fault::Authentication(answer) => world.outside.host.knobs.auth = answer,
            Fault::HostKey(seed) => world.outside.host.knobs.host_key = seed,
            Fault::ForeignPort(held) => {
                world.outside.host.foreign = if held { vec![1111] } else { Vec::new() };
            }
            Fault::SilentForward(silent) => {
                world.outside.host.knobs.forward =
                    if silent { Answer::Silence } else { Answer::Ask };
            }
            Fault::MoveAddress { told } => world.move_address(told),
            Fault::Reconnect => world.reconnect(),
            Fault::Freeze(ms) => world.freeze_for(ms),
            Fault::ServerRekey => {
                if let Some(server) = world.server().filter(|server| server.authenticated) {
                    server.start_kex();
                }
            }
            Fault::Load { bytes, stuck } => {
                world.controller.targets_take = !stuck;
                for index in 0..2 {
                    world.begin_exchange(index, bytes);
                }
            }
            Fault::Hang(hung) => world.outside.host.hung = hung,
            Fault::LostKeepalives(lost) => {
                world.outside.host.knobs.keepalive =
                    if lost { Answer::Silence } else { Answer::No };
            }
        }
    }
}

/// Puts everything right.
pub fn heal(world: &mut World) {
    let told = world.outside.dice.chance(50);
    world.outside.path = Path {
        link_up: world.outside.path.link_up,
        ..Path::good()
    };
    world.set_link(true, told);
    let host = &mut world.outside.host;
    host.powered = true;
    host.hung = false;
    host.listening = true;
    host.foreign.clear();
    host.knobs.stall = None;
    host.knobs.auth = Answer::Yes;
    host.knobs.host_key = 1;
    host.knobs.forward = Answer::Ask;
    host.knobs.keepalive = Answer::No;
    world.controller.targets_take = true;
}

/// The bound of invariant 7 for a server with this patience.
pub fn bound_ms(patience_ms: u64) -> u64 {
    let classes = [Class::Normal, Class::Slow, Class::HostKey, Class::Respect];
    let longest = classes.map(|class| backoff::range(class).cap.as_millis() as u64);
    let longest = longest.into_iter().max().unwrap_or(0);
    longest + 150_000 + 75_000 + patience_ms + 60_000 + 10_000
}

/// What a schedule came to.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The faults, with their times.
    pub faults: Vec<(u64, Fault)>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Attempts made.
    pub attempts: usize,
    /// How often every forward was confirmed.
    pub ups: usize,
    /// Time from the healing to the tunnel's use.
    pub recovery_ms: u64,
}

/// Runs the schedule of a seed: 5 to 40 faults, then a good network.
pub fn run(seed: u64) -> Report {
    let mut dice = Dice::new(seed);
    let policy = Policy::default();
    let rekey = Rekey {
        bytes: dice.between(100_000, 2_000_000),
        interval_ms: dice.between(600_000, 3_600_000),
    };
    let mut world = World::new(policy, 2, rekey, seed);
    world.outside.host.patience_ms = dice.between(30_000, 300_000);
    let mut faults = Vec::new();
    for _ in 0..dice.between(5, 40) {
        let pause = if dice.chance(30) {
            dice.between(0, 2_000)
        } else {
            dice.between(0, PAUSE_MS)
        };
        world.run_for(pause);
        let fault = Fault::draw(&mut dice);
        faults.push((world.now_ms(), fault));
        fault.strike(&mut world);
        if dice.chance(25) {
            world.run_for(dice.between(0, 60_000));
            heal(&mut world);
        }
    }
    heal(&mut world);
    let healed_ms = world.now_ms();
    let end_ms = healed_ms + bound_ms(world.outside.host.patience_ms);
    let mut good = false;
    while !good && world.run_until(end_ms, |world| world.controller.is_whole()) {
        good = (0..2).all(|index| world.exchange(index, 10_000, 10_000));
        if !good {
            // A connection that is up and dead: the watchdog has to find out.
            world.run_for(1_000);
        }
    }
    let recovery_ms = world.now_ms() - healed_ms;
    if !good {
        let state = world.controller.watchdog.state();
        let text = format!("not up {recovery_ms} ms after the network was good: {state:?}");
        world.invariants.broken(end_ms, text);
    }
    let mut violations = std::mem::take(&mut world.invariants.violations);
    violations.append(&mut world.outside.breaches);
    Report {
        seed,
        faults,
        violations,
        attempts: world.invariants.attempts.len(),
        ups: world.invariants.ups.len(),
        recovery_ms,
    }
}
