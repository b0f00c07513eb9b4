//! The control socket and its clients, those with bad manners among them.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use support::client::command;
use support::controller::{Controller, controller};
use support::process::{Process, worker};
use support::targets;
use support::{Scene, bound, free_port, is_root, on_host, patience, skip, wait_until};

#[test]
fn a_stopped_process_with_a_full_queue_of_callers_makes_nobody_wait_for_ever() {
    let controller = controller();
    assert_eq!(controller.call(free_port()).args(&["--wait"]).run().code, 0);
    let pid = Pid::from_raw(controller.owners()[0]);
    signal::kill(Pid::from_raw(worker(pid.as_raw())), Signal::SIGSTOP).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = mio::net::UnixStream::connect(controller.socket()) {
        queued.push(stream);
    }
    for (args, code) in [(&["status"][..], 69), (&["stop", "--all"], 69)] {
        let start = Instant::now();
        let ended = controller.ask(args);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(start.elapsed() < bound(Duration::from_secs(15)));
    }
    drop(queued);
    signal::kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(controller.ask(&["stop", "--all"]).code, 0);
}

/// A client of the control socket by hand.
struct Hand(BufReader<UnixStream>);

impl Hand {
    fn connect(controller: &Controller) -> Self {
        let stream = UnixStream::connect(controller.socket()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        Hand(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.0
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
        self.line()
    }
}

#[test]
fn the_ninth_client_is_told_so_and_a_place_that_is_free_again_is_given_away() {
    let controller = controller();
    assert_eq!(controller.call(free_port()).args(&["--wait"]).run().code, 0);
    let mut eight: Vec<Hand> = (0..8).map(|_| Hand::connect(&controller)).collect();
    for hand in &mut eight {
        assert!(hand.ask("reachback 1").starts_with("reachback 1 "));
    }
    let ninth = Hand::connect(&controller).line();
    assert!(ninth.starts_with("no busy 8 clients"), "{ninth}");
    eight.pop();
    wait_until("there is room again", patience(), || {
        Hand::connect(&controller)
            .ask("reachback 1")
            .starts_with("reachback 1 ")
    });
}

#[test]
fn what_a_client_asked_for_is_done_at_once_even_if_it_has_hung_up() {
    let controller = controller();
    assert_eq!(controller.call(free_port()).args(&["--wait"]).run().code, 0);
    let port = free_port();
    let mut hand = Hand::connect(&controller);
    let stream = hand.0.get_mut();
    let lines = format!("reachback 1\nforward {}\n", controller.spec(port));
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(hand.line().starts_with("reachback 1 "));
    assert_eq!(hand.line(), "ok added");
    controller.confirmed(port);
}

#[test]
fn a_client_that_speaks_nonsense_is_sent_away_and_harms_nobody() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let mut silent = Hand::connect(&controller);
    assert_eq!(
        Hand::connect(&controller).ask("status"),
        "no bad say hello first"
    );
    let other = Hand::connect(&controller).ask("reachback 2");
    assert_eq!(other, "no version this owner speaks version 1");
    let mut long = Hand::connect(&controller);
    let _ = long.0.get_mut().write_all(&[b'x'; 100_000]);
    assert!(long.line().starts_with("no bad "));
    let mut wrong = Hand::connect(&controller);
    wrong.ask("reachback 1");
    assert!(wrong.ask("forward 22").starts_with("no bad "));
    assert_eq!(wrong.ask("check"), "ok running");
    // Nobody holds a place for ever.
    let mut rest = Vec::new();
    let start = Instant::now();
    silent.0.read_to_end(&mut rest).unwrap();
    assert!(
        start.elapsed() > Duration::from_secs(5),
        "sent away too early"
    );
    assert_eq!(targets::fetch(port), "served");
}

/// A process that says hello to everyone, and then this again and again, with a pause before each.
fn babbler(controller: &Controller, words: &'static str, pause: Duration) {
    let socket = controller.socket();
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut said = stream.write_all(b"reachback 1 1\n");
                while said.is_ok() {
                    std::thread::sleep(pause);
                    said = stream.write_all(words.as_bytes());
                }
            });
        }
    });
}

#[test]
fn an_owner_whose_answer_has_no_end_holds_no_caller_up() {
    let cases = [
        // What a later version could say, for ever.
        ("later 1\n", Duration::ZERO),
        ("later 1\n", Duration::from_millis(100)),
        // Nor has its line.
        ("x", Duration::from_millis(100)),
    ];
    std::thread::scope(|scope| {
        for (words, pause) in cases {
            scope.spawn(move || {
                let controller = controller();
                babbler(&controller, words, pause);
                let spec = format!("{}:/run/%h/door", free_port());
                let key = controller.key.file();
                let off = ["invoke", "-R", &spec, "-i", &key, "--", "off"];
                for args in [&["status"][..], &off] {
                    let start = Instant::now();
                    let ended = controller.ask(args);
                    assert_eq!(ended.code, 69, "{words:?}, {pause:?}: {ended:?}");
                    assert!(start.elapsed() < bound(Duration::from_secs(15)));
                }
            });
        }
    });
}

#[test]
fn a_verdict_that_comes_byte_by_byte_is_waited_for_no_longer_than_any() {
    let controller = controller();
    babbler(&controller, "o", Duration::from_millis(100));
    let start = Instant::now();
    let ended = controller.ask(&["reconnect"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(start.elapsed() < bound(Duration::from_secs(15)));
}

#[test]
fn one_that_dribbles_hides_no_other_tunnel() {
    let controller = controller();
    assert_eq!(controller.call(free_port()).args(&["--wait"]).run().code, 0);
    let other = controller.scene.path("run/a@127.0.0.1:1.sock");
    let listener = UnixListener::bind(other).unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        while stream.write_all(b"r").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let ended = controller.ask(&["status"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    let page = ended.stdout.join("\n");
    assert!(
        page.contains(&format!(" port {}: up for ", controller.server.port)),
        "{page}"
    );
    assert!(page.contains("a@127.0.0.1:1: no answer for 10 s"), "{page}");
}

#[test]
fn status_asks_again_when_the_owner_goes_away_before_it_has_said_all() {
    let controller = controller();
    std::fs::create_dir(controller.scene.path("run")).unwrap();
    let listener = UnixListener::bind(controller.socket()).unwrap();
    std::thread::spawn(move || {
        // A fault, and then what came back after it.
        for rest in ["", "clock 1", "up 1 127.0.0.1\nend\n"] {
            let mut stream = listener.accept().unwrap().0;
            let said = format!("reachback 1 1\nowner 1 1\ndestination a b 22\n{rest}");
            stream.write_all(said.as_bytes()).unwrap();
        }
    });
    let ended = controller.ask(&["status"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout[0].starts_with("a@b port 22: up for "),
        "{ended:?}"
    );
}

#[test]
fn names_that_others_put_into_the_directory_are_not_shown() {
    let controller = controller();
    let run = controller.scene.path("run");
    std::fs::create_dir(&run).unwrap();
    let names: [&[u8]; 3] = [
        b"\x1b[31mred\x1b]0;title\x07.sock",
        b"b\nx@y:22: up for 3 d.sock",
        b"b\xff@y:22.sock",
    ];
    let _listeners =
        names.map(|name| UnixListener::bind(run.join(std::ffi::OsStr::from_bytes(name))).unwrap());
    let orders = [&["status"][..], &["status", "--json"], &["stop"]];
    for (args, code) in orders.into_iter().zip([2, 2, 69]) {
        let ended = controller.ask(args);
        assert_eq!(ended.code, code, "{ended:?}");
        let said = [ended.stdout, ended.stderr].concat().join("\n");
        let shown = ["\u{1b}", "title", "@y"]
            .iter()
            .any(|name| said.contains(name));
        assert!(!shown, "{said:?}");
    }
    assert_eq!(controller.ask(&["stop", "--all"]).code, 0);
}

#[test]
fn a_user_is_shown_nothing_of_a_directory_that_is_anothers() {
    if !on_host() || !is_root() {
        return skip("needs root to be another user");
    }
    let scene = Scene::new();
    for name in ["", "run"] {
        let path = scene.path(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _listener = UnixListener::bind(scene.path("run/a@b:22.sock")).unwrap();
    for args in [&["status"][..], &["stop"], &["stop", "--all"]] {
        let mut command = command(&scene);
        let mut ended = Process::start(command.args(args).uid(65534).gid(65534));
        assert_eq!(ended.wait(patience()), 77, "{args:?}");
        ended
            .stderr
            .wait_for("it belongs to another user", patience());
        assert_eq!(ended.stdout.mark(), 0);
    }
}
