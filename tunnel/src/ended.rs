//! Why a connection is over.

use std::fmt::Display;

use reachback_core::cause::Cause;
use reachback_core::failure::Failure;
use reachback_ssh::Error;
use reachback_ssh::error::Denial;

/// Why a connection is over: the class for the watchdog, the words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For the watchdog.
    pub failure: Failure,
    /// For the technician.
    pub reason: String,
    /// For what to do about it.
    pub cause: Option<Cause>,
}

impl Ended {
    /// For this class, in these words.
    pub fn new(failure: Failure, reason: impl Into<String>) -> Ended {
        Ended {
            failure,
            reason: reason.into(),
            cause: failure.cause(),
        }
    }

    /// The same, where more is known about the cause than its class says.
    pub fn because(self, cause: Option<Cause>) -> Ended {
        Ended {
            cause: cause.or(self.cause),
            ..self
        }
    }
}

/// Why a server lets nobody in, where that is what the error says.
pub fn denial(error: &Error) -> Option<Cause> {
    match error {
        Error::AuthRefused { why, .. } => Some(match why {
            Denial::NoPublicKey => Cause::NoPublicKeys,
            Denial::SecondFactor => Cause::SecondFactor,
            Denial::Sha1 => Cause::Sha1,
            _ => Cause::LoginRefused,
        }),
        _ => None,
    }
}

/// An error of the system in words, without the number that the standard library adds.
pub fn reason(error: &dyn Display) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" (os error ") {
        text.truncate(at);
    }
    text
}
