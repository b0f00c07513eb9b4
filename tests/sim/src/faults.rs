//! Everything that goes wrong, or is put right again.

use crate::dice::Dice;
use crate::network::{Dns, Path};
use crate::server::{Answer, Stall};
use crate::targets::Manner;
use crate::world::World;

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
    Load { bytes: u64 },
    Target { which: u64, manner: Manner },
    HangUp,
    LostKeepalives(bool),
    Hang(bool),
    Randomness(bool),
}

impl Fault {
    /// The next one.
    pub fn draw(dice: &mut Dice) -> Fault {
        let flip = dice.chance(50);
        match dice.between(0, 27) {
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
                bytes: dice.between(1, 400_000),
            },
            23 => Fault::LostKeepalives(flip),
            24 => Fault::Randomness(dice.chance(30)),
            25 => Fault::Target {
                which: dice.between(81, 82),
                manner: manner(dice),
            },
            26 => Fault::HangUp,
            _ => Fault::Hang(flip),
        }
    }

    /// Does it.
    pub fn strike(self, world: &mut World) {
        match self {
            Fault::Delay(ms) => world.net().path.delay_ms = ms,
            Fault::Loss(percent) => world.net().path.loss_percent = percent,
            Fault::HoleToServer(hole) => world.net().path.hole_to_server = hole,
            Fault::HoleToClient(hole) => world.net().path.hole_to_client = hole,
            Fault::Link { up, told } => world.set_link(up, told),
            Fault::Dns(dns) => world.net().path.dns = dns,
            Fault::Reset => world.net().reset_all(0),
            Fault::Kill => world.net().kill_server(0),
            Fault::Restart => world.net().hub().listening = true,
            Fault::PowerCut => world.net().cut_power(0),
            Fault::PowerBack => world.net().hub().powered = true,
            Fault::EndAll => world.net().end_all(0, 11),
            Fault::Stall(stall) => world.net().hub().knobs.stall = stall,
            Fault::Authentication(answer) => world.net().hub().knobs.auth = answer,
            Fault::HostKey(seed) => world.net().hub().knobs.host_key = seed,
            Fault::ForeignPort(held) => world.net().hub().set_foreign(1111, held),
            Fault::SilentForward(silent) => {
                let answer = if silent { Answer::Silence } else { Answer::Ask };
                world.net().hub().knobs.forward = answer;
            }
            Fault::MoveAddress { told } => world.move_address(told),
            Fault::Reconnect => world.reconnect(),
            Fault::Freeze(ms) => world.freeze_for(ms),
            Fault::ServerRekey => {
                if let Some(server) = world.net().server().filter(|server| server.authenticated) {
                    server.start_kex();
                }
            }
            Fault::Load { bytes } => {
                for spec in world.wanted.forwards() {
                    world.connect(&spec, bytes);
                }
            }
            Fault::Target { which, manner } => {
                let targets = &mut world.net().targets;
                targets.manners.insert(which.to_string(), manner);
            }
            Fault::HangUp => {
                let users = world.net().users.clone();
                for user in users.iter().filter(|user| !user.over) {
                    world.hang_up(user.id);
                }
            }
            Fault::Hang(hung) => world.net().hub().hung = hung,
            Fault::LostKeepalives(lost) => {
                let answer = if lost { Answer::Silence } else { Answer::No };
                world.net().hub().knobs.keepalive = answer;
            }
            Fault::Randomness(there) => world.net().randomness = there,
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
            host.knobs.forward = Answer::Ask;
            host.knobs.keepalive = Answer::No;
        }
        net.hub().knobs.host_key = 1;
    }
    world.set_link(true, told);
}
