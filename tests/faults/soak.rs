//! Connected and killed over and over, the program holds what it held at the beginning.

use std::time::{Duration, Instant};

use crate::fault::s;
use crate::report;
use crate::subject::{Program, SHORT, Subject};
use crate::support::process::{self, open_files};
use crate::support::wait_until;
use crate::world::{ServerKind, World};

/// Anonymous memory may differ by some pages, wherever the allocator's edge lies.
const PAGES_KB: u64 = 32;
/// Cycles after which buffers and caches have their size.
const WARM: usize = 20;
/// The connection to the target is closed by then.
const SETTLE: Duration = Duration::from_millis(500);

/// Anonymous memory of a process in kB, from smaps_rollup (proc(5)): exact, where VmRSS lags.
fn anonymous_kb(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("Anonymous:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap()
}

/// `cycles` times: the tunnel is used, the server's session is killed, the loss is noticed,
/// and SIGUSR1 cuts the wait that has grown by then. Every tenth time the connection is alive
/// when SIGUSR1 comes.
pub fn run(cycles: usize) {
    let Some(world) = World::new(ServerKind::OpenSsh) else {
        return;
    };
    let subject = Subject::start(&world, Program::Reachback, SHORT);
    let own = subject.process.pid();
    // The worker, where there is one.
    let pid = process::descendants(own).first().copied().unwrap_or(own);
    let log = subject.process.stderr.clone();
    let begun = Instant::now();
    let mut early = None;
    for cycle in 0..cycles {
        wait_until("the tunnel is up", s(20), || {
            log.count("tunnel up: ") == cycle + 1
        });
        assert!(
            world.is_usable(s(5)),
            "cycle {cycle}: {:#?}",
            log.all().last()
        );
        if cycle == WARM {
            std::thread::sleep(SETTLE);
            early = Some((open_files(pid), anonymous_kb(pid)));
        }
        if cycle % 10 != 9 {
            world.kill_sessions();
            let gone = || world.connections().is_empty();
            wait_until("the loss is noticed", s(5), gone);
        }
        subject.reconnect();
    }
    wait_until("the tunnel is up", s(20), || {
        log.count("tunnel up: ") == cycles + 1
    });
    assert!(world.is_usable(s(5)));
    std::thread::sleep(SETTLE);
    let (files, anonymous) = early.expect("more cycles than it takes to warm up");
    let (files_now, anonymous_now) = (open_files(pid), anonymous_kb(pid));
    report::soak(
        cycles,
        begun.elapsed(),
        [files, files_now],
        [anonymous, anonymous_now],
    );
    assert!(files_now <= files, "{files} files, then {files_now}");
    let most = anonymous + PAGES_KB;
    assert!(
        anonymous_now <= most,
        "{anonymous} kB, then {anonymous_now} kB"
    );
}

/// As many cycles as `SOAK_CYCLES` asks for, else a hundred.
pub fn cycles() -> usize {
    let asked = std::env::var("SOAK_CYCLES").unwrap_or_default();
    asked.parse().unwrap_or(100)
}
