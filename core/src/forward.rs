//! Forward specifications: `[bind:]port:host:hostport`, the `-R` of ssh(1).

use core::fmt;

use heapless::String;

use crate::host;

/// Most forwards that one tunnel carries.
pub const MAX_FORWARDS: usize = 16;

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

/// One `-R`: a listener on the server and the local target it leads to. Two that compare
/// equal are one forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardSpec {
    /// Where the server listens.
    pub bind: Bind,
    /// TCP port on the server; 0 lets the server choose.
    pub port: u16,
    /// Target host as seen from here; IPv6 without brackets.
    pub host: String<255>,
    /// Target port, 1 to 65535.
    pub host_port: u16,
}

/// Why a text is not a forward. The text of each says what would be right.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ForwardError {
    /// Too few or too many fields.
    Fields,
    /// Not two words, where ssh_config wants two.
    Words,
    /// The bind address is neither `*` nor a name nor an address.
    Bind,
    /// The server's port is not a number from 0 to 65535.
    Port,
    /// The target host is neither a name nor an address.
    Host,
    /// The target port is not a number from 1 to 65535.
    HostPort,
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fields => {
                "not a forward; write [bind:]port:host:hostport, IPv6 addresses in brackets"
            }
            Self::Words => "not a forward; write two words, [bind:]port host:hostport",
            Self::Bind => "bad bind address; use *, a name of up to 64 bytes or an address",
            Self::Port => "bad port on the server; use a number from 0 (server chooses) to 65535",
            Self::Host => "bad target host; use a name or an address, IPv6 in brackets",
            Self::HostPort => "bad target port; use a number from 1 to 65535",
        })
    }
}

impl core::error::Error for ForwardError {}

impl ForwardSpec {
    /// Reads `[bind:]port:host:hostport`.
    ///
    /// # Errors
    /// Anything else; Unix sockets and the dynamic form (`-R port`) are not supported.
    pub fn parse(text: &str) -> Result<Self, ForwardError> {
        let mut fields = Fields(Some(text));
        let first = fields.next().ok_or(ForwardError::Fields)??;
        let second = fields.next().ok_or(ForwardError::Fields)??;
        let third = fields.next().ok_or(ForwardError::Fields)??;
        let fourth = fields.next().transpose()?;
        if fields.next().is_some() {
            return Err(ForwardError::Fields);
        }
        match fourth {
            Some(fourth) => Self::from_fields(Some(first), second, third, fourth),
            None => Self::from_fields(None, first, second, third),
        }
    }

    /// Reads the form of ssh_config's `RemoteForward`: `[bind:]port host:hostport`.
    ///
    /// # Errors
    /// As [`ForwardSpec::parse`].
    pub fn parse_keyword(text: &str) -> Result<Self, ForwardError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(listen), Some(target), None) = (words.next(), words.next(), words.next()) else {
            return Err(ForwardError::Words);
        };
        Self::parse_words(listen, target)
    }

    /// `[bind:]port` and `host:hostport`; an empty target is a missing one.
    pub(crate) fn parse_words(listen: &str, target: &str) -> Result<Self, ForwardError> {
        if target.is_empty() {
            return Err(ForwardError::Words);
        }
        let (bind, port) = match two_fields(listen)? {
            (port, None) => (None, port),
            (bind, Some(port)) => (Some(bind), port),
        };
        match two_fields(target)? {
            (host, Some(host_port)) => Self::from_fields(bind, port, host, host_port),
            (_, None) => Err(ForwardError::Fields),
        }
    }

    fn from_fields(
        bind: Option<Field<'_>>,
        port: Field<'_>,
        host: Field<'_>,
        host_port: Field<'_>,
    ) -> Result<Self, ForwardError> {
        let bind = match bind {
            None => Bind::Default,
            Some(field) => match field.text {
                "" | "*" if !field.bracketed => Bind::Any,
                "localhost" => Bind::Default,
                _ => Bind::Address(field.host().ok_or(ForwardError::Bind)?),
            },
        };
        let port = port.port().ok_or(ForwardError::Port)?;
        let host_port = match host_port.port() {
            Some(0) | None => return Err(ForwardError::HostPort),
            Some(port) => port,
        };
        Ok(Self {
            bind,
            port,
            host: host.host().ok_or(ForwardError::Host)?,
            host_port,
        })
    }
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

impl fmt::Display for ForwardSpec {
    /// The form that [`ForwardSpec::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bind {
            Bind::Default => {}
            Bind::Any => f.write_str("*:")?,
            Bind::Address(address) => write!(f, "{}:", Bracketed(address))?,
        }
        let host = Bracketed(&self.host);
        write!(f, "{}:{host}:{}", self.port, self.host_port)
    }
}

/// One field between colons.
#[derive(Copy, Clone)]
struct Field<'a> {
    text: &'a str,
    bracketed: bool,
}

impl Field<'_> {
    fn port(self) -> Option<u16> {
        (!self.bracketed).then(|| host::parse_port(self.text))?
    }

    fn host<const N: usize>(self) -> Option<String<N>> {
        // Brackets are for IPv6 addresses, and those need them.
        if self.bracketed != self.text.contains(':') {
            return None;
        }
        host::parse(self.text).ok()
    }
}

/// The fields of a text: split at colons that are not in brackets.
struct Fields<'a>(Option<&'a str>);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ForwardError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.take()?;
        if let Some(inner) = text.strip_prefix('[') {
            let Some((address, rest)) = inner.split_once(']') else {
                return Some(Err(ForwardError::Fields));
            };
            self.0 = rest.strip_prefix(':');
            if self.0.is_none() && !rest.is_empty() {
                return Some(Err(ForwardError::Fields));
            }
            return Some(Ok(Field {
                text: address,
                bracketed: true,
            }));
        }
        let field = match text.split_once(':') {
            Some((field, rest)) => {
                self.0 = Some(rest);
                field
            }
            None => text,
        };
        Some(Ok(Field {
            text: field,
            bracketed: false,
        }))
    }
}

fn two_fields(text: &str) -> Result<(Field<'_>, Option<Field<'_>>), ForwardError> {
    let mut fields = Fields(Some(text));
    let first = fields.next().ok_or(ForwardError::Fields)??;
    let second = fields.next().transpose()?;
    match fields.next() {
        Some(_) => Err(ForwardError::Fields),
        None => Ok((first, second)),
    }
}

#[cfg(test)]
mod tests;
