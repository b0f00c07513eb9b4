//! Random faults against the invariants. `REACHBACK_SIM_SEEDS=20000` runs more of them,
//! `REACHBACK_SIM_SEED=17` replays one and tells its faults.
#![allow(clippy::unwrap_used)]

use reachback_sim::faults::{self, Report};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn whatever_happens_the_invariants_hold_and_the_tunnel_comes_back() {
    if let Some(seed) = number("REACHBACK_SIM_SEED") {
        let report = faults::run(seed);
        for (at, fault) in &report.faults {
            println!("{at:>9} ms  {fault:?}");
        }
        println!("{} attempts, up {} times", report.attempts, report.ups);
        assert_eq!(report.violations, [""; 0], "seed {seed}");
        return;
    }
    let seeds = number("REACHBACK_SIM_SEEDS").unwrap_or(SEEDS);
    let reports: Vec<Report> = (0..seeds).map(faults::run).collect();
    let bad: Vec<&Report> = reports
        .iter()
        .filter(|report| !report.violations.is_empty())
        .collect();
    for report in bad.iter().take(5) {
        println!("seed {}: {:#?}", report.seed, report.violations);
    }
    let failed: Vec<u64> = bad.iter().map(|report| report.seed).collect();
    assert!(failed.is_empty(), "REACHBACK_SIM_SEED={failed:?}");
    // The schedules did something: tunnels came up, were lost and came back.
    let ups: usize = reports.iter().map(|report| report.ups).sum();
    let attempts: usize = reports.iter().map(|report| report.attempts).sum();
    assert!(ups as u64 > 2 * seeds && attempts > ups, "{ups} {attempts}");
    let slowest = reports.iter().map(|report| report.recovery_ms).max();
    println!(
        "{seeds} schedules, {attempts} attempts, up {ups} times, slowest recovery {slowest:?} ms"
    );
}

#[test]
fn a_seed_replays_the_same_schedule_to_the_same_end() {
    let (one, two) = (faults::run(4), faults::run(4));
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}
