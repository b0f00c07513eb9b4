//! A configuration that was read again, applied to a tunnel that lives.

use log::info;
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::{ForwardId, Origin};
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::Happening;

use super::Tunnel;
use crate::outside::Outside;
use crate::plan::Plan;

impl<O: Outside> Tunnel<O> {
    /// Keeps to another plan from now on. Forwards come and go and the watchdog's times change
    /// on the living connection; for anything else it is renewed, and the log says what for.
    /// Until the next attempt the server is the one that we are connected to.
    pub fn reload(&mut self, mut plan: Plan, outside: &O, now: Instant) {
        let changed = self.changed_for_good(&plan);
        let policy_changed = self.plan.policy != plan.policy;
        let configured = std::mem::take(&mut plan.forwards);
        self.lifetime.set(plan.max_lifetime, plan.idle_timeout);
        if self.plan.servers != plan.servers {
            self.watchdog.set_fallbacks(plan.servers.len() - 1);
        }
        self.plan = plan;
        if policy_changed {
            info!("the server is probed as the configuration says now");
            self.watchdog.set_policy(now, self.plan.policy);
        }
        self.unwant_all_but(&configured, outside, now);
        if !changed.is_empty() {
            let what = changed.join(", ");
            info!("the configuration has changed in {what}; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
        }
        if !self.want_all(&configured, outside, now) {
            // Every record is in use until its cancellation is answered; a new connection has
            // none to wait for.
            info!("too many forwards change at once; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
            self.want_all(&configured, outside, now);
        }
    }

    /// The keywords whose change the living connection cannot follow.
    fn changed_for_good(&self, plan: &Plan) -> Vec<&'static str> {
        let (old, new) = (&self.plan, plan);
        let fingerprints = |plan: &Plan| -> Vec<String> {
            let keys = plan.keys.iter();
            keys.map(|key| key.fingerprint().to_string()).collect()
        };
        // A fallback that is being used has to go on if it is not named any more.
        let current = self.watchdog.destination();
        let moved = old.servers.get(current) != new.servers.get(current)
            || (current != 0 && old.servers != new.servers);
        let all = [
            (moved, "Hostname, Port, User or Fallback"),
            (old.family != new.family, "AddressFamily"),
            (fingerprints(old) != fingerprints(new), "IdentityFile"),
            (old.rekey != new.rekey, "RekeyLimit"),
            (old.known_hosts != new.known_hosts, "UserKnownHostsFile"),
            (
                old.source != new.source,
                "BindAddress, BindInterface or IPQoS",
            ),
            (old.keep_alive != new.keep_alive, "TCPKeepAlive"),
        ];
        all.iter()
            .filter_map(|&(changed, name)| changed.then_some(name))
            .collect()
    }

    fn unwant_all_but(&mut self, configured: &[ForwardSpec], outside: &O, now: Instant) {
        let forwards = self.watchdog.forwards().iter();
        let gone = forwards.filter(|(_, f)| f.is_configured() && !configured.contains(&f.spec));
        let gone: Vec<ForwardId> = gone.map(|(id, _)| id).collect();
        for id in gone {
            if self.watchdog.unwant(now, id, Origin::Configuration)
                && let Some(forward) = self.watchdog.forwards().get(id)
            {
                let spec = &forward.spec;
                info!("forward {spec} is not configured any more");
                let wall_s = outside.wall_s();
                self.stats.note(Kind::ForwardRemoved, spec, now, wall_s);
            }
        }
    }

    /// False when every record is in use.
    fn want_all(&mut self, configured: &[ForwardSpec], outside: &O, now: Instant) -> bool {
        for spec in configured {
            match self.want(spec, Origin::Configuration, outside, now) {
                None => return false,
                Some(true) => info!("forward {spec} is configured now"),
                Some(false) => {}
            }
        }
        true
    }
}
