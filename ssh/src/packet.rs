//! Framing in place: packets opened where they were read and sealed where they were built
//! (RFC 4253 section 6).

mod inbound;
mod outbound;

pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;

/// `uint32 packet_length`.
const LENGTH_FIELD: usize = 4;
/// `packet_length` and `padding_length`, which come before the payload.
pub(crate) const HEADER: usize = 5;
/// Padding is at least this long (RFC 4253 section 6).
const MIN_PADDING: usize = 4;
/// `byte padding_length`.
const MAX_PADDING: usize = 255;
