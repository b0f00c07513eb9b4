//! How a loss is noticed, and how none is seen where there is none.

use super::*;

#[test]
fn a_silent_loss_is_noticed_within_75_s_after_three_probes() {
    let mut bench = Bench::new().up();
    let last_byte = bench.now;
    let mut probes = 0;
    loop {
        match bench.next_timer()[..] {
            [Action::Probe] => probes += 1,
            [Action::Abandon(Failure::Silent), Action::Wait { .. }] => break,
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(probes, 3);
    assert_eq!(bench.now.since(last_byte), Duration::from_secs(75));
}

#[test]
fn an_answer_to_a_probe_keeps_the_tunnel() {
    let mut bench = Bench::new().up();
    for _ in 0..100 {
        assert_eq!(bench.next_timer(), [Action::Probe]);
        bench.pass(4 * S);
        assert_eq!(bench.inbound(), []);
    }
    assert!(matches!(bench.dog.state(), State::Up { .. }));
}

/// Lets `each` come every second until the tunnel is given up, for an hour at most.
fn given_up(bench: &mut Bench, mut each: impl FnMut(Instant) -> Input) -> Option<Duration> {
    let begun = bench.now;
    for _ in 0..3600 {
        bench.now.0 += S;
        bench.dog.handle(bench.now, each(bench.now));
        bench.dog.handle_timeout(bench.now);
        if let Some(Action::Abandon(why)) = bench.actions().first() {
            assert_eq!(*why, Failure::Timeout(Stage::Forward));
            return Some(bench.now.since(begun));
        }
    }
    None
}

#[test]
fn a_reply_that_waits_behind_data_is_waited_for_10_min_at_most() {
    let taken = |now: Instant| {
        Input::Acknowledged(Progress {
            queued: u64::MAX,
            acknowledged: now.0,
            sacked: 0,
            at: now,
            retransmission: Duration::from_secs(1),
        })
    };
    let mut bench = Bench::new().up();
    bench.dog.want(bench.now, &spec(2), Origin::Configuration);
    bench.actions();
    assert_eq!(given_up(&mut bench, taken), Some(REPLY_LIMIT));
    // The server's own data as well.
    let mut bench = Bench::new().up();
    bench.dog.want(bench.now, &spec(2), Origin::Configuration);
    bench.actions();
    let inbound = given_up(&mut bench, |_| Input::Inbound { written: 0 });
    assert_eq!(inbound, Some(REPLY_LIMIT));
    // With the reply, there is nothing to wait for.
    let mut bench = Bench::new().up();
    bench.dog.want(bench.now, &spec(2), Origin::Configuration);
    bench.actions();
    bench.on(Input::ForwardConfirmed {
        id: ForwardId(2),
        port: 7,
    });
    assert_eq!(given_up(&mut bench, taken), None);
}

#[test]
fn progress_is_asked_for_before_a_peer_is_judged_and_only_then() {
    let mut bench = Bench::new().up();
    bench.inbound();
    bench.now.0 += 60 * S - 1;
    assert!(!bench.dog.wants_progress(bench.now));
    bench.now.0 += 1;
    assert!(bench.dog.wants_progress(bench.now));
    bench.dog.handle_timeout(bench.now);
    assert!(!bench.dog.wants_progress(bench.now));
}

#[test]
fn without_keepalive_an_idle_tunnel_waits_for_nothing() {
    let policy = Policy {
        alive_interval: Duration::ZERO,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, 1).up();
    assert_eq!(bench.dog.poll_timeout(), None);
    assert_eq!(bench.on(Input::LinkUp), []);
}
