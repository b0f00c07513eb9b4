#![allow(clippy::unwrap_used)]

use super::*;
use std::format;
use std::vec::Vec;

const REPLY: Duration = Duration::from_secs(30);
const NOW: Instant = Instant(0);
const FIRST: ForwardId = ForwardId(0);
const SECOND: ForwardId = ForwardId(1);

fn spec(number: usize) -> ForwardSpec {
    ForwardSpec::parse(&format!("{}:localhost:22", 1111 + number)).unwrap()
}

/// So many forwards that the configuration names.
fn configured(count: usize) -> Forwards {
    let specs: Vec<ForwardSpec> = (0..count).map(spec).collect();
    Forwards::new(&specs)
}

fn confirmed(count: usize) -> Forwards {
    let mut forwards = configured(count);
    forwards.request_wanted(NOW, REPLY);
    for number in 0..count as u8 {
        assert!(forwards.handle_confirmed(ForwardId(number), 1111));
    }
    forwards
}

fn state(forwards: &Forwards, id: ForwardId) -> ForwardState {
    forwards.get(id).unwrap().state()
}

fn is_wanted(forwards: &Forwards, id: ForwardId) -> bool {
    forwards.get(id).unwrap().is_wanted()
}

#[test]
fn a_refused_forward_is_asked_for_again_and_waits_no_longer_than_it_has_been_refused() {
    let mut forwards = configured(1);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..8 {
        forwards.request(FIRST, now, REPLY);
        assert!(forwards.handle_refused(FIRST, now, u32::MAX));
        let retry_at = forwards.retry_due().unwrap();
        waits.push(retry_at.since(now).as_secs());
        assert_eq!(forwards.poll_retry(Instant(retry_at.0 - 1)), None);
        assert_eq!(forwards.poll_retry(retry_at), Some(FIRST));
        now = retry_at;
    }
    assert_eq!(waits, [2, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn replies_nobody_asked_for_change_nothing() {
    let mut forwards = configured(2);
    assert!(!forwards.handle_confirmed(FIRST, 1111));
    assert!(!forwards.handle_refused(ForwardId(7), NOW, 0));
    assert!(!forwards.handle_cancelled(FIRST, true));
    forwards.request(FIRST, NOW, REPLY);
    assert!(forwards.handle_confirmed(FIRST, 1111));
    assert!(!forwards.handle_refused(FIRST, Instant(1), 0));
    assert_eq!(forwards.confirmed(), 1);
    assert!(!forwards.all_confirmed());
    forwards.reset();
    assert_eq!(state(&forwards, FIRST), ForwardState::Idle);
    assert_eq!(forwards.wanted().count(), 2);
}

#[test]
fn a_forward_has_a_port_while_the_server_listens_or_is_about_to_stop() {
    let mut forwards = configured(1);
    let port = |forwards: &Forwards| forwards.get(FIRST).unwrap().port();
    assert_eq!(port(&forwards), 0);
    forwards.request(FIRST, NOW, REPLY);
    assert_eq!(port(&forwards), 0);
    forwards.handle_confirmed(FIRST, 4711);
    assert_eq!(port(&forwards), 4711);
    forwards.cancel(FIRST, NOW, REPLY);
    assert_eq!(port(&forwards), 4711);
    forwards.handle_cancelled(FIRST, true);
    assert_eq!(port(&forwards), 0);
}

#[test]
fn a_forward_that_is_unwanted_before_its_reply_keeps_its_record_until_then() {
    let mut forwards = configured(1);
    forwards.request(FIRST, NOW, REPLY);
    forwards.unwant(FIRST, Origin::Configuration);
    assert_eq!(forwards.want(&spec(9), Origin::Caller), Some(SECOND));
    assert!(forwards.handle_confirmed(FIRST, 1111));
    assert!(!is_wanted(&forwards, FIRST));
    forwards.cancel(FIRST, Instant(1), REPLY);
    assert_eq!(forwards.reply_due(), Some(Instant(30_001)));
    assert!(forwards.handle_cancelled(FIRST, true));
    assert_eq!(forwards.want(&spec(5), Origin::Caller), Some(FIRST));
}

#[test]
fn a_forward_wanted_again_while_it_is_taken_back_waits_for_the_reply() {
    for (done, after) in [
        (true, ForwardState::Idle),
        (false, ForwardState::Confirmed { port: 1111 }),
    ] {
        let mut forwards = confirmed(1);
        forwards.unwant(FIRST, Origin::Configuration);
        forwards.cancel(FIRST, NOW, REPLY);
        forwards.want(&spec(0), Origin::Configuration);
        assert!(forwards.handle_cancelled(FIRST, done));
        assert_eq!(state(&forwards, FIRST), after);
    }
}

#[test]
fn an_unwanted_forward_is_not_asked_for_again_when_refused() {
    let mut forwards = configured(2);
    forwards.request_wanted(NOW, REPLY);
    forwards.unwant(FIRST, Origin::Caller);
    assert!(!forwards.handle_refused(FIRST, NOW, 0));
    assert!(forwards.handle_refused(SECOND, NOW, 0));
    forwards.unwant(SECOND, Origin::Caller);
    assert_eq!(forwards.retry_due(), None);
    assert!(forwards.all_confirmed(), "none is wanted");
}

#[test]
fn what_a_caller_takes_away_stays_away_whatever_the_configuration_says() {
    let mut forwards = configured(1);
    forwards.unwant(FIRST, Origin::Caller);
    forwards.want(&spec(0), Origin::Configuration);
    assert!(!is_wanted(&forwards, FIRST));
    assert!(forwards.get(FIRST).unwrap().is_withdrawn());
    forwards.want(&spec(0), Origin::Caller);
    assert!(is_wanted(&forwards, FIRST));
    assert_eq!(added(&forwards, FIRST), [Origin::Caller]);
}

fn added(forwards: &Forwards, id: ForwardId) -> std::vec::Vec<Origin> {
    forwards.get(id).unwrap().added().collect()
}

#[test]
fn a_script_takes_away_what_callers_added_and_nothing_else() {
    for (operator, stays) in [
        (Some(Origin::Configuration), true),
        (Some(Origin::Service), true),
        (None, false),
    ] {
        let mut forwards = Forwards::default();
        for origin in operator.into_iter().chain([Origin::Script]) {
            forwards.want(&spec(0), origin);
        }
        forwards.unwant(FIRST, Origin::Script);
        assert_eq!(is_wanted(&forwards, FIRST), stays, "{operator:?}");
        assert_eq!(forwards.get(FIRST).unwrap().is_operators(), stays);
        // What a person takes away is away, whoever wanted it, and what that person wants is back.
        forwards.want(&spec(0), Origin::Script);
        forwards.unwant(FIRST, Origin::Caller);
        assert!(!is_wanted(&forwards, FIRST), "{operator:?}");
        assert_eq!(added(&forwards, FIRST), []);
    }
}

#[test]
fn what_the_service_adds_stays_when_the_configuration_drops_it() {
    let mut forwards = configured(1);
    forwards.want(&spec(0), Origin::Service);
    forwards.unwant(FIRST, Origin::Configuration);
    assert!(is_wanted(&forwards, FIRST));
    assert_eq!(added(&forwards, FIRST), [Origin::Service]);
}

#[test]
fn a_forward_that_leaves_the_configuration_and_comes_back_is_wanted_again() {
    let mut forwards = configured(1);
    forwards.unwant(FIRST, Origin::Caller);
    forwards.unwant(FIRST, Origin::Configuration);
    assert!(!forwards.get(FIRST).unwrap().is_withdrawn());
    forwards.want(&spec(0), Origin::Configuration);
    assert!(is_wanted(&forwards, FIRST));
}

#[test]
fn what_a_caller_adds_stays_when_the_configuration_drops_it() {
    let mut forwards = configured(1);
    assert!(forwards.get(FIRST).unwrap().is_configured());
    forwards.want(&spec(0), Origin::Caller);
    forwards.unwant(FIRST, Origin::Configuration);
    assert!(is_wanted(&forwards, FIRST));
    assert!(!forwards.get(FIRST).unwrap().is_configured());
}

#[test]
fn the_table_takes_as_many_as_a_tunnel_may_have() {
    let mut forwards = configured(MAX_FORWARDS);
    assert_eq!(forwards.want(&spec(99), Origin::Caller), None);
    assert_eq!(forwards.wanted().count(), MAX_FORWARDS);
    assert_eq!(forwards.by_number(16), None);
    assert_eq!(forwards.by_number(15).map(ForwardId::number), Some(15));
    // What a caller took away of the configuration keeps its record: the order stands.
    forwards.unwant(FIRST, Origin::Caller);
    assert_eq!(forwards.want(&spec(99), Origin::Caller), None);
    forwards.unwant(FIRST, Origin::Configuration);
    assert_eq!(forwards.want(&spec(99), Origin::Caller), Some(FIRST));
}

#[test]
fn the_earliest_deadline_counts() {
    let mut forwards = configured(3);
    forwards.request(FIRST, Instant(500), REPLY);
    forwards.request(SECOND, NOW, REPLY);
    assert_eq!(forwards.reply_due(), Some(Instant(30_000)));
    assert_eq!(forwards.retry_due(), None);
}

#[test]
fn a_wait_is_told_first_and_then_anew_after_all_were_confirmed() {
    let mut forwards = configured(1);
    let mut told = Vec::new();
    for round in 0..3 {
        forwards.request(FIRST, NOW, REPLY);
        assert_eq!(
            forwards.next_action(),
            Some((FIRST, ForwardAction::Request))
        );
        forwards.handle_refused(FIRST, NOW, 0);
        match forwards.next_action() {
            Some((FIRST, ForwardAction::Waits { first, .. })) => told.push(first),
            other => panic!("{other:?}"),
        }
        assert_eq!(forwards.next_action(), None);
        if round == 1 {
            forwards.forget_told();
        }
    }
    assert_eq!(told, [true, false, true]);
}

#[test]
fn requests_come_before_cancellations_and_both_before_words() {
    let mut forwards = confirmed(3);
    while forwards.next_action().is_some() {}
    forwards.cancel(FIRST, NOW, REPLY);
    forwards.request(ForwardId(2), NOW, REPLY);
    forwards.request(SECOND, NOW, REPLY);
    assert!(forwards.handle_refused(SECOND, NOW, 0));
    let order: Vec<ForwardId> =
        std::iter::from_fn(|| forwards.next_action().map(|(id, _)| id)).collect();
    assert_eq!(order, [ForwardId(2), FIRST, SECOND]);
}

#[test]
fn a_forward_that_led_elsewhere_is_asked_for_again_as_if_refused_and_only_that_one() {
    let third = ForwardId(2);
    let mut idle = configured(1);
    assert!(!idle.mislead(FIRST), "nobody listens yet");
    let mut forwards = confirmed(3);
    forwards.unwant(third, Origin::Configuration);
    assert!(!forwards.mislead(third), "it is taken back anyway");
    let taken_back = |forwards: &mut Forwards, id| {
        forwards.cancel(id, NOW, REPLY);
        forwards.handle_cancelled(id, true);
        forwards.take_misled(id, NOW, 0)
    };
    assert!(forwards.mislead(SECOND));
    assert!(taken_back(&mut forwards, SECOND));
    let retry_at = forwards.retry_due().unwrap();
    assert!(retry_at > NOW);
    assert_eq!(state(&forwards, SECOND), ForwardState::Refused { retry_at });
    assert!(!taken_back(&mut forwards, FIRST), "that one led here");

    forwards.request(SECOND, retry_at, REPLY);
    forwards.handle_confirmed(SECOND, 1111);
    assert!(!taken_back(&mut forwards, SECOND), "this time it did, too");
}

#[test]
fn a_forward_that_led_elsewhere_waits_for_nothing_when_it_is_kept_or_unwanted() {
    let mut kept = confirmed(1);
    assert!(kept.mislead(FIRST));
    kept.cancel(FIRST, NOW, REPLY);
    kept.handle_cancelled(FIRST, false);
    assert!(!kept.take_misled(FIRST, NOW, 0));
    assert_eq!(state(&kept, FIRST), ForwardState::Confirmed { port: 1111 });

    let mut unwanted = confirmed(1);
    assert!(unwanted.mislead(FIRST));
    unwanted.cancel(FIRST, NOW, REPLY);
    unwanted.unwant(FIRST, Origin::Caller);
    unwanted.handle_cancelled(FIRST, true);
    assert!(!unwanted.take_misled(FIRST, NOW, 0));
    assert_eq!(unwanted.retry_due(), None);
}

#[test]
fn a_listener_on_a_socket_has_no_port() {
    let listener = ForwardSpec::parse("/run/tunnels/a.sock:localhost:22").unwrap();
    let mut forwards = Forwards::new(&[listener]);
    forwards.request(FIRST, NOW, REPLY);
    forwards.handle_confirmed(FIRST, 4711);
    assert_eq!(forwards.get(FIRST).unwrap().port(), 0);
}

#[test]
fn those_that_are_wanted_and_confirmed_are_counted() {
    let mut forwards = confirmed(3);
    assert_eq!(forwards.confirmed(), 3);
    forwards.unwant(SECOND, Origin::Caller);
    assert_eq!(forwards.confirmed(), 2);
}
