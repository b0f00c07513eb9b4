//! Destinations: `user@host[:port]`, from a command line or from a script's one argument.

use core::fmt;
use core::net::Ipv4Addr;

use heapless::String;

use crate::host::{self, HostError, PortError};

/// Longest user name in bytes: names of directory services are longer than those of useradd(8).
pub const MAX_USER: usize = 64;
/// Longest user name in a script's argument, bytes (useradd(8)).
const MAX_SCRIPT_USER: usize = 32;
/// Longest argument of a script entry point in bytes.
pub const MAX_SCRIPT_ARGUMENT: usize = 255;

/// Name or address of a server.
pub type HostName = String<255>;

/// Login name.
pub type UserName = String<MAX_USER>;

/// A server as the caller named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Login name on the server: printable ASCII without blanks and what shells take for theirs,
    /// not starting with `-`.
    pub user: UserName,
    /// Name or address; IPv6 without brackets; addresses in canonical form.
    pub host: String<255>,
    /// The TCP port, 1 to 65535, if one was given.
    pub port: Option<u16>,
}

/// Why a text is not a destination. The text of each says what would be right.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DestinationError {
    /// No `user@` and no default user.
    NoUser,
    /// The user name is empty, too long or has a character that no login name has.
    User,
    /// Nothing after the `@`.
    NoHost,
    /// The host is neither a name nor an address, or too long.
    Host,
    /// The host looks like an address but is none.
    Address,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A number that is no port.
    PortAbove(u32),
    /// `host1,host2`, dbclient's way of going through one host to another.
    Jump,
    /// An argument of a script with a blank in it.
    ScriptBlank,
    /// An argument of a script with a character that none may have.
    ScriptByte,
    /// An argument of a script that is too long.
    ScriptLength,
    /// The user name in an argument of a script.
    ScriptUser,
    /// The host in an argument of a script.
    ScriptHost,
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUser => "no user name; write user@host[:port]",
            Self::User => {
                "bad user name; use 1 to 64 letters, digits and signs that do not start with -, without blanks, quotes and /"
            }
            Self::NoHost => "no host after the @; write user@host[:port]",
            Self::Host => {
                "bad host name; use labels of 1 to 63 letters, digits, - and _ with dots between"
            }
            Self::Address => "bad address; write 192.0.2.1, 2001:db8::1 or [2001:db8::1]:port",
            Self::Port => "bad port; use a number from 1 to 65535",
            Self::PortAbove(port) => return write!(f, "port {port} is above 65535"),
            Self::Jump => "there are no jump hosts; name one server that this machine reaches itself",
            Self::ScriptBlank => "a blank inside; give one user@host[:port]",
            Self::ScriptByte => "a character that is none of A-Z, a-z, 0-9, _ - . @ :",
            Self::ScriptLength => return write!(f, "more than {MAX_SCRIPT_ARGUMENT} bytes"),
            Self::ScriptUser => {
                return write!(
                    f,
                    "bad user name; use 1 to {MAX_SCRIPT_USER} letters, digits, _ and -, not - first"
                );
            }
            Self::ScriptHost => {
                "the host is neither an IPv4 address nor a name with a dot inside, such as server.example"
            }
        })
    }
}

impl core::error::Error for DestinationError {}

impl From<HostError> for DestinationError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Empty => Self::NoHost,
            HostError::TooLong | HostError::Name => Self::Host,
            HostError::Address => Self::Address,
        }
    }
}

impl Destination {
    /// Reads `user@host`, `user@host:port`, `user@[v6]:port`, `user@v6`, dbclient's
    /// `user@host^port` and `user@host/port`, and ssh's `ssh://user@host:port`. The user is what
    /// stands before the last `@`.
    ///
    /// # Errors
    /// Anything else; see [`DestinationError`].
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        Self::parse_with_default(text, None)
    }

    /// As [`Destination::parse`], but `user` (ssh_config's `User`, or the name of the user here)
    /// stands in when the text has no `user@`.
    ///
    /// # Errors
    /// As [`Destination::parse`]; the default user is checked like one in the text.
    pub fn parse_with_default(text: &str, user: Option<&str>) -> Result<Self, DestinationError> {
        let text = match text.strip_prefix("ssh://") {
            Some(uri) => uri.strip_suffix('/').unwrap_or(uri),
            None => text,
        };
        let (user, rest) = match (text.rsplit_once('@'), user) {
            (Some((user, rest)), _) => (user, rest),
            (None, Some(user)) => (user, text),
            (None, None) => return Err(DestinationError::NoUser),
        };
        if text.contains(',') {
            return Err(DestinationError::Jump);
        }
        let (host, port) = split_port(rest)?;
        let port = match port.map(host::parse_port) {
            None => None,
            Some(Ok(0) | Err(PortError::Word)) => return Err(DestinationError::Port),
            Some(Err(PortError::Above(port))) => return Err(DestinationError::PortAbove(port)),
            Some(Ok(port)) => Some(port),
        };
        Ok(Self {
            user: parse_user(user)?,
            host: host::parse(host)?,
            port,
        })
    }

    /// The user that a text names, as [`Destination::parse`] reads it.
    pub fn user_in(text: &str) -> Option<&str> {
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        text.rsplit_once('@').map(|(user, _)| user)
    }

    /// Whether it leads to this machine, to its own link, or to many: a loopback, unspecified,
    /// link-local, multicast or broadcast address, or a name of loopback (RFC 6761, 6.3). What other
    /// names resolve to is not known here.
    pub fn is_near(&self) -> bool {
        host::is_near(&self.host)
    }

    /// Reads the one argument of a script entry point: `user@host[:port]` with user
    /// `[A-Za-z0-9_-]+` and host an IPv4 address or a name with at least one dot inside.
    ///
    /// The scripts used to test with `grep -Eiq "$run\@($rdm|$rip)"`, where
    /// `run='^[a-z0-9_-]+'`, `rdm='([a-z][a-z0-9-]*\.)+[a-z0-9][a-z0-9-]+$'` and
    /// `rip='((25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)(\.|$)){4}'`. Everything that this accepted
    /// is accepted here, except what was never a destination:
    /// - anything with a byte outside `[A-Za-z0-9_.@:-]` (the address part was not anchored at
    ///   its end: `u@1.2.3.4. -R 0:h:1` passed) and several lines (grep needs only one to match);
    /// - a user name that starts with `-` (an option) or has more than 32 bytes;
    /// - `u@1.2.3.4.` and `u@1.2.3.4.5`, which no resolver takes for an address or a name, and
    ///   `u@1.2.3.4.` followed by text that makes no name (`..`, `@`, a label that starts with `-`);
    /// - labels over 63 bytes and arguments over 255 bytes.
    ///
    /// Octets may have leading zeros, as before; they are decimal (`010.0.0.1` is `10.0.0.1`).
    /// New are `:port` and labels that start with a digit, unless all are numbers (`0x7f.1`).
    ///
    /// # Errors
    /// Anything else, each with the rule that it breaks.
    pub fn parse_script(text: &str) -> Result<Self, DestinationError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.@:".contains(&b);
        if text.len() > MAX_SCRIPT_ARGUMENT {
            return Err(DestinationError::ScriptLength);
        }
        if text.contains(char::is_whitespace) {
            return Err(DestinationError::ScriptBlank);
        }
        if !text.bytes().all(allowed) {
            return Err(DestinationError::ScriptByte);
        }
        let (user, rest) = text.split_once('@').ok_or(DestinationError::NoUser)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let good = !user.is_empty() && user.len() <= MAX_SCRIPT_USER && !user.starts_with('-');
        if !good || !user.bytes().all(allowed) {
            return Err(DestinationError::ScriptUser);
        }
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        if rest.contains('@') {
            return Err(DestinationError::Host);
        }
        let port = rest.split_once(':').map(|(_, port)| port);
        if port.is_some_and(|port| !port.contains(':') && !digits(port)) {
            return Err(DestinationError::Port);
        }
        let destination = Self::parse(text)?;
        let host = destination.host.as_str();
        let dotted = host.contains('.') && !host.ends_with('.');
        if !dotted || host.contains([':', '_']) {
            return Err(DestinationError::ScriptHost);
        }
        // As inet_aton(3) reads it, `0x7f.1` is an address; a name of numbers alone there is none.
        let number = |label: &str| {
            let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
            hex.map_or(digits(label), |hex| {
                hex.bytes().all(|b| b.is_ascii_hexdigit())
            })
        };
        if host.parse::<Ipv4Addr>().is_err() && host.split('.').all(number) {
            return Err(DestinationError::Address);
        }
        Ok(destination)
    }
}

/// Another server for the same tunnel: `[user@]host[:port]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    /// Login name, if it is not the first destination's.
    pub user: Option<UserName>,
    /// Name or address, as in [`Destination`].
    pub host: String<255>,
    /// The TCP port, if one was given.
    pub port: Option<u16>,
}

impl Fallback {
    /// Reads what [`Destination::parse`] does, the user being optional.
    ///
    /// # Errors
    /// As there.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        // The name that stands in is not kept.
        let destination = Destination::parse_with_default(text, Some("user"))?;
        Ok(Self {
            user: Destination::user_in(text).map(|_| destination.user),
            host: destination.host,
            port: destination.port,
        })
    }
}

/// The proxy that `http://host:port` names; a `/` may follow.
pub fn proxy(url: &str) -> Option<(HostName, u16)> {
    let (scheme, place) = url.split_at_checked("http://".len())?;
    let place = place.strip_suffix('/').unwrap_or(place);
    if !scheme.eq_ignore_ascii_case("http://") || place.contains(['/', '@']) {
        return None;
    }
    let Fallback { host, port, .. } = Fallback::parse(place).ok()?;
    Some((host, port?))
}

impl fmt::Display for Fallback {
    /// The form that [`Fallback::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write_place(f, &self.host, self.port)
    }
}

impl fmt::Display for Destination {
    /// `user@host[:port]`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.user)?;
        write_place(f, &self.host, self.port)
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, host: &str, port: Option<u16>) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]")?;
    } else {
        f.write_str(host)?;
    }
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

/// A login name: what sshd may know, as `DOM\user`, `user@realm` and `host$`, but nothing that a
/// shell or a file name takes for its own.
/// A login name by itself.
///
/// # Errors
/// [`DestinationError::User`].
pub fn parse_user(text: &str) -> Result<UserName, DestinationError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._+-@\\$~=#%^!:".contains(&b);
    let good = !text.is_empty() && !text.starts_with('-') && !text.ends_with('\\');
    if !good || !text.bytes().all(allowed) {
        return Err(DestinationError::User);
    }
    String::try_from(text).map_err(|_| DestinationError::User)
}

/// Splits a port off; what is left has no brackets.
fn split_port(text: &str) -> Result<(&str, Option<&str>), DestinationError> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']').ok_or(DestinationError::Address)?;
        if !address.contains(':') {
            return Err(DestinationError::Address);
        }
        if rest.is_empty() {
            return Ok((address, None));
        }
        let port = rest
            .strip_prefix([':', '^', '/'])
            .ok_or(DestinationError::Port)?;
        return Ok((address, Some(port)));
    }
    if let Some((host, port)) = text.split_once(['^', '/']) {
        return Ok((host, Some(port)));
    }
    // Two colons can only be an address: a name has none, and a port has one.
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests;
