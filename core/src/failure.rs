//! Why an attempt or a tunnel ended, and what kind of waiting that calls for.

use core::fmt;

use crate::cause::Cause;

/// A part of an attempt that has a deadline of its own.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Looking the name up.
    Resolve,
    /// TCP connection.
    Tcp,
    /// The server's identification line (RFC 4253, 4.2).
    Ident,
    /// Key exchange (RFC 4253, 7).
    KeyExchange,
    /// User authentication (RFC 4252).
    Authentication,
    /// The reply to a forward request (RFC 4254, 7.1).
    Forward,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name resolution",
            Self::Tcp => "TCP connection",
            Self::Ident => "server identification",
            Self::KeyExchange => "key exchange",
            Self::Authentication => "authentication",
            Self::Forward => "forward reply",
        })
    }
}

/// Why an attempt or a tunnel ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The name could not be resolved.
    Resolve,
    /// No address could be reached.
    Unreachable,
    /// A stage took longer than its deadline.
    Timeout(Stage),
    /// The connection broke (reset, end of file, write error).
    Lost,
    /// The server stopped answering.
    Silent,
    /// The server broke the protocol, or a signature or a packet did not verify.
    Protocol,
    /// There is no algorithm in common with the server: a matter of configuration, which does not
    /// heal by itself.
    Incompatible,
    /// The proxy wants a login, or another one.
    ProxyLogin,
    /// The proxy opens no way to the server.
    ProxyRefused,
    /// The server refused every key.
    AuthRefused,
    /// The host key is not the pinned one, or it is revoked.
    HostKeyChanged,
    /// The host key is unknown and may not be accepted.
    HostKeyUnknown,
    /// The server turned us away during authentication.
    GoneAway,
    /// The server, or what stands in front of it, closed the connection before authentication
    /// (nobody behind a load balancer, too many connections, a penalty).
    NotServed,
    /// The server ended an established connection in an orderly way.
    ServerClosed,
    /// Something on this machine failed (no descriptor, no memory, no permission, a known_hosts
    /// file that cannot be read).
    Local,
    /// A reconnection was asked for here.
    Asked,
    /// Left for the first destination, which answers again.
    Failback,
    /// The machine's own network changed under an attempt.
    NetworkChanged,
}

/// What kind of waiting a failure calls for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// Try again soon.
    Normal,
    /// Authentication refused, or nothing in common: minutes, so that no penalty box or fail2ban
    /// is fed, and since neither heals by itself.
    Slow,
    /// Host key trouble: do not connect; look again slowly.
    HostKey,
    /// Something on this machine is in the way: look again soon, however long it lasts.
    Local,
    /// The server asked for less of us.
    Throttled,
    /// The server does not serve for now: seldom, and back within a minute of its return.
    Unserved,
}

impl Failure {
    /// Whether nothing came back from the server that was given up: what was written to it may
    /// still be on its way.
    pub fn is_silence(self) -> bool {
        matches!(self, Self::Silent | Self::Timeout(_) | Self::NetworkChanged)
    }

    /// What it comes from, where nothing finer is known; none for what needs nobody.
    pub fn cause(self) -> Option<Cause> {
        Some(match self {
            Self::Resolve | Self::Timeout(Stage::Resolve) => Cause::Name,
            Self::Timeout(Stage::Tcp) => Cause::TimedOut,
            Self::Timeout(Stage::Ident) => Cause::Mute,
            Self::Timeout(_) => Cause::Stalled,
            Self::Protocol => Cause::Garbled,
            Self::Incompatible => Cause::NothingInCommon,
            Self::ProxyLogin => Cause::ProxyLogin,
            Self::ProxyRefused => Cause::ProxyRefused,
            Self::AuthRefused => Cause::LoginRefused,
            Self::HostKeyChanged => Cause::HostKeyChanged,
            Self::HostKeyUnknown => Cause::HostKeyUnknown,
            Self::GoneAway => Cause::TurnedAway,
            Self::NotServed => Cause::Closed,
            Self::Unreachable
            | Self::Lost
            | Self::Silent
            | Self::ServerClosed
            | Self::Local
            | Self::Asked
            | Self::Failback
            | Self::NetworkChanged => return None,
        })
    }

    /// The kind of waiting that this failure calls for.
    pub fn class(self) -> Class {
        match self {
            // Wrong passwords lock an account.
            Self::AuthRefused | Self::Incompatible | Self::ProxyLogin => Class::Slow,
            Self::HostKeyChanged | Self::HostKeyUnknown => Class::HostKey,
            Self::GoneAway => Class::Throttled,
            Self::NotServed | Self::ProxyRefused => Class::Unserved,
            Self::Local => Class::Local,
            Self::Resolve
            | Self::Unreachable
            | Self::Timeout(_)
            | Self::Lost
            | Self::Silent
            | Self::Protocol
            | Self::ServerClosed
            | Self::Asked
            | Self::Failback
            | Self::NetworkChanged => Class::Normal,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the name does not resolve",
            Self::Unreachable => "no address can be reached",
            Self::Timeout(stage) => return write!(f, "{stage} took too long"),
            Self::Lost => "connection broken",
            Self::Silent => "the server stopped answering",
            Self::Protocol => "protocol error",
            Self::Incompatible => "no algorithm in common",
            Self::ProxyLogin => "the proxy wants a login",
            Self::ProxyRefused => "refused by the proxy",
            Self::AuthRefused => "authentication refused",
            Self::HostKeyChanged => "host key changed",
            Self::HostKeyUnknown => "host key unknown",
            Self::GoneAway => "turned away by the server",
            Self::NotServed => "closed by the server before authentication",
            Self::ServerClosed => "closed by the server",
            Self::Local => "local error",
            Self::Asked => "reconnection asked for",
            Self::Failback => "the first destination answers again",
            Self::NetworkChanged => "the network changed",
        })
    }
}
