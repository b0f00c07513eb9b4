//! The control socket and its clients, those with bad manners among them.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use support::controller::{Controller, controller};
use support::targets;
use support::{bound, free_port, patience, wait_until};

#[test]
fn a_stopped_process_with_a_full_queue_of_callers_makes_nobody_wait_for_ever() {
    let controller = controller();
    assert_eq!(controller.call(free_port()).args(&["--wait"]).run().code, 0);
    let pid = Pid::from_raw(controller.owners()[0]);
    signal::kill(pid, Signal::SIGSTOP).unwrap();
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
