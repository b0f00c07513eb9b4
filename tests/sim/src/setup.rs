//! What a tunnel is made from, and what callers have ordered since.

use std::time::Duration;

use reachback_core::config::SessionChannel;
use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;
use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;
use reachback_tunnel::{Plan, Server, Source};

use crate::duo;
use crate::net::{HUB, SPARE};

/// What a configuration says.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Setup {
    pub servers: Vec<Server>,
    pub forwards: Vec<ForwardSpec>,
    /// Seed of the identity.
    pub key: u8,
    pub policy: Policy,
    pub family: AddressFamily,
    pub rekey: Rekey,
    pub source: Source,
    pub keep_alive: bool,
    pub verify_forward: bool,
    /// `SessionChannel`.
    pub session_channel: SessionChannel,
    pub channel_idle_timeout: Duration,
    pub max_lifetime: Duration,
    pub idle_timeout: Duration,
    pub known_hosts: String,
}

/// As [`ForwardSpec::parse`].
///
/// # Panics
/// If the text is no forward.
pub fn forward(text: &str) -> ForwardSpec {
    match ForwardSpec::parse(text) {
        Ok(spec) => spec,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The server at a name, and its login.
pub fn server((host, port): (&str, u16)) -> Server {
    Server {
        user: "controller".into(),
        host: host.into(),
        port,
    }
}

impl Default for Setup {
    /// One server, two forwards, and the program's defaults.
    fn default() -> Setup {
        Setup {
            servers: vec![server(HUB)],
            forwards: vec![forward("1111:localhost:81"), forward("1112:localhost:82")],
            key: 7,
            policy: Policy::default(),
            family: AddressFamily::Any,
            rekey: Rekey {
                bytes: 1 << 30,
                interval_ms: u64::MAX,
            },
            source: Source::default(),
            keep_alive: true,
            verify_forward: false,
            session_channel: SessionChannel::No,
            channel_idle_timeout: Duration::ZERO,
            max_lifetime: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            known_hosts: "known_hosts".into(),
        }
    }
}

impl Setup {
    /// With a fallback.
    pub fn with_fallback() -> Setup {
        Setup {
            servers: vec![server(HUB), server(SPARE)],
            ..Setup::default()
        }
    }

    /// The plan of the tunnel.
    pub fn plan(&self) -> Plan {
        Plan {
            servers: self.servers.clone(),
            proxy: None,
            forwards: self.forwards.clone(),
            keys: duo::user_key(self.key),
            policy: self.policy,
            family: self.family,
            offer: Default::default(),
            rekey: self.rekey,
            source: self.source.clone(),
            keep_alive: self.keep_alive,
            verify_forward: self.verify_forward,
            session_channel: self.session_channel,
            channel_idle_timeout: self.channel_idle_timeout,
            max_lifetime: self.max_lifetime,
            idle_timeout: self.idle_timeout,
            known_hosts: self.known_hosts.clone(),
        }
    }
}

/// What is wanted of a tunnel: its configuration, and the orders that were acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    configured: Vec<ForwardSpec>,
    added: Vec<ForwardSpec>,
    removed: Vec<ForwardSpec>,
    /// The end was ordered.
    pub stopped: bool,
}

impl Wanted {
    /// What a configuration wants.
    pub fn configure(&mut self, forwards: &[ForwardSpec]) {
        self.configured = forwards.to_vec();
        self.removed.retain(|spec| forwards.contains(spec));
    }

    /// A caller added a forward.
    pub fn add(&mut self, spec: &ForwardSpec) {
        self.removed.retain(|removed| removed != spec);
        if !self.added.contains(spec) {
            self.added.push(spec.clone());
        }
    }

    /// A caller took a forward away.
    pub fn remove(&mut self, spec: &ForwardSpec) {
        self.added.retain(|added| added != spec);
        if self.configured.contains(spec) && !self.removed.contains(spec) {
            self.removed.push(spec.clone());
        }
    }

    /// A script took away what callers added.
    pub fn withdraw(&mut self, spec: &ForwardSpec) {
        self.added.retain(|added| added != spec);
    }

    /// Whether a caller's forward has this one's listener, and another target.
    pub fn is_taken(&self, spec: &ForwardSpec) -> bool {
        let other = |own: &ForwardSpec| own.listen == spec.listen && own != spec;
        self.added.iter().any(other)
    }

    /// The forwards, in any order.
    pub fn forwards(&self) -> Vec<ForwardSpec> {
        let configured = self.configured.iter();
        let kept = configured.filter(|spec| !self.removed.contains(spec));
        let mut forwards: Vec<ForwardSpec> = kept.cloned().collect();
        for spec in &self.added {
            if !forwards.contains(spec) {
                forwards.push(spec.clone());
            }
        }
        forwards
    }
}
