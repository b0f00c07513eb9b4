//! More people than places: who has vanished locks nobody out, and short visits are all served.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;

use support::client::Call;
use support::process::Process;
use support::rig::Site;
use support::targets::{Target, dial};
use support::{clock, free_port, on_host, patience, skip, user, wait_until};

/// Connections that a tunnel serves at once.
const PLACES: usize = 32;
/// Short visits of all people together.
const VISITS: usize = 900;

/// People who connect, and of whom nothing is heard any more.
fn vanished(target: &Target, port: u16) -> Vec<TcpStream> {
    let before = target.hits();
    let people = (0..PLACES).map(|_| dial(port)).collect();
    wait_until("all are served", patience(), || {
        target.hits() == before + PLACES
    });
    people
}

/// Says a line, and is answered with it.
fn visit(port: u16) -> bool {
    let mut stream = dial(port);
    let mut answer = String::new();
    stream.write_all(b"hello\n").is_ok()
        && BufReader::new(&stream).read_line(&mut answer).is_ok()
        && answer == "hello\n"
}

fn status(site: &Site) -> String {
    let status = Call::new(&site.scene).args(&["status", "--json"]).run();
    status.stdout.concat()
}

#[test]
fn who_was_idle_for_a_minute_gives_way_to_a_newcomer() {
    if !on_host() {
        return skip("an emulator's waits do not follow the clock of a test");
    }
    let (site, target, port) = (Site::up(), Target::echo(), free_port());
    // 60 s of the program are 3 s here.
    let call = site.call().forward(port, target.address);
    let client = clock::faster(call, 20).start(user(), site.server.port);
    client.wait_up(port);
    let mut people = vanished(&target, port);
    wait_until("a newcomer is served", patience(), || visit(port));
    client.wait_for(
        "connection to 127.0.0.1:* closed: idle for longest when another came, with 32 being served",
    );
    assert_eq!(
        people[0].read(&mut [0]).unwrap_or(0),
        0,
        "the first of them"
    );
    let status = status(&site);
    assert!(
        status.contains("\"connections_closed_idle\":1,"),
        "{status}"
    );
    assert_eq!(client.stop(), 0);
}

#[test]
fn who_finds_no_place_within_10_s_is_refused_and_that_is_said_and_counted() {
    let (site, target) = (Site::up(), Target::echo());
    let (client, ports) = site.serve(&[&target], &[]);
    let _people = vanished(&target, ports[0]);
    let refused: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn({
                let port = ports[0];
                move || visit(port)
            })
        })
        .collect();
    assert!(refused.into_iter().all(|visit| !visit.join().unwrap()));
    let line = "connection to 127.0.0.1:* refused: 32 others were being served, for 10 s";
    assert_eq!(client.log().count(line), 1);
    assert!(status(&site).contains("\"connections_refused\":3,"));
    assert_eq!(client.stop(), 0);
}

#[test]
fn the_vanished_end_after_channel_idle_timeout_and_then_the_unused_tunnel() {
    let (site, target) = (Site::up(), Target::echo());
    let options = ["ChannelIdleTimeout=4", "IdleTimeout=3"];
    let (mut client, ports) = site.serve(&[&target], &options);
    let _people = vanished(&target, ports[0]);
    assert!(visit(ports[0]), "it waits for a place");
    client.wait_for("connection to 127.0.0.1:* closed: idle for ChannelIdleTimeout");
    client.wait_for("ending: no connection for 3 s (IdleTimeout)");
    assert_eq!(client.process.wait(patience()), 0);
}

/// So many short visits by so many people at once; gives how many failed.
fn failures(port: u16, people: usize, visits: usize) -> usize {
    let one = move || (0..visits / people).filter(|_| !visit(port)).count();
    let people: Vec<_> = (0..people).map(|_| thread::spawn(one)).collect();
    people.into_iter().map(|one| one.join().unwrap()).sum()
}

/// For docs/faults.md.
fn note(people: usize, failed: usize, ssh: usize) {
    let Some(file) = std::env::var_os("FAULTS_RESULTS") else {
        return;
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    writeln!(
        file,
        "{{\"kind\":\"crowded\",\"people\":{people},\"visits\":{VISITS},\"failed\":{failed},\"ssh\":{ssh}}}"
    )
    .unwrap();
}

#[test]
fn short_visits_of_60_people_at_once_fail_no_more_often_than_with_ssh() {
    let (site, target) = (Site::up(), Target::echo());
    let (client, ports) = site.serve(&[&target], &[]);
    let beside = free_port();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-N", "-o", "StrictHostKeyChecking=no"])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ExitOnForwardFailure=yes",
        ])
        .args(["-i", &site.key.file(), "-p", &site.server.port.to_string()])
        .args(["-R", &format!("{beside}:{}", target.address)])
        .arg(format!("{}@127.0.0.1", user()))
        .stdin(Stdio::null());
    let ssh = Process::start(&mut ssh);
    wait_until("ssh's forward is up", patience(), || {
        TcpStream::connect(("127.0.0.1", beside)).is_ok()
    });
    for people in [30, 60] {
        let theirs = failures(beside, people, VISITS);
        let ours = failures(ports[0], people, VISITS);
        note(people, ours, theirs);
        assert!(
            ours <= theirs,
            "{people} at once: {ours} failed, {theirs} with ssh"
        );
    }
    drop(ssh);
    assert_eq!(client.stop(), 0);
}
