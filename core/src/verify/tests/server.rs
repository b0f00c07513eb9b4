//! What the server allows, and what it is believed.

use super::*;

#[test]
fn what_does_not_arrive_leads_elsewhere_once_the_link_has_proved_alive() {
    let mut bench = Bench::new(&[1]);
    bench.actions();
    bench.on(Checks::handle_opened);
    assert_eq!(bench.on(Checks::handle_alive), [], "an older answer");
    assert_eq!(bench.pass(DEADLINE), [Action::Ask]);
    assert_eq!(bench.pass(INTERVAL), [], "a dead link says nothing");
    let (id, place) = (ForwardId(0), 0);
    let control = Action::OpenNothing { id, place };
    assert_eq!(bench.on(Checks::handle_alive), [Action::Close, control]);
    let elsewhere = says(0, Finding::Elsewhere { place: 0 });
    let failed = bench.on(|v, now| v.handle_refused(CONNECT_FAILED, now));
    assert_eq!(failed, [elsewhere]);
    let at = bench.now;
    assert_eq!(bench.verify.proof(0), Proof::Elsewhere { at });
}

#[test]
fn a_server_that_connects_to_nothing_as_well_is_not_believed() {
    let mut bench = Bench::new(&[1, 1]);
    bench.actions();
    bench.on(Checks::handle_opened);
    bench.pass(DEADLINE);
    bench.on(Checks::handle_alive);
    let off = says(0, Finding::Off(Refused::Hollow));
    assert_eq!(bench.on(Checks::handle_opened), [Action::Close, off]);
    assert_eq!(bench.pass(10 * INTERVAL), []);
    assert_eq!(bench.verify.proof(0), Proof::NotPermitted);
}

#[test]
fn a_server_that_let_a_check_through_need_not_prove_that_it_connects() {
    let mut bench = Bench::new(&[2]);
    bench.actions();
    bench.here();
    bench.on(Checks::handle_opened);
    bench.pass(DEADLINE);
    let elsewhere = says(0, Finding::Elsewhere { place: 1 });
    assert_eq!(bench.on(Checks::handle_alive), [Action::Close, elsewhere]);
}

#[test]
fn what_arrives_late_but_before_the_answer_leads_here() {
    let mut bench = Bench::new(&[1]);
    bench.actions();
    bench.on(Checks::handle_opened);
    bench.pass(DEADLINE);
    let here = says(0, Finding::Here);
    assert_eq!(bench.on(Checks::handle_found), [Action::Close, here]);
    assert_eq!(bench.on(Checks::handle_alive), []);
}

#[test]
fn a_server_that_prohibits_checks_is_asked_once_for_each_place_of_one_forward() {
    for reason in [PROHIBITED, 3, 0, 99, u32::MAX] {
        let mut bench = Bench::new(&[2, 2]);
        bench.actions();
        let refuse = |v: &mut Checks, now| v.handle_refused(reason, now);
        assert_eq!(bench.on(refuse), [open(0, 1)]);
        let off = says(0, Finding::Off(Refused::Reason(reason)));
        assert_eq!(bench.on(refuse), [off]);
        assert_eq!(bench.pass(10 * INTERVAL), []);
        assert_eq!(bench.verify.poll_timeout(), None);
        assert_eq!(bench.verify.proof(1), Proof::NotPermitted);
    }
}

#[test]
fn a_server_that_does_not_answer_is_not_asked_again() {
    let mut bench = Bench::new(&[1]);
    bench.actions();
    assert_eq!(bench.pass(DEADLINE), [Action::Ask]);
    let off = says(0, Finding::Off(Refused::Unanswered));
    assert_eq!(bench.on(Checks::handle_alive), [Action::Close, off]);
    assert_eq!(bench.pass(10 * INTERVAL), []);
}

#[test]
fn connect_failed_means_prohibited_until_a_check_came_through_and_gone_after_it() {
    let failed = |v: &mut Checks, now| v.handle_refused(CONNECT_FAILED, now);
    let mut bench = Bench::new(&[2]);
    bench.actions();
    // OpenSSH says so where AllowTcpForwarding leaves direct-tcpip out.
    assert_eq!(bench.on(failed), [open(0, 1)]);
    let off = says(0, Finding::Off(Refused::Reason(CONNECT_FAILED)));
    assert_eq!(bench.on(failed), [off]);

    let mut bench = Bench::new(&[2]);
    bench.actions();
    assert_eq!(bench.on(failed), [open(0, 1)], "no IPv4 there");
    assert_eq!(bench.here(), [Action::Close, says(0, Finding::Here)]);
    let wait = bench.verify.poll_timeout().unwrap().since(bench.now);
    bench.pass(wait);
    bench.on(failed);
    assert_eq!(bench.on(failed), [says(0, Finding::Gone)]);
}
