//! What a hostile server, or whoever answers in its place, can do: nothing
//! but be refused, be disconnected from, and be tried again.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::client::{Call, Reachback};
use support::keys::{self, Kind};
use support::peers::Thrussh;
use support::process::status_field;
use support::targets::{self, Target};
use support::{Scene, bound, free_port, on_host, patience, skip, wait_until};

/// Resident memory that the program may have after an attack, in KiB. A debug
/// build is some MiB of code alone.
const MAX_RESIDENT_KIB: u64 = 24 * 1024;

fn assert_small(client: &Reachback) {
    if on_host() {
        let resident = status_field(client.worker(), "VmRSS");
        assert!(resident < MAX_RESIDENT_KIB, "{resident} KiB resident");
    }
}

#[test]
fn channels_that_were_not_asked_for_are_refused_and_the_tunnel_serves_on() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Thrussh::start(&scene, &key, &["--hostile"]) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::http("served"), free_port());
    let mut client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start("anyone", server.port);
    client.wait_up(port);
    let events = &server.process.stdout;
    events.wait_for("hostile done", patience());
    for kind in [
        "session",
        "direct-tcpip",
        "x11",
        "agent",
        "streamlocal",
        "wrong-port",
        "unknown",
    ] {
        assert!(
            events.contains(&format!("hostile {kind} refused")),
            "{kind}: {:#?}",
            events.all()
        );
    }
    // Another name for the address of the one forward with this port: servers write it as they like.
    assert!(events.contains("hostile wrong-address accepted"));
    wait_until("that one is served, and no other", patience(), || {
        target.hits() == 1
    });
    assert_eq!(targets::fetch(port), "served");
    assert!(
        !client.log().contains("connection lost"),
        "{:#?}",
        client.log().all()
    );
    assert!(client.process.is_running());
}

#[test]
fn a_flood_of_proper_channels_is_bounded() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Thrussh::start(&scene, &key, &["--flood", "2000"]) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::stuck(), free_port());
    let mut client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start("anyone", server.port);
    let line = server
        .process
        .stdout
        .wait_for("flood accepted ", patience());
    let numbers: Vec<usize> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let (accepted, refused) = (numbers[0], numbers[1]);
    assert_eq!(accepted + refused, 2000, "{line}");
    assert!(accepted >= 16, "{line}: too few channels for a dashboard");
    assert!(refused >= 1000, "{line}: no bound");
    assert!(client.process.is_running());
    assert!(
        !client.log().contains("connection lost"),
        "{:#?}",
        client.log().all()
    );
    assert_small(&client);
}

/// A port where every connection is handled by `attack`; the program must
/// hang up, come again, and stay small.
fn assert_withstands(what: &str, attack: impl Fn(TcpStream) + Send + Sync + 'static) {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = Target::start(attack);
    let mut client = Call::trusting(&scene, &key)
        .option("ConnectTimeout=3")
        .forward(free_port(), server.address)
        .start("someone", server.address.port());
    // The key exchange has half a minute, however short ConnectTimeout is.
    let line = client
        .log()
        .wait_for("next attempt in ", bound(Duration::from_secs(45)));
    let words = line.split("next attempt in ").nth(1).unwrap();
    let wait_s: u64 = words.split(' ').next().unwrap().parse().unwrap();
    // At most 20 min: a server with nothing in common does not heal by itself.
    assert!((1..=1200).contains(&wait_s), "{what}: {line}");
    // A server that turns clients away is left alone for longer than a test lasts.
    if wait_s <= 10 {
        wait_until(
            &format!("a second attempt after {what}"),
            patience(),
            || server.hits() >= 2,
        );
    }
    assert!(
        client.process.is_running(),
        "{what}: {:#?}",
        client.log().all()
    );
    assert_small(&client);
    for line in client.log().all() {
        assert!(!line.contains(char::is_control), "{what}: {line:?}");
        assert!(line.len() < 2000, "{what}: a line of {} bytes", line.len());
    }
    assert_eq!(client.stop(), 0, "{what}");
}

/// Writes until the other side hangs up, within reason.
fn pour(mut stream: TcpStream, bytes: &[u8]) {
    stream
        .set_write_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    for _ in 0..(256 << 20) / bytes.len() {
        if stream.write_all(bytes).is_err() {
            return;
        }
    }
}

/// A binary packet (RFC 4253, section 6) without encryption.
fn packet(payload: &[u8]) -> Vec<u8> {
    let short = 8 - (payload.len() + 5) % 8;
    let padding = if short < 4 { short + 8 } else { short };
    let length = (payload.len() + 1 + padding) as u32;
    [
        &length.to_be_bytes()[..],
        &[padding as u8],
        payload,
        &vec![0; padding],
    ]
    .concat()
}

const IDENTIFICATION: &[u8] = b"SSH-2.0-hostile\r\n";

/// Identifies itself as a server and waits for the client's line.
fn greeted(mut stream: TcpStream) -> Option<TcpStream> {
    stream.write_all(IDENTIFICATION).ok()?;
    stream.set_read_timeout(Some(patience())).ok()?;
    let mut byte = [0];
    while stream.read(&mut byte).ok()? == 1 {
        if byte[0] == b'\n' {
            return Some(stream);
        }
    }
    None
}

#[test]
fn noise_instead_of_ssh_is_hung_up_on() {
    assert_withstands("noise", |stream| {
        let noise: Vec<u8> = (0..65536_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        pour(stream, &noise);
    });
}

#[test]
fn an_endless_line_before_the_identification_is_hung_up_on() {
    assert_withstands("an endless line", |stream| pour(stream, &[b'a'; 65536]));
}

#[test]
fn endless_lines_before_the_identification_are_hung_up_on() {
    assert_withstands("endless lines", |stream| {
        pour(stream, &b"welcome\r\n".repeat(4096))
    });
}

#[test]
fn an_http_server_in_its_place_is_hung_up_on() {
    assert_withstands("HTTP", |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>");
    });
}

#[test]
fn an_identification_with_control_characters_does_not_reach_the_log_raw() {
    assert_withstands("control characters", |mut stream| {
        let _ = stream.write_all(b"hello \x1b[31m\x07\x00\r\nSSH-2.0-\x1b[2J\x08evil\r\n");
        let _ = stream.write_all(&packet(&[
            1, 0, 0, 0, 2, 0, 0, 0, 4, 0x1b, b'[', b'2', b'J',
        ]));
    });
}

#[test]
fn an_old_protocol_version_is_hung_up_on() {
    assert_withstands("SSH 1", |mut stream| {
        let _ = stream.write_all(b"SSH-1.5-old\n");
        let _ = stream.read(&mut [0; 64]);
    });
}

#[test]
fn a_giant_packet_length_is_hung_up_on() {
    assert_withstands("a giant packet", |stream| {
        if let Some(mut stream) = greeted(stream) {
            let _ = stream.write_all(&0x7FFF_FFFF_u32.to_be_bytes());
            pour(stream, &[0; 65536]);
        }
    });
}

#[test]
fn a_packet_of_no_length_is_hung_up_on() {
    assert_withstands("an empty packet", |stream| {
        if let Some(stream) = greeted(stream) {
            pour(stream, &[0; 65536]);
        }
    });
}

#[test]
fn endless_ignored_messages_before_the_key_exchange_are_hung_up_on() {
    assert_withstands("endless SSH_MSG_IGNORE", |stream| {
        if let Some(stream) = greeted(stream) {
            pour(stream, &packet(&[2, 0, 0, 0, 4, 1, 2, 3, 4]).repeat(512));
        }
    });
}

#[test]
fn a_login_before_the_key_exchange_is_hung_up_on() {
    assert_withstands("USERAUTH_SUCCESS first", |stream| {
        if let Some(mut stream) = greeted(stream) {
            let _ = stream.write_all(&packet(&[52]));
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

#[test]
fn a_key_exchange_without_common_algorithms_is_hung_up_on() {
    assert_withstands("no common algorithm", |stream| {
        if let Some(mut stream) = greeted(stream) {
            let mut payload = vec![20];
            payload.extend([7; 16]);
            for _ in 0..10 {
                payload.extend([0, 0, 0, 4]);
                payload.extend(b"none");
            }
            payload.extend([0; 5]);
            let _ = stream.write_all(&packet(&payload));
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

#[test]
fn a_server_that_falls_silent_after_its_identification_is_given_up() {
    assert_withstands("silence", |stream| {
        if let Some(mut stream) = greeted(stream) {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

#[test]
fn a_server_that_sends_one_byte_at_a_time_cannot_hold_it_for_ever() {
    assert_withstands("a trickle", |mut stream| {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(bound(Duration::from_millis(200)));
        }
    });
}
