//! Small messages do not wait for acknowledgements that the kernel puts off.
//!
//! A peer with Nagle's algorithm sends the second part of a message once the first is acknowledged,
//! and Linux puts that off for 40 ms when it is of no use to itself. What is compared is the fastest
//! of many, so that other work on this machine does not count.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use support::on_host;
use support::rig::Rig;
use support::targets::{Target, dial};

/// Linux's shortest delay of an acknowledgement is 40 ms.
const PROMPT: Duration = Duration::from_millis(30);
const TIMES: usize = 40;

fn fastest(mut act: impl FnMut()) -> Duration {
    let timed = |_| {
        let start = Instant::now();
        act();
        start.elapsed()
    };
    // The kernel acknowledges at once while a connection is young.
    (0..TIMES).map(timed).skip(TIMES / 2).min().unwrap()
}

/// Head and body in a write each, as most small web servers do.
fn answer_in_two_writes(mut stream: TcpStream) {
    let mut request = [0; 64];
    while stream.read(&mut request).is_ok_and(|n| n > 0) {
        let _ = stream.write_all(&[b'h'; 200]);
        let _ = stream.write_all(&[b'b'; 300]);
    }
}

#[test]
fn an_answer_in_two_writes_comes_without_delay() {
    if !on_host() {
        return support::skip("an emulator is slower than the delay");
    }
    let rig = Rig::up(Target::start(answer_in_two_writes));
    let mut stream = dial(rig.port);
    stream.set_nodelay(true).unwrap();
    let took = fastest(|| {
        stream.write_all(b"request").unwrap();
        stream.read_exact(&mut [0; 500]).unwrap();
    });
    assert!(took < PROMPT, "{took:?}");
}

/// sshd has Nagle's algorithm too, before OpenSSH 10. Of a connection whose user ends first, its last
/// message is one that nothing answers.
#[test]
fn a_connection_right_after_another_opens_without_delay() {
    if !on_host() {
        return support::skip("an emulator is slower than the delay");
    }
    let rig = Rig::up(Target::echo());
    let took = fastest(|| {
        let mut stream = dial(rig.port);
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    assert!(took < PROMPT, "{took:?}");
}
