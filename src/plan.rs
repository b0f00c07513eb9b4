//! What a configuration makes of a tunnel.

use std::rc::Rc;
use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;
use reachback_core::liveness::PROBE_GAP;
use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;
use reachback_ssh::userkey::UserKey;

use crate::cli;
use crate::hostkey::HostKeys;
use crate::sys::selfdog;
use crate::sys::sockopt::Source;
use crate::trust::Trust;

/// Everything that a tunnel is made from.
pub struct Plan {
    /// The connection's settings, those of the first server among them.
    pub settings: Settings,
    /// The first server and its fallbacks.
    pub servers: Vec<Server>,
    /// Known hosts and what to do with a server that is not among them.
    pub trust: Trust,
    /// The watchdog's times and numbers.
    pub policy: Policy,
}

/// What a tunnel is made with. The server is the current one of several.
pub struct Settings {
    /// Name to log in with.
    pub user: String,
    /// Server name or address.
    pub host: String,
    /// Server port.
    pub port: u16,
    /// ` at HOST port PORT`, for lines about forwards; empty where there is only one server.
    pub place: String,
    /// What to listen for, in the order of their numbers.
    pub forwards: Vec<ForwardSpec>,
    /// Identities, in the order to try.
    pub keys: Rc<[UserKey]>,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `RekeyLimit`.
    pub rekey: Rekey,
    /// `TCP_USER_TIMEOUT` of the connection.
    pub user_timeout: Duration,
    /// `BindAddress`, `BindInterface`, `IPQoS`.
    pub source: Source,
    /// `TCPKeepAlive`.
    pub keep_alive: bool,
    /// `VerifyForward`.
    pub verify_forward: bool,
    /// `MaxLifetime`; zero is for ever.
    pub max_lifetime: Duration,
    /// `IdleTimeout`; zero is for ever.
    pub idle_timeout: Duration,
}

/// One server of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name to log in with.
    pub user: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Settings, with their keys and known hosts, as a tunnel takes them.
pub fn plan(settings: &cli::Settings, keys: Vec<UserKey>, known: HostKeys) -> Plan {
    let port = settings.port();
    let config = &settings.config;
    let limit = config.rekey_limit();
    let mut policy = Policy::from(config);
    if let Some(homeward) = selfdog::faults::homeward() {
        policy.homeward = homeward;
    }
    let first = Server {
        user: settings.destination.user.as_str().to_owned(),
        host: settings.destination.host.as_str().to_owned(),
        port,
    };
    let fallbacks = config.fallbacks().iter().map(|fallback| Server {
        user: fallback
            .user
            .as_ref()
            .map_or_else(|| first.user.clone(), |user| user.as_str().to_owned()),
        host: fallback.host.as_str().to_owned(),
        port: fallback.port.unwrap_or_else(|| config.port()),
    });
    let servers: Vec<Server> = std::iter::once(first.clone()).chain(fallbacks).collect();
    let trust = Trust {
        known,
        host: settings.destination.host.as_str().to_owned(),
        port,
        accept_new: settings.accept_new,
    };
    let made = Settings {
        user: first.user,
        host: first.host,
        port,
        place: String::new(),
        forwards: config.forwards().to_vec(),
        keys: keys.into(),
        family: config.address_family(),
        rekey: Rekey {
            bytes: limit.bytes,
            interval_ms: limit.time.map_or(u64::MAX, |time| time.as_millis() as u64),
        },
        user_timeout: user_timeout(&policy),
        source: Source {
            address: config.bind_address(),
            interface: config.bind_interface().map(str::to_owned),
            qos: config.ip_qos(),
        },
        keep_alive: config.tcp_keep_alive(),
        verify_forward: config.verify_forward(),
        max_lifetime: config.max_lifetime(),
        idle_timeout: config.idle_timeout(),
    };
    Plan {
        settings: made,
        servers,
        trust,
        policy,
    }
}

/// The kernel's own limit on unacknowledged data, twice the watchdog's: it only acts where the
/// watchdog cannot. Zero, like `ServerAliveInterval 0`, leaves the kernel's default.
fn user_timeout(policy: &Policy) -> Duration {
    let gap = policy.alive_interval.min(PROBE_GAP);
    (policy.alive_interval + gap * policy.alive_count_max) * 2
}
