//! Forwards from and to Unix sockets, and tokens that keep the controllers of one server apart.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use support::client::Call;
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, patience, text, user, wait_until};

fn server(scene: &Scene, lines: &[&str]) -> (Sshd, Key) {
    let key = keys::key(scene, "key", Kind::Ed25519);
    let mut server = sshd::builder(scene).authorize(&key);
    for line in lines {
        server = server.config(line);
    }
    (server.start(), key)
}

fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
}

fn fetch(path: &Path) -> String {
    let mut stream = dial(path);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    body.to_owned()
}

/// A Unix socket that sends back what it gets, and EOF after EOF.
fn echo(path: PathBuf) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reader, &mut stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
}

#[test]
fn a_socket_on_the_server_leads_to_a_tcp_target_and_back() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let target = Target::http("the dashboard");
    let socket = scene.path("far.sock");
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("{}:{}", text(&socket), target.address)])
        .start(user(), server.port);
    client.wait_for(&format!(
        "forward confirmed: server socket {} to {}",
        text(&socket),
        target.address
    ));
    client.wait_for("tunnel up: ");
    for _ in 0..3 {
        assert_eq!(fetch(&socket), "the dashboard");
    }
    assert_eq!(client.stop(), 0);
    wait_until("the server takes no more connections", patience(), || {
        UnixStream::connect(&socket).is_err()
    });
    assert!(socket.exists(), "sshd leaves the file behind");
}

#[test]
fn a_port_on_the_server_leads_to_a_local_socket_whole_and_both_ways() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let local = scene.path("near.sock");
    echo(local.clone());
    let port = free_port();
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("{port}:{}", text(&local))])
        .start(user(), server.port);
    client.wait_up(port);
    let sent: Vec<u8> = (0..500_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
    assert!(targets::exchange(port, &sent) == sent);
}

#[test]
fn off_takes_away_what_the_tokens_of_the_server_made_of_a_scripts_forward() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let target = Target::http("mine");
    let destination = format!("{}@127.0.0.1:{}", user(), server.port);
    let script = |path: &str, argument: &str| {
        let spec = format!("{}:{}", text(&scene.path(path)), target.address);
        let call = Call::new(&scene).args(&["invoke", "-R", &spec, "-y", "-f"]);
        call.identity(&key).args(&["--", argument]).run()
    };
    let (first, second) = ("%h-%p-%r.sock", "second.sock");
    for path in [first, second] {
        assert_eq!(script(path, &destination).code, 0);
    }
    let made = scene.path(&format!("127.0.0.1-{}-{}.sock", server.port, user()));
    wait_until("both are there", patience(), || {
        made.exists() && scene.path(second).exists()
    });
    assert_eq!(fetch(&made), "mine");
    let ended = script(first, "off");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_until("the server takes no more connections", patience(), || {
        UnixStream::connect(&made).is_err()
    });
    assert_eq!(fetch(&scene.path(second)), "mine");
    let unknown = script("%n.sock", "off");
    assert_eq!(unknown.code, 78, "{unknown:?}");
    assert!(
        unknown.stderr.join("").contains("use %h there"),
        "{unknown:?}"
    );
}

#[test]
fn a_local_socket_that_is_not_there_refuses_the_connection_and_the_tunnel_stays() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let local = scene.path("near.sock");
    let port = free_port();
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("{port}:{}", text(&local))])
        .start(user(), server.port);
    client.wait_up(port);
    assert_eq!(targets::exchange(port, b""), b"");
    client.wait_for(&format!("cannot connect to {}: No such file", text(&local)));
    echo(local);
    assert_eq!(targets::exchange(port, b"now"), b"now");
    assert_eq!(client.log().count("connected to "), 1);
}

#[test]
fn a_socket_file_that_an_old_session_left_is_waited_for_and_the_log_names_the_cure() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let target = Target::http("after");
    let socket = scene.path("far.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "the file outlives its listener");
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("{}:{}", text(&socket), target.address)])
        .start(user(), server.port);
    client.wait_for(&format!(
        "forward refused: server socket {} is taken or not permitted; waiting for socket",
        text(&socket)
    ));
    client.wait_for("StreamLocalBindUnlink yes");
    fs::remove_file(&socket).unwrap();
    client.wait_for("forward confirmed: server socket ");
    assert_eq!(fetch(&socket), "after");
}

#[test]
fn with_streamlocalbindunlink_a_killed_session_leaves_nothing_in_the_way() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &["StreamLocalBindUnlink yes"]);
    let target = Target::http("again");
    let socket = scene.path("far.sock");
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &format!("{}:{}", text(&socket), target.address)])
        .start(user(), server.port);
    client.wait_for("tunnel up: ");
    let mark = client.log().mark();
    server.kill_sessions();
    client.wait_after(mark, "tunnel up: ");
    assert!(!client.log().contains("forward refused"));
    assert_eq!(fetch(&socket), "again");
}

#[test]
fn an_order_takes_a_socket_back_and_status_names_it() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let target = Target::http("x");
    let sockets = [scene.path("one.sock"), scene.path("two.sock")];
    let specs = sockets
        .each_ref()
        .map(|socket| format!("{}:{}", text(socket), target.address));
    let client = Call::trusting(&scene, &key)
        .args(&["-R", &specs[0], "-R", &specs[1]])
        .start(user(), server.port);
    client.wait_for("tunnel up: ");
    let status = Call::new(&scene).args(&["status"]).run();
    let line = format!(
        "  server socket {} to {}",
        text(&sockets[0]),
        target.address
    );
    let shown = status.stdout.join("\n");
    assert!(shown.contains(&line), "{shown}");
    assert!(shown.contains("listening"), "{shown}");
    let json = Call::new(&scene).args(&["status", "--json"]).run();
    let member = format!("\"server_socket\":\"{}\"", text(&sockets[1]));
    assert!(json.stdout[0].contains(&member), "{json:?}");
    let destination = format!("{}@127.0.0.1:{}", user(), server.port);
    let cancelled = Call::new(&scene)
        .args(&["-O", "cancel", "-R", &specs[0], &destination])
        .run();
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    wait_until("the first socket is gone", patience(), || {
        UnixStream::connect(&sockets[0]).is_err()
    });
    assert_eq!(fetch(&sockets[1]), "x");
}

#[test]
fn controllers_with_serial_numbers_share_a_server_without_a_port_plan() {
    let scene = Scene::new();
    let (server, key) = server(&scene, &[]);
    let bodies = ["first controller", "second controller"];
    let mut clients = Vec::new();
    for (serial, body) in ["SN-1", "SN-2"].into_iter().zip(bodies) {
        let target = Target::http(body);
        // As the device tree has it, with a NUL at the end.
        let file = scene.file(serial, format!("{serial}\0"));
        let run = scene.path(&format!("run-{serial}"));
        let spec = format!("{}:{}", text(&scene.path("%s.sock")), target.address);
        let client = Call::trusting(&scene, &key)
            .option(&format!("SerialFile={}", text(&file)))
            .option(&format!("RuntimeDirectory={}", text(&run)))
            .args(&["-R", &spec])
            .start(user(), server.port);
        client.wait_for("tunnel up: ");
        clients.push((client, target));
    }
    for (serial, body) in ["SN-1", "SN-2"].into_iter().zip(bodies) {
        assert_eq!(fetch(&scene.path(&format!("{serial}.sock"))), body);
    }
}

#[test]
fn a_serial_number_that_could_lead_elsewhere_keeps_the_tunnel_from_starting() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let file = scene.file("serial", "../../etc");
    let option = format!("SerialFile={}", text(&file));
    let call = |options: &[&str]| {
        Call::trusting(&scene, &key)
            .args(options)
            .args(&["-R", "/tmp/%s.sock:localhost:22", "op@127.0.0.1:1"])
            .run()
    };
    let ended = call(&["-o", &option]);
    assert_eq!(ended.code, 65, "{ended:?}");
    assert!(ended.stderr[0].contains("no serial number"), "{ended:?}");
    let ended = call(&["-o", "SerialFile=/nonexistent/serial"]);
    assert_eq!(ended.code, 66, "{ended:?}");
    let ended = call(&[]);
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.stderr[0].contains("SerialFile"), "{ended:?}");
}
