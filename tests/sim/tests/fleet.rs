//! A fleet at its server: all come back, soon, and sooner than with what people use instead.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs};

use reachback_sim::fleet::others::{Other, Policy};
use reachback_sim::fleet::ours::Ours;
use reachback_sim::fleet::sshd::Limits;
use reachback_sim::fleet::{Fleet, Member, Outcome, Phase};
use reachback_sim::setup::Setup;

const S: u64 = 1_000;
const MIN: u64 = 60 * S;
/// After the harm nobody is waited for any longer.
const LIMIT_MS: u64 = 30 * MIN;
/// As measured by `make fleet`, which hands in what it has measured itself.
const LOGIN_US: u64 = 15_000;

const PHASES: [(&str, Phase); 6] = [
    ("cold", Phase::Cold(5 * S)),
    ("restart", Phase::Restart(20 * S)),
    ("flapping", Phase::Flapping(20 * S, 3)),
    ("cut", Phase::Cut),
    ("outage", Phase::Outage(60 * MIN)),
    ("outage-65", Phase::Outage(65 * MIN)),
];

/// A server that `server/setup` has made ready, on two processors, or one that bears a `part`th
/// of it.
fn server(part: usize, login_us: u64) -> Limits {
    let slower = part as u64;
    Limits {
        begin: 100 / part,
        rate: 30,
        full: 400 / part,
        grace_ms: 60 * S,
        backlog: 128 / part,
        processors: 2,
        login_us: login_us * slower,
        // Measured with OpenSSH 9.2.
        take_us: 700 * slower,
        drop_us: 50 * slower,
    }
}

/// As in `tests/server/fleet.py`: all programs look after their server each 15 s.
fn reachback(count: usize) -> Vec<Ours> {
    let mut setup = Setup::default();
    setup.servers[0].host = "192.0.2.1".into();
    setup.policy.alive_interval = Duration::from_secs(15);
    (0..count).map(|n| Ours::new(&setup, n, 7)).collect()
}

fn others(policy: Policy, count: usize) -> Vec<Other> {
    (0..count).map(|n| Other::new(policy, n, 7)).collect()
}

/// Lets one thing after the other happen to a fleet.
fn story<M: Member>(members: Vec<M>, limits: Limits, phases: &[(&str, Phase)]) -> Vec<Outcome> {
    let mut fleet = Fleet::new(members, limits, 1);
    let phases = phases.iter().map(|(_, phase)| {
        let outcome = fleet.run(*phase, LIMIT_MS);
        fleet.settle(MIN);
        outcome
    });
    phases.collect()
}

#[test]
fn a_fleet_comes_back_as_fast_as_its_server_can_bear() {
    const COUNT: usize = 400;
    let limits = server(25, LOGIN_US);
    // All logins, one after the other on both processors.
    let least_ms = COUNT as u64 * limits.login_us / limits.processors / 1_000;
    let ours = story(reachback(COUNT), limits, &PHASES[..5]);
    let autossh = story(others(Policy::Autossh(0), COUNT), limits, &PHASES[..5]);
    let looped = story(others(Policy::Loop, COUNT), limits, &PHASES[..5]);
    for (number, (name, phase)) in PHASES[..5].iter().enumerate() {
        let (ours, autossh, looped) = (&ours[number], &autossh[number], &looped[number]);
        let share = |outcome: &Outcome, percent| outcome.share_ms(COUNT, percent);
        let knocks = ours.total().knocks;
        println!(
            "{name}: {:?} {:?} {:?}, {:?} {:?}; {knocks} {}",
            share(ours, 50),
            share(ours, 99),
            share(ours, 100),
            share(autossh, 99),
            share(looped, 99),
            ours.peak(|second| second.knocks),
        );
        // Three probes of 5 s after the interval until it is noticed.
        let unseen_ms = if *phase == Phase::Cut { 30 * S } else { 0 };
        let most_ms = share(ours, 99).expect(name);
        assert!(
            most_ms < unseen_ms + least_ms * 17 / 10,
            "{name}: {most_ms}"
        );
        let last_ms = share(ours, 100).expect(name);
        assert!(last_ms < unseen_ms + least_ms * 5 / 2, "{name}: {last_ms}");
        // Each knocks about once in the first second, and every 10 s on the average as long as
        // the server is away or overrun.
        assert!(
            ours.peak(|second| second.knocks) <= COUNT as u64 * 5 / 4,
            "{name}"
        );
        let lasted_s = (ours.over_ms.min(3 * MIN) + last_ms) / 1_000;
        assert!(
            knocks <= COUNT as u64 * (3 + lasted_s / 10),
            "{name}: {knocks}"
        );
        for other in [autossh, looped] {
            assert!(most_ms < share(other, 99).unwrap_or(LIMIT_MS), "{name}");
        }
        // After an hour autossh waits for ten minutes.
        assert!(knocks < autossh.total().knocks || number == 4, "{name}");
    }
}

/// `make fleet`: the whole, and its figures.
#[test]
#[ignore = "takes minutes; make fleet runs it"]
fn ten_thousand() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let count = number("FLEET_SIMULATED").unwrap_or(10_000) as usize;
    let limits = server(1, number("FLEET_LOGIN_US").unwrap_or(LOGIN_US));
    let stories = [
        ("reachback", story(reachback(count), limits, &PHASES)),
        (
            "autossh",
            story(others(Policy::Autossh(0), count), limits, &PHASES),
        ),
        (
            "dbclient",
            story(others(Policy::Loop, count), limits, &PHASES),
        ),
    ];
    let directory = env::var("FLEET_RESULTS").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    for (program, outcomes) in stories {
        let phases = PHASES.iter().zip(&outcomes);
        let phases: Vec<String> = phases
            .map(|((name, _), outcome)| json(name, outcome))
            .collect();
        let text = format!(
            "{{\"program\":\"{program}\",\"count\":{count},\"login_us\":{},\"phases\":{{{}}}}}\n",
            limits.login_us,
            phases.join(",")
        );
        fs::write(format!("{directory}/simulated-{program}.json"), text).unwrap();
    }
}

/// As `tests/server/fleet.py` writes it.
fn json(name: &str, outcome: &Outcome) -> String {
    let over_s = outcome.over_ms as f64 / 1e3;
    let mut text = format!(
        "\"{name}\":{{\"over_s\":{over_s},\"limit_s\":{},",
        LIMIT_MS / 1_000
    );
    let back: Vec<String> = outcome
        .back_ms
        .iter()
        .map(|ms| format!("{:.1}", *ms as f64 / 1e3))
        .collect();
    write!(text, "\"back_s\":[{}],\"rows\":[", back.join(",")).unwrap();
    let rows = outcome.seconds.iter().zip(1..).map(|(second, at_s)| {
        format!(
            "[{at_s},{},{},{},{}]",
            second.knocks, second.drops, second.logins, second.back
        )
    });
    text + &rows.collect::<Vec<_>>().join(",") + "]}"
}
