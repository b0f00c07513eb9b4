//! A configuration that was read again, applied to a tunnel that lives.

use log::info;
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::{ForwardId, Origin};
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Input, Policy};
use reachback_ssh::userkey::UserKey;

use super::Tunnel;
use crate::outside::Outside;
use crate::plan::{Plan, Server};
use crate::proxy::Proxy;

impl<O: Outside> Tunnel<O> {
    /// Keeps to another plan from now on. Forwards come and go and the watchdog's times change
    /// on the living connection; for anything else it is renewed, and the log says what for.
    /// Until the next attempt the server is the one that we are connected to.
    pub fn reload(&mut self, mut plan: Plan, outside: &O, now: Instant) {
        let changed = self.changed_for_good(&plan);
        let policy_changed = self.plan.policy != plan.policy;
        let keys_alone = Policy {
            keys: plan.policy.keys,
            ..self.plan.policy
        } == plan.policy;
        let configured = std::mem::take(&mut plan.forwards);
        self.lifetime.set(plan.max_lifetime, plan.idle_timeout);
        if self.plan.servers != plan.servers {
            self.watchdog.set_fallbacks(plan.servers.len() - 1);
        }
        self.plan = plan;
        if policy_changed && !keys_alone {
            info!("the server is probed as the configuration says now");
        }
        if policy_changed {
            self.watchdog.set_policy(now, self.plan.policy);
        }
        self.unwant_all_but(&configured, outside, now);
        // An order to close what is not configured any more stands no longer.
        self.orders_changed = true;
        if !changed.is_empty() {
            let what = changed.join(", ");
            info!("the configuration has changed in {what}; renewing the connection");
            self.watchdog.handle(now, Input::ReconnectNow);
        }
        if !self.want_all(&configured, outside, now) {
            // Every record is in use until its cancellation is answered; a new connection has
            // none to wait for.
            info!("too many forwards change at once; renewing the connection");
            self.watchdog.handle(now, Input::ReconnectNow);
            self.want_all(&configured, outside, now);
        }
    }

    /// The keywords that have changed and that the living connection cannot follow.
    fn changed_for_good(&self, plan: &Plan) -> Vec<&'static str> {
        let at_fallback = self.watchdog.destination() != 0;
        RENEWING
            .iter()
            .filter(|(keyword, changed)| {
                let follows = at_fallback || *keyword != "Fallback";
                follows && changed(&self.plan, plan)
            })
            .map(|(keyword, _)| *keyword)
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

/// Whether one plan differs from another in what a keyword sets.
type Changed = fn(&Plan, &Plan) -> bool;

/// The keywords whose change renews the connection ([`reachback_core::keyword::OnReload`]).
const RENEWING: [(&str, Changed); 20] = [
    ("AddressFamily", |old, new| old.family != new.family),
    ("BindAddress", |old, new| {
        old.source.address != new.source.address
    }),
    ("BindInterface", |old, new| {
        old.source.interface != new.source.interface
    }),
    ("Ciphers", |old, new| old.offer.ciphers != new.offer.ciphers),
    // A fallback that is in use has to go on if it is not named any more.
    ("Fallback", |old, new| {
        old.servers.get(1..) != new.servers.get(1..)
    }),
    ("HostKeyAlgorithms", |old, new| {
        old.offer.host_keys != new.offer.host_keys
    }),
    ("Hostname", |old, new| {
        first(old, |s| &s.host) != first(new, |s| &s.host)
    }),
    ("IPQoS", |old, new| old.source.qos != new.source.qos),
    // The file may have another key under the same name.
    ("IdentityFile", |old, new| {
        !old.keys
            .iter()
            .map(fingerprint)
            .eq(new.keys.iter().map(fingerprint))
    }),
    ("KexAlgorithms", |old, new| old.offer.kex != new.offer.kex),
    ("MACs", |old, new| old.offer.macs != new.offer.macs),
    ("Port", |old, new| {
        first(old, |s| &s.port) != first(new, |s| &s.port)
    }),
    ("Proxy", |old, new| {
        place(old.proxy.as_ref()) != place(new.proxy.as_ref())
    }),
    ("ProxyCredentialsFile", |old, new| {
        login(old.proxy.as_ref()) != login(new.proxy.as_ref())
    }),
    ("PubkeyAcceptedAlgorithms", |old, new| {
        old.offer.user_keys != new.offer.user_keys
    }),
    ("RekeyLimit", |old, new| old.rekey != new.rekey),
    ("SessionChannel", |old, new| {
        old.session_channel != new.session_channel
    }),
    ("TCPKeepAlive", |old, new| old.keep_alive != new.keep_alive),
    ("User", |old, new| {
        first(old, |s| &s.user) != first(new, |s| &s.user)
    }),
    ("UserKnownHostsFile", |old, new| {
        old.known_hosts != new.known_hosts
    }),
];

fn first<T>(plan: &Plan, what: fn(&Server) -> &T) -> Option<&T> {
    plan.servers.first().map(what)
}

fn place(proxy: Option<&Proxy>) -> Option<(&str, u16)> {
    proxy.map(|proxy| (proxy.host.as_str(), proxy.port))
}

fn login(proxy: Option<&Proxy>) -> Option<&str> {
    proxy?.login.as_deref()
}

fn fingerprint(key: &UserKey) -> String {
    key.fingerprint().to_string()
}

#[cfg(test)]
mod tests {
    use super::RENEWING;
    use reachback_core::keyword::{KEYWORDS, OnReload};

    #[test]
    fn every_keyword_that_renews_the_connection_is_compared_and_no_other() {
        let renews = |how| matches!(how, OnReload::Renews | OnReload::RenewsIfUsed);
        let documented: Vec<&str> = KEYWORDS
            .iter()
            .filter(|keyword| renews(keyword.on_reload))
            .map(|keyword| keyword.name)
            .collect();
        let mut compared: Vec<&str> = RENEWING.iter().map(|(keyword, _)| *keyword).collect();
        compared.sort_unstable();
        assert_eq!(compared, documented);
    }
}
