//! One process holds a tunnel; every other call talks to it.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use support::client::{Call, Ended, command};
use support::keys::{self, Key, Kind};
use support::process::{self, Process, is_alive};
use support::rig::Rig;
use support::sshd::{self, Sshd};
use support::syslog::{Syslog, parse};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, patience, user, wait_until};

/// A controller whose tunnels run in the background, and its server.
struct Controller {
    syslog: Syslog,
    server: Sshd,
    target: Target,
    key: Key,
    scene: Scene,
}

fn controller() -> Controller {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    Controller {
        syslog: Syslog::start(&scene),
        server: sshd::builder(&scene).authorize(&key).start(),
        target: Target::http("served"),
        key,
        scene,
    }
}

impl Controller {
    fn destination(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.server.port)
    }

    /// A call for a tunnel in the background.
    fn call(&self, port: u16) -> Call<'_> {
        let call = Call::trusting(&self.scene, &self.key).args(&["-f", &self.destination()]);
        call.forward(port, self.target.address)
    }

    /// A call of the program with these arguments.
    fn ask(&self, args: &[&str]) -> Ended {
        Call::new(&self.scene).args(args).run()
    }

    /// What the custom scripts run.
    fn invoke(&self, port: u16, argument: &str) -> Ended {
        let spec = format!("{port}:127.0.0.1:{}", self.target.address.port());
        let key = self.key.file();
        self.ask(&[
            "invoke", "-R", &spec, "-y", "-N", "-f", "-i", &key, "--", argument,
        ])
    }

    fn spec(&self, port: u16) -> String {
        format!("{port}:127.0.0.1:{}", self.target.address.port())
    }

    fn confirmed(&self, port: u16) {
        let line = format!("forward confirmed: server port {port} ");
        self.syslog.lines.wait_for(&line, patience());
        assert_eq!(targets::fetch(port), "served");
    }

    fn owners(&self) -> Vec<i32> {
        self.scene.program_processes()
    }

    fn logins(&self) -> usize {
        self.server.log.count("Accepted publickey for ")
    }

    fn socket(&self) -> PathBuf {
        let name = format!("run/{}@127.0.0.1:{}.sock", user(), self.server.port);
        self.scene.path(&name)
    }

    fn gone(&self) {
        wait_until("the owner has ended", patience(), || {
            self.owners().is_empty()
        });
        assert!(!self.socket().exists(), "its socket is left");
    }
}

fn closed(port: u16) {
    wait_until("the server listens no more", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

#[test]
fn fifty_calls_in_the_same_instant_make_one_owner() {
    let controller = controller();
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let destination = controller.destination();
    let mut calls: Vec<Process> = (0..50)
        .map(|n| {
            let mut call = command(&controller.scene);
            call.args(["-N", "-y", "-f", "-i", &controller.key.file()]);
            call.args(["-R", &controller.spec(ports[n % ports.len()]), &destination]);
            Process::start(&mut call)
        })
        .collect();
    for call in &mut calls {
        let code = call.wait(bound(Duration::from_secs(30)));
        assert_eq!(code, 0, "{:?}", call.stderr.all());
    }
    assert_eq!(controller.owners().len(), 1);
    ports.iter().for_each(|&port| controller.confirmed(port));
    assert_eq!(controller.logins(), 1);
}

#[test]
fn both_scripts_share_one_connection_and_the_same_forward_twice_is_one() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let destination = controller.destination();
    assert_eq!(controller.invoke(first, &destination).code, 0);
    controller.confirmed(first);
    let owner = controller.owners();
    for _ in 0..2 {
        let ended = controller.invoke(second, &destination);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    controller.confirmed(second);
    assert_eq!(controller.owners(), owner);
    assert_eq!(controller.logins(), 1);
    let count = |text: &str| controller.syslog.lines.count(text);
    assert_eq!(
        count(&format!("forward confirmed: server port {second} ")),
        1
    );
    let invoked = format!("Ebee custom script invoked with parameter {destination}");
    wait_until("each call logged its two lines", patience(), || {
        count(&invoked) == 3 && count("Ebee custom script invocation completed") == 3
    });
}

#[test]
fn a_call_in_the_foreground_hands_its_forward_over_and_exits_with_0() {
    let rig = Rig::up(Target::http("served"));
    let port = free_port();
    let destination = format!("{}@127.0.0.1:{}", user(), rig.sshd.port);
    let ended = Call::trusting(&rig.scene, &rig.key)
        .forward(port, rig.target.address)
        .args(&["--wait", &destination])
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stderr
            .iter()
            .any(|l| l.contains("handed to process "))
    );
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(rig.sshd.log.count("Accepted publickey for "), 1);
}

#[test]
fn what_a_killed_owner_left_is_taken_over_by_the_next_call() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let killed = controller.owners();
    assert_eq!(killed.len(), 1);
    process::kill(killed[0]);
    wait_until("it is dead", patience(), || !is_alive(killed[0]));
    closed(port);
    assert!(
        controller.socket().exists(),
        "a killed owner removes nothing"
    );
    let ended = controller.call(port).args(&["--wait"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let owner = controller.owners();
    assert!(
        owner.len() == 1 && owner != killed,
        "{owner:?} after {killed:?}"
    );
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn wait_exits_0_only_once_the_forward_is_there() {
    let controller = controller();
    let port = free_port();
    let ended = controller.call(port).args(&["--wait=20"]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    // No waiting here: that is what was waited for.
    assert_eq!(targets::fetch(port), "served");
}

#[test]
fn wait_exits_75_with_the_reason_and_the_tunnel_goes_on_trying() {
    let mut controller = controller();
    controller.server.stop();
    let port = free_port();
    let start = Instant::now();
    let ended = controller.call(port).args(&["--wait=2"]).run();
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(start.elapsed() < bound(Duration::from_secs(8)));
    let reason = ended.stderr.join("\n");
    assert!(reason.contains("Connection refused"), "{reason}");
    controller.server.start();
    controller.confirmed(port);
}

#[test]
fn wait_does_not_wait_for_what_will_not_be_tried_before_it_is_over() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let other = keys::key(&scene, "other", Kind::Ed25519);
    let server = sshd::builder(&scene).authorize(&other).start();
    let start = Instant::now();
    let ended = Call::trusting(&scene, &key)
        .args(&["-f", "--wait=15", "-R"])
        .args(&[&format!("{}:localhost:22", free_port())])
        .args(&[&format!("{}@127.0.0.1:{}", user(), server.port)])
        .run();
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(
        start.elapsed() < bound(Duration::from_secs(10)),
        "it waited"
    );
}

#[test]
fn exit_on_forward_failure_in_the_background_is_the_callers_exit_status() {
    let controller = controller();
    let port = free_port();
    let _holders = [
        TcpListener::bind(("127.0.0.1", port)).ok(),
        TcpListener::bind(("::1", port)).ok(),
    ];
    let ended = controller
        .call(port)
        .option("ExitOnForwardFailure=yes")
        .run();
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(
        ended.stderr.join(" ").contains("refused a forward"),
        "{ended:?}"
    );
    controller.gone();
}

#[test]
fn the_orders_of_ssh_check_add_cancel_and_end() {
    let controller = controller();
    let destination = controller.destination();
    let ask = |order: &str, more: &[&str]| {
        let args = [&["-O", order], more, &[destination.as_str()]].concat();
        controller.ask(&args)
    };
    let nobody = ask("check", &[]);
    assert_eq!(nobody.code, 69, "{nobody:?}");
    let (first, second) = (free_port(), free_port());
    assert_eq!(controller.call(first).args(&["--wait"]).run().code, 0);
    let checked = ask("check", &[]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let pid = controller.owners()[0];
    assert_eq!(checked.stdout, [format!("Master running (pid={pid})")]);
    let spec = controller.spec(second);
    assert_eq!(ask("forward", &["-R", &spec]).code, 0);
    controller.confirmed(second);
    assert_eq!(ask("cancel", &["-R", &spec]).code, 0);
    closed(second);
    assert_eq!(targets::fetch(first), "served");
    let absent = ask("cancel", &["-R", &spec]);
    assert_eq!(absent.code, 69, "{absent:?}");
    assert_eq!(ask("forward", &[]).code, 64);
    assert_eq!(ask("exit", &[]).code, 0);
    controller.gone();
    closed(first);
}

#[test]
fn stop_ends_the_only_tunnel_or_the_one_that_is_named_or_all() {
    let controller = controller();
    let second = sshd::builder(&controller.scene)
        .authorize(&controller.key)
        .start();
    let other = format!("{}@127.0.0.1:{}", user(), second.port);
    let none = controller.ask(&["stop"]);
    assert_eq!(none.code, 69, "{none:?}");
    let start = |destination: &str| {
        let call = Call::trusting(&controller.scene, &controller.key);
        let spec = controller.spec(free_port());
        let ended = call.args(&["-f", "--wait", "-R", &spec, destination]).run();
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    let both = [controller.destination(), other.clone()];
    both.iter().for_each(|destination| start(destination));
    let unclear = controller.ask(&["stop"]);
    assert_eq!(unclear.code, 64, "{unclear:?}");
    assert_eq!(controller.owners().len(), 2);
    assert_eq!(controller.ask(&["stop", &other]).code, 0);
    assert_eq!(
        controller.owners().len(),
        1,
        "it returns when the tunnel has ended"
    );
    assert_eq!(controller.ask(&["stop"]).code, 0);
    assert_eq!(controller.owners().len(), 0);
    both.iter().for_each(|destination| start(destination));
    assert_eq!(controller.ask(&["stop", "--all"]).code, 0);
    assert_eq!(controller.owners().len(), 0);
    assert_eq!(
        controller.ask(&["stop", "--all"]).code,
        0,
        "nothing is left to stop"
    );
}

#[test]
fn reconnect_makes_a_new_connection_at_once() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let owner = controller.owners();
    assert_eq!(controller.ask(&["reconnect"]).code, 0);
    wait_until("it logged in again", patience(), || {
        controller.logins() == 2
    });
    wait_until("it serves again", patience(), || {
        controller.syslog.lines.count("tunnel up: ") == 2
    });
    assert_eq!(targets::fetch(port), "served");
    assert_eq!(controller.owners(), owner);
}

#[test]
fn off_takes_a_scripts_forward_away_and_the_connection_with_the_last() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let destination = controller.destination();
    for port in [first, second] {
        assert_eq!(controller.invoke(port, &destination).code, 0);
        controller.confirmed(port);
    }
    assert_eq!(controller.invoke(first, "off").code, 0);
    closed(first);
    assert_eq!(targets::fetch(second), "served");
    assert_eq!(controller.invoke(second, "stop").code, 0);
    controller.gone();
    closed(second);
    let again = controller.invoke(second, "OFF");
    assert_eq!(again.code, 0, "{again:?}");
    let has = |text: &str| controller.syslog.lines.wait_for(text, patience());
    has("Ebee custom script invoked with parameter off");
    has(&format!(
        "forward {} is taken away, as asked",
        controller.spec(first)
    ));
    has("ending: the last forward was taken away");
    has("nothing to take away: no tunnel has this forward");
    wait_until("every call completed", patience(), || {
        controller
            .syslog
            .lines
            .count("Ebee custom script invocation completed")
            == 5
    });
}

#[test]
fn only_off_and_stop_are_words_the_rest_is_still_the_strict_grammar() {
    let controller = controller();
    for argument in [
        "offf",
        "off ",
        "stop now",
        "of",
        "status",
        "reconnect",
        "stop\n",
    ] {
        let ended = controller.invoke(free_port(), argument);
        assert_eq!(ended.code, 64, "{argument:?}: {ended:?}");
    }
    let texts = controller.syslog.lines.all();
    let texts: Vec<String> = texts.iter().map(|line| parse(line).text).collect();
    let refused = "Ebee custom script not invoked: Argument does not match user@domain";
    assert_eq!(texts.iter().filter(|text| *text == refused).count(), 7);
}

#[test]
fn a_lifetime_or_an_idle_time_that_is_over_closes_the_door() {
    for (option, said) in [
        ("MaxLifetime=3", "ending: MaxLifetime of 3 s is over"),
        (
            "IdleTimeout=2",
            "ending: no connection for 2 s (IdleTimeout)",
        ),
    ] {
        let controller = controller();
        let port = free_port();
        let ended = controller.call(port).option(option).args(&["--wait"]).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        controller.syslog.lines.wait_for(said, patience());
        controller.gone();
        closed(port);
    }
}

#[test]
fn a_connection_keeps_a_tunnel_from_being_idle() {
    let controller = controller();
    let port = free_port();
    let stuck = Target::stuck();
    let call = Call::trusting(&controller.scene, &controller.key).forward(port, stuck.address);
    let ended = call
        .args(&["-f", "--wait", "-I", "2", &controller.destination()])
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let user = targets::dial(port);
    wait_until("the target is reached", patience(), || stuck.hits() == 1);
    let begin = Instant::now();
    support::never_during("an end while it is in use", Duration::from_secs(4), || {
        controller.owners().is_empty()
    });
    drop(user);
    stuck.release();
    controller.gone();
    assert!(
        begin.elapsed() > Duration::from_secs(5),
        "it did not count anew"
    );
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
fn neither_sighup_nor_a_restart_undoes_what_callers_ordered() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let trigger = controller.scene.path("trigger");
    let mut own = command(&controller.scene);
    own.args(["-N", "-y", "-f", "--wait", "-i", &controller.key.file()])
        .args(["-R", &controller.spec(first), &controller.destination()])
        .env(
            "REACHBACK_TEST_FAULT",
            format!("panic:{}", trigger.display()),
        );
    assert_eq!(Process::start(&mut own).wait(patience()), 0);
    let owner = controller.owners();
    assert_eq!(controller.invoke(second, &controller.destination()).code, 0);
    controller.confirmed(second);
    assert_eq!(controller.invoke(first, "off").code, 0);
    closed(first);
    let as_ordered = |what: &str| {
        let page = controller.ask(&["status"]).stdout.join("\n");
        let has = |port: u16| page.contains(&format!("\n  server port {port} "));
        assert!(has(second) && !has(first), "{what}:\n{page}");
    };
    as_ordered("before");
    let mark = controller.syslog.lines.mark();
    signal::kill(Pid::from_raw(owner[0]), Signal::SIGHUP).unwrap();
    let read = "configuration read again";
    controller.syslog.lines.wait_after(mark, read, patience());
    as_ordered("after SIGHUP");
    assert_eq!(targets::fetch(second), "served");
    // The runner does not emulate exec of itself, and a release has no faults on demand.
    if cfg!(debug_assertions) && support::on_host() {
        let mark = controller.syslog.lines.mark();
        std::fs::write(&trigger, "").unwrap();
        let _ = controller.ask(&["status"]);
        let up = "tunnel up: ";
        controller.syslog.lines.wait_after(mark, up, patience());
        as_ordered("after a restart");
        assert_eq!(controller.owners(), owner);
        controller.confirmed(second);
    }
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

#[test]
fn a_runtime_directory_that_others_may_write_to_is_refused() {
    let controller = controller();
    let open = controller.scene.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let option = format!("RuntimeDirectory={}", open.display());
    let ended = controller.call(free_port()).option(&option).run();
    assert_eq!(ended.code, 77, "{ended:?}");
    assert!(
        ended.stderr[0].contains("others may write to it"),
        "{ended:?}"
    );
    assert_eq!(controller.owners().len(), 0);
}
