//! Forward specifications, the `-R` of ssh(1): `[bind:]port:host:hostport`, with a Unix socket's
//! path in the place of `[bind:]port` or of `host:hostport`.

use core::fmt;

use heapless::String;

use crate::tokens::{self, TokenError, Tokens};

mod fields;
use fields::Field;

/// Most forwards that one tunnel carries.
pub const MAX_FORWARDS: usize = 16;
/// Longest path of a Unix socket in bytes (unix(7): `sun_path` with its end).
pub const MAX_SOCKET_PATH: usize = 107;

/// Where the server is asked to listen (RFC 4254, 7.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bind {
    /// No address given, or `localhost`: the string `localhost` is sent, as ssh and dbclient do.
    Default,
    /// `*` or empty: the empty string is sent, which means all addresses.
    Any,
    /// An address or name, sent as it is.
    Address(String<64>),
}

impl Bind {
    /// The address as it stands in the `tcpip-forward` request.
    pub fn wire(&self) -> &str {
        match self {
            Self::Default => "localhost",
            Self::Any => "",
            Self::Address(address) => address,
        }
    }
}

/// Path of a Unix socket: absolute, of printable ASCII without blanks, colons and double quotes,
/// so that it stands in a forward, a configuration line and a log as it is. Before
/// [`ForwardSpec::expand`] it may have tokens.
pub type SocketPath = String<MAX_SOCKET_PATH>;

/// The listener on the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A TCP port (RFC 4254, 7.1).
    Tcp {
        /// Where the server listens.
        bind: Bind,
        /// TCP port on the server; 0 lets the server choose.
        port: u16,
    },
    /// A Unix socket (OpenSSH's PROTOCOL, 2.4).
    Unix(SocketPath),
}

impl Listen {
    /// For the log: `port N` with the port that the server listens on, or `socket PATH`.
    pub fn on(&self, port: u16) -> impl fmt::Display {
        struct Place<'a>(&'a Listen, u16);
        impl fmt::Display for Place<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Listen::Tcp { .. } => write!(f, "port {}", self.1),
                    Listen::Unix(path) => write!(f, "socket {path}"),
                }
            }
        }
        Place(self, port)
    }

    /// The port asked for; 0 for a Unix socket as well.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp { port, .. } => *port,
            Self::Unix(_) => 0,
        }
    }
}

/// What a forward leads to, as seen from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A TCP port.
    Tcp {
        /// Name or address; IPv6 without brackets.
        host: String<255>,
        /// 1 to 65535.
        port: u16,
    },
    /// A Unix socket.
    Unix(SocketPath),
}

/// One `-R`: a listener on the server and the local target it leads to. Two that compare
/// equal are one forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardSpec {
    /// What the server listens on.
    pub listen: Listen,
    /// What it leads to.
    pub target: Target,
}

/// Why a text is not a forward. The text of each says what would be right.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ForwardError {
    /// Too few or too many fields.
    Fields,
    /// Not two words, where ssh_config wants two.
    Words,
    /// A port alone: the server would be given a SOCKS proxy.
    Dynamic,
    /// The bind address is neither `*` nor a name nor an address.
    Bind,
    /// The server's port is not a number from 0 to 65535.
    Port,
    /// The target host is neither a name nor an address.
    Host,
    /// The target port is not a number from 1 to 65535.
    HostPort,
    /// The path of a Unix socket is too long or has a character that none may have.
    Path,
    /// A token in a path.
    Token(TokenError),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fields => {
                "not a forward; write [bind:]port:host:hostport, IPv6 addresses in brackets"
            }
            Self::Words => "not a forward; write two words, [bind:]port host:hostport",
            Self::Dynamic => {
                "a port without a target asks for a SOCKS proxy, which there is not; name the target, as in 1111:localhost:22"
            }
            Self::Bind => "bad bind address; use *, a name of up to 64 bytes or an address",
            Self::Port => "bad port on the server; use a number from 0 (server chooses) to 65535 or a service's name",
            Self::Host => "bad target host; use a name or an address, IPv6 in brackets",
            Self::HostPort => "bad target port; use a number from 1 to 65535 or a service's name",
            Self::Path => {
                "bad socket path; use an absolute one of up to 107 printable ASCII characters, without blanks, colons and double quotes"
            }
            Self::Token(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ForwardError {}

impl ForwardSpec {
    /// Reads `[bind:]port:host:hostport`; a Unix socket's path may stand for either half.
    ///
    /// # Errors
    /// Anything else; the dynamic form (`-R port`) is not supported.
    pub fn parse(text: &str) -> Result<Self, ForwardError> {
        let fields = fields::all::<4>(text)?;
        let (listen, target) = match fields.as_slice() {
            [path, target @ ..] if path.is_path() && target.len() < 3 => {
                (Listen::from_fields(&[*path])?, target)
            }
            [listen @ .., path] if path.is_path() => (Listen::from_fields(listen)?, &[*path][..]),
            [bind, port, target @ ..] if target.len() == 2 => {
                (Listen::from_fields(&[*bind, *port])?, target)
            }
            [port, target @ ..] if target.len() == 2 => (Listen::from_fields(&[*port])?, target),
            listen if is_dynamic(listen) => return Err(ForwardError::Dynamic),
            _ => return Err(ForwardError::Fields),
        };
        let target = Target::from_fields(target)?;
        Ok(Self { listen, target })
    }

    /// `[bind:]port` and `host:hostport`; an empty target is a missing one.
    pub(crate) fn parse_words(listen: &str, target: &str) -> Result<Self, ForwardError> {
        if target.is_empty() {
            let dynamic = fields::all::<2>(listen).is_ok_and(|fields| is_dynamic(&fields));
            return Err(match dynamic {
                true => ForwardError::Dynamic,
                false => ForwardError::Words,
            });
        }
        Ok(Self {
            listen: Listen::from_fields(&fields::all::<2>(listen)?)?,
            target: Target::from_fields(&fields::all::<2>(target)?)?,
        })
    }

    /// The forward with the tokens in its paths replaced.
    ///
    /// # Errors
    /// [`ForwardError::Token`], and [`ForwardError::Path`] for what is no socket's path then.
    pub fn expand(&self, tokens: &Tokens<'_>) -> Result<Self, ForwardError> {
        let expanded = |path: &SocketPath| -> Result<SocketPath, ForwardError> {
            let path: SocketPath = tokens.expand(path).map_err(ForwardError::Token)?;
            // A percent sign that stays would be a token to the next reader.
            let whole = path.starts_with('/') && !path.contains('%') && !path.contains("${");
            if whole && path.bytes().all(is_path_byte) {
                Ok(path)
            } else {
                Err(ForwardError::Path)
            }
        };
        let mut spec = self.clone();
        if let Listen::Unix(path) = &mut spec.listen {
            *path = expanded(path)?;
        }
        if let Target::Unix(path) = &mut spec.target {
            *path = expanded(path)?;
        }
        Ok(spec)
    }

    /// The same forward on all addresses of the server, if no address was named: what `-g` means
    /// in dbclient. None where one was, or where the listener is a socket.
    pub fn on_all_addresses(&self) -> Option<Self> {
        let Listen::Tcp {
            bind: Bind::Default,
            port,
        } = self.listen
        else {
            return None;
        };
        let bind = Bind::Any;
        Some(Self {
            listen: Listen::Tcp { bind, port },
            target: self.target.clone(),
        })
    }

    /// The forward of a script with the listener that this one, a `ScriptForward`, has as its target.
    pub(crate) fn lead(&self, asked: &Self) -> Self {
        let listen = match &self.target {
            Target::Unix(path) => Listen::Unix(path.clone()),
            Target::Tcp { host, port } => Listen::Tcp {
                bind: match host.as_str() {
                    "localhost" => Bind::Default,
                    // What is longer than an address or a name there is refused by the server.
                    _ => Bind::Address(host.chars().take(64).collect()),
                },
                port: *port,
            },
        };
        Self {
            listen,
            target: asked.target.clone(),
        }
    }

    /// Whether both ask for one listener, which can lead to one target only. Port 0 is another one
    /// each time.
    pub fn clashes(&self, other: &Self) -> bool {
        let chosen = matches!(self.listen, Listen::Tcp { port: 0, .. });
        self.listen == other.listen && self.target != other.target && !chosen
    }

    /// Whether a path has the token `%letter`.
    pub fn uses_token(&self, letter: char) -> bool {
        let listen = matches!(&self.listen, Listen::Unix(path) if tokens::uses(path, letter));
        listen || matches!(&self.target, Target::Unix(path) if tokens::uses(path, letter))
    }
}

impl Listen {
    fn from_fields(fields: &[Field<'_>]) -> Result<Self, ForwardError> {
        let (bind, port) = match fields {
            [path] if path.is_path() => return Ok(Self::Unix(parse_path(path.text)?)),
            [port] => (Bind::Default, port),
            [bind, port] => {
                let bind = match bind.text {
                    "" | "*" if !bind.bracketed => Bind::Any,
                    "localhost" => Bind::Default,
                    _ => Bind::Address(bind.host().ok_or(ForwardError::Bind)?),
                };
                (bind, port)
            }
            _ => return Err(ForwardError::Fields),
        };
        let port = port.port().ok_or(ForwardError::Port)?;
        Ok(Self::Tcp { bind, port })
    }
}

impl Target {
    fn from_fields(fields: &[Field<'_>]) -> Result<Self, ForwardError> {
        match fields {
            [path] if path.is_path() => Ok(Self::Unix(parse_path(path.text)?)),
            [host, port] => {
                let port = match port.port() {
                    Some(0) | None => return Err(ForwardError::HostPort),
                    Some(port) => port,
                };
                let host = host.host().ok_or(ForwardError::Host)?;
                Ok(Self::Tcp { host, port })
            }
            _ => Err(ForwardError::Fields),
        }
    }
}

/// `[bind:]port` and no more.
fn is_dynamic(fields: &[Field<'_>]) -> bool {
    matches!(fields, [.., port] if fields.len() < 3 && port.port().is_some())
        && Listen::from_fields(fields).is_ok()
}

fn is_path_byte(b: u8) -> bool {
    b.is_ascii_graphic() && b != b':' && b != b'"'
}

fn parse_path(text: &str) -> Result<SocketPath, ForwardError> {
    if !text.bytes().all(is_path_byte) {
        return Err(ForwardError::Path);
    }
    tokens::check(text).map_err(ForwardError::Token)?;
    SocketPath::try_from(text).map_err(|_| ForwardError::Path)
}

/// `host`, with brackets when it is an IPv6 address.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

impl fmt::Display for Listen {
    /// `[bind:]port` or a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { bind, port } => {
                match bind {
                    Bind::Default => {}
                    Bind::Any => f.write_str("*:")?,
                    Bind::Address(address) => write!(f, "{}:", Bracketed(address))?,
                }
                write!(f, "{port}")
            }
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Target {
    /// `host:port` or a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", Bracketed(host)),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for ForwardSpec {
    /// The form that [`ForwardSpec::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.listen, self.target)
    }
}

#[cfg(test)]
mod tests;
