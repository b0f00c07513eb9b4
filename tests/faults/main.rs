//! Faults, one by one, between a controller and a server in network namespaces: each is
//! noticed and overcome within its stated bound.
//!
//! A harness of its own, since the tests wait much more than they work and all run at once,
//! each in its own namespaces. It takes what cargo hands on: parts of names, `--exact`,
//! `--skip`, `--list`, `--ignored`, `--include-ignored`, `--test-threads N`. Ignored without being asked
//! for are the comparison with other programs and the long measurements.
//!
//! The wall clock is not moved here, since it belongs to the whole machine: clock jumps are
//! covered by the simulation in `tests/sim`. The program's timers use the monotonic clock.
#![allow(clippy::unwrap_used)]

mod dropbear;
mod fault;
mod gate;
mod idle;
mod network;
mod refused;
mod report;
mod server;
mod slow;
mod soak;
mod subject;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault::Fault;
use subject::{DEFAULTS, Program, SHORT, Timing};

/// One named test.
struct Test {
    name: String,
    ignored: bool,
    run: Arc<dyn Fn() + Send + Sync>,
}

fn test(name: impl Into<String>, run: impl Fn() + Send + Sync + 'static) -> Test {
    Test {
        name: name.into(),
        ignored: false,
        run: Arc::new(run),
    }
}

fn ignored(name: impl Into<String>, run: impl Fn() + Send + Sync + 'static) -> Test {
    Test {
        ignored: true,
        ..test(name, run)
    }
}

const PEERS: [Program; 2] = [Program::Dbclient, Program::Autossh];

fn faults() -> impl Iterator<Item = &'static Fault> {
    network::FAULTS.iter().chain(server::FAULTS)
}

/// The longest first, so that they do not run alone at the end.
fn tests() -> Vec<Test> {
    let mut all = Vec::new();
    for program in [Program::Reachback, Program::Ssh, Program::Dbclient] {
        let name = program.name();
        let five_minutes = Duration::from_secs(5 * 60 + 5);
        all.push(ignored(format!("idle::{name}_at_60_s"), move || {
            idle::cost(program, DEFAULTS, five_minutes);
        }));
        let short = Timing {
            interval: Duration::from_secs(5),
            ..SHORT
        };
        all.push(ignored(format!("idle::{name}_at_5_s"), move || {
            idle::cost(program, short, Duration::from_secs(120));
        }));
    }
    for slow in slow::LONG {
        all.push(ignored(format!("slow::reachback::{}", slow.name), || {
            slow::keeps_its_connection(slow);
        }));
        for program in PEERS {
            let name = format!("slow::{}::{}", program.name(), slow.name);
            all.push(ignored(name, move || slow::is_lived_with(slow, program)));
        }
    }
    let long = &network::LONG;
    let name = format!("defaults::reachback::{}", long.name);
    all.push(ignored(name, || fault::keeps_its_bounds(long)));
    for program in PEERS {
        let name = program.name();
        let at_defaults = faults().filter(|fault| fault.timing.interval == DEFAULTS.interval);
        all.extend(at_defaults.chain([long]).map(|fault| {
            ignored(format!("defaults::{name}::{}", fault.name), move || {
                fault::is_faced_by(fault, program);
            })
        }));
    }
    all.push(test(
        "soak::connecting_and_being_killed_leaves_nothing_behind",
        || {
            soak::run(soak::cycles());
        },
    ));
    for slow in slow::SHORTENED {
        all.push(test(slow.name, || slow::keeps_its_connection(slow)));
    }
    all.push(test("an_idle_tunnel_costs_one_probe_per_interval", || {
        let timing = Timing {
            interval: Duration::from_secs(3),
            ..SHORT
        };
        let span = Duration::from_secs(31);
        let Some([packets_out, .., wakeups]) = idle::cost(Program::Reachback, timing, span) else {
            return;
        };
        // A probe and the acknowledgement of its answer.
        assert!((18..=22).contains(&packets_out), "{packets_out} packets");
        assert!(wakeups <= 40, "{wakeups} wake-ups");
    }));
    all.extend(faults().map(|fault| test(fault.name, || fault::keeps_its_bounds(fault))));
    let name = "refused_authentication_is_followed_by_a_long_pause";
    all.push(test(name, || refused::authentication(Program::Reachback)));
    let name = "a_changed_host_key_is_never_logged_in_to_and_followed_by_a_long_pause";
    all.push(test(name, || refused::host_key(Program::Reachback)));
    for program in PEERS {
        let peer = program.name();
        let faced = faults().filter(|fault| fault.peers);
        all.extend(faced.map(|fault| {
            ignored(format!("peers::{peer}::{}", fault.name), move || {
                fault::is_faced_by(fault, program);
            })
        }));
        all.push(ignored(
            format!("peers::{peer}::refused_authentication"),
            move || {
                refused::authentication(program);
            },
        ));
        all.push(ignored(
            format!("peers::{peer}::changed_host_key"),
            move || {
                refused::host_key(program);
            },
        ));
    }
    for program in [Program::Reachback, Program::Dbclient, Program::Autossh] {
        let name = program.name();
        all.push(ignored(format!("version::{name}"), move || {
            report::version(program)
        }));
    }
    all
}

/// What cargo's arguments ask for.
#[derive(Default)]
struct Asked {
    parts: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored_too: bool,
    ignored_only: bool,
    threads: Option<usize>,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--include-ignored" => asked.ignored_too = true,
                "--ignored" => asked.ignored_only = true,
                "--test-threads" => asked.threads = words.next().and_then(|n| n.parse().ok()),
                "--skip" => asked.skipped.extend(words.next()),
                "--format" | "--color" => drop(words.next()),
                other if other.starts_with('-') => {}
                _ => asked.parts.push(word),
            }
        }
        asked
    }

    fn wants(&self, test: &Test) -> bool {
        let named = |part: &String| {
            if self.exact {
                test.name == *part
            } else {
                test.name.contains(part)
            }
        };
        let kind = if self.ignored_only {
            test.ignored
        } else {
            self.ignored_too || !test.ignored
        };
        let skipped = self.skipped.iter().any(|part| test.name.contains(part));
        kind && !skipped && (self.parts.is_empty() || self.parts.iter().any(named))
    }
}

fn main() -> ExitCode {
    let asked = Asked::read();
    let all = tests();
    let number = all.len();
    let chosen: Vec<Test> = all.into_iter().filter(|test| asked.wants(test)).collect();
    if asked.list {
        chosen
            .iter()
            .for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let left_out = number - chosen.len();
    let count = chosen.len();
    let queue = Mutex::new(chosen.into_iter());
    let failed: Mutex<Vec<Test>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..asked.threads.unwrap_or(16) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some(test) = next else { return };
                    if !run_one(&test) {
                        failed.lock().unwrap().push(test);
                    }
                }
            });
        }
    });
    // Dozens of clients and servers at once load the machine, and the bounds are those of a
    // controller, not of a crowd: what missed its own there is measured again, alone.
    let crowded = failed.into_inner().unwrap();
    let mut failed = Vec::new();
    for test in crowded {
        println!("{} missed its bound in the crowd; again, alone:", test.name);
        if !run_one(&test) {
            failed.push(test.name);
        }
    }
    let outcome = if failed.is_empty() { "ok" } else { "FAILED" };
    for name in &failed {
        println!("failed: {name}");
    }
    println!(
        "\ntest result: {outcome}. {} passed; {} failed; {left_out} left out\n",
        count - failed.len(),
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Runs one test in a thread of its name, so that a panic and a skip carry it. True if it held.
fn run_one(test: &Test) -> bool {
    let begun = Instant::now();
    let name = &test.name;
    let thread = std::thread::Builder::new().name(name.clone());
    let run = Arc::clone(&test.run);
    let ok = thread.spawn(move || run()).unwrap().join().is_ok();
    let word = if ok { "ok" } else { "FAILED" };
    println!(
        "test {name} ... {word} ({:.1} s)",
        begun.elapsed().as_secs_f64()
    );
    ok
}
