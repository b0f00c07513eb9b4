//! The values: each accessor gives the one obtained first, or the default.

use core::net::IpAddr;
use core::time::Duration;

use super::{Config, Path, REKEY_BYTES, RekeyLimit, StrictHostKeyChecking};
use crate::destination::{Destination, DestinationError, Fallback, HostName};
use crate::dial::AddressFamily;
use crate::forward::ForwardSpec;
use crate::ipqos::IpQos;
use crate::keyword::LogLevel;

impl Config {
    /// Which addresses of the server to use. Default: any.
    pub fn address_family(&self) -> AddressFamily {
        self.address_family.unwrap_or_default()
    }

    /// Address of this machine to connect from.
    pub fn bind_address(&self) -> Option<IpAddr> {
        self.bind_address
    }

    /// Interface to connect through.
    pub fn bind_interface(&self) -> Option<&str> {
        self.bind_interface.as_deref()
    }

    /// Bound for TCP connection and server identification together. Default: 30 s.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(30))
    }

    /// Whether a refused forward ends the program. Default: no.
    pub fn exit_on_forward_failure(&self) -> bool {
        self.exit_on_forward_failure.unwrap_or(false)
    }

    /// The servers to go to when the first stays unreachable, each once, in the order in which
    /// they came.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// The forwards, each once, in the order in which they came.
    pub fn forwards(&self) -> &[ForwardSpec] {
        &self.forwards
    }

    /// The private key files, each once, in the order in which they came.
    pub fn identity_files(&self) -> &[Path] {
        &self.identity_files
    }

    /// How long nobody may connect through the tunnel before it ends; zero is for ever.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout.unwrap_or_default()
    }

    /// How long the tunnel lives after the last call that asked for it; zero is for ever.
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or_default()
    }

    /// Directory of locks and control sockets. Default: depends on the user.
    pub fn runtime_directory(&self) -> Option<&str> {
        self.runtime_directory.as_deref()
    }

    /// Marking of the connection's packets. Default: the system's. ssh marks a session that
    /// has no terminal, as ours, with the second of two values.
    pub fn ip_qos(&self) -> IpQos {
        self.ip_qos.unwrap_or_default()
    }

    /// The file with the pinned host keys. Default: `~/.ssh/known_hosts`.
    pub fn known_hosts_file(&self) -> &str {
        self.known_hosts_file
            .as_deref()
            .unwrap_or("~/.ssh/known_hosts")
    }

    /// How much to log. Default: INFO.
    pub fn log_level(&self) -> LogLevel {
        self.log_level.unwrap_or_default()
    }

    /// TCP port of the server. Default: 22. A port in the destination is the caller's matter.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(22)
    }

    /// When to ask for new session keys. Default: after 1 GiB, and never by
    /// time, as OpenSSH: an idle tunnel pays for its keepalives only.
    pub fn rekey_limit(&self) -> RekeyLimit {
        self.rekey_limit.unwrap_or(RekeyLimit {
            bytes: REKEY_BYTES,
            time: None,
        })
    }

    /// Unanswered probes after which the connection counts as lost. Default: 3.
    pub fn server_alive_count_max(&self) -> u32 {
        self.server_alive_count_max.unwrap_or(3)
    }

    /// Silence after which the server is probed; zero means never. Default: 60 s.
    pub fn server_alive_interval(&self) -> Duration {
        self.server_alive_interval
            .unwrap_or(Duration::from_secs(60))
    }

    /// File that keeps the last address that worked. Default: none.
    pub fn state_file(&self) -> Option<&str> {
        self.state_file.as_deref()
    }

    /// What to do about an unknown host key. Default: refuse it.
    pub fn strict_host_key_checking(&self) -> StrictHostKeyChecking {
        self.strict_host_key_checking.unwrap_or_default()
    }

    /// Whether the kernel probes an idle connection. Default: yes.
    pub fn tcp_keep_alive(&self) -> bool {
        self.tcp_keep_alive.unwrap_or(true)
    }

    /// Login name for a destination that has none.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The real name or address of a server that was given as `given`: `Hostname` with its
    /// tokens replaced. None when the file does not name it.
    ///
    /// # Errors
    /// It is no host once its tokens are replaced.
    pub fn hostname(&self, given: &str) -> Option<Result<HostName, DestinationError>> {
        let template = self.hostname.as_deref()?;
        Some(super::parse::hostname(template, given).ok_or(DestinationError::Host))
    }

    /// File with this machine's serial number (`%s`).
    pub fn serial_file(&self) -> Option<&str> {
        self.serial_file.as_deref()
    }

    /// Whether forwards are checked from the server's side. Default: no.
    pub fn verify_forward(&self) -> bool {
        self.verify_forward.unwrap_or(false)
    }

    /// Whether the tunnel is one of those to start at boot. Default: no.
    pub fn start_at_boot(&self) -> bool {
        self.start_at_boot.unwrap_or(false)
    }

    /// Sets what a destination decides: user, host and port.
    pub fn settle(&mut self, destination: &Destination) {
        self.user = Some(destination.user.clone());
        self.hostname = Path::try_from(destination.host.as_str()).ok();
        self.port = Some(destination.port.unwrap_or_else(|| self.port()));
    }
}
