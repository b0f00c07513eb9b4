//! What a tunnel is made from.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use reachback_core::config::SessionChannel;
use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;
use reachback_core::watchdog::Policy;
use reachback_ssh::Rekey;
use reachback_ssh::algorithms::Offer;
use reachback_ssh::userkey::UserKey;

use crate::dial::Way;
use crate::outside::Source;
use crate::proxy::Proxy;

/// Everything that a tunnel is made from. A reload brings another one.
pub struct Plan {
    /// The first server and its fallbacks; at least one.
    pub servers: Vec<Server>,
    /// `Proxy`: all of them are reached through it.
    pub proxy: Option<Proxy>,
    /// What the configuration names. The tunnel takes them into its records.
    pub forwards: Vec<ForwardSpec>,
    /// Identities, in the order to try.
    pub keys: Rc<[UserKey]>,
    /// The watchdog's times and numbers.
    pub policy: Policy,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `Ciphers`, `HostKeyAlgorithms`, `KexAlgorithms`, `MACs`, `PubkeyAcceptedAlgorithms`.
    pub offer: Offer,
    /// `RekeyLimit`.
    pub rekey: Rekey,
    /// `BindAddress`, `BindInterface`, `IPQoS`.
    pub source: Source,
    /// `TCPKeepAlive`.
    pub keep_alive: bool,
    /// `VerifyForward`.
    pub verify_forward: bool,
    /// `SessionChannel`.
    pub session_channel: SessionChannel,
    /// `ChannelIdleTimeout`; zero is for ever.
    pub channel_idle_timeout: Duration,
    /// `MaxLifetime`; zero is for ever.
    pub max_lifetime: Duration,
    /// `IdleTimeout`; zero is for ever.
    pub idle_timeout: Duration,
    /// Where the pinned host keys are, in words: a change renews the connection.
    pub known_hosts: String,
}

impl Plan {
    /// The way to a server.
    pub fn way<'a>(&'a self, server: &'a Server) -> Way<'a> {
        Way {
            server,
            proxy: self.proxy.as_ref(),
            family: self.family,
            source: &self.source,
        }
    }
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

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { user, host, port } = self;
        write!(f, "{user}@{host} port {port}")
    }
}
