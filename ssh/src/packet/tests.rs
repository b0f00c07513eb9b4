//! What a transfer leaves behind.

use super::*;
use crate::limits::{INBOUND_BUFFER, OUTBOUND_HIGH};

/// Reads and takes `n` bytes.
fn through(inbound: &mut Inbound, n: usize) {
    inbound.space()[..n].fill(1);
    inbound.filled(n);
    inbound.consume_raw(n);
}

#[test]
fn an_inbound_buffer_of_which_much_was_used_is_replaced_when_it_is_empty() {
    let mut inbound = Inbound::new();
    through(&mut inbound, KEPT);
    inbound.give_back();
    assert_eq!(inbound.space()[0], 1, "little was used");
    through(&mut inbound, KEPT + 1);
    inbound.filled(1);
    inbound.give_back();
    assert_eq!(inbound.raw().len(), 1, "not empty");
    inbound.consume_raw(1);
    inbound.give_back();
    assert!(inbound.space().iter().all(|byte| *byte == 0));
    assert_eq!(inbound.space().len(), INBOUND_BUFFER);
}

#[test]
fn an_outbound_buffer_likewise() {
    let mut outbound = Outbound::new();
    assert!(outbound.data_space(&[], 2 * KEPT).is_ok());
    outbound.written(0);
    outbound.push_raw(b"x");
    outbound.give_back();
    assert_eq!(outbound.pending(), b"x", "not empty");
    assert!(outbound.used > KEPT);
    outbound.written(1);
    outbound.give_back();
    assert_eq!(outbound.used, 0);
    assert!(outbound.data_space(&[], OUTBOUND_HIGH).is_ok());
}
