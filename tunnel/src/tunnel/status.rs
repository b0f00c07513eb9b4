//! What status shows of a tunnel.

use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forwards::{Forward, Proof};
use reachback_core::history::{line, words};
use reachback_core::time::Instant;
use reachback_core::watchdog::State;

use super::{Connection, Tunnel};
use crate::outside::Outside;

/// The program that holds a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its process number.
    pub pid: u32,
    /// Its version.
    pub version: &'a str,
}

impl<O: Outside> Tunnel<O> {
    /// The lines of a snapshot (`docs/control-protocol.md`).
    pub fn status(&self, program: Program<'_>, outside: &O, now: Instant) -> String {
        self.snapshot(program, now, outside.wall_s()).to_string()
    }

    /// What `VerifyForward` knows of a forward.
    fn proof(&self, forward: &Forward) -> Proof {
        match &self.connection {
            Connection::Up(session) => session.proof(forward),
            _ => Proof::Unknown,
        }
    }

    fn snapshot(&self, program: Program<'_>, now: Instant, wall_s: u64) -> Box<Snapshot> {
        let Tunnel {
            stats, lifetime, ..
        } = self;
        let (link, since) = match self.state() {
            State::Connecting(stage) => (Link::Connecting(line(stage)), stats.down_since),
            State::Up { since, .. } => {
                let address = stats.address.map(|address| address.to_string());
                (Link::Up(line(address.unwrap_or_default())), since)
            }
            State::Waiting { until, .. } => (Link::Waiting(until), stats.down_since),
            State::Stopping | State::Stopped => (Link::Ending, now),
        };
        let server = &self.server;
        let first = self.plan.servers.first().unwrap_or(server);
        let fallback = match server == first {
            true => line(""),
            false => line(server),
        };
        let mut snapshot = Box::new(Snapshot {
            pid: program.pid,
            program: line(program.version),
            user: line(&first.user),
            host: line(&first.host),
            port: first.port,
            fallback,
            now,
            wall_s,
            started: stats.started,
            link,
            since,
            keepalive: Some((
                self.plan.policy.alive_interval.as_millis() as u64,
                self.plan.policy.alive_count_max,
            )),
            round_trip_ms: stats.round_trip_ms,
            serving: stats.serving as u32,
            served: stats.served,
            refused: stats.refused,
            closed_idle: stats.closed_idle,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            logins: stats.logins,
            lost: stats.lost,
            failure: words(&stats.failure),
            cause: stats.cause,
            ends: lifetime.ends(),
            idle_ends: lifetime.idle_ends(),
            ..Snapshot::default()
        });
        for (_, forward) in self.watchdog.forwards().wanted() {
            // No more of them than the snapshot has room for.
            let _ = snapshot.forwards.push(ForwardStatus {
                spec: forward.spec.clone(),
                state: forward.state(),
                proof: self.proof(forward),
            });
        }
        snapshot.events.extend(stats.history.events().cloned());
        snapshot
    }
}
