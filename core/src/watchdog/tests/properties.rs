//! What holds for any sequence of inputs.

use super::*;
use crate::liveness::Progress;
use proptest::prelude::*;
use std::vec;

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Happens(Input),
    /// A caller adds a forward.
    Want(usize),
    /// A caller takes a forward away.
    Unwant(ForwardId),
    Pass(u64),
    NextTimer,
}

fn input() -> impl Strategy<Value = Input> {
    use Input as H;
    let id = (0u8..20).prop_map(ForwardId);
    prop_oneof![
        4 => Just(H::Resolved),
        4 => Just(H::Connected),
        4 => Just(H::Identified),
        4 => Just(H::KeysExchanged),
        8 => Just(H::Authenticated),
        8 => (id.clone(), any::<u16>()).prop_map(|(id, port)| H::ForwardConfirmed { id, port }),
        4 => id.clone().prop_map(|id| H::ForwardRefused { id }),
        2 => id.clone().prop_map(|id| H::ForwardElsewhere { id }),
        2 => (id, any::<bool>()).prop_map(|(id, done)| H::ForwardCancelled { id, done }),
        1 => Just(H::FirstAnswers),
        4 => any::<u64>().prop_map(|written| H::Inbound { written }),
        4 => progress().prop_map(H::Acknowledged),
        1 => failure().prop_map(H::Failed),
        2 => Just(H::LinkUp),
        1 => Just(H::ReconnectNow),
        2 => Just(H::Called),
    ]
}

fn progress() -> impl Strategy<Value = Progress> {
    (any::<u32>(), any::<u32>(), 0u64..10_000_000).prop_map(|(queued, acknowledged, at)| Progress {
        queued: queued.into(),
        acknowledged: acknowledged.into(),
        sacked: at / 7,
        at: Instant(at),
        retransmission: Duration::from_millis(at / 100),
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    prop::sample::select(vec![
        Failure::Resolve,
        Failure::Unreachable,
        Failure::Lost,
        Failure::AuthRefused,
        Failure::HostKeyChanged,
        Failure::GoneAway,
        Failure::Protocol,
        Failure::Incompatible,
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => input().prop_map(Step::Happens),
        1 => (0usize..20).prop_map(Step::Want),
        1 => (0u8..20).prop_map(|id| Step::Unwant(ForwardId(id))),
        2 => (0u64..100_000).prop_map(Step::Pass),
        4 => Just(Step::NextTimer),
    ];
    prop::collection::vec(step, 0..80)
}

fn policy() -> impl Strategy<Value = Policy> {
    (0u64..100, 0u32..5, 0u64..40, 0u64..100).prop_map(|(alive, count, timeout, stable)| Policy {
        alive_interval: Duration::from_secs(alive),
        alive_count_max: count,
        resolve_timeout: Duration::from_secs(timeout),
        connect_timeout: Duration::from_secs(timeout),
        kex_timeout: Duration::from_secs(timeout),
        auth_timeout: Duration::from_secs(timeout),
        forward_timeout: Duration::from_secs(timeout),
        stable_after: Duration::from_secs(stable),
        failback_interval: Duration::from_secs(60 + timeout * 20),
        exit_on_forward_failure: false,
        keys: 1,
    })
}

/// The caller's side, which checks each action against what came before.
struct Caller {
    bench: Bench,
    attempt_open: bool,
    authenticated: bool,
    tunnel_up: bool,
    last_attempt: Option<Instant>,
    exits: u32,
}

impl Caller {
    fn new(policy: Policy, forwards: usize, fallbacks: usize) -> Self {
        let mut bench = Bench::with(policy, forwards);
        bench.dog.set_fallbacks(fallbacks);
        let mut caller = Self {
            bench,
            attempt_open: false,
            authenticated: false,
            tunnel_up: false,
            last_attempt: None,
            exits: 0,
        };
        caller.carry_out();
        caller
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Happens(input) => {
                match input {
                    Input::Failed(_) => self.attempt_open = false,
                    Input::Authenticated => self.authenticated = self.attempt_open,
                    _ => {}
                }
                self.bench.dog.handle(self.bench.now, *input);
            }
            Step::Want(number) => {
                self.tunnel_up = false;
                let now = self.bench.now;
                self.bench.dog.want(now, &spec(*number), Origin::Caller);
            }
            Step::Unwant(id) => {
                self.bench.dog.unwant(self.bench.now, *id, Origin::Caller);
            }
            Step::Pass(ms) => {
                self.bench.now.0 += ms;
                self.bench.dog.handle_timeout(self.bench.now);
                self.no_busy_loop();
            }
            Step::NextTimer => {
                if let Some(at) = self.bench.dog.poll_timeout() {
                    self.bench.now = self.bench.now.max(at);
                    self.bench.dog.handle_timeout(self.bench.now);
                    self.no_busy_loop();
                }
            }
        }
        self.carry_out();
        self.some_way_out();
    }

    fn no_busy_loop(&self) {
        let next = self.bench.dog.poll_timeout();
        assert!(next.is_none_or(|at| at > self.bench.now), "{next:?}");
    }

    /// There is a timer, or nothing to wait for.
    fn some_way_out(&self) {
        let dog = &self.bench.dog;
        if dog.poll_timeout().is_none() {
            let unwatched = dog.policy.alive_interval.is_zero() && dog.forwards.all_confirmed();
            let idle = matches!(dog.state(), State::Up { .. }) && unwatched;
            assert!(idle || dog.state() == State::Stopped, "{:?}", dog.state());
        }
    }

    fn carry_out(&mut self) {
        let now = self.bench.now;
        while let Some(action) = self.bench.dog.poll_action() {
            assert_eq!(self.exits, 0, "{action:?} after the end");
            match action {
                Action::Resolve => {
                    assert!(!self.attempt_open, "two attempts at once");
                    if let Some(last) = self.last_attempt {
                        assert!(now.since(last) >= ATTEMPT_GAP, "attempts too close");
                    }
                    self.attempt_open = true;
                    self.authenticated = false;
                    self.tunnel_up = false;
                    self.last_attempt = Some(now);
                }
                Action::Abandon(_) => {
                    assert!(self.attempt_open, "nothing to abandon");
                    self.attempt_open = false;
                }
                Action::RequestForward { id }
                | Action::CancelForward { id }
                | Action::ForwardWaits { id, .. } => {
                    assert!(self.attempt_open && self.authenticated);
                    assert!(self.bench.dog.forwards().get(id).is_some());
                }
                Action::TryFirst => {
                    assert!(self.attempt_open && self.authenticated);
                    assert_ne!(self.bench.dog.destination(), 0);
                }
                Action::Probe => assert!(self.attempt_open && self.authenticated),
                Action::TunnelUp => {
                    assert!(self.attempt_open && self.authenticated && !self.tunnel_up);
                    self.tunnel_up = true;
                }
                Action::Wait { until, .. } => {
                    assert!(!self.attempt_open && until >= now);
                }
                Action::Disconnect => assert!(self.attempt_open),
                Action::Exit => self.exits += 1,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn attempts_follow_one_another_and_every_state_has_a_way_out(
        policy in policy(), forwards in 0usize..20, fallbacks in 0usize..=4, steps in steps()
    ) {
        let mut caller = Caller::new(policy, forwards, fallbacks);
        for step in &steps {
            caller.step(step);
        }
        prop_assert_eq!(caller.exits, 0, "no trouble of the network ends it");

        // Left to its timers alone, with a server that says nothing more, it tries again.
        // Where it is never probed, at most a look at the first destination is left.
        let idle_for_good = |caller: &Caller| {
            let dog = &caller.bench.dog;
            dog.poll_timeout().is_none_or(|at| dog.failback_at == Some(at))
                && caller.bench.dog.policy.alive_interval.is_zero()
        };
        let before = caller.last_attempt;
        for _ in 0..100 {
            if caller.last_attempt != before || idle_for_good(&caller) {
                break;
            }
            caller.step(&Step::NextTimer);
        }
        prop_assert!(caller.last_attempt != before || idle_for_good(&caller));

        // And it can be ended from wherever it is.
        caller.step(&Step::Happens(Input::Stop));
        caller.step(&Step::Pass(DRAIN.as_millis() as u64));
        prop_assert_eq!(caller.exits, 1);
        for step in &steps {
            caller.step(step);
        }
        prop_assert_eq!(caller.bench.dog.poll_timeout(), None);
    }

    #[test]
    fn a_caller_that_carries_nothing_out_finds_few_actions_and_the_latest(
        policy in policy(), forwards in 0usize..20, steps in steps()
    ) {
        let mut bench = Bench::with(policy, forwards);
        for step in &steps {
            match step {
                Step::Happens(input) => bench.dog.handle(bench.now, *input),
                Step::Want(number) => {
                    bench.dog.want(bench.now, &spec(*number), Origin::Caller);
                }
                Step::Unwant(id) => {
                    bench.dog.unwant(bench.now, *id, Origin::Caller);
                }
                Step::Pass(ms) => {
                    bench.now.0 += ms;
                    bench.dog.handle_timeout(bench.now);
                }
                Step::NextTimer => bench.dog.handle_timeout(bench.now),
            }
        }
        let actions = bench.actions();
        prop_assert!(actions.len() <= 3 * MAX_FORWARDS + 7);
        let resolves = actions.contains(&Action::Resolve);
        let connecting = matches!(bench.dog.state(), State::Connecting(_) | State::Up { .. });
        prop_assert!(!resolves || connecting, "an attempt that is over is not begun");
    }

    #[test]
    fn a_silent_loss_is_noticed_within_the_stated_bound(
        alive_s in 1u64..=3600, count in 1u32..=10, forwards in 0usize..4
    ) {
        let interval = Duration::from_secs(alive_s);
        let policy = Policy { alive_interval: interval, alive_count_max: count, ..Policy::default() };
        let mut bench = Bench::with(policy, forwards).up();
        let last_byte = bench.now;
        let bound = interval + interval.min(Duration::from_secs(5)) * count;
        loop {
            let actions = bench.next_timer();
            if actions.contains(&Action::Abandon(Failure::Silent)) {
                break;
            }
            prop_assert_eq!(actions, [Action::Probe]);
        }
        prop_assert_eq!(bench.now.since(last_byte), bound);
    }
}
