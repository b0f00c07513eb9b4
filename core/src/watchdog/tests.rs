#![allow(clippy::unwrap_used)]

use super::*;
use crate::backoff::range;
use crate::failure::Class;
use crate::forward::MAX_FORWARDS;
use crate::forwards::{ForwardId, ForwardState, Origin};
use crate::liveness::Progress;
use std::vec::Vec;

mod fallbacks;
mod properties;
mod reload;
mod timers;

/// The forward with this number.
fn spec(number: usize) -> ForwardSpec {
    ForwardSpec::parse(&std::format!("{}:localhost:22", 1111 + number)).unwrap()
}

fn specs(count: usize) -> Vec<ForwardSpec> {
    (0..count).map(spec).collect()
}

/// A watchdog on virtual time.
struct Bench {
    dog: Watchdog,
    now: Instant,
}

const S: u64 = 1000;

impl Bench {
    fn with(policy: Policy, forwards: usize) -> Self {
        let now = Instant(1_000_000);
        Self {
            dog: Watchdog::new(policy, &specs(forwards), 42, now),
            now,
        }
    }

    /// Two forwards and the default policy.
    fn new() -> Self {
        Self::with(Policy::default(), 2)
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.dog.poll_action()).collect()
    }

    /// Hands in a input and gives what it led to.
    fn on(&mut self, input: Input) -> Vec<Action> {
        self.dog.handle(self.now, input);
        if self.dog.poll_timeout().is_some_and(|at| at <= self.now) {
            self.dog.handle_timeout(self.now);
        }
        self.actions()
    }

    /// Bytes from the server.
    fn inbound(&mut self) -> Vec<Action> {
        self.on(Input::Inbound { written: 0 })
    }

    /// Lets time pass to the next timer and gives what it led to.
    fn next_timer(&mut self) -> Vec<Action> {
        let at = self.dog.poll_timeout().unwrap();
        assert!(at >= self.now);
        self.now = at;
        self.dog.handle_timeout(self.now);
        self.actions()
    }

    fn pass(&mut self, ms: u64) -> Vec<Action> {
        self.now.0 += ms;
        self.dog.handle_timeout(self.now);
        self.actions()
    }

    fn reach(&mut self, stage: Stage) {
        use Input as H;
        let way = [
            (Stage::Tcp, H::Resolved),
            (Stage::Ident, H::Connected),
            (Stage::KeyExchange, H::Identified),
            (Stage::Authentication, H::KeysExchanged),
            (Stage::Forward, H::Authenticated),
        ];
        for (reached, input) in way {
            if reached <= stage {
                self.on(input);
            }
        }
    }

    /// Authenticated, every forward confirmed.
    fn up(mut self) -> Self {
        self.actions();
        self.reach(Stage::Forward);
        for id in 0..self.states().len() as u8 {
            let id = ForwardId(id);
            self.on(Input::ForwardConfirmed { id, port: 1111 });
        }
        self
    }

    fn states(&self) -> Vec<ForwardState> {
        let forwards = self.dog.forwards().iter();
        forwards.map(|(_, forward)| forward.state()).collect()
    }

    fn waiting(&self) -> (Duration, Failure) {
        match self.dog.state() {
            State::Waiting { until, why } => (until.since(self.now), why),
            state => panic!("not waiting but {state}"),
        }
    }
}

#[test]
fn the_default_policy_is_that_of_an_empty_configuration() {
    let mut config = crate::config::Config::new();
    assert_eq!(Policy::from(&config), Policy::default());
    config.parse_option("ServerAliveInterval 7").unwrap();
    config.parse_option("ServerAliveCountMax 9").unwrap();
    config.parse_option("ConnectTimeout 11").unwrap();
    config.parse_option("ExitOnForwardFailure yes").unwrap();
    let policy = Policy::from(&config);
    assert_eq!(policy.alive_interval, Duration::from_secs(7));
    assert_eq!(policy.alive_count_max, 9);
    assert_eq!(policy.connect_timeout, Duration::from_secs(11));
    assert!(policy.exit_on_forward_failure);
}

#[test]
fn the_first_attempt_begins_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.actions(), [Action::Resolve]);
    assert_eq!(bench.dog.state(), State::Connecting(Stage::Resolve));
}

#[test]
fn every_stage_has_its_deadline() {
    for (stage, seconds) in [
        (Stage::Resolve, 30),
        (Stage::Tcp, 30),
        (Stage::KeyExchange, 30),
        (Stage::Authentication, 60),
        (Stage::Forward, 30),
    ] {
        let mut bench = Bench::new();
        bench.actions();
        bench.reach(stage);
        let begun = bench.now;
        let actions = bench.next_timer();
        assert_eq!(
            bench.now.since(begun),
            Duration::from_secs(seconds),
            "{stage}"
        );
        let why = Failure::Timeout(stage);
        assert_eq!(actions[0], Action::Abandon(why));
        assert!(matches!(actions[1], Action::Wait { why: w, .. } if w == why));
        assert_eq!(actions.len(), 2);
    }
}

#[test]
fn the_identification_shares_the_time_of_the_tcp_connection() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Tcp);
    let begun = bench.now;
    bench.pass(20 * S);
    bench.on(Input::Connected);
    let why = Failure::Timeout(Stage::Ident);
    assert_eq!(bench.next_timer()[0], Action::Abandon(why));
    assert_eq!(bench.now.since(begun), Duration::from_secs(30));
}

#[test]
fn a_server_that_talks_without_getting_on_gains_no_time() {
    let mut bench = Bench::new();
    bench.reach(Stage::KeyExchange);
    let before = bench.dog.poll_timeout();
    bench.pass(10 * S);
    bench.inbound();
    bench.on(Input::Identified);
    assert_eq!(bench.dog.poll_timeout(), before);
}

#[test]
fn forwards_are_asked_for_together_and_the_tunnel_is_up_when_all_are_confirmed() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Authentication);
    let asked = bench.on(Input::Authenticated);
    let request = |id| Action::RequestForward { id: ForwardId(id) };
    assert_eq!(asked, [request(0), request(1)]);
    let confirm = |id| Input::ForwardConfirmed {
        id: ForwardId(id),
        port: 7,
    };
    assert_eq!(bench.on(confirm(1)), []);
    assert_eq!(bench.states()[1], ForwardState::Confirmed { port: 7 });
    assert_eq!(bench.on(confirm(0)), [Action::TunnelUp]);
    assert_eq!(bench.on(confirm(0)), [], "once per connection");
}

#[test]
fn a_tunnel_without_forwards_is_up_when_authenticated() {
    let mut bench = Bench::with(Policy::default(), 0);
    bench.actions();
    bench.reach(Stage::Authentication);
    assert_eq!(bench.on(Input::Authenticated), [Action::TunnelUp]);
}

#[test]
fn a_refused_forward_is_asked_for_again_while_the_connection_and_the_others_stay() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Forward);
    bench.on(Input::ForwardConfirmed {
        id: ForwardId(0),
        port: 1,
    });
    for _ in 0..5 {
        let actions = bench.on(Input::ForwardRefused { id: ForwardId(1) });
        let [
            Action::ForwardWaits {
                id: ForwardId(1),
                until,
                ..
            },
        ] = actions[..]
        else {
            panic!("{actions:?}");
        };
        let wait = until.since(bench.now);
        assert!((1..=60).contains(&wait.as_secs()), "{wait:?}");
        loop {
            bench.inbound();
            match bench.next_timer()[..] {
                [Action::RequestForward { id: ForwardId(1) }] => break,
                ref actions => assert_eq!(actions, [Action::Probe]),
            }
        }
        assert_eq!(bench.states()[0], ForwardState::Confirmed { port: 1 });
    }
    let last = bench.on(Input::ForwardConfirmed {
        id: ForwardId(1),
        port: 2,
    });
    assert_eq!(last, [Action::TunnelUp]);
}

#[test]
fn exit_on_forward_failure_ends_everything() {
    let policy = Policy {
        exit_on_forward_failure: true,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, 2);
    bench.actions();
    bench.reach(Stage::Forward);
    let actions = bench.on(Input::ForwardRefused { id: ForwardId(0) });
    assert_eq!(actions, [Action::Disconnect]);
    assert_eq!(bench.on(Input::Failed(Failure::Lost)), [Action::Exit]);
    assert_eq!(bench.dog.exit_reason(), ExitReason::ForwardRefused);
}

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

#[test]
fn a_lost_connection_is_made_again_with_all_its_forwards() {
    let mut bench = Bench::new().up();
    let actions = bench.on(Input::Failed(Failure::Lost));
    assert!(matches!(
        actions[..],
        [Action::Wait {
            why: Failure::Lost,
            ..
        }]
    ));
    assert_eq!(bench.states(), [ForwardState::Idle; 2]);
    assert_eq!(bench.next_timer(), [Action::Resolve]);
    bench.reach(Stage::Authentication);
    let request = |id| Action::RequestForward { id: ForwardId(id) };
    assert_eq!(bench.on(Input::Authenticated), [request(0), request(1)]);
}

#[test]
fn a_login_that_was_lost_is_repeated_at_once_however_often() {
    for why in [
        Failure::Lost,
        Failure::Silent,
        Failure::Timeout(Stage::Forward),
    ] {
        let mut bench = Bench::new();
        for _ in 0..50 {
            bench.reach(Stage::Forward);
            bench.pass(S);
            bench.on(Input::Failed(why));
            assert!(bench.waiting().0 <= Duration::from_secs(1), "{why}");
            bench.next_timer();
        }
    }
}

#[test]
fn waits_grow_until_a_connection_has_held_for_a_minute() {
    let mut bench = Bench::new();
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        bench.reach(Stage::Forward);
        bench.pass(S);
        bench.on(Input::Failed(Failure::ServerClosed));
        longest = longest.max(bench.waiting().0);
        bench.next_timer();
    }
    assert!(longest > Duration::from_secs(5) && longest <= Duration::from_secs(60));
    bench.reach(Stage::Forward);
    for _ in 0..60 {
        bench.inbound();
        bench.on(Input::ForwardConfirmed {
            id: ForwardId(0),
            port: 1,
        });
        bench.on(Input::ForwardConfirmed {
            id: ForwardId(1),
            port: 1,
        });
        bench.pass(S);
    }
    bench.on(Input::Failed(Failure::ServerClosed));
    assert!(
        bench.waiting().0 <= Duration::from_secs(1),
        "it started over"
    );
}

#[test]
fn a_server_that_is_not_there_is_tried_for_ever_and_seldom() {
    for seed in 0..20 {
        let mut now = Instant(0);
        let mut dog = Watchdog::new(Policy::default(), &specs(2), seed, now);
        let (mut attempts, hour) = (0, Instant(3600 * S));
        while now < hour {
            while let Some(action) = dog.poll_action() {
                if action == Action::Resolve {
                    attempts += 1;
                    dog.handle(now, Input::Failed(Failure::Unreachable));
                }
                assert!(!matches!(action, Action::Exit | Action::Disconnect));
            }
            now = dog.poll_timeout().unwrap();
            dog.handle_timeout(now);
        }
        // About 30 s on average, and 7 more while the waits are still short.
        assert!(
            (90..=180).contains(&attempts),
            "{attempts} attempts in an hour"
        );
    }
}

#[test]
fn classes_wait_within_their_bounds_and_a_link_cuts_a_wait_to_its_floor_at_most() {
    for (failure, class) in [
        (Failure::Unreachable, Class::Normal),
        // One flipped bit on the way is not a changed key.
        (Failure::Protocol, Class::Normal),
        (Failure::AuthRefused, Class::Slow),
        (Failure::Incompatible, Class::Slow),
        (Failure::HostKeyChanged, Class::HostKey),
        (Failure::HostKeyUnknown, Class::HostKey),
        (Failure::Local, Class::Local),
        (Failure::GoneAway, Class::Throttled),
        (Failure::NotServed, Class::Unserved),
    ] {
        let bounds = range(class);
        let mut bench = Bench::new();
        bench.actions();
        for _ in 0..12 {
            bench.on(Input::Failed(failure));
            let failed_at = bench.now;
            let (wait, why) = bench.waiting();
            assert_eq!(why, failure);
            assert!(wait >= bounds.floor && wait <= bounds.cap, "{wait:?}");
            bench.pass(10);
            bench.on(Input::LinkUp);
            assert_eq!(bench.next_timer(), [Action::Resolve]);
            assert_eq!(bench.now.since(failed_at), bounds.floor, "{failure}");
        }
    }
}

#[test]
fn a_link_that_comes_back_late_in_a_wait_begins_the_attempt_at_once() {
    let mut bench = Bench::new();
    loop {
        bench.on(Input::Failed(Failure::Unreachable));
        if bench.waiting().0 > Duration::from_secs(10) {
            break;
        }
        bench.next_timer();
    }
    bench.pass(5 * S);
    assert_eq!(bench.on(Input::LinkUp), [Action::Resolve]);
    assert_eq!(bench.on(Input::LinkUp), [], "an attempt is under way");
}

#[test]
fn a_link_that_comes_back_begins_an_attempt_anew_that_has_lasted_too_long() {
    for (stage, stale) in [
        (Stage::Resolve, STALE_DIAL),
        (Stage::Tcp, STALE_DIAL),
        (Stage::Ident, STALE_HANDSHAKE),
        (Stage::Authentication, STALE_HANDSHAKE),
    ] {
        let mut bench = Bench::new();
        bench.actions();
        bench.reach(stage);
        let stale_ms = stale.as_millis() as u64;
        bench.pass(stale_ms - 1);
        assert_eq!(bench.on(Input::LinkUp), [], "{stage}");
        bench.pass(1);
        let anew = [Action::Abandon(Failure::NetworkChanged), Action::Resolve];
        assert_eq!(bench.on(Input::LinkUp), anew, "{stage}");
        assert_eq!(bench.dog.state(), State::Connecting(Stage::Resolve));
    }
}

#[test]
fn a_link_that_comes_back_under_a_living_tunnel_probes_it_at_once_and_once() {
    let mut bench = Bench::new().up();
    bench.pass(S);
    assert_eq!(bench.on(Input::LinkUp), [Action::Probe]);
    assert_eq!(bench.on(Input::LinkUp), []);
    let lost_by = bench.now + Duration::from_secs(15);
    while !matches!(bench.next_timer()[0], Action::Abandon(_)) {}
    assert_eq!(bench.now, lost_by);
}

#[test]
fn a_reconnection_asked_for_cuts_everything_short() {
    let mut bench = Bench::new().up();
    bench.pass(10 * S);
    let actions = bench.on(Input::ReconnectNow);
    assert_eq!(actions, [Action::Abandon(Failure::Asked), Action::Resolve]);
    bench.on(Input::Failed(Failure::AuthRefused));
    bench.pass(S);
    assert_eq!(bench.on(Input::ReconnectNow), [Action::Resolve]);
    let actions = bench.on(Input::ReconnectNow);
    assert!(matches!(
        actions[..],
        [Action::Abandon(_), Action::Wait { .. }]
    ));
    assert_eq!(bench.waiting().0, ATTEMPT_GAP, "not faster than that");
}

#[test]
fn a_call_cuts_a_wait_short_and_one_too_many_has_its_turn_later() {
    let mut bench = Bench::new();
    bench.actions();
    for _ in 0..3 {
        bench.on(Input::Failed(Failure::AuthRefused));
        bench.pass(10 * S);
        assert_eq!(bench.on(Input::Called), [Action::Resolve]);
        assert_eq!(bench.on(Input::Called), [], "an attempt is under way");
    }
    bench.on(Input::Failed(Failure::AuthRefused));
    let (before, _) = bench.waiting();
    assert!(matches!(bench.on(Input::Called)[..], [Action::Wait { .. }]));
    let (after, why) = bench.waiting();
    assert!(
        after < before && after > Duration::from_secs(500),
        "{after:?}"
    );
    assert_eq!(why, Failure::AuthRefused);
    assert_eq!(
        bench.on(Input::Called),
        [],
        "no call makes it sooner or later"
    );
    assert_eq!(bench.next_timer(), [Action::Resolve]);
}

#[test]
fn a_call_asks_again_for_a_refused_forward_and_leaves_the_connection_alone() {
    let mut bench = Bench::new();
    bench.reach(Stage::Forward);
    bench.actions();
    let id = ForwardId(0);
    bench.on(Input::ForwardConfirmed {
        id: ForwardId(1),
        port: 1112,
    });
    bench.on(Input::ForwardRefused { id });
    assert_eq!(bench.on(Input::Called), [Action::RequestForward { id }]);
    bench.on(Input::ForwardConfirmed { id, port: 1111 });
    assert_eq!(bench.on(Input::Called), []);
}

#[test]
fn stop_ends_a_connection_gracefully_and_within_2_s() {
    for stage in [Stage::Resolve, Stage::KeyExchange, Stage::Forward] {
        let mut bench = Bench::new();
        bench.actions();
        bench.reach(stage);
        assert_eq!(bench.on(Input::Stop), [Action::Disconnect]);
        assert_eq!(bench.on(Input::Stop), []);
        assert_eq!(bench.on(Input::ReconnectNow), []);
        let begun = bench.now;
        assert_eq!(bench.next_timer(), [Action::Exit]);
        assert_eq!(bench.now.since(begun), Duration::from_secs(2));
        assert_eq!(bench.dog.state(), State::Stopped);
        assert_eq!(bench.dog.exit_reason(), ExitReason::Stopped);
    }
}

#[test]
fn stop_ends_at_once_when_the_connection_is_closed_or_there_is_none() {
    let mut bench = Bench::new().up();
    bench.on(Input::Stop);
    assert_eq!(
        bench.on(Input::Failed(Failure::ServerClosed)),
        [Action::Exit]
    );
    let mut bench = Bench::new();
    bench.actions();
    bench.on(Input::Failed(Failure::Resolve));
    assert_eq!(bench.on(Input::Stop), [Action::Exit]);
    assert_eq!(bench.dog.poll_timeout(), None);
}

#[test]
fn what_does_not_fit_the_state_is_ignored() {
    let mut bench = Bench::new();
    bench.actions();
    for early in [
        Input::ForwardConfirmed {
            id: ForwardId(0),
            port: 1,
        },
        Input::ForwardRefused { id: ForwardId(0) },
        Input::Inbound { written: 0 },
        Input::LinkUp,
    ] {
        assert_eq!(bench.on(early), []);
    }
    bench.on(Input::Failed(Failure::Unreachable));
    let state = bench.dog.state();
    for late in [
        Input::Resolved,
        Input::Authenticated,
        Input::Failed(Failure::AuthRefused),
    ] {
        assert_eq!(bench.on(late), []);
        assert_eq!(bench.dog.state(), state);
    }
}

#[test]
fn what_is_not_carried_out_in_time_is_taken_back() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Authentication);
    bench.dog.handle(bench.now, Input::Authenticated);
    bench.dog.handle(bench.now, Input::Failed(Failure::Lost));
    let actions = bench.actions();
    assert!(matches!(actions[..], [Action::Wait { .. }]), "{actions:?}");
}

#[test]
fn a_stop_takes_back_what_was_not_carried_out() {
    let mut bench = Bench::new();
    bench.actions();
    bench.reach(Stage::Authentication);
    bench.dog.handle(bench.now, Input::Authenticated);
    bench.dog.handle(bench.now, Input::Stop);
    assert_eq!(bench.actions(), [Action::Disconnect]);
}

#[test]
fn a_link_never_makes_a_wait_longer() {
    let mut bench = Bench::new();
    bench.on(Input::Failed(Failure::AuthRefused));
    bench.on(Input::ReconnectNow);
    let (wait, _) = bench.waiting();
    assert_eq!(wait, ATTEMPT_GAP);
    assert_eq!(bench.on(Input::LinkUp), []);
    assert_eq!(bench.waiting().0, wait);
}
