//! What a forward's record keeps for `VerifyForward` ([`crate::verify`]).

use crate::time::Instant;

/// What is known of a forward, for status.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Proof {
    /// It was not checked since it was confirmed.
    #[default]
    Unknown,
    /// It led here.
    Here {
        /// At this time.
        at: Instant,
    },
    /// It led here, but only on the server's loopback address.
    Loopback {
        /// At this time.
        at: Instant,
    },
    /// It led elsewhere, or nowhere.
    Elsewhere {
        /// At this time.
        at: Instant,
    },
    /// The server does not let checks through.
    NotPermitted,
}

impl Proof {
    /// What was found, in one word, and when; none before anything is known.
    pub fn found(self) -> Option<(&'static str, Option<Instant>)> {
        match self {
            Self::Unknown => None,
            Self::Here { at } => Some(("here", Some(at))),
            Self::Loopback { at } => Some(("loopback", Some(at))),
            Self::Elsewhere { at } => Some(("elsewhere", Some(at))),
            Self::NotPermitted => Some(("not-permitted", None)),
        }
    }
}

/// What a forward's record keeps for its checks.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Checkup {
    pub(crate) due: Option<Instant>,
    pub(crate) proof: Proof,
    /// That it leads here was said since it was confirmed; and whether on loopback only.
    pub(crate) told: Option<bool>,
}
