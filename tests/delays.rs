//! Small messages do not wait for acknowledgements that the kernel puts off.
//!
//! A peer with Nagle's algorithm sends the second part of a message once the first is acknowledged,
//! and Linux puts that off for 40 ms when it is of no use to itself. What is compared is the fastest
//! of many, so that other work on this machine does not count.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use support::client::Call;
use support::rig::{Rig, Site};
use support::targets::{Target, dial};
use support::{free_port, on_host, patience, user, wait_until};

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

/// A link to a server that takes 16 KiB a second and has no queue of its own; its port, and the bytes
/// that it has taken.
fn slow_link(server: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (mut back, mut answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let mut bytes = [0; 512];
        while let Ok(n @ 1..) = near.read(&mut bytes) {
            if far.write_all(&bytes[..n]).is_err() {
                return;
            }
            counter.fetch_add(n as u64, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(n as u64 / 16));
        }
    });
    (port, taken)
}

/// Counted in bytes of the upload, so that nothing depends on how fast this machine is.
#[test]
fn a_keystroke_waits_behind_little_of_an_upload_over_a_slow_link() {
    let Site { scene, key, server } = Site::up();
    let (link, taken) = slow_link(server.port);
    let (upload, echo) = (Target::source(usize::MAX), Target::echo());
    let ports = [free_port(), free_port()];
    let client = Call::trusting(&scene, &key)
        .forward(ports[0], upload.address)
        .forward(ports[1], echo.address)
        .start(user(), link);
    for port in ports {
        client.wait_up(port);
    }
    let mut keys = dial(ports[1]);
    keys.set_nodelay(true).unwrap();
    let mut stroke = || {
        let before = taken.load(Ordering::Relaxed);
        keys.write_all(b"k").unwrap();
        keys.read_exact(&mut [0]).unwrap();
        taken.load(Ordering::Relaxed) - before
    };
    stroke();
    let mut reader = dial(ports[0]);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    // The rate is known by then: what was queued before has gone, and seconds besides.
    let start = taken.load(Ordering::Relaxed);
    wait_until("the upload is under way", patience(), || {
        taken.load(Ordering::Relaxed) - start > 160 * 1024
    });
    let behind = (0..3).map(|_| stroke()).min().unwrap();
    assert!(behind < 32 * 1024, "{behind} bytes");
}
