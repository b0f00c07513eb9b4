#![allow(clippy::unwrap_used)]
use super::*;

fn marker(pid: u32, count: u32, reason: &[u8]) -> String {
    let mut marker = [b'x'; MARKER_BYTES];
    let numbers = [pid, count, 9, u32::MAX, 0];
    write_marker(&mut marker, numbers, reason);
    let text = std::ffi::CStr::from_bytes_until_nul(&marker).unwrap();
    let text = text.to_str().unwrap();
    text.strip_prefix("REACHBACK_RESTARTED=")
        .unwrap()
        .to_owned()
}

#[test]
fn the_next_process_reads_what_this_one_wrote() {
    let text = marker(4321, 7, b"panic at a.rs:1: \x1b[2J\nno");
    let (restart, kept) = parse_marker(&text, 4321).unwrap();
    assert_eq!(kept, [9, u32::MAX, 0]);
    assert_eq!(restart.count, 7);
    assert_eq!(restart.reason, "panic at a.rs:1: ?[2J?no");
    assert_eq!(restart.delay, Duration::from_secs(60));
}

#[test]
fn a_marker_of_another_process_means_nothing() {
    assert_eq!(parse_marker(&marker(1, 1, b"x"), 2), None);
    for bad in ["", "2", "2 x 3 4 5 y", "2 0 3 4 5 x", "2 1 3 4 5", "2 1 x"] {
        assert_eq!(parse_marker(bad, 2), None, "{bad}");
    }
}

#[test]
fn a_long_reason_is_cut_to_the_room_there_is() {
    let text = marker(u32::MAX, u32::MAX, &[b'a'; 1000]);
    assert_eq!("REACHBACK_RESTARTED=".len() + text.len(), MARKER_BYTES - 1);
    assert!(parse_marker(&text, u32::MAX).is_some());
}

#[test]
fn ten_minutes_of_health_end_a_row_of_restarts() {
    assert_eq!(next_count(0, 0), 1);
    assert_eq!(next_count(5, 599_999), 6);
    assert_eq!(next_count(5, 600_000), 1);
    assert_eq!(next_count(u32::MAX, 0), u32::MAX);
}
