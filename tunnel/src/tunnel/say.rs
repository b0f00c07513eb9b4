//! The log lines of waiting.

use std::time::Duration;

use log::{info, warn};
use reachback_core::ages::ALIKE;
use reachback_core::cause::Cause;
use reachback_core::failure::Failure;
use reachback_core::forward::Listen;
use reachback_core::forwards::Forward;
use reachback_core::verify::Proof;

use super::{Connection, Tunnel};
use crate::outside::Outside;
use crate::plan::{Plan, Server};

impl<O: Outside> Tunnel<O> {
    /// What ended, and when the next attempt comes.
    pub(super) fn say_wait(&mut self, wait: Duration, why: Failure) {
        let seconds = wait.as_millis().div_ceil(1000);
        match std::mem::take(&mut self.reason).as_str() {
            // The reason was told when the wait began.
            "" => info!("wait after '{why}' cut short; next attempt in {seconds} s"),
            // That is no loss.
            reason if matches!(why, Failure::Asked | Failure::Failback) => {
                info!("connection ended: {reason}; next attempt in {seconds} s");
            }
            reason => {
                let what = match self.had_connection {
                    true => "connection lost",
                    false => "no connection",
                };
                warn!("{what}: {reason}; next attempt in {seconds} s");
            }
        }
    }

    /// Connections are lost at one age again and again.
    pub(super) fn say_limit(&self, age: Duration) {
        let (count, seconds) = (ALIKE, age.as_secs());
        let advice = Cause::TimeLimit.advice();
        warn!("the last {count} connections were each lost {seconds} s after login: {advice}");
    }

    /// What keeps a forward from the server, and, the first time, what can be done there.
    pub(super) fn say_forward_waits(&self, forward: &Forward, wait: Duration, first: bool) {
        let spec = &forward.spec;
        let server = at_server(&self.plan, &self.server);
        let (at, seconds) = (
            spec.listen.on(spec.listen.port()),
            wait.as_millis().div_ceil(1000),
        );
        let kind = match spec.listen {
            Listen::Tcp { .. } => "port",
            Listen::Unix(_) => "socket",
        };
        let misled = match &self.connection {
            Connection::Up(session) => {
                matches!(session.proof(forward), Proof::Elsewhere { .. })
            }
            _ => false,
        };
        if misled {
            warn!(
                "forward taken back: server {at}{server} does not lead here; waiting for {kind}, next try in {seconds} s"
            );
            return;
        }
        warn!(
            "forward refused: server {at}{server} is taken or not permitted; waiting for {kind}, next try in {seconds} s"
        );
        if first {
            warn!("server {at}: {}", Cause::of_refusal(&spec.listen).advice());
        }
    }
}

/// ` at HOST port PORT`, for lines about forwards; empty where there is only one server.
pub(crate) fn at_server(plan: &Plan, server: &Server) -> String {
    if plan.servers.len() < 2 {
        return String::new();
    }
    format!(" at {} port {}", server.host, server.port)
}
