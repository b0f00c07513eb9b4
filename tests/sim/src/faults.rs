//! Everything that goes wrong, or is put right again.

use reachback_core::forward::ForwardSpec;

use crate::dice::Dice;
use crate::host::Port;
use crate::network::{Dns, Path};
use crate::server::{Answer, Stall};
use crate::targets::Manner;
use crate::world::World;

mod change;
pub use change::Change;
use change::any_forward;

const STALLS: [Stall; 6] = [
    Stall::Ident,
    Stall::KexInit,
    Stall::KexReply,
    Stall::NewKeys,
    Stall::Service,
    Stall::Authentication,
];

/// One thing that goes wrong, is put right again, or is ordered.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Fault {
    Delay(u64),
    Loss(u64),
    Rate(Option<u64>),
    HoleToServer(bool),
    HoleToClient(bool),
    Link {
        up: bool,
        told: bool,
    },
    Dns(Dns),
    /// Addresses of the first server where nobody is, before and behind its own.
    Addresses {
        before: u64,
        behind: u64,
    },
    Reset(usize),
    Kill(usize),
    Restart(usize),
    PowerCut(usize),
    PowerBack(usize),
    EndAll(usize, u32),
    Hang {
        host: usize,
        hung: bool,
    },
    Stall {
        host: usize,
        stall: Option<Stall>,
    },
    Authentication {
        host: usize,
        answer: Answer,
    },
    HostKey(u8),
    /// An unknown host key is refused.
    Unpinned,
    ForeignPort {
        port: Port,
        held: bool,
        greets: bool,
    },
    Forward(Answer),
    Cancel(Answer),
    Keepalive(Answer),
    Direct(Answer),
    MoveAddress {
        told: bool,
    },
    Freeze(u64),
    ServerRekey,
    Load(u64),
    /// So many people come to a forward, and say nothing.
    Crowd(ForwardSpec, u64),
    HangUp,
    Target {
        which: u64,
        manner: Manner,
    },
    Randomness(bool),
    Reconnect,
    Call,
    Add(ForwardSpec),
    Remove(ForwardSpec),
    Reload(Change),
    /// The process replaces itself.
    NewProcess,
}

impl Fault {
    /// The next one.
    pub fn draw(dice: &mut Dice) -> Fault {
        let flip = dice.chance(50);
        // The first server twice as often as the fallback.
        let host = dice.between(0, 2) as usize / 2;
        let answer = |dice: &mut Dice, usual| match dice.between(0, 4) {
            0 => Answer::Silence,
            1 => Answer::No,
            _ => usual,
        };
        match dice.between(0, 42) {
            0 => Fault::Delay(dice.between(1, 2_000)),
            1 => Fault::Loss(dice.between(0, 40)),
            2 => Fault::HoleToServer(flip),
            3 => Fault::HoleToClient(flip),
            4 | 5 => Fault::Link {
                up: flip,
                told: dice.chance(70),
            },
            6 => Fault::Dns([Dns::Answers, Dns::Fails, Dns::Silent][dice.between(0, 2) as usize]),
            7 => Fault::Reset(host),
            8 => Fault::Kill(host),
            9 => Fault::Restart(host),
            10 => Fault::PowerCut(host),
            11 => Fault::PowerBack(host),
            12 => Fault::EndAll(host, dice.between(1, 16) as u32),
            13 => Fault::Stall {
                host,
                stall: flip.then(|| STALLS[dice.between(0, 5) as usize]),
            },
            14 => Fault::Authentication {
                host,
                answer: if flip { Answer::Yes } else { Answer::No },
            },
            15 => Fault::HostKey(if dice.chance(30) { 2 } else { 1 }),
            16 => Fault::ForeignPort {
                port: (dice.chance(60), dice.between(1111, 1113) as u16),
                held: flip,
                greets: dice.chance(50),
            },
            17 => Fault::Forward(answer(dice, Answer::Ask)),
            18 => Fault::MoveAddress { told: flip },
            19 if flip => Fault::Reconnect,
            19 => Fault::Call,
            20 => Fault::Freeze(dice.between(10, 400_000)),
            21 => Fault::ServerRekey,
            22..=24 => Fault::Load(dice.between(1, 400_000)),
            25 => Fault::Keepalive(answer(dice, Answer::No)),
            26 => Fault::Randomness(dice.chance(30)),
            27 => Fault::Target {
                which: dice.between(81, 83),
                manner: manner(dice),
            },
            28 => Fault::HangUp,
            29 => Fault::Hang { host, hung: flip },
            30 | 31 => Fault::Add(any_forward(dice)),
            32 | 33 => Fault::Remove(any_forward(dice)),
            34 | 35 => Fault::Reload(Change::draw(dice)),
            36 => Fault::NewProcess,
            37 => Fault::Cancel(answer(dice, Answer::Yes)),
            38 => Fault::Direct(match dice.chance(30) {
                // It claims to have connected, and has not.
                true => Answer::Yes,
                false => answer(dice, Answer::Ask),
            }),
            39 => Fault::Addresses {
                before: dice.between(0, 2),
                behind: dice.between(0, 2),
            },
            40 => Fault::Unpinned,
            41 => Fault::Crowd(any_forward(dice), dice.between(1, 150)),
            _ => Fault::Rate(flip.then(|| dice.between(4_000, 100_000))),
        }
    }

    /// Does it.
    pub fn strike(self, world: &mut World) {
        match self {
            Fault::Delay(ms) => world.net().path.delay_ms = ms,
            Fault::Loss(percent) => world.net().path.loss_percent = percent,
            Fault::Rate(rate) => world.net().path.rate = rate,
            Fault::HoleToServer(hole) => world.net().path.hole_to_server = hole,
            Fault::HoleToClient(hole) => world.net().path.hole_to_client = hole,
            Fault::Link { up, told } => world.set_link(up, told),
            Fault::Dns(dns) => world.net().path.dns = dns,
            Fault::Addresses { before, behind } => world.net().set_addresses(before, behind),
            Fault::Reset(host) => world.net().reset_all(host),
            Fault::Kill(host) => world.net().kill_server(host),
            Fault::Restart(host) => world.net().hosts[host].listening = true,
            Fault::PowerCut(host) => world.net().cut_power(host),
            Fault::PowerBack(host) => world.net().hosts[host].powered = true,
            Fault::EndAll(host, reason) => world.net().end_all(host, reason, "maintenance"),
            Fault::Hang { host, hung } => world.net().hosts[host].hung = hung,
            Fault::Stall { host, stall } => world.net().hosts[host].knobs.stall = stall,
            Fault::Authentication { host, answer } => world.net().hosts[host].knobs.auth = answer,
            Fault::HostKey(seed) => world.net().hub().knobs.host_key = seed,
            Fault::Unpinned => world.net().pins.clear(),
            Fault::ForeignPort { port, held, greets } => {
                world.net().hub().set_foreign_at(port, held, greets);
            }
            Fault::Forward(answer) => world.net().set_knobs(|knobs| knobs.forward = answer),
            Fault::Cancel(answer) => world.net().set_knobs(|knobs| knobs.cancel = answer),
            Fault::Keepalive(answer) => world.net().set_knobs(|knobs| knobs.keepalive = answer),
            Fault::Direct(answer) => world.net().set_knobs(|knobs| knobs.direct = answer),
            Fault::MoveAddress { told } => world.move_address(told),
            Fault::Freeze(ms) => world.freeze_for(ms),
            Fault::ServerRekey => {
                if let Some(server) = world.net().server().filter(|server| server.authenticated) {
                    server.start_kex();
                }
            }
            Fault::Load(bytes) => {
                for spec in world.wanted.forwards() {
                    world.connect(&spec, bytes);
                }
            }
            Fault::Crowd(spec, people) => {
                for _ in 0..people {
                    world.visit(&spec);
                }
            }
            Fault::HangUp => {
                let users = world.net().users.clone();
                for user in users.iter().filter(|user| !user.over) {
                    world.hang_up(user.id);
                }
            }
            Fault::Target { which, manner } => {
                let targets = &mut world.net().targets;
                targets.manners.insert(which.to_string(), manner);
            }
            Fault::Randomness(there) => world.net().randomness = there,
            Fault::Reconnect => world.reconnect(),
            Fault::Call => world.call(),
            Fault::Add(spec) => {
                let mut forwards = world.wanted.forwards().into_iter();
                if !forwards.any(|own| own.listen == spec.listen && own != spec) {
                    world.add_forward(&spec);
                }
            }
            Fault::Remove(spec) => {
                world.remove_forward(&spec);
            }
            Fault::Reload(change) => {
                let mut setup = world.setup.clone();
                change.apply(&mut setup);
                setup.forwards.retain(|spec| !world.wanted.is_taken(spec));
                world.reload(setup);
            }
            Fault::NewProcess => world.restart(),
        }
    }
}

fn manner(dice: &mut Dice) -> Manner {
    let after = dice.between(0, 200_000);
    match dice.between(0, 7) {
        0 => Manner::Refuses,
        1 => Manner::Stalls,
        2 => Manner::TakesNothing,
        3 => Manner::Resets(after),
        4 => Manner::Ends(after),
        5 => Manner::Closes(after),
        6 => Manner::Trickles(dice.between(1, 50_000)),
        _ => Manner::Echoes,
    }
}

/// Puts everything right.
pub fn heal(world: &mut World) {
    let told = world.net().dice.chance(50);
    {
        let mut net = world.net();
        net.path = Path {
            link_up: net.path.link_up,
            ..Path::good()
        };
        net.randomness = true;
        net.targets.set_all(Manner::Echoes);
        for host in &mut net.hosts {
            host.powered = true;
            host.hung = false;
            host.listening = true;
            host.clear_foreign();
            host.knobs.stall = None;
            host.knobs.auth = Answer::Yes;
        }
        net.set_knobs(|knobs| {
            knobs.forward = Answer::Ask;
            knobs.cancel = Answer::Yes;
            knobs.direct = Answer::Ask;
            knobs.keepalive = Answer::No;
        });
        net.hub().knobs.host_key = 1;
        net.pin_all();
    }
    world.set_link(true, told);
}
