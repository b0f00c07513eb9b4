use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use reachback_core::dial::{AddressFamily, Doubts};
use reachback_tunnel::{Dial, Dialled, Outside, Server, Source, Token, Way};

use super::outside;
use crate::net::outside::Net;
use crate::sys::clock;

const FIRST: usize = 100;

fn run(addresses: &[IpAddr], port: u16, family: AddressFamily) -> Result<Made, String> {
    run_from(addresses, port, family, Source::default())
}

type Made = Dialled<<Net as Outside>::Server>;

fn run_from(
    addresses: &[IpAddr],
    port: u16,
    family: AddressFamily,
    source: Source,
) -> Result<Made, String> {
    let mut poll = mio::Poll::new().unwrap();
    let start = clock::now();
    let mut outside = outside(&poll);
    let doubts = Doubts::default();
    let server = Server {
        user: "op".into(),
        host: "hub.test".into(),
        port,
    };
    let way = Way {
        server: &server,
        proxy: None,
        family,
        source: &source,
    };
    let mut dial = Dial::start(addresses, &way, &doubts, FIRST, &mut outside, start);
    let mut events = mio::Events::with_capacity(16);
    loop {
        if let Some(result) = dial.result() {
            // Nothing more is dialled.
            dial.handle_timeout(&mut outside, clock::now() + Duration::from_secs(60));
            assert_eq!(dial.poll_timeout(), None);
            assert!(dial.result().is_none());
            return result.map_err(|ended| ended.reason);
        }
        let now = clock::now();
        assert!(now.since(start) < Duration::from_secs(10), "no result");
        let wait = dial.poll_timeout().map(|at| at.since(now));
        let wait = wait.unwrap_or(Duration::from_secs(1));
        poll.poll(&mut events, Some(wait)).unwrap();
        for event in &events {
            let token = Token(event.token().0);
            dial.handle_ready(token, &mut outside, clock::now());
        }
        dial.handle_timeout(&mut outside, clock::now());
    }
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[test]
fn an_address_that_refuses_is_passed_over_at_once() {
    let listener = TcpListener::bind((loopback(2), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = std::time::Instant::now();
    let addresses = [loopback(1), loopback(2)];
    let made = run(&addresses, port, AddressFamily::Any).unwrap();
    assert_eq!(made.address, loopback(2));
    assert_eq!(made.token, Token(FIRST + 1), "it keeps its token");
    assert!(listener.accept().is_ok());
    assert!(
        begin.elapsed() < Duration::from_millis(200),
        "waited for a refusal"
    );
}

#[test]
fn an_address_that_stays_silent_loses_and_is_closed() {
    // A listener whose queue is full drops further requests: silence without a packet
    // leaving the machine.
    let silent = silent_listener();
    let port = silent.port;
    let listener = TcpListener::bind((loopback(2), port)).unwrap();
    let addresses = [silent.address, loopback(2)];
    let made = run(&addresses, port, AddressFamily::Any).unwrap();
    assert_eq!(made.address, loopback(2));
    let (mut accepted, _) = listener.accept().unwrap();
    drop(made);
    assert_eq!(accepted.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn when_every_address_fails_each_is_named_with_its_reason() {
    let listener = TcpListener::bind((loopback(1), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let addresses = [loopback(1), loopback(2)];
    let error = run(&addresses, port, AddressFamily::Any).err().unwrap();
    assert_eq!(
        error,
        format!("127.0.0.1:{port}: Connection refused; 127.0.0.2:{port}: Connection refused")
    );
}

#[test]
fn addresses_of_another_family_are_not_tried() {
    let error = run(&[loopback(1)], 1, AddressFamily::V6).err().unwrap();
    assert!(error.to_string().contains("AddressFamily"), "{error}");
}

#[test]
fn an_address_of_another_family_than_the_source_is_not_tried() {
    let source = Source {
        address: Some("::1".parse().unwrap()),
        ..Source::default()
    };
    let error = run_from(&[loopback(1)], 1, AddressFamily::Any, source)
        .err()
        .unwrap();
    assert!(error.to_string().contains("BindAddress ::1"), "{error}");
}

#[test]
fn a_source_that_is_missing_fails_the_attempt_and_is_named() {
    let source = Source {
        interface: Some("nosuchlink0".to_owned()),
        ..Source::default()
    };
    let error = run_from(&[loopback(1)], 1, AddressFamily::Any, source)
        .err()
        .unwrap();
    assert!(error.contains("127.0.0.1:1: BindInterface nosuchlink0"));
}

struct Silent {
    address: IpAddr,
    port: u16,
    _kept: Vec<mio::net::TcpStream>,
    _listener: std::os::fd::OwnedFd,
}

fn silent_listener() -> Silent {
    use nix::sys::socket::{
        AddressFamily as Af, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen,
        socket,
    };
    use std::os::fd::AsRawFd;
    let fd = socket(Af::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 3, 0)).unwrap();
    listen(&fd, Backlog::new(0).unwrap()).unwrap();
    let port = getsockname::<SockaddrIn>(fd.as_raw_fd()).unwrap().port();
    let target = SocketAddr::new(loopback(3), port);
    let mut kept = Vec::new();
    loop {
        let stream = mio::net::TcpStream::connect(target).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_millis(100);
        let connected = loop {
            if stream.peer_addr().is_ok() {
                break true;
            }
            if std::time::Instant::now() > deadline {
                break false;
            }
        };
        kept.push(stream);
        if !connected {
            break;
        }
        assert!(kept.len() < 16, "the queue never fills");
    }
    Silent {
        address: loopback(3),
        port,
        _kept: kept,
        _listener: fd,
    }
}
