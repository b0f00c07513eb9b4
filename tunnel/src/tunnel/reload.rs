//! A configuration that was read again, applied to a tunnel that lives.

use log::info;
use reachback_core::forward::ForwardSpec;
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
        // The forwards that there are keep their numbers.
        let mut wanted =
            std::mem::replace(&mut plan.forwards, std::mem::take(&mut self.plan.forwards));
        self.orders.apply(&mut wanted);
        self.lifetime.set(plan.max_lifetime, plan.idle_timeout);
        if self.plan.servers != plan.servers {
            self.watchdog.set_fallbacks(plan.servers.len() - 1);
        }
        self.plan = plan;
        if policy_changed {
            info!("the server is probed as the configuration says now");
            self.watchdog.set_policy(now, self.plan.policy);
        }
        self.unwant_all_but(&wanted, outside, now);
        if !changed.is_empty() {
            let what = changed.join(", ");
            info!("the configuration has changed in {what}; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
        }
        if !self.want_all(&wanted, outside, now) {
            // Every number is taken until its cancellation is answered; a new connection has
            // none to wait for.
            info!("too many forwards change at once; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
            self.want_all(&wanted, outside, now);
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

    fn unwant_all_but(&mut self, wanted: &[ForwardSpec], outside: &O, now: Instant) {
        for index in 0..self.plan.forwards.len() {
            let spec = self.plan.forwards[index].clone();
            if self.watchdog.is_wanted(index) && !wanted.contains(&spec) {
                info!("forward {spec} is not configured any more");
                let index = index as u8;
                self.note(Kind::ForwardRemoved, &spec, outside, now);
                self.watchdog
                    .handle(now, Happening::ForwardUnwanted { index });
            }
        }
    }

    /// False when there is no number left for one of them.
    fn want_all(&mut self, wanted: &[ForwardSpec], outside: &O, now: Instant) -> bool {
        for spec in wanted {
            match self.want(spec, outside, now) {
                None => return false,
                Some(true) => info!("forward {spec} is configured now"),
                Some(false) => {}
            }
        }
        true
    }
}
