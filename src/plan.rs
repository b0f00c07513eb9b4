//! From settings to what a tunnel is made from.

use reachback_core::config::Config;
use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;
use reachback_ssh::userkey::UserKey;
use reachback_tunnel::{Plan, Proxy, Server, Source};

use crate::cli;
use crate::hostkey::HostKeys;
use crate::sys::faults;
use crate::trust::Trust;

/// What a tunnel is made from, and how its servers' host keys are judged.
pub fn plan(
    settings: &cli::Settings,
    keys: Vec<UserKey>,
    proxy: Option<Proxy>,
    known: HostKeys,
) -> (Plan, Trust) {
    let config = &settings.config;
    let limit = config.rekey_limit();
    let mut policy = Policy::from(config);
    policy.keys = keys.len() as u8;
    if let Some(failback_interval) = faults::failback_interval() {
        policy.failback_interval = failback_interval;
    }
    let plan = Plan {
        servers: servers(settings).collect(),
        proxy,
        forwards: settings.configured.clone(),
        keys: keys.into(),
        policy,
        family: config.address_family(),
        offer: settings.offer.clone(),
        rekey: Rekey {
            bytes: limit.bytes,
            interval_ms: limit.time.map_or(u64::MAX, |time| time.as_millis() as u64),
        },
        source: source(config),
        keep_alive: config.tcp_keep_alive(),
        verify_forward: config.verify_forward(),
        session_channel: config.session_channel(),
        channel_idle_timeout: config.channel_idle_timeout(),
        max_lifetime: config.max_lifetime(),
        idle_timeout: config.idle_timeout(),
        known_hosts: known.shown(),
    };
    (plan, trust(settings, known))
}

/// How the host keys of the servers are judged.
pub fn trust(settings: &cli::Settings, known: HostKeys) -> Trust {
    let alias = settings.config.host_key_alias().map(str::to_owned);
    Trust {
        alias: alias.map(|alias| (settings.destination.host.as_str().to_owned(), alias)),
        known,
        accept_new: settings.accept_new,
        follows: settings.config.update_host_keys(),
    }
}

/// How the connection leaves this machine.
pub fn source(config: &Config) -> Source {
    Source {
        address: config.bind_address(),
        interface: config.bind_interface().map(str::to_owned),
        qos: config.ip_qos(),
    }
}

/// The servers that the settings name, the first one first.
pub fn servers(settings: &cli::Settings) -> impl Iterator<Item = Server> {
    let config = &settings.config;
    let first = Server {
        user: settings.destination.user.as_str().to_owned(),
        host: settings.destination.host.as_str().to_owned(),
        port: settings.port(),
    };
    let user = first.user.clone();
    let fallbacks = config.fallbacks().iter().map(move |fallback| Server {
        user: fallback
            .user
            .as_ref()
            .map_or_else(|| user.clone(), |user| user.as_str().to_owned()),
        host: fallback.host.as_str().to_owned(),
        port: fallback.port.unwrap_or_else(|| config.port()),
    });
    std::iter::once(first).chain(fallbacks)
}
