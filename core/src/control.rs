//! The messages of the control socket, as text. `docs/control-protocol.md` has them in words.
//!
//! A message is a line; a status snapshot is several, the last of them `end`. Every reader has
//! a bound, every number and name is checked, and what a later version may add to a snapshot is
//! skipped.

use core::fmt;
use core::time::Duration;

use heapless::String;

use crate::forward::{ForwardError, ForwardSpec};
use crate::history;

mod snapshot;
pub use snapshot::{ForwardStatus, Link, Snapshot, SnapshotError};

/// Version of the protocol. One that differs is not spoken with.
pub const VERSION: u16 = 1;
/// Longest line, bytes without the newline.
pub const MAX_LINE: usize = 512;
/// Longest option, bytes: it has a line of its own.
pub const MAX_OPTION: usize = MAX_LINE - "option ".len();
/// Longest text of a reply, bytes.
pub const MAX_TEXT: usize = 240;
/// Longest wait that may be asked for.
pub const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// First of all: the client's version.
    Hello(u16),
    /// Is there an owner, and which process is it?
    Check,
    /// A keyword and its value, as `-o` has them, which [`Request::Call`] asks for.
    Option(String<MAX_OPTION>),
    /// Somebody calls for the tunnel: take over what was asked for, and try now what waits.
    Call,
    /// Add a forward; one that is there already is confirmed to be.
    Forward(ForwardSpec),
    /// The same for the service: a script's `off` leaves it.
    ForwardService(ForwardSpec),
    /// Take a forward away; the connection stays.
    Cancel(ForwardSpec),
    /// Take a forward away if callers added it, and end with the last.
    Withdraw(ForwardSpec),
    /// Answer when the forwards that this client added (all, if it added none) are confirmed, or
    /// when that is out of reach for this time.
    Wait(Duration),
    /// Send a snapshot.
    Status,
    /// Connect anew now.
    Reconnect,
    /// End. The owner closes the socket when it has.
    Stop,
    /// The same, if the service began it.
    StopService,
    /// Read the configuration again.
    Reload,
    /// Become the program that is installed now, if that could start the tunnel.
    Renew,
}

/// Why a request was not done.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Too many clients: ask again in a moment.
    Busy,
    /// Another protocol version.
    Version,
    /// Not a request.
    Bad,
    /// There is no such forward.
    Absent,
    /// The table of forwards is full.
    Full,
    /// The program that is installed could not start the tunnel, or what is asked for cannot be
    /// taken over.
    Unfit,
    /// Not confirmed, and the tunnel goes on trying.
    NotYet,
    /// The tunnel has ended or is about to.
    Ended,
    /// It failed, and waits before it goes on.
    Restarting,
}

const REFUSALS: [(Refusal, &str); 9] = [
    (Refusal::Busy, "busy"),
    (Refusal::Version, "version"),
    (Refusal::Bad, "bad"),
    (Refusal::Absent, "absent"),
    (Refusal::Full, "full"),
    (Refusal::Unfit, "unfit"),
    (Refusal::NotYet, "not-yet"),
    (Refusal::Ended, "ended"),
    (Refusal::Restarting, "restarting"),
];

/// Text for people that goes with a reply.
pub type Text = String<MAX_TEXT>;

/// The answer to every request but `status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Greets a client that said hello.
    Hello {
        /// The owner's version.
        version: u16,
        /// The owner's process number.
        pid: u32,
    },
    /// Done; the text says what.
    Done(Text),
    /// Not done, and why.
    Refused(Refusal, Text),
}

impl Reply {
    /// Done, with these words.
    pub fn done(text: impl fmt::Display) -> Reply {
        Reply::Done(history::line(text))
    }

    /// Not done, with these words.
    pub fn refused(refusal: Refusal, text: impl fmt::Display) -> Reply {
        Reply::Refused(refusal, history::line(text))
    }

    /// Reads a line without its newline.
    pub fn parse(line: &str) -> Option<Reply> {
        let (word, rest) = split(line);
        match word {
            "reachback" => {
                let (version, pid) = rest.split_once(' ')?;
                Some(Reply::Hello {
                    version: version.parse().ok()?,
                    pid: pid.parse().ok()?,
                })
            }
            "ok" => Some(Reply::done(rest)),
            "no" => {
                let (name, text) = split(rest);
                let (refusal, _) = REFUSALS.iter().find(|(_, known)| *known == name)?;
                Some(Reply::refused(*refusal, text))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Reply {
    /// The line, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { version, pid } => write!(f, "reachback {version} {pid}"),
            Self::Done(text) => write!(f, "ok {text}"),
            Self::Refused(refusal, text) => {
                let name = REFUSALS.iter().find(|(known, _)| known == refusal);
                write!(f, "no {} {text}", name.map_or("bad", |(_, name)| name))
            }
        }
    }
}

/// Why a line is not a request.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BadRequest {
    /// No request has this form.
    Unknown,
    /// The version is not a number.
    Version,
    /// The time is not a number of milliseconds, or longer than [`MAX_WAIT`].
    Time,
    /// The forward is none.
    Forward(ForwardError),
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not a request"),
            Self::Version => f.write_str("not a version"),
            Self::Time => f.write_str("not a time in milliseconds of at most a day"),
            Self::Forward(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BadRequest {}

impl Request {
    /// Reads a line without its newline.
    ///
    /// # Errors
    /// See [`BadRequest`].
    pub fn parse(line: &str) -> Result<Request, BadRequest> {
        let forward = |text| ForwardSpec::parse(text).map_err(BadRequest::Forward);
        let (word, rest) = split(line);
        match (word, rest) {
            ("reachback", version) => match version.parse() {
                Ok(version) => Ok(Request::Hello(version)),
                Err(_) => Err(BadRequest::Version),
            },
            ("option", option) => match String::try_from(option) {
                Ok(option) if !option.is_empty() => Ok(Request::Option(option)),
                _ => Err(BadRequest::Unknown),
            },
            ("call", "") => Ok(Request::Call),
            ("forward", spec) => Ok(Request::Forward(forward(spec)?)),
            ("forward-service", spec) => Ok(Request::ForwardService(forward(spec)?)),
            ("cancel", spec) => Ok(Request::Cancel(forward(spec)?)),
            ("withdraw", spec) => Ok(Request::Withdraw(forward(spec)?)),
            ("wait", ms) => match ms.parse().map(Duration::from_millis) {
                Ok(limit) if limit <= MAX_WAIT => Ok(Request::Wait(limit)),
                _ => Err(BadRequest::Time),
            },
            ("check", "") => Ok(Request::Check),
            ("status", "") => Ok(Request::Status),
            ("reconnect", "") => Ok(Request::Reconnect),
            ("stop", "") => Ok(Request::Stop),
            ("stop-service", "") => Ok(Request::StopService),
            ("reload", "") => Ok(Request::Reload),
            ("renew", "") => Ok(Request::Renew),
            _ => Err(BadRequest::Unknown),
        }
    }
}

impl fmt::Display for Request {
    /// The line, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(version) => write!(f, "reachback {version}"),
            Self::Option(option) => write!(f, "option {option}"),
            Self::Call => f.write_str("call"),
            Self::Forward(spec) => write!(f, "forward {spec}"),
            Self::ForwardService(spec) => write!(f, "forward-service {spec}"),
            Self::Cancel(spec) => write!(f, "cancel {spec}"),
            Self::Withdraw(spec) => write!(f, "withdraw {spec}"),
            Self::Wait(limit) => write!(f, "wait {}", limit.as_millis()),
            Self::Check => f.write_str("check"),
            Self::Status => f.write_str("status"),
            Self::Reconnect => f.write_str("reconnect"),
            Self::Stop => f.write_str("stop"),
            Self::StopService => f.write_str("stop-service"),
            Self::Reload => f.write_str("reload"),
            Self::Renew => f.write_str("renew"),
        }
    }
}

/// The first word and what follows it.
fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

#[cfg(test)]
mod tests;
