//! What a living and what a dead peer look like.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const S: u64 = 1000;

/// Polls whenever something is due, and gives the times of the probes and of the death.
fn run(liveness: &mut Liveness) -> (std::vec::Vec<u64>, u64) {
    let mut probes = std::vec::Vec::new();
    loop {
        let now = liveness.poll_timeout().unwrap();
        match liveness.poll(now) {
            Some(Due::Probe) => probes.push(now.0),
            Some(Due::Dead) => return (probes, now.0),
            None => panic!("nothing was due at its own deadline"),
        }
    }
}

#[test]
fn at_the_defaults_a_silent_loss_is_noticed_after_75_s() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    let (probes, dead) = run(&mut liveness);
    assert_eq!(probes, [60 * S, 65 * S, 70 * S]);
    assert_eq!(dead, 75 * S);
}

#[test]
fn a_short_interval_shortens_the_gaps_too() {
    let mut liveness = Liveness::new(Duration::from_secs(2), 3);
    liveness.start(Instant(0));
    assert_eq!(run(&mut liveness), (std::vec![2 * S, 4 * S, 6 * S], 8 * S));
}

#[test]
fn a_byte_at_the_last_moment_starts_everything_over() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    for at in [60, 65, 70] {
        assert_eq!(liveness.poll(Instant(at * S)), Some(Due::Probe));
    }
    liveness.handle_inbound(Instant(75 * S - 1), 0);
    assert_eq!(liveness.poll(Instant(75 * S)), None);
    assert_eq!(liveness.poll_timeout(), Some(Instant(135 * S - 1)));
}

#[test]
fn a_caller_that_comes_late_still_asks_before_it_judges() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    assert_eq!(liveness.poll(Instant(3600 * S)), Some(Due::Probe));
    assert_eq!(liveness.poll(Instant(3600 * S)), None);
    assert_eq!(liveness.poll_timeout(), Some(Instant(3605 * S)));
}

#[test]
fn doubt_probes_at_once_but_never_twice() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    liveness.handle_doubt(Instant(S));
    assert_eq!(liveness.poll(Instant(S)), Some(Due::Probe));
    liveness.handle_doubt(Instant(S + 1));
    assert_eq!(liveness.poll(Instant(S + 1)), None);
    assert_eq!(liveness.poll_timeout(), Some(Instant(6 * S)));
}

#[test]
fn with_a_count_of_zero_silence_is_death_unasked() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 0);
    liveness.start(Instant(0));
    look(&mut liveness, 60, 1000, 500, 10_000);
    assert_eq!(liveness.poll(Instant(60 * S)), None, "it takes our bytes");
    assert_eq!(run(&mut liveness), (std::vec![], 110 * S));
}

#[test]
fn an_interval_of_zero_is_off() {
    let mut liveness = Liveness::new(Duration::ZERO, 3);
    liveness.start(Instant(0));
    liveness.handle_doubt(Instant(1));
    assert_eq!(liveness.poll_timeout(), None);
    assert_eq!(liveness.poll(Instant(u64::MAX)), None);
}

/// A look at `now_s`, with an acknowledgement that came `ago_ms` before.
fn look(liveness: &mut Liveness, now_s: u64, queued: u64, acknowledged: u64, ago_ms: u64) {
    liveness.handle_progress(
        Instant(now_s * S),
        Progress {
            queued,
            acknowledged,
            sacked: 0,
            at: Instant(now_s * S - ago_ms),
            retransmission: Duration::from_millis(200),
        },
    );
}

/// When an idle peer is given up that falls silent at 0, its probes every `interval_s`, on a path with this
/// retransmission timeout.
fn given_up(interval_s: u64, retransmission_ms: u64) -> u64 {
    let mut liveness = Liveness::new(Duration::from_secs(interval_s), 3);
    liveness.start(Instant(0));
    liveness.handle_inbound(Instant(0), 100);
    loop {
        let now = liveness.poll_timeout().unwrap();
        liveness.handle_progress(
            now,
            Progress {
                queued: 150,
                acknowledged: 100,
                sacked: 0,
                at: Instant(0),
                retransmission: Duration::from_millis(retransmission_ms),
            },
        );
        if liveness.poll(now) == Some(Due::Dead) {
            return now.0 / S;
        }
    }
}

#[test]
fn a_path_with_a_long_round_trip_is_given_longer_and_never_more_than_75_s() {
    assert_eq!(given_up(15, 300), 30);
    assert_eq!(given_up(15, 2_000), 45);
    assert_eq!(given_up(15, 3_000), 60);
    assert_eq!(given_up(15, 120_000), 75);
    assert_eq!(given_up(60, 200), 75);
    assert_eq!(given_up(60, 120_000), 75);
    assert_eq!(given_up(120, 120_000), 135, "as ServerAliveInterval asks");
    // A connection in doubt proves itself at once.
    let mut liveness = Liveness::new(Duration::from_secs(15), 3);
    liveness.start(Instant(0));
    liveness.handle_doubt(Instant(S));
    assert_eq!(run(&mut liveness).1, 16 * S);
}

/// A peer whose TCP takes a byte every second until `stalls_s`, and says nothing itself.
/// `ahead` bytes are always queued before what is put out. Gives the probes and the death.
fn upload(ahead: u64, stalls_s: u64, until_s: u64) -> (std::vec::Vec<u64>, Option<u64>) {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    liveness.handle_inbound(Instant(0), ahead);
    let mut probes = std::vec::Vec::new();
    while let Some(now) = liveness.poll_timeout().filter(|now| now.0 <= until_s * S) {
        let seconds = (now.0 / S).min(stalls_s);
        liveness.handle_progress(
            now,
            Progress {
                queued: seconds + ahead,
                acknowledged: seconds,
                sacked: 0,
                at: Instant(seconds * S),
                retransmission: Duration::from_millis(200),
            },
        );
        match liveness.poll(now) {
            Some(Due::Probe) => probes.push(now.0 / S),
            Some(Due::Dead) => return (probes, Some(now.0 / S)),
            None => {}
        }
    }
    (probes, None)
}

#[test]
fn a_peer_that_takes_our_bytes_lives_while_the_probe_waits_behind_them() {
    assert_eq!(upload(400, 1000, 400), (std::vec![60], None));
}

#[test]
fn a_peer_that_stops_taking_them_is_given_up_after_75_s() {
    for stalls_s in [70, 100, 200] {
        let (probes, dead) = upload(400, stalls_s, 1000);
        assert_eq!(dead, Some(stalls_s + 75));
        assert_eq!(probes.len(), 4, "one, and three in silence: {probes:?}");
    }
}

#[test]
fn the_answer_is_due_from_when_the_probe_was_acknowledged() {
    // The probe of second 60 is acknowledged after second 160.
    let (probes, dead) = upload(100, 1000, 1000);
    assert_eq!(probes[0], 60);
    assert!((175..=181).contains(&dead.unwrap()), "{dead:?}");
}

#[test]
fn a_peer_whose_tcp_alone_answers_is_given_up_75_s_after_its_last_byte() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    look(&mut liveness, 60, 1000, 1000, 60_000);
    assert_eq!(liveness.poll(Instant(60 * S)), Some(Due::Probe));
    for (at_s, ago_ms) in [(65, 4_990), (70, 4_990)] {
        look(&mut liveness, at_s, 2000, 2000, ago_ms);
        assert_eq!(liveness.poll(Instant(at_s * S)), Some(Due::Probe));
    }
    look(&mut liveness, 75, 2000, 2000, 4_990);
    assert_eq!(liveness.poll(Instant(75 * S)), None);
    assert_eq!(liveness.poll_timeout(), Some(Instant(75 * S + 10)));
    assert_eq!(liveness.poll(Instant(75 * S + 10)), Some(Due::Dead));
}

#[test]
fn on_a_path_that_loses_packets_the_answer_may_be_sent_four_times() {
    let mut liveness = Liveness::new(Duration::from_secs(15), 3);
    liveness.start(Instant(0));
    look(&mut liveness, 15, 1000, 1000, 15_000);
    assert_eq!(liveness.poll(Instant(15 * S)), Some(Due::Probe));
    liveness.handle_progress(
        Instant(20 * S),
        Progress {
            queued: 1100,
            acknowledged: 1100,
            sacked: 0,
            at: Instant(17 * S),
            retransmission: Duration::from_millis(2_500),
        },
    );
    let mut now = Instant(20 * S);
    while liveness.poll(now) != Some(Due::Dead) {
        now = liveness.poll_timeout().unwrap();
    }
    assert_eq!(now, Instant(17 * S + 37_500));
}

#[test]
fn what_was_written_before_the_last_byte_came_may_be_acknowledged_without_being_news() {
    // One way only: the peer still sends, and nothing of ours arrives.
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    liveness.handle_inbound(Instant(0), 1000);
    let mut now = Instant(60 * S);
    loop {
        // Each packet of the peer acknowledges the same bytes once more.
        look(&mut liveness, now.0 / S, 1100, 1000, 10);
        match liveness.poll(now) {
            Some(Due::Dead) => break,
            _ => now = liveness.poll_timeout().unwrap(),
        }
    }
    assert_eq!(now, Instant(75 * S));
}

#[test]
fn a_peer_that_takes_bytes_out_of_order_lives() {
    let mut liveness = Liveness::new(Duration::from_secs(3), 3);
    liveness.start(Instant(0));
    for at_s in 1..200 {
        // One packet is missing all the time.
        let progress = Progress {
            queued: 1_000_000,
            acknowledged: 500,
            sacked: at_s * 100,
            at: Instant(at_s * S),
            retransmission: Duration::from_secs(30),
        };
        liveness.handle_progress(Instant(at_s * S), progress);
        assert_ne!(liveness.poll(Instant(at_s * S)), Some(Due::Dead), "{at_s}");
    }
}

#[test]
fn an_acknowledgement_just_after_the_last_byte_moves_everything_by_as_much() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    liveness.handle_inbound(Instant(0), 1000);
    look(&mut liveness, 60, 1100, 1100, 59_990);
    assert_eq!(liveness.poll(Instant(60 * S)), None);
    assert_eq!(run(&mut liveness).1, 75 * S + 10);
}

#[test]
fn after_a_doubt_only_what_came_later_is_a_sign_of_life() {
    let mut liveness = Liveness::new(Duration::from_secs(60), 3);
    liveness.start(Instant(0));
    liveness.handle_doubt(Instant(10 * S));
    look(&mut liveness, 10, 5000, 4000, 500);
    assert_eq!(liveness.poll(Instant(10 * S)), Some(Due::Probe));
    look(&mut liveness, 15, 5000, 4500, 1000);
    assert_eq!(liveness.poll(Instant(15 * S)), None, "it takes our bytes");
    assert_eq!(liveness.poll_timeout(), Some(Instant(20 * S)));
}

proptest! {
    #[test]
    fn death_comes_exactly_interval_and_count_gaps_after_the_last_byte(
        interval_s in 1u64..=86_400, count in 1u32..=100
    ) {
        let interval = Duration::from_secs(interval_s);
        let mut liveness = Liveness::new(interval, count);
        liveness.start(Instant(0));
        let (probes, dead) = run(&mut liveness);
        prop_assert_eq!(probes.len(), count as usize);
        let bound = interval + interval.min(PROBE_GAP) * count;
        prop_assert_eq!(Instant(dead), Instant(0) + bound);
    }
}
