#![allow(clippy::unwrap_used)]
use super::message::{Change, Route, read};
use super::*;
use nix::libc::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_F_TENTATIVE, IFA_FLAGS, IFA_LOCAL, IFF_LOOPBACK,
    IFF_LOWER_UP, IFF_UP, RT_TABLE_LOCAL, RT_TABLE_MAIN, RTA_GATEWAY, RTA_OIF, RTM_DELADDR,
    RTM_DELLINK, RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE, RTN_UNICAST,
};

const V4: u8 = AF_INET as u8;
const V6: u8 = AF_INET6 as u8;
const RUNNING: i32 = IFF_UP | IFF_LOWER_UP;
const UNREACHABLE: u8 = 7;

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message as the kernel writes it: header, body, attributes.
fn message(kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut rest = body.to_vec();
    for (kind, value) in attributes {
        let length = (4 + value.len() as u16).to_ne_bytes();
        let kind = kind.to_ne_bytes();
        rest.extend(padded([&length[..], &kind, value].concat()));
    }
    let length = (16 + rest.len() as u32).to_ne_bytes();
    let header = [&length[..], &kind.to_ne_bytes(), &[0; 10]].concat();
    padded([header, rest].concat())
}

fn link(kind: u16, index: u32, flags: i32) -> Vec<u8> {
    let fields = [0, index, flags as u32, 0].map(u32::to_ne_bytes).concat();
    // IFLA_IFNAME.
    message(kind, &fields, &[(3, b"wwan0\0")])
}

fn address(kind: u16, family: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let fields = [&[family, 24, flags, 0], &2_u32.to_ne_bytes()[..]].concat();
    message(kind, &fields, attributes)
}

fn route(kind: u16, to_bits: u8, table: u8, route_type: u8) -> Vec<u8> {
    let fields = [V4, to_bits, 0, 0, table, 4, 0, route_type, 0, 0, 0, 0];
    let gateway = (RTA_GATEWAY, &[10, 0, 0, 1][..]);
    message(kind, &fields, &[(RTA_OIF, &2_u32.to_ne_bytes()), gateway])
}

fn changes(datagram: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    read(datagram, |change| changes.push(change));
    changes
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const DEFAULT: Route = Route {
    family: V4,
    interface: 2,
    gateway: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1))),
};

#[test]
fn a_link_is_up_with_a_carrier_only() {
    let up = [Change::LinkUp(2)];
    let down = [Change::LinkDown(2)];
    assert_eq!(changes(&link(RTM_NEWLINK, 2, RUNNING)), up);
    assert_eq!(changes(&link(RTM_NEWLINK, 2, IFF_UP)), down);
    assert_eq!(changes(&link(RTM_NEWLINK, 2, 0)), down);
    assert_eq!(changes(&link(RTM_DELLINK, 2, RUNNING)), down);
    assert_eq!(changes(&link(RTM_NEWLINK, 1, RUNNING | IFF_LOOPBACK)), []);
}

#[test]
fn an_address_counts_once_it_may_be_used() {
    let own = [10, 0, 0, 7];
    let six: [u8; 16] = std::net::Ipv6Addr::from_bits(0xfd00 << 112 | 7).octets();
    let plain = address(RTM_NEWADDR, V4, 0, &[(IFA_ADDRESS, &own)]);
    assert_eq!(changes(&plain), [Change::AddressAdded(2, ip("10.0.0.7"))]);
    // On a modem's point-to-point link IFA_ADDRESS is the peer.
    let peer = [(IFA_ADDRESS, &[10, 64, 64, 64][..]), (IFA_LOCAL, &own)];
    let added = changes(&address(RTM_NEWADDR, V4, 0, &peer));
    assert_eq!(added, [Change::AddressAdded(2, ip("10.0.0.7"))]);
    let removed = changes(&address(RTM_DELADDR, V4, 0, &peer));
    assert_eq!(removed, [Change::AddressRemoved(2, ip("10.0.0.7"))]);
    let six = (IFA_ADDRESS, &six[..]);
    let tentative = IFA_F_TENTATIVE.to_ne_bytes();
    let early = address(RTM_NEWADDR, V6, 0, &[six, (IFA_FLAGS, &tentative)]);
    assert_eq!(changes(&early), []);
    let ready = address(RTM_NEWADDR, V6, 0, &[six]);
    assert_eq!(changes(&ready), [Change::AddressAdded(2, ip("fd00::7"))]);
    let loopback = address(RTM_NEWADDR, V4, 0, &[(IFA_LOCAL, &[127, 0, 0, 2])]);
    assert_eq!(changes(&loopback), []);
}

#[test]
fn of_routes_only_the_default_ones_count() {
    let found = changes(&route(RTM_NEWROUTE, 0, RT_TABLE_MAIN, RTN_UNICAST));
    assert_eq!(found, [Change::RouteAdded(DEFAULT)]);
    let gone = changes(&route(RTM_DELROUTE, 0, RT_TABLE_MAIN, RTN_UNICAST));
    assert_eq!(gone, [Change::RouteRemoved(DEFAULT)]);
    for other in [
        route(RTM_NEWROUTE, 24, RT_TABLE_MAIN, RTN_UNICAST),
        route(RTM_NEWROUTE, 0, RT_TABLE_LOCAL, RTN_UNICAST),
        route(RTM_NEWROUTE, 0, RT_TABLE_MAIN, UNREACHABLE),
        message(RTM_NEWNEIGH, &[0; 12], &[]),
    ] {
        assert_eq!(changes(&other), []);
    }
}

#[test]
fn several_messages_in_one_datagram_are_read_in_order() {
    let datagram = [
        link(RTM_NEWLINK, 2, RUNNING),
        message(3, &[0; 4], &[]),
        address(RTM_NEWADDR, V4, 0, &[(IFA_LOCAL, &[10, 0, 0, 7])]),
    ]
    .concat();
    let wanted = [Change::LinkUp(2), Change::AddressAdded(2, ip("10.0.0.7"))];
    assert_eq!(changes(&datagram), wanted);
}

#[test]
fn bytes_that_are_cut_or_wrong_end_the_reading_and_nothing_else() {
    let messages = [
        link(RTM_NEWLINK, 2, RUNNING),
        address(RTM_NEWADDR, V4, 0, &[(IFA_LOCAL, &[10, 0, 0, 7])]),
        route(RTM_NEWROUTE, 0, RT_TABLE_MAIN, RTN_UNICAST),
    ];
    for whole in messages {
        for length in 0..whole.len() {
            assert_eq!(changes(&whole[..length]), [], "cut after {length} bytes");
        }
        // Every byte in turn with every value that lengths are wrong with: no panic, no loop.
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x0f, 0x7f, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                assert!(changes(&wrong).len() <= 1);
            }
        }
    }
    assert_eq!(changes(&vec![0; 4096]), [], "messages of no length");
}

fn news(known: &mut Known, datagrams: &[Vec<u8>]) -> News {
    let mut news = News::default();
    for datagram in datagrams {
        news.add(datagram, known);
    }
    news
}

#[test]
fn only_what_was_not_there_before_is_news() {
    let up = link(RTM_NEWLINK, 2, RUNNING);
    let down = link(RTM_NEWLINK, 2, IFF_UP);
    let own = address(RTM_NEWADDR, V4, 0, &[(IFA_LOCAL, &[10, 0, 0, 7])]);
    let default = route(RTM_NEWROUTE, 0, RT_TABLE_MAIN, RTN_UNICAST);
    let mut known = Known::default();
    for first in [&up, &own, &default] {
        assert!(news(&mut known, std::slice::from_ref(first)).came);
        let again = news(&mut known, std::slice::from_ref(first));
        assert_eq!(again, News::default(), "a renewal");
    }
    assert_eq!(news(&mut known, &[down]), News::default());
    assert!(news(&mut known, &[up]).came, "it was down between");
    // The kernel takes the routes away with the link and does not say so.
    assert!(news(&mut known, &[default]).came);
}

#[test]
fn a_link_local_address_is_no_news() {
    let local: [u8; 16] = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let local = address(RTM_NEWADDR, V6, 0, &[(IFA_ADDRESS, &local)]);
    assert!(!news(&mut Known::default(), &[local]).came);
}

#[test]
fn an_address_that_is_taken_away_and_given_back_at_once_is_not_gone() {
    let added = address(RTM_NEWADDR, V4, 0, &[(IFA_LOCAL, &[10, 0, 0, 7])]);
    let removed = address(RTM_DELADDR, V4, 0, &[(IFA_LOCAL, &[10, 0, 0, 7])]);
    let mut known = Known::default();
    let gone = news(&mut known, &[added.clone(), removed.clone()]);
    assert_eq!(gone.removed, [ip("10.0.0.7")]);
    let back = news(&mut known, &[removed.clone(), added]);
    assert!(back.removed.is_empty() && back.came);
    let many = news(&mut known, &vec![removed; 40]);
    assert!(many.removed.len() == 16 && many.missed);
}

#[test]
fn a_loss_of_messages_counts_as_a_change_of_everything() {
    let up = link(RTM_NEWLINK, 2, RUNNING);
    let mut known = Known::default();
    news(&mut known, std::slice::from_ref(&up));
    let mut lost = News::default();
    lost.miss(&mut known);
    assert!(lost.came && lost.missed);
    assert!(news(&mut known, &[up]).came, "what was known is forgotten");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut known = Known::default();
    for index in 2..1000 {
        assert!(known.take_in(Change::LinkUp(index)));
    }
    assert!(!known.take_in(Change::LinkUp(2)));
    assert!(known.take_in(Change::LinkUp(999)), "beyond the bound");
}

#[test]
fn a_socket_is_opened_and_has_nothing_to_say_at_first() {
    // Where the sandbox has no netlink this is the behaviour as well: an error, no panic.
    if let Ok(mut monitor) = Monitor::open() {
        assert!(!monitor.read().missed);
    }
}

#[test]
fn without_a_socket_there_is_no_news_and_no_timer() {
    let mut watch = Watch {
        monitor: None,
        allowance: Allowance::new(Instant(0)),
        readable: true,
    };
    watch.handle_ready();
    assert_eq!(watch.drive(Instant(9)), News::default());
    assert_eq!(watch.poll_timeout(), None);
}

#[test]
fn an_address_of_this_machine_is_told_from_a_foreign_one() {
    assert!(is_local(ip("127.0.0.1")));
    assert!(!is_local(ip("192.0.2.1")));
}

#[test]
fn four_pieces_of_news_pass_at_once_and_then_one_in_5_s() {
    let mut allowance = Allowance::new(Instant(0));
    let mut passed = Vec::new();
    for now in (0..60_000).step_by(100) {
        allowance.note();
        if allowance.take(Instant(now)) {
            passed.push(now);
        }
    }
    assert_eq!(passed[..6], [0, 100, 200, 300, 5_000, 10_000]);
    assert_eq!(passed.len(), 4 + 11);
}

#[test]
fn news_held_back_is_passed_on_late_and_as_one() {
    let mut allowance = Allowance::new(Instant(1000));
    assert_eq!(allowance.poll_timeout(), None);
    for _ in 0..4 {
        allowance.note();
        assert!(allowance.take(Instant(1000)));
    }
    allowance.note();
    allowance.note();
    assert!(!allowance.take(Instant(1001)));
    assert_eq!(allowance.poll_timeout(), Some(Instant(6000)));
    assert!(allowance.take(Instant(6000)));
    assert!(!allowance.take(Instant(60_000)), "there is none");
    assert_eq!(allowance.poll_timeout(), None);
    allowance.note();
    assert!(allowance.take(Instant(60_000)));
}
