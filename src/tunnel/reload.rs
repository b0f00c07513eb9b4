//! A configuration that was read again, applied to a tunnel that lives.

use log::info;
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::Happening;

use super::Tunnel;
use crate::plan::{Plan, Settings};

impl Tunnel {
    /// Keeps to another plan from now on. Forwards come and go and the watchdog's times change
    /// on the living connection; for anything else it is renewed, and the log says what for.
    pub fn reload(&mut self, plan: Plan, now: Instant) {
        let changed = self.changed_for_good(&plan);
        let Plan {
            mut settings,
            servers,
            trust,
            policy,
        } = plan;
        // The forwards that there are keep their numbers.
        let mut wanted = std::mem::replace(
            &mut settings.forwards,
            std::mem::take(&mut self.settings.forwards),
        );
        self.orders.apply(&mut wanted);
        self.lifetime
            .set(settings.max_lifetime, settings.idle_timeout);
        if self.servers != servers {
            self.watchdog.set_fallbacks(servers.len() - 1);
        }
        // Until the next attempt the server is the one that we are connected to.
        settings.user.clone_from(&self.settings.user);
        settings.host.clone_from(&self.settings.host);
        settings.port = self.settings.port;
        settings.place.clone_from(&self.settings.place);
        let current = (self.trust.host.clone(), self.trust.port);
        self.settings = settings;
        self.servers = servers;
        self.trust = trust;
        (self.trust.host, self.trust.port) = current;
        if self.policy != policy {
            info!("the server is probed as the configuration says now");
            self.policy = policy;
            self.watchdog.set_policy(now, policy);
        }
        self.unwant_all_but(&wanted, now);
        if !changed.is_empty() {
            let what = changed.join(", ");
            info!("the configuration has changed in {what}; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
        }
        if !self.want_all(&wanted, now) {
            // Every number is taken until its cancellation is answered; a new connection has
            // none to wait for.
            info!("too many forwards change at once; renewing the connection");
            self.watchdog.handle(now, Happening::ReconnectNow);
            self.want_all(&wanted, now);
        }
    }

    /// The keywords whose change the living connection cannot follow.
    fn changed_for_good(&self, plan: &Plan) -> Vec<&'static str> {
        let (old, new) = (&self.settings, &plan.settings);
        let fingerprints = |settings: &Settings| -> Vec<String> {
            let keys = settings.keys.iter();
            keys.map(|key| key.fingerprint().to_string()).collect()
        };
        // A fallback that is being used has to go on if it is not named any more.
        let current = self.watchdog.destination();
        let moved = self.servers.get(current) != plan.servers.get(current)
            || (current != 0 && self.servers != plan.servers);
        let all = [
            (moved, "Port, User or Fallback"),
            (old.family != new.family, "AddressFamily"),
            (fingerprints(old) != fingerprints(new), "IdentityFile"),
            (old.rekey != new.rekey, "RekeyLimit"),
            (
                self.trust.known.path() != plan.trust.known.path(),
                "UserKnownHostsFile",
            ),
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

    fn unwant_all_but(&mut self, wanted: &[reachback_core::forward::ForwardSpec], now: Instant) {
        for index in 0..self.settings.forwards.len() {
            let spec = &self.settings.forwards[index];
            if self.watchdog.is_wanted(index) && !wanted.contains(spec) {
                info!("forward {spec} is not configured any more");
                let index = index as u8;
                self.record.note(Kind::ForwardRemoved, spec, now);
                self.watchdog
                    .handle(now, Happening::ForwardUnwanted { index });
            }
        }
    }

    /// False when there is no number left for one of them.
    fn want_all(&mut self, wanted: &[reachback_core::forward::ForwardSpec], now: Instant) -> bool {
        for spec in wanted {
            match self.want(spec, now) {
                None => return false,
                Some(true) => info!("forward {spec} is configured now"),
                Some(false) => {}
            }
        }
        true
    }
}
