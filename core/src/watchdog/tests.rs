#![allow(clippy::unwrap_used)]

use super::*;
use crate::backoff::range;
use crate::failure::Class;
use crate::forward::MAX_FORWARDS;
use crate::forwards::{ForwardId, ForwardState, Origin};
use crate::liveness::Progress;
use std::vec::Vec;

mod again;
mod alive;
mod fallbacks;
mod orders;
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
