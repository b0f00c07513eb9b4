use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::Rcode;
use reachback_core::dial::AddressFamily;
use reachback_tunnel::{Addresses, Lookup, PATIENCE, Token};

use super::outside;
use crate::net::resolve::tests::{Files, Server, reply};
use crate::sys::clock;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn run(
    files: &Files,
    family: AddressFamily,
    remembered: Option<IpAddr>,
) -> Result<Addresses, String> {
    let mut poll = mio::Poll::new().unwrap();
    let mut outside = outside(&poll).with_paths(files.paths.clone());
    let (start, tokens) = (clock::now(), [Token(1), Token(2)]);
    let mut lookup = Lookup::start("hub.test", family, remembered, tokens, &mut outside, start);
    let mut events = mio::Events::with_capacity(8);
    loop {
        let now = clock::now();
        if let Some(result) = lookup.poll(now) {
            assert_eq!(lookup.poll(now), None, "given out twice");
            return result;
        }
        let due = lookup.poll_timeout().expect("no deadline").since(now);
        let wait = due + Duration::from_millis(1);
        poll.poll(&mut events, Some(wait)).unwrap();
        for event in &events {
            lookup.handle_ready(Token(event.token().0), clock::now());
        }
    }
}

#[test]
fn a_fresh_answer_is_used_alone_whatever_is_remembered() {
    let server = Server::start(|query, owner, _| {
        let records = [(owner, "10.0.0.1"), (owner, "10.0.0.2")];
        vec![reply(query, Rcode::NOERROR, &records)]
    });
    for remembered in [None, Some(ip("10.0.0.2")), Some(ip("10.9.9.9"))] {
        let found = run(&server.files(), AddressFamily::V4, remembered).unwrap();
        assert_eq!(found.addresses, [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(found.failure, None);
    }
}

#[test]
fn when_the_name_servers_fail_the_last_address_is_used_and_the_reason_is_told() {
    let server = Server::start(|query, _, _| vec![reply(query, Rcode::SERVFAIL, &[])]);
    let found = run(&server.files(), AddressFamily::Any, Some(ip("10.0.0.2"))).unwrap();
    assert_eq!(found.addresses, [ip("10.0.0.2")]);
    let failure = found.failure.unwrap();
    assert!(failure.contains("hub.test"), "{failure}");
}

#[test]
fn silent_name_servers_are_given_up_after_6_s() {
    let server = Server::start(|_, _, _| vec![]);
    let conf = "nameserver 127.0.0.1\noptions timeout:30";
    let files = Files::new("", conf, server.port);
    let begin = std::time::Instant::now();
    let found = run(&files, AddressFamily::Any, Some(ip("10.0.0.2"))).unwrap();
    assert_eq!(found.addresses, [ip("10.0.0.2")]);
    assert_eq!(found.failure.as_deref(), Some("no answer within 6 s"));
    let took = begin.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE * 2, "{took:?}");
}

#[test]
fn an_address_of_the_wrong_family_does_not_stand_in() {
    let server = Server::start(|query, _, _| vec![reply(query, Rcode::SERVFAIL, &[])]);
    let own = Some(ip("10.0.0.2"));
    assert!(run(&server.files(), AddressFamily::V6, own).is_err());
}
