//! Bytes through the tunnel: all of them, in both directions, under rekeying,
//! with flow control that keeps channels apart, and with nothing left behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::client::Call;
use support::process::{open_files, status_field};
use support::rig::{Rig, Setup, Site};
use support::targets::{self, Target, dial, fill, pattern_digest, receive, send_pattern};
use support::{bound, free_port, on_host, patience, user, wait_until};

#[test]
fn large_transfers_survive_rekeying_while_another_target_is_stuck_and_a_third_is_served() {
    let size = if on_host() { 100_000_000 } else { 8_000_000 };
    let limit = if on_host() { "16M" } else { "1M" };
    let (source, digest) = (Target::source(size), Target::digest());
    let (stuck, small) = (Target::stuck(), Target::http("small"));
    let site = Site::with(&[&format!("RekeyLimit {limit}")]);
    let (client, ports) = site.serve(
        &[&source, &digest, &stuck, &small],
        &[&format!("RekeyLimit={limit}")],
    );
    let _held = fill(ports[2]);

    let (done, finished) = mpsc::channel();
    let (from, sent) = (ports[0], done.clone());
    let download = thread::spawn(move || {
        let got = receive(&mut dial(from));
        sent.send(()).unwrap();
        got
    });
    let to = ports[1];
    let upload = thread::spawn(move || {
        let mut stream = dial(to);
        send_pattern(&mut stream, size).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        done.send(()).unwrap();
        answer
    });

    let mut slowest = Duration::ZERO;
    let mut requests = 0;
    let mut running = 2;
    let begin = Instant::now();
    while running > 0 {
        assert!(begin.elapsed() < patience() * 6, "transfers did not finish");
        let start = Instant::now();
        assert_eq!(targets::fetch(ports[3]), "small");
        slowest = slowest.max(start.elapsed());
        requests += 1;
        if finished.recv_timeout(Duration::from_millis(10)).is_ok() {
            running -= 1;
        }
    }
    let expected = pattern_digest(size);
    assert_eq!(
        download.join().unwrap(),
        (size, expected.clone()),
        "from the target"
    );
    assert_eq!(upload.join().unwrap(), expected, "to the target");
    let limit = bound(Duration::from_secs(2));
    assert!(
        slowest < limit,
        "a small request took {slowest:?} ({requests} made)"
    );
    let exchanges = site.server.log.count("SSH2_MSG_NEWKEYS received");
    assert!(
        exchanges >= 4,
        "only {exchanges} key exchanges: the limit had no effect"
    );
    assert!(
        site.server.log.count("Accepted publickey") == 1,
        "the connection did not last"
    );
    assert!(
        !client.log().contains("connection lost"),
        "{:#?}",
        client.log().all()
    );
}

/// OpenSSH takes such a limit to be reached with each data packet that it sends.
#[test]
fn a_server_that_renews_keys_after_every_packet_is_put_up_with() {
    let size = if on_host() { 4_000_000 } else { 1_000_000 };
    let target = Target::digest();
    let site = Site::with(&["RekeyLimit 64K"]);
    let (client, ports) = site.serve(&[&target], &[]);
    let mut stream = dial(ports[0]);
    let digest = send_pattern(&mut stream, size).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, digest);
    let exchanges = site.server.log.count("SSH2_MSG_NEWKEYS received");
    assert!(exchanges > 17, "only {exchanges} key exchanges");
    assert!(!client.log().contains("connection lost"));
}

#[test]
fn an_echoing_target_with_a_slow_reader_on_the_far_side_does_not_deadlock() {
    let size = if on_host() { 16_000_000 } else { 4_000_000 };
    let rig = Rig::up(Target::echo());
    let stream = dial(rig.port);
    let mut writer = stream.try_clone().unwrap();
    let written = thread::spawn(move || {
        let digest = send_pattern(&mut writer, size).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        digest
    });
    // Every buffer on the way is full by then.
    thread::sleep(bound(Duration::from_secs(1)));
    let mut reader = stream;
    let (count, digest) = receive(&mut reader);
    assert_eq!(count, size);
    assert_eq!(digest, written.join().unwrap());
}

#[test]
fn a_target_that_reads_again_gets_everything_that_waited_for_it() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let target = Target::start(move |mut stream| {
        wait.lock().unwrap().recv().unwrap();
        let (count, digest) = receive(&mut stream);
        let _ = stream.write_all(format!("{count} {digest}").as_bytes());
    });
    let rig = Rig::up(target);
    let size = 6_000_000;
    let mut stream = dial(rig.port);
    let mut writer = stream.try_clone().unwrap();
    let written = thread::spawn(move || {
        let digest = send_pattern(&mut writer, size).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        digest
    });
    thread::sleep(bound(Duration::from_millis(500)));
    go.send(()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, format!("{size} {}", written.join().unwrap()));
}

#[test]
fn a_client_that_shuts_down_its_sending_half_still_gets_the_answer() {
    let rig = Rig::up(Target::digest());
    let mut stream = dial(rig.port);
    let digest = send_pattern(&mut stream, 1_000_000).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, digest);
}

#[test]
fn a_target_that_shuts_down_its_sending_half_first_still_receives() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let target = Target::start(move |mut stream| {
        stream.write_all(b"farewell").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let got = receive(&mut stream);
        tell.lock().unwrap().send(got).unwrap();
    });
    let rig = Rig::up(target);
    let mut stream = dial(rig.port);
    let mut farewell = String::new();
    stream.read_to_string(&mut farewell).unwrap();
    assert_eq!(farewell, "farewell");
    let digest = send_pattern(&mut stream, 500_000).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told.recv_timeout(patience()).unwrap(), (500_000, digest));
}

#[test]
fn a_target_that_resets_ends_its_channel_only() {
    let resetting = Target::start(|mut stream| {
        // Closing with unread data makes the kernel send a reset.
        let _ = stream.read(&mut [0]);
    });
    let healthy = Target::http("healthy");
    let site = Site::up();
    let (_client, ports) = site.serve(&[&resetting, &healthy], &[]);
    let mut stream = dial(ports[0]);
    stream.write_all(&[1; 10_000]).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    // EOF or a reset, but no waiting until the timeout.
    let start = Instant::now();
    let _ = stream.read_to_end(&mut rest);
    assert!(start.elapsed() < patience() / 2, "the channel stayed open");
    assert_eq!(targets::fetch(ports[1]), "healthy");
}

#[test]
fn many_channels_at_once_each_carry_their_own_bytes() {
    let rig = Rig::up(Target::echo());
    let port = rig.port;
    let users: Vec<_> = (0..32_u8)
        .map(|number| {
            thread::spawn(move || {
                let sent: Vec<u8> = (0..60_000_u32).map(|i| (i as u8) ^ number).collect();
                targets::exchange(port, &sent) == sent
            })
        })
        .collect();
    for (number, user) in users.into_iter().enumerate() {
        assert!(user.join().unwrap(), "channel {number} got other bytes");
    }
}

#[test]
fn a_dead_target_is_a_proper_channel_open_failure_for_the_server() {
    let Site {
        scene,
        key,
        server: sshd,
    } = Site::up();
    let (port, nobody) = (free_port(), free_port());
    let mut client = Call::trusting(&scene, &key)
        .forward(port, ([127, 0, 0, 1], nobody).into())
        .start(user(), sshd.port);
    client.wait_up(port);
    let mut stream = dial(port);
    let mut nothing = Vec::new();
    let start = Instant::now();
    let _ = stream.read_to_end(&mut nothing);
    assert!(nothing.is_empty());
    assert!(
        start.elapsed() < patience() / 2,
        "the server's connection stayed open"
    );
    sshd.log.wait_for("open failed: connect failed", patience());
    assert!(client.process.is_running());

    // The same forward works once the target is there.
    let target = Target::on(
        TcpListener::bind(("127.0.0.1", nobody)).unwrap(),
        |mut s| {
            let _ = s.write_all(b"alive");
        },
    );
    assert_eq!(targets::exchange(port, b""), b"alive");
    assert_eq!(target.hits(), 1);
}

#[test]
fn five_hundred_channels_leave_no_file_descriptors_behind() {
    let rig = Rig::up(Target::echo());
    let pid = rig.client.worker();
    for _ in 0..20 {
        assert_eq!(targets::exchange(rig.port, b"warm-up"), b"warm-up");
    }
    let mut before = 0;
    wait_until("the number of descriptors settles", patience(), || {
        let now = open_files(pid);
        std::mem::replace(&mut before, now) == now
    });
    let port = rig.port;
    let users: Vec<_> = (0..10)
        .map(|user| {
            thread::spawn(move || {
                for number in 0..50 {
                    let data = format!("user {user} channel {number}");
                    assert_eq!(targets::exchange(port, data.as_bytes()), data.as_bytes());
                }
            })
        })
        .collect();
    for user in users {
        user.join().unwrap();
    }
    assert_eq!(rig.target.hits(), 520);
    wait_until("as many descriptors as before", patience(), || {
        open_files(pid) <= before
    });
}

#[test]
fn users_who_vanish_without_a_word_leave_no_file_descriptors_behind() {
    let rig = Rig::up(Target::stuck());
    let pid = rig.client.worker();
    let before = open_files(pid);
    let streams: Vec<_> = (0..20).map(|_| dial(rig.port)).collect();
    wait_until("all are connected", patience(), || rig.target.hits() == 20);
    drop(streams);
    rig.target.release();
    wait_until("as many descriptors as before", patience(), || {
        open_files(pid) <= before
    });
}

#[test]
fn the_program_has_one_thread_and_stays_small_under_load() {
    if !on_host() {
        return support::skip("threads and memory of the runner are not the program's");
    }
    let setup = Setup {
        options: &["RekeyLimit=1M"],
        ..Setup::default()
    };
    let rig = setup.up(Target::stuck());
    let pid = rig.client.worker();
    let port = rig.port;
    let fillers: Vec<_> = (0..16).map(|_| thread::spawn(move || fill(port))).collect();
    let _held: Vec<_> = fillers.into_iter().map(|f| f.join().unwrap()).collect();
    assert_eq!(status_field(pid, "Threads"), 1);
    let resident_kib = status_field(pid, "VmRSS");
    assert!(
        resident_kib < 32 * 1024,
        "{resident_kib} KiB with 16 stuck channels"
    );
}
