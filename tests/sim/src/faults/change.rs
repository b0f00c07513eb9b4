//! What callers order, and what another configuration says.

use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;

use crate::dice::Dice;
use crate::net::{HUB, SPARE};
use crate::setup::{Setup, forward, server};

/// Forwards that callers add and take away; the first two are configured to begin with. No two
/// have one listener.
const FORWARDS: [&str; 5] = [
    "1111:localhost:81",
    "1112:localhost:82",
    "1113:localhost:83",
    "*:1114:127.0.0.1:81",
    "[::1]:1115:localhost:83",
];

pub(super) fn any_forward(dice: &mut Dice) -> ForwardSpec {
    forward(FORWARDS[dice.between(0, 4) as usize])
}

/// A keyword that is another one when the configuration is read again.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Change {
    /// Which of `FORWARDS` are configured, a bit each.
    Forwards(u64),
    /// The target of the first forward.
    Retarget,
    AliveInterval(u64),
    AliveCountMax(u64),
    Identity(u8),
    Rekey(u64),
    V4(bool),
    KeepAlive(bool),
    ChannelIdleTimeout(u64),
    Verify(bool),
    KnownHosts(u64),
    Qos(u8),
    /// Only the first server, or the fallback too.
    Fallback(bool),
    /// The servers change places.
    Swap,
    /// Nothing.
    Nothing,
}

impl Change {
    pub(super) fn draw(dice: &mut Dice) -> Change {
        let flip = dice.chance(50);
        match dice.between(0, 15) {
            0 | 1 => Change::Forwards(dice.between(0, 31)),
            2 => Change::Retarget,
            3 => Change::AliveInterval(dice.between(5, 120)),
            4 => Change::AliveCountMax(dice.between(1, 5)),
            5 => Change::Identity(dice.between(7, 8) as u8),
            6 => Change::Rekey(dice.between(100_000, 2_000_000)),
            7 => Change::V4(flip),
            8 => Change::KeepAlive(flip),
            9 => Change::Verify(flip),
            10 => Change::KnownHosts(dice.between(1, 2)),
            11 => Change::Qos(dice.between(0, 1) as u8),
            12 => Change::Fallback(flip),
            13 => Change::Swap,
            14 => Change::ChannelIdleTimeout(dice.between(0, 100)),
            _ => Change::Nothing,
        }
    }

    pub(super) fn apply(self, setup: &mut Setup) {
        match self {
            Change::Forwards(bits) => {
                let all = FORWARDS.iter().enumerate();
                let some = all.filter(|(at, _)| bits & (1 << at) != 0);
                setup.forwards = some.map(|(_, text)| forward(text)).collect();
            }
            Change::Retarget => {
                let text = match setup.forwards.contains(&forward(FORWARDS[0])) {
                    true => "1111:localhost:83",
                    false => FORWARDS[0],
                };
                setup.forwards.retain(|spec| spec.listen.port() != 1111);
                setup.forwards.push(forward(text));
            }
            Change::AliveInterval(s) => setup.policy.alive_interval = Duration::from_secs(s),
            Change::AliveCountMax(count) => setup.policy.alive_count_max = count as u32,
            Change::Identity(key) => setup.key = key,
            Change::Rekey(bytes) => setup.rekey.bytes = bytes,
            Change::V4(only) => {
                setup.family = match only {
                    true => AddressFamily::V4,
                    false => AddressFamily::Any,
                };
            }
            Change::KeepAlive(on) => setup.keep_alive = on,
            Change::ChannelIdleTimeout(s) => setup.channel_idle_timeout = Duration::from_secs(s),
            Change::Verify(on) => setup.verify_forward = on,
            Change::KnownHosts(number) => setup.known_hosts = format!("known_hosts{number}"),
            Change::Qos(number) => {
                setup.source.interface = (number > 0).then(|| format!("eth{number}"));
            }
            Change::Fallback(there) => {
                setup.servers.truncate(1);
                let other = match setup.servers[0].host == HUB.0 {
                    true => SPARE,
                    false => HUB,
                };
                if there {
                    setup.servers.push(server(other));
                }
            }
            Change::Swap => setup.servers.reverse(),
            Change::Nothing => {}
        }
    }
}
