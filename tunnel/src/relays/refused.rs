//! Connections that were refused or lost their place, for the log.

use std::fmt;
use std::io;

use log::info;
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::places::{Leave, PATIENCE, PLACES};
use reachback_core::repeats::Repeats;
use reachback_core::time::Instant;

/// Kinds of such connections that are counted at once: two for each of 16 forwards.
const KINDS: usize = 32;

/// Why a connection from the server is not served, or not any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// It found no place in time.
    Crowded,
    /// The target could not be reached.
    Target(io::ErrorKind),
    /// It was idle.
    Idle(Leave),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Crowded => {
                let patience = PATIENCE.as_secs();
                write!(
                    f,
                    "refused: {PLACES} others were being served, for {patience} s"
                )
            }
            Why::Target(kind) => write!(f, "refused: {kind}"),
            Why::Idle(Leave::GaveWay) => {
                write!(
                    f,
                    "closed: idle for longest when another came, with {PLACES} being served"
                )
            }
            Why::Idle(Leave::TimedOut) => f.write_str("closed: idle for ChannelIdleTimeout"),
        }
    }
}

/// Such connections by forward, for the log: others make as many as they like.
pub type Refused = Repeats<(ForwardId, Why), KINDS>;

/// Says how many connections went like one before, if that is due.
pub fn say_counts(refused: &mut Refused, forwards: &Forwards, now: Instant) {
    while let Some(((id, why), count)) = refused.poll_count(now) {
        if let Some(forward) = forwards.get(id) {
            let (target, plural) = (&forward.spec.target, if count == 1 { "" } else { "s" });
            info!("{count} more connection{plural} to {target} {why}");
        }
    }
}
