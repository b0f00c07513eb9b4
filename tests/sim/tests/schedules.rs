//! Random faults against the invariants. `make sim SEEDS=20000` runs more of them, and
//! `make sim SEED=17` replays one with its log.
#![allow(clippy::unwrap_used)]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use reachback_sim::log;
use reachback_sim::schedule::{self, Report};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs the seeds below `seeds` on every processor.
fn run_all(seeds: u64) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let work = || {
        let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|n| *n < seeds));
        seeds.map(run).collect::<Vec<Report>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let reports = workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap());
        reports.collect()
    })
}

/// A panic is told with its seed, like everything else that must not happen.
fn run(seed: u64) -> Report {
    catch_unwind(|| schedule::run(seed)).unwrap_or_else(|_| Report {
        seed,
        violations: vec!["it panicked".to_owned()],
        attempts: 0,
        ups: 0,
        recovery_ms: 0,
        carried: (0, 0),
    })
}

#[test]
fn whatever_happens_the_invariants_hold_and_the_tunnel_comes_back() {
    if let Some(seed) = number("REACHBACK_SIM_SEED") {
        log::print();
        let report = schedule::run(seed);
        println!("{} attempts, up {} times", report.attempts, report.ups);
        assert_eq!(report.violations, [""; 0], "seed {seed}");
        return;
    }
    let seeds = number("REACHBACK_SIM_SEEDS").unwrap_or(SEEDS);
    let mut reports = run_all(seeds);
    reports.sort_by_key(|report| report.seed);
    let bad: Vec<&Report> = reports
        .iter()
        .filter(|report| !report.violations.is_empty())
        .collect();
    for report in bad.iter().take(5) {
        println!("seed {}: {:#?}", report.seed, report.violations);
    }
    let failed: Vec<u64> = bad.iter().map(|report| report.seed).collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds; make sim SEED={}; all: {failed:?}",
        failed.len(),
        failed[0]
    );
    // The schedules did something: tunnels came up, were lost and came back, and were used.
    let ups: usize = reports.iter().map(|report| report.ups).sum();
    let attempts: usize = reports.iter().map(|report| report.attempts).sum();
    assert!(ups as u64 > 2 * seeds && attempts > ups, "{ups} {attempts}");
    let carried = reports.iter().fold((0, 0), |(to, from), report| {
        (to + report.carried.0, from + report.carried.1)
    });
    assert!(carried.0.min(carried.1) > 100_000 * seeds, "{carried:?}");
    let slowest = reports.iter().map(|report| report.recovery_ms).max();
    println!(
        "{seeds} schedules, {attempts} attempts, up {ups} times, {} + {} MB through tunnels, \
         slowest recovery {} s",
        carried.0 >> 20,
        carried.1 >> 20,
        slowest.unwrap_or(0) / 1_000
    );
}

#[test]
fn a_seed_replays_the_same_schedule_to_the_same_end() {
    let run = || {
        log::keep();
        (format!("{:?}", schedule::run(4)), log::take())
    };
    assert_eq!(run(), run());
}
