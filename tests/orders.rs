//! The orders for a tunnel that runs: ssh's `-O`, `stop`, `reconnect`, `off`; and the limits after
//! which it ends without one.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use support::client::{Call, command};
use support::controller::{Controller, closed, controller};
use support::process::{Process, worker};
use support::sshd::{self, Sshd};
use support::syslog::parse;
use support::targets::{self, Target};
use support::{free_port, patience, text, user, wait_until};

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

/// Plays an owner: for each connection in turn the answers to its lines, then it hangs up.
fn play(controller: &Controller, connections: &'static [&'static [&'static str]]) {
    let socket = controller.socket();
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for answers in connections {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            for answer in *answers {
                stream.read_line(&mut String::new()).unwrap();
                writeln!(stream.get_mut(), "{answer}").unwrap();
            }
            // It goes away when it is asked for more.
            let _ = stream.read_line(&mut String::new());
        }
    });
}

#[test]
fn several_forwards_are_taken_away_even_if_a_fault_comes_in_between() {
    let controller = controller();
    play(
        &controller,
        &[
            &["reachback 1 1", "ok"],
            &["reachback 1 1", "no absent there is no forward", "ok"],
            &["reachback 1 1", "no absent there is no forward"],
        ],
    );
    let (first, second) = (controller.spec(free_port()), controller.spec(free_port()));
    let destination = controller.destination();
    let ended = controller.ask(&["-O", "cancel", "-R", &first, "-R", &second, &destination]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // Without a fault it is a mistake of the caller.
    let ended = controller.ask(&["-O", "cancel", "-R", &first, &destination]);
    assert_eq!(ended.code, 69, "{ended:?}");
}

#[test]
fn stop_ends_the_only_tunnel_or_the_one_that_is_named_or_all() {
    let controller = controller();
    let second = sshd::builder(&controller.scene)
        .authorize(&controller.key)
        .start();
    let other = format!("{}@127.0.0.1:{}", user(), second.port);
    // It returns when the lock is free; the process ends a moment later.
    let left = |count| {
        let locks = std::fs::read_dir(controller.scene.path("run")).unwrap();
        let held = locks
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|e| e == "lock"));
        assert_eq!(held.count(), count);
        wait_until("the process has ended", patience(), || {
            controller.owners().len() == count
        });
    };
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
    left(1);
    assert_eq!(controller.ask(&["stop"]).code, 0);
    left(0);
    both.iter().for_each(|destination| start(destination));
    assert_eq!(controller.ask(&["stop", "--all"]).code, 0);
    left(0);
    assert_eq!(
        controller.ask(&["stop", "--all"]).code,
        0,
        "nothing is left to stop"
    );
}

#[test]
fn stop_all_goes_past_a_tunnel_whose_process_is_stopped() {
    let controller = controller();
    let more: Vec<Sshd> = (0..2)
        .map(|_| {
            sshd::builder(&controller.scene)
                .authorize(&controller.key)
                .start()
        })
        .collect();
    let mut ports = [controller.server.port, more[0].port, more[1].port];
    // In the order of stop: one before and one behind it.
    ports.sort_by_key(|port| port.to_string());
    let destinations = ports.map(|port| format!("{}@127.0.0.1:{port}", user()));
    for destination in &destinations {
        let call = Call::trusting(&controller.scene, &controller.key);
        let spec = controller.spec(free_port());
        let ended = call.args(&["-f", "--wait", "-R", &spec, destination]).run();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let [before, stopped, behind] = destinations;
    let checked = controller.ask(&["-O", "check", &stopped]).stdout;
    let owners = controller.owners();
    let is_stopped = |pid: &&i32| checked == [format!("Master running (pid={pid})")];
    let pid = *owners.iter().find(is_stopped).unwrap();
    signal::kill(Pid::from_raw(worker(pid)), Signal::SIGSTOP).unwrap();
    let unclear = controller.ask(&["stop"]);
    assert_eq!(unclear.code, 64, "{unclear:?}");
    let ended = controller.ask(&["stop", "--all"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert_eq!(
        ended.stdout,
        [format!("{before}: ended"), format!("{behind}: ended")]
    );
    let said = format!("{stopped}: process {pid} holds the tunnel and does not answer");
    assert!(ended.stderr.join("\n").contains(&said), "{ended:?}");
    // A process is there for a moment after its lock is free.
    wait_until("the others are gone", patience(), || {
        controller.owners() == [pid]
    });
    // What the message says to do.
    signal::kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    assert_eq!(controller.ask(&["stop", "--all"]).code, 0);
    controller.gone();
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
fn four_values_are_words_the_rest_is_still_the_strict_grammar() {
    let controller = controller();
    for argument in ["offf", "stop now", "of", "statu", "re connect", "stop\n"] {
        let ended = controller.invoke(free_port(), argument);
        assert_eq!(ended.code, 64, "{argument:?}: {ended:?}");
    }
    let refused = "Ebee custom script not invoked: Argument does not match user@domain";
    // The reader of the log may be behind.
    wait_until("each refusal is in the log", patience(), || {
        let lines = controller.syslog.lines.all();
        let texts = lines.iter().map(|line| parse(line).text);
        texts.filter(|text| *text == refused).count() == 6
    });
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

#[test]
fn neither_sighup_nor_a_restart_undoes_what_callers_ordered() {
    let controller = controller();
    let (first, second) = (free_port(), free_port());
    let trigger = controller.scene.path("run/trigger");
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
fn off_never_closes_what_the_file_or_the_service_opened() {
    let controller = controller();
    let [filed, served, asked] = [(); 3].map(|()| free_port());
    let line = format!(
        "RemoteForward {}\n",
        controller.spec(filed).replacen(':', " ", 1)
    );
    let file = text(&controller.scene.file("config", line));
    let service = |port| {
        let call = controller.call(port).args(&["-F", &file, "--wait"]);
        assert_eq!(call.env("REACHBACK_SERVICE", "yes").run().code, 0);
    };
    let script = |port, argument: &str| {
        let (spec, key) = (controller.spec(port), controller.key.file());
        let words = [
            "invoke", "-F", &file, "-R", &spec, "-y", "-i", &key, "--", argument,
        ];
        let ended = controller.ask(&words);
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    // Whoever of the two begins the tunnel.
    for first in [true, false] {
        if first {
            service(served);
        }
        let mark = controller.syslog.lines.mark();
        script(asked, &controller.destination());
        let up = format!("forward confirmed: server port {asked} ");
        controller.syslog.lines.wait_after(mark, &up, patience());
        if !first {
            service(served);
        }
        // A script may ask for them too; that changes nothing.
        script(served, &controller.destination());
        for port in [filed, served, asked] {
            script(port, "off");
        }
        closed(asked);
        for port in [filed, served] {
            assert_eq!(targets::fetch(port), "served", "service first: {first}");
        }
        assert_eq!(controller.ask(&["stop"]).code, 0);
    }
}

#[test]
fn off_ends_the_tunnel_of_a_script_also_after_a_restart() {
    if !support::on_host() {
        return support::skip("the runner does not emulate exec of itself");
    }
    let controller = controller();
    let [first, second] = [(); 2].map(|()| free_port());
    for port in [first, second] {
        assert_eq!(controller.invoke(port, &controller.destination()).code, 0);
        controller.confirmed(port);
    }
    assert_eq!(controller.invoke(first, "off").code, 0);
    closed(first);
    let mark = controller.syslog.lines.mark();
    let pid = controller.owners()[0];
    signal::kill(Pid::from_raw(worker(pid)), Signal::SIGKILL).unwrap();
    let up = format!("forward confirmed: server port {second} ");
    controller.syslog.lines.wait_after(mark, &up, patience());
    closed(first);
    assert_eq!(controller.invoke(second, "off").code, 0);
    controller.gone();
}
