//! What a tunnel costs while nobody uses it.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::report;
use crate::subject::{Program, Subject, Timing};
use crate::support::process;
use crate::world::{ServerKind, World};

/// Measures `program` for `span` at the interval of `timing`. Packets and bytes are those of
/// IP on the controller's cable; wake-ups are the voluntary context switches of proc(5).
pub fn cost(program: Program, timing: Timing, span: Duration) -> Option<[u64; 5]> {
    let world = World::new(ServerKind::Quiet)?;
    let subject = Subject::start(&world, program, timing);
    world.wait_usable(Duration::from_secs(30));
    // The use of the tunnel has been acknowledged by then.
    std::thread::sleep(Duration::from_secs(2));
    world.both_ways("meta l4proto tcp counter");
    let own = subject.process.pid();
    // The shell loop's client is a child.
    let pid = process::descendants(own).first().copied().unwrap_or(own);
    let before = wakeups(pid);
    let begun = Instant::now();
    std::thread::sleep(span);
    let spent = begun.elapsed();
    let [packets_out, bytes_out] = counted(&world, "input");
    let [packets_in, bytes_in] = counted(&world, "output");
    let costs = [
        packets_out,
        bytes_out,
        packets_in,
        bytes_in,
        wakeups(pid) - before,
    ];
    assert_eq!(world.connections().len(), 1, "one connection all the time");
    report::idle(program, timing, spent, costs);
    Some(costs)
}

fn wakeups(pid: i32) -> u64 {
    process::status_field(pid, "voluntary_ctxt_switches")
}

/// Packets and bytes that the rule of a chain counted.
fn counted(world: &World, chain: &str) -> [u64; 2] {
    let mut nft = Command::new("nft");
    nft.args(["list", "chain", "inet", "fault", chain]);
    let out = world.net.internet.wrap(&nft).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "counter");
    let mut number = || words.nth(2).and_then(|word| word.parse().ok());
    let packets = number().unwrap_or_else(|| panic!("no counter: {text}"));
    let bytes = words.nth(1).and_then(|word| word.parse().ok());
    [packets, bytes.unwrap_or_else(|| panic!("no bytes: {text}"))]
}
