//! Connections that were refused, for the log.

use std::io;

use log::info;
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::repeats::Repeats;
use reachback_core::time::Instant;

use super::RELAYS;

/// Kinds of refused connections that are counted at once: two for each of 16 forwards.
const REFUSALS: usize = 32;

/// Why a connection from the server was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// [`super::RELAYS`].
    Crowded,
    /// The target could not be reached.
    Target(io::ErrorKind),
}

/// Refused connections by forward, for the log: others make as many as they like.
pub type Refused = Repeats<(ForwardId, Why), REFUSALS>;

/// Says how many connections were refused like one before, if that is due.
pub fn say_counts(refused: &mut Refused, forwards: &Forwards, now: Instant) {
    while let Some(((id, why), count)) = refused.poll_count(now) {
        let Some(forward) = forwards.get(id) else {
            continue;
        };
        let (target, plural) = (&forward.spec.target, if count == 1 { "" } else { "s" });
        match why {
            Why::Crowded => info!(
                "{count} more connection{plural} to {target} refused: \
                 {RELAYS} connections are being served already"
            ),
            Why::Target(kind) => {
                info!("{count} more connection{plural} to {target} refused: {kind}")
            }
        }
    }
}
