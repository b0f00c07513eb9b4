//! The dialler and the look-up of `tunnel/` on real sockets.
#![allow(clippy::unwrap_used)]

mod dial;
mod lookup;

use mio::Poll;

use super::outside::Net;
use super::remember::Remembered;
use crate::hostkey::{HostKeys, RunPins};
use crate::trust::Trust;

/// An outside without known hosts and without memory.
fn outside(poll: &Poll) -> Net {
    let trust = Trust {
        alias: None,
        known: HostKeys::open(&[], true, &RunPins::default()).unwrap(),
        follows: false,
        accept_new: false,
    };
    Net::new(poll.registry(), Remembered::open(None), trust).unwrap()
}
