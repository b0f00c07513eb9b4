//! Why there is no connection, or why a forward does not serve, as finely as what a person can do
//! about it differs: one record each.

use crate::forward::Listen;

/// Why; each has a record in [`CAUSES`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// Nobody accepts at the server's port.
    Refused,
    /// No answer to the attempts to connect.
    TimedOut,
    /// The kernel knows no way.
    NoRoute,
    /// The name has no address, as far as can be told.
    Name,
    /// The proxy cannot be reached.
    ProxyUnreachable,
    /// The proxy accepts and does not answer.
    ProxySilent,
    /// The proxy wants another login, or one.
    ProxyLogin,
    /// The proxy permits no way to this server.
    ProxyRefused,
    /// The proxy does not reach the server.
    ProxyCannot,
    /// What answers is no HTTP proxy.
    ProxyNoHttp,
    /// Closed before the login began.
    Closed,
    /// Somebody accepts and does not identify itself.
    Mute,
    /// Identified, and then no end of the key exchange or of the login.
    Stalled,
    /// What comes is not the protocol.
    Garbled,
    /// No algorithm in common.
    NothingInCommon,
    /// The host key is unknown and may not be accepted.
    HostKeyUnknown,
    /// Another host key is pinned.
    HostKeyChanged,
    /// The host key is revoked.
    HostKeyRevoked,
    /// Its certificate is not valid for it, or not now.
    HostCertificate,
    /// The server accepts none of the keys.
    LoginRefused,
    /// It takes no public keys.
    NoPublicKeys,
    /// It wants more than a key.
    SecondFactor,
    /// It takes RSA keys with SHA-1 only.
    Sha1,
    /// Closed during the login.
    TurnedAway,
    /// Connections are lost at one age.
    TimeLimit,
    /// The server refuses to listen on a port.
    ForwardRefused,
    /// The server refuses to listen on a Unix socket.
    SocketRefused,
    /// The listener leads elsewhere.
    Elsewhere,
    /// The server listens on its loopback address only.
    LoopbackOnly,
    /// The forward's target does not answer.
    TargetDown,
}

/// One cause.
#[derive(Debug)]
pub struct Record {
    /// Which.
    pub cause: Cause,
    /// Its name in the status formats: lower case, words joined with `-`.
    pub name: &'static str,
    /// What to do, in a line.
    pub advice: &'static str,
}

const fn record(cause: Cause, name: &'static str, advice: &'static str) -> Record {
    Record {
        cause,
        name,
        advice,
    }
}

/// Every cause, in the order of [`Cause`].
#[rustfmt::skip]
pub static CAUSES: [Record; 30] = [
    record(Cause::Refused, "refused", "nothing accepts there: is sshd running, and on this port? a firewall may refuse as well"),
    record(Cause::TimedOut, "timed-out", "is the server on, and its address right? a firewall on the way may drop what is sent"),
    record(Cause::NoRoute, "no-route", "this controller has no way there: look at its modem or cable, and at `ip route`"),
    record(Cause::Name, "no-name", "look at the name servers in /etc/resolv.conf, or use the server's address"),
    record(Cause::ProxyUnreachable, "proxy-unreachable", "is the proxy on, and its address in Proxy right?"),
    record(Cause::ProxySilent, "proxy-silent", "the proxy accepts and does not answer: does it reach the server? is it the port of an HTTP proxy?"),
    record(Cause::ProxyLogin, "proxy-login", "the file of ProxyCredentialsFile needs a line user:password that the proxy takes; then `reachback reload`"),
    record(Cause::ProxyRefused, "proxy-refused", "the proxy has to allow CONNECT to this server and port; many allow port 443 alone"),
    record(Cause::ProxyCannot, "proxy-cannot", "the proxy does not reach the server: is that on, and its name and port right?"),
    record(Cause::ProxyNoHttp, "proxy-no-http", "is it the port of an HTTP proxy that takes CONNECT, without TLS?"),
    record(Cause::Closed, "closed-before-login", "is it the port of an SSH server? MaxStartups or PerSourcePenalties there may keep this address out for a while"),
    record(Cause::Mute, "no-identification", "something accepts and says nothing: is it the port of an SSH server, and is that overloaded?"),
    record(Cause::Stalled, "stalled", "the server is overloaded, or large packets are lost on the way: try a smaller MTU on this controller"),
    record(Cause::Garbled, "garbled", "is it the port of an SSH server? if so, something on the way changes what is sent"),
    record(Cause::NothingInCommon, "nothing-in-common", "allow what that line names, here or in the server's sshd_config"),
    record(Cause::HostKeyUnknown, "host-key-unknown", "compare it with the server's own, then call once with -y"),
    record(Cause::HostKeyChanged, "host-key-changed", "find out why; if it is right, run that command, then call again"),
    record(Cause::HostKeyRevoked, "host-key-revoked", "the server needs a new host key; if it was revoked by mistake, take the @revoked line out of that file"),
    record(Cause::HostCertificate, "host-certificate", "the authority has to certify the server's key anew, for this name; if it is the clock here that is wrong, set it"),
    record(Cause::LoginRefused, "login-refused", "`reachback enroll -i KEYFILE user@host`, or add the line of `reachback pubkey -i KEYFILE` to authorized_keys; then call again"),
    record(Cause::NoPublicKeys, "no-public-keys", "`PubkeyAuthentication yes` in the server's sshd_config"),
    record(Cause::SecondFactor, "second-factor", "a controller has none: take AuthenticationMethods off for this user in the server's sshd_config"),
    record(Cause::Sha1, "sha1-only", "allow rsa-sha2-256 there (PubkeyAcceptedAlgorithms in sshd_config), or use an Ed25519 key"),
    record(Cause::TurnedAway, "turned-away", "the server's own log says why: AllowUsers, a closed account, a penalty"),
    record(Cause::TimeLimit, "time-limit", "connections end at one age: look at UnusedConnectionTimeout and ClientAliveInterval in sshd_config; for a NAT or a firewall, set ServerAliveInterval below that age"),
    record(Cause::ForwardRefused, "forward-refused", "on the server, `ss -ltnp` shows who holds the port, and `ClientAliveInterval 30` ends old sessions; else permitlisten, PermitListen or AllowTcpForwarding forbids it, or it is below 1024"),
    record(Cause::SocketRefused, "socket-refused", "an old session leaves it behind: `StreamLocalBindUnlink yes` in sshd_config; else AllowStreamLocalForwarding or its directory's mode forbids it"),
    record(Cause::Elsewhere, "leads-elsewhere", "on the server, `ss -ltnp` shows who holds the port; `ClientAliveInterval 30` in sshd_config ends old sessions"),
    record(Cause::LoopbackOnly, "loopback-only", "`GatewayPorts clientspecified` in the server's sshd_config, or leave the bind address out of -R"),
    record(Cause::TargetDown, "target-down", "the tunnel is fine: start the service on this controller, or correct the forward"),
];

impl Cause {
    fn record(self) -> &'static Record {
        &CAUSES[self as usize]
    }

    /// Its name in the status formats.
    pub fn name(self) -> &'static str {
        self.record().name
    }

    /// What to do, in a line.
    pub fn advice(self) -> &'static str {
        self.record().advice
    }

    /// The cause with this name.
    pub fn parse(name: &str) -> Option<Cause> {
        let known = CAUSES.iter().find(|record| record.name == name);
        known.map(|record| record.cause)
    }

    /// Why a server refuses this listener, as far as can be told.
    pub fn of_refusal(listen: &Listen) -> Cause {
        match listen {
            Listen::Unix(_) => Cause::SocketRefused,
            Listen::Tcp { .. } => Cause::ForwardRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_record_in_its_place_and_a_name_of_its_own() {
        for (index, record) in CAUSES.iter().enumerate() {
            assert_eq!(record.cause as usize, index, "{}", record.name);
            assert_eq!(Cause::parse(record.name), Some(record.cause));
            assert!(!record.advice.ends_with('.'), "{}", record.advice);
        }
        assert_eq!(Cause::parse("nothing"), None);
    }
}
