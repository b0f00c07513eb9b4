//! Targets that break off: their channel ends, with their last words, and nothing else does.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::process::{cpu_time, open_files};
use support::rig::Site;
use support::targets::{self, Target, dial, fill};
use support::{bound, free_port, patience, text, user, wait_until};

const WORDS: &[u8] = b"last words\n";

/// Bytes that lie in the socket of a connection to this port and were not read yet.
fn unread_from(port: u16) -> usize {
    // proc_net_tcp(5): sl local_address rem_address st tx_queue:rx_queue ...
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!(":{port:04X}");
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, queue) = fields.get(4)?.split_once(':')?;
        fields[2].ends_with(&peer).then_some(())?;
        usize::from_str_radix(queue, 16).ok()
    };
    table.lines().filter_map(of_line).sum()
}

/// Asserts that the process is idle.
fn assert_no_spinning(pid: i32) {
    let before = cpu_time(pid);
    thread::sleep(Duration::from_secs(1));
    let taken = cpu_time(pid) - before;
    assert!(taken < Duration::from_millis(200), "{taken:?} in a second");
}

/// The program is made to learn in one turn that the target has reset the connection and that
/// the server has more for it.
#[test]
fn the_last_words_of_a_target_that_reset_reach_the_visitor_though_more_was_sent_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site::up();
    let port = free_port();
    let client = site
        .call()
        .forward(port, address)
        .start(user(), site.server.port);
    client.wait_up(port);
    let mut visitor = dial(port);
    visitor.write_all(b"hello").unwrap();
    let (mut target, _) = listener.accept().unwrap();
    wait_until("the target has something to read", patience(), || {
        target.peek(&mut [0; 5]).unwrap() == 5
    });

    client.process.pause();
    target.write_all(WORDS).unwrap();
    // Closed with unread data, the kernel resets the connection.
    drop(target);
    visitor.write_all(&[1; 10_000]).unwrap();
    wait_until("the server has sent it on", patience(), || {
        unread_from(site.server.port) >= 10_000
    });
    client.process.resume();

    let mut heard = Vec::new();
    let _ = visitor.read_to_end(&mut heard);
    assert_eq!(heard, WORDS);
}

/// Two floods of as many channels as there may be: each has filled its window when its target
/// resets, so none would find a place if the first had left anything behind.
#[test]
fn channels_whose_targets_reset_with_bytes_waiting_for_them_leave_nothing_behind() {
    const CHANNELS: usize = 31;
    let (stuck, healthy) = (Target::stuck(), Target::http("healthy"));
    let site = Site::up();
    let (client, ports) = site.serve(&[&stuck, &healthy], &[]);
    let pid = client.worker();
    assert_eq!(targets::fetch(ports[1]), "healthy");
    let before = open_files(pid);
    for round in 1..=2 {
        let port = ports[0];
        let fillers: Vec<_> = (0..CHANNELS)
            .map(|_| thread::spawn(move || fill(port)))
            .collect();
        let mut visitors: Vec<TcpStream> = fillers.into_iter().map(|f| f.join().unwrap()).collect();
        assert_eq!(stuck.hits(), round * CHANNELS);
        assert_eq!(targets::fetch(ports[1]), "healthy", "beside the full ones");
        stuck.release();
        for visitor in &mut visitors {
            let limit = bound(Duration::from_secs(5));
            visitor.set_read_timeout(Some(limit)).unwrap();
            match visitor.read(&mut [0]) {
                Ok(0) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                other => panic!("the channel stayed open: {other:?}"),
            }
        }
        // Their own ends are still open: a channel is closed, not only ended one way.
        wait_until("as many descriptors as before", patience(), || {
            open_files(pid) <= before
        });
        drop(visitors);
        assert_eq!(targets::fetch(ports[1]), "healthy");
    }
    assert_no_spinning(pid);
    assert_eq!(client.log().count("connected to "), 1, "one connection");
}

/// A Unix socket can be shut for one direction: the target takes nothing any more, and goes on
/// speaking. What waits for it is dropped and what comes for it later is taken, window and all.
#[test]
fn a_target_that_stops_listening_still_speaks_and_its_visitor_is_not_held_up() {
    // Several times what all the windows and buffers on the way hold.
    const SIZE: usize = 32_000_000;
    let site = Site::up();
    let path = site.scene.path("target.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let port = free_port();
    let client = site
        .call()
        .args(&["-R", &format!("{port}:{}", text(&path))])
        .start(user(), site.server.port);
    client.wait_up(port);
    let mut visitor = dial(port);
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut writer, counted) = (visitor.try_clone().unwrap(), sent.clone());
    let sending = thread::spawn(move || {
        while counted.load(Ordering::Relaxed) < SIZE {
            let n = writer.write(&[1; 65536])?;
            counted.fetch_add(n, Ordering::Relaxed);
        }
        std::io::Result::Ok(())
    });
    let (mut target, _) = listener.accept().unwrap();
    target.read_exact(&mut vec![0; 1_000_000]).unwrap();
    let mut before = 0;
    wait_until("everything on the way is full", patience(), || {
        thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::Relaxed);
        std::mem::replace(&mut before, now) == now
    });
    assert!(before < SIZE, "{before} bytes went through");

    // In one turn the program learns that the target has room and that it takes nothing.
    client.process.pause();
    target.set_nonblocking(true).unwrap();
    while let Ok(1..) = target.read(&mut [0; 65536]) {}
    target.set_nonblocking(false).unwrap();
    target.shutdown(Shutdown::Read).unwrap();
    client.process.resume();

    sending.join().unwrap().expect("all of it is taken");
    assert_no_spinning(client.worker());
    target.write_all(WORDS).unwrap();
    let mut heard = vec![0; WORDS.len()];
    visitor.read_exact(&mut heard).unwrap();
    assert_eq!(heard, WORDS);
    drop(target);
    assert_eq!(
        visitor.read(&mut [0]).unwrap_or(0),
        0,
        "the channel is closed"
    );
    assert_eq!(client.log().count("connected to "), 1, "one connection");
}
