#![allow(clippy::unwrap_used)]
use super::*;
use crate::sys::clock;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::{A, Aaaa, Cname};

type Wire = Vec<u8>;

pub struct Files {
    pub paths: Paths,
}

impl Files {
    pub fn new(hosts: &str, resolv_conf: &str, server_port: u16) -> Self {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let path = |name: &str| -> PathBuf {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let process = std::process::id();
            std::env::temp_dir().join(format!("reachback-{name}-{process}-{number}"))
        };
        let paths = Paths {
            hosts: path("hosts"),
            resolv_conf: path("resolv"),
            server_port,
        };
        std::fs::write(&paths.hosts, hosts).unwrap();
        std::fs::write(&paths.resolv_conf, resolv_conf).unwrap();
        Files { paths }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.paths.hosts);
        let _ = std::fs::remove_file(&self.paths.resolv_conf);
    }
}

fn run(paths: &Paths, name: &str, family: AddressFamily) -> Result<Vec<IpAddr>, ResolveError> {
    let mut poll = mio::Poll::new().unwrap();
    let start = clock::now();
    let tokens = [Token(1), Token(2)];
    let mut resolution = Resolution::start(paths, name, family, poll.registry(), tokens, start);
    let registry = poll.registry().try_clone().unwrap();
    let mut events = mio::Events::with_capacity(8);
    loop {
        if let Some(result) = resolution.result() {
            assert_eq!(resolution.poll_timeout(), None);
            return result;
        }
        let now = clock::now();
        assert!(now.since(start) < Duration::from_secs(20), "no result");
        let due = resolution
            .poll_timeout()
            .expect("a stage without a deadline");
        poll.poll(&mut events, Some(due.since(now))).unwrap();
        for event in &events {
            resolution.handle_ready(event.token(), clock::now(), &registry);
        }
        resolution.handle_timeout(clock::now(), &registry);
    }
}

/// A name server on loopback: for each question, `answer` gives the datagrams to send back.
/// It ends with the first question for `stop.test`.
pub struct Server {
    pub port: u16,
    thread: Option<JoinHandle<Vec<(String, Rtype)>>>,
}

impl Server {
    pub fn start(
        answer: impl Fn(&Message<Wire>, &str, Rtype) -> Vec<Wire> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self::on(socket, answer)
    }

    fn on(
        socket: UdpSocket,
        answer: impl Fn(&Message<Wire>, &str, Rtype) -> Vec<Wire> + Send + 'static,
    ) -> Self {
        let port = socket.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                let query = Message::from_octets(buffer[..length].to_vec()).unwrap();
                let question = query.sole_question().unwrap();
                let name = question.qname().to_string();
                if name == "stop.test" {
                    return asked;
                }
                asked.push((name.clone(), question.qtype()));
                for datagram in answer(&query, &name, question.qtype()) {
                    socket.send_to(&datagram, from).unwrap();
                }
            }
        });
        Server {
            port,
            thread: Some(thread),
        }
    }

    pub fn files(&self) -> Files {
        Files::new("", "nameserver 127.0.0.1\noptions timeout:1", self.port)
    }

    fn questions(mut self) -> Vec<(String, Rtype)> {
        let stop = message::Question::new(1, "stop.test", Record::A).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .send_to(stop.bytes(), ("127.0.0.1", self.port))
            .unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn name(text: &str) -> Name<Wire> {
    Name::from_chars(text.chars()).unwrap()
}

pub fn reply(query: &Message<Wire>, code: Rcode, records: &[(&str, &str)]) -> Wire {
    let builder = MessageBuilder::from_target(Vec::new()).unwrap();
    let mut answer = builder.start_answer(query, code).unwrap();
    let ttl = Ttl::from_secs(60);
    for (owner, data) in records {
        let owner = name(owner);
        match data.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => answer.push((owner, ttl, A::new(address))).unwrap(),
            Ok(IpAddr::V6(address)) => answer.push((owner, ttl, Aaaa::new(address))).unwrap(),
            Err(_) => answer.push((owner, ttl, Cname::new(name(data)))).unwrap(),
        }
    }
    answer.finish()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_literal_address_needs_no_server() {
    let files = Files::new("", "", 1);
    assert_eq!(
        run(&files.paths, "10.0.2.2", AddressFamily::Any),
        Ok(vec![ip("10.0.2.2")])
    );
    assert_eq!(
        run(&files.paths, "fd00::1", AddressFamily::Any),
        Ok(vec![ip("fd00::1")])
    );
    let error = run(&files.paths, "10.0.2.2", AddressFamily::V6).unwrap_err();
    assert!(error.to_string().contains("AddressFamily"), "{error}");
}

#[test]
fn the_hosts_file_goes_before_the_servers() {
    let files = Files::new("10.1.1.1 hub.test\nfd00::1 hub.test\n", "", 1);
    let both = run(&files.paths, "Hub.test", AddressFamily::Any).unwrap();
    assert_eq!(both, [ip("10.1.1.1"), ip("fd00::1")]);
    let six = run(&files.paths, "hub.test", AddressFamily::V6).unwrap();
    assert_eq!(six, [ip("fd00::1")]);
}

#[test]
fn both_kinds_of_address_are_asked_for_and_given() {
    let server = Server::start(|query, owner, kind| {
        let data = if kind == Rtype::A {
            "10.0.0.1"
        } else {
            "fd00::1"
        };
        vec![reply(query, Rcode::NOERROR, &[(owner, data)])]
    });
    let files = server.files();
    let found = run(&files.paths, "hub.test", AddressFamily::Any).unwrap();
    assert_eq!(found, [ip("fd00::1"), ip("10.0.0.1")]);
    let found = run(&files.paths, "hub.test", AddressFamily::V4).unwrap();
    assert_eq!(found, [ip("10.0.0.1")]);
    assert_eq!(server.questions().len(), 3);
}

#[test]
fn a_chain_of_aliases_is_followed_and_strangers_are_ignored() {
    let server = Server::start(|query, owner, _| {
        let records = [
            (owner, "b.test"),
            ("stranger.test", "10.6.6.6"),
            ("b.test", "c.test"),
            ("c.test", "10.0.0.3"),
        ];
        vec![reply(query, Rcode::NOERROR, &records)]
    });
    let files = server.files();
    assert_eq!(
        run(&files.paths, "a.test", AddressFamily::V4),
        Ok(vec![ip("10.0.0.3")])
    );
}

#[test]
fn a_loop_of_aliases_ends_as_a_failure() {
    let server = Server::start(|query, owner, _| {
        vec![reply(
            query,
            Rcode::NOERROR,
            &[(owner, "b.test"), ("b.test", owner)],
        )]
    });
    let files = server.files();
    assert!(run(&files.paths, "a.test", AddressFamily::V4).is_err());
}

#[test]
fn answers_to_another_question_and_rubbish_are_not_believed() {
    let server = Server::start(|query, owner, _| {
        let mut wrong_id = reply(query, Rcode::NOERROR, &[(owner, "10.6.6.6")]);
        wrong_id[0] ^= 1;
        let other = message::Question::new(query.header().id(), "other.test", Record::A).unwrap();
        let other = Message::from_octets(other.bytes().to_vec()).unwrap();
        let wrong_name = reply(&other, Rcode::NOERROR, &[(owner, "10.6.6.6")]);
        let right = reply(query, Rcode::NOERROR, &[(owner, "10.0.0.1")]);
        vec![vec![], vec![0xff; 40], wrong_id, wrong_name, right]
    });
    let files = server.files();
    assert_eq!(
        run(&files.paths, "hub.test", AddressFamily::V4),
        Ok(vec![ip("10.0.0.1")])
    );
}

#[test]
fn a_server_that_fails_is_followed_by_the_next_one() {
    // The same port on two addresses of loopback; nobody answers on the third.
    let good = UdpSocket::bind("127.0.0.3:0").unwrap();
    let port = good.local_addr().unwrap().port();
    let bad = UdpSocket::bind(("127.0.0.2", port)).unwrap();
    let bad = Server::on(bad, |query, _, _| vec![reply(query, Rcode::SERVFAIL, &[])]);
    let good = Server::on(good, |query, owner, _| {
        vec![reply(query, Rcode::NOERROR, &[(owner, "10.0.0.1")])]
    });
    let conf = "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3";
    let files = Files::new("", conf, port);
    assert_eq!(
        run(&files.paths, "hub.test", AddressFamily::V4),
        Ok(vec![ip("10.0.0.1")])
    );
    drop((bad, good));
}

#[test]
fn silent_servers_are_asked_as_often_as_the_options_say_and_are_named() {
    let server = Server::start(|_, _, _| vec![]);
    let conf = "nameserver 127.0.0.1\noptions timeout:1 attempts:3";
    let files = Files::new("", conf, server.port);
    let begin = std::time::Instant::now();
    let error = run(&files.paths, "hub.test", AddressFamily::V4).unwrap_err();
    let port = server.port;
    assert_eq!(
        error.to_string(),
        format!(
            "cannot resolve hub.test: no answer from 127.0.0.1:{port} (asked 127.0.0.1:{port})"
        )
    );
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert_eq!(server.questions().len(), 3);
}

#[test]
fn a_server_that_drops_one_kind_of_question_does_not_hold_up_the_other() {
    let server = Server::start(|query, owner, kind| match kind {
        Rtype::A => vec![reply(query, Rcode::NOERROR, &[(owner, "10.0.0.1")])],
        _ => vec![],
    });
    let files = Files::new("", "nameserver 127.0.0.1\noptions timeout:9", server.port);
    let begin = std::time::Instant::now();
    assert_eq!(
        run(&files.paths, "hub.test", AddressFamily::Any),
        Ok(vec![ip("10.0.0.1")])
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_name_that_does_not_exist_is_final_and_searched_names_go_first() {
    let server = Server::start(|query, owner, _| match owner {
        "hub.two.test" => vec![reply(query, Rcode::NOERROR, &[(owner, "10.0.0.1")])],
        _ => vec![reply(query, Rcode::NXDOMAIN, &[])],
    });
    let conf = "nameserver 127.0.0.1\nsearch one.test two.test";
    let files = Files::new("", conf, server.port);
    assert_eq!(
        run(&files.paths, "hub", AddressFamily::V4),
        Ok(vec![ip("10.0.0.1")])
    );
    let error = run(&files.paths, "nowhere.test", AddressFamily::V4).unwrap_err();
    assert!(error.to_string().contains("no such name"), "{error}");
    let names: Vec<String> = server
        .questions()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["hub.one.test", "hub.two.test", "nowhere.test"]);
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
    let server = Server::on(socket, |query, _, _| {
        let mut cut = reply(query, Rcode::NOERROR, &[]);
        cut[2] |= 0x02;
        vec![cut]
    });
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).unwrap();
        let query = Message::from_octets(query).unwrap();
        let data: Vec<String> = (1..=60).map(|last| format!("10.0.0.{last}")).collect();
        let records: Vec<(&str, &str)> = data.iter().map(|d| ("hub.test", d.as_str())).collect();
        let answer = reply(&query, Rcode::NOERROR, &records);
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        // In pieces, as a network may deliver it.
        for piece in [&length[..1], &length[1..], &answer[..500], &answer[500..]] {
            stream.write_all(piece).unwrap();
            stream.flush().unwrap();
        }
    });
    let files = server.files();
    let found = run(&files.paths, "hub.test", AddressFamily::V4).unwrap();
    assert_eq!(found.len(), 8);
    assert_eq!(found[7], ip("10.0.0.8"));
    peer.join().unwrap();
}

#[test]
fn a_name_the_dns_cannot_carry_fails_without_a_question() {
    let files = Files::new("", "nameserver 127.0.0.1", 1);
    let long = format!("{}.test", "a".repeat(64));
    for bad in [long.as_str(), "a..test", "."] {
        assert!(run(&files.paths, bad, AddressFamily::Any).is_err(), "{bad}");
    }
}
