//! Where a check asks, and what it finds there.

use super::*;

#[test]
fn both_loopback_addresses_are_asked_where_the_listener_may_be_on_both() {
    let address = |text: &str| Bind::Address(heapless::String::try_from(text).unwrap());
    assert_eq!(places(&Bind::Default), ["127.0.0.1", "::1"]);
    assert_eq!(places(&Bind::Any), ["127.0.0.1", "::1"]);
    assert_eq!(places(&address("0.0.0.0")), ["127.0.0.1"]);
    assert_eq!(places(&address("::")), ["::1"]);
    assert_eq!(places(&address("::1")), ["::1"]);
    assert_eq!(places(&address("192.0.2.1")), ["192.0.2.1", "127.0.0.1"]);
    assert!(has_spare(&address("192.0.2.1")));
    assert!(!has_spare(&address("127.0.0.1")) && !has_spare(&Bind::Any));
}

/// A check of a forward with a spare place, on a server that lets checks through.
fn with_spare() -> Bench {
    let mut bench = Bench::new(&[1]);
    bench.actions();
    bench.here();
    bench.verify.handle_confirmed(0, 2, true, bench.now);
    assert_eq!(bench.actions(), [open(0, 0)]);
    bench
}

#[test]
fn a_spare_place_counts_only_if_nothing_answers_at_the_first() {
    let mut bench = with_spare();
    assert_eq!(bench.here(), [Action::Close, says(0, Finding::Here)]);

    let mut bench = with_spare();
    assert_eq!(bench.on(|v, now| v.handle_refused(2, now)), [open(0, 1)]);
    assert_eq!(bench.here(), [Action::Close, says(0, Finding::Loopback)]);

    let mut bench = with_spare();
    bench.on(|v, now| v.handle_refused(2, now));
    let gone = bench.on(|v, now| v.handle_refused(2, now));
    assert_eq!(gone, [says(0, Finding::Gone)]);
}

#[test]
fn somebody_else_at_a_spare_place_is_not_in_the_way() {
    let mut bench = with_spare();
    bench.on(|v, now| v.handle_refused(2, now));
    bench.on(Checks::handle_opened);
    let gone = bench.on(Checks::handle_stranger);
    assert_eq!(gone, [Action::Close, says(0, Finding::Gone)]);
}

#[test]
fn a_stranger_that_speaks_is_known_at_once_and_one_place_is_enough() {
    let mut bench = Bench::new(&[2]);
    bench.actions();
    bench.here();
    bench.on(Checks::handle_opened);
    let elsewhere = says(0, Finding::Elsewhere { place: 1 });
    assert_eq!(
        bench.on(Checks::handle_stranger),
        [Action::Close, elsewhere]
    );
}

#[test]
fn one_place_that_leads_here_is_enough_where_the_server_prohibits_the_other() {
    // sshd with permitopen="127.0.0.1:1111", or libssh, whose only refusal this is.
    let prohibit = |v: &mut Checks, now| v.handle_refused(PROHIBITED, now);
    let mut bench = Bench::new(&[2]);
    assert_eq!(bench.actions(), [open(0, 0)]);
    assert_eq!(bench.here(), [Action::Close, open(0, 1)]);
    assert_eq!(bench.on(prohibit), [says(0, Finding::Here)]);

    let mut bench = Bench::new(&[2]);
    bench.actions();
    assert_eq!(bench.on(prohibit), [open(0, 1)]);
    assert_eq!(bench.here(), [Action::Close, says(0, Finding::Here)]);
}
