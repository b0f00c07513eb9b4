//! Why a connection is over.

use reachback_core::failure::Failure;

/// Why a connection is over: the class for the watchdog, the words for the log.
#[derive(Debug)]
pub struct Ended {
    /// For the watchdog.
    pub failure: Failure,
    /// For the technician.
    pub reason: String,
}

impl Ended {
    /// For this class, in these words.
    pub fn new(failure: Failure, reason: impl Into<String>) -> Ended {
        Ended {
            failure,
            reason: reason.into(),
        }
    }
}
