//! The custom scripts, called by a person at a terminal and by OCPP without one; `status` on a small
//! terminal.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::client::{Call, environment, wrapper};
use support::controller::{Controller, closed, controller};
use support::process::Process;
use support::rig::Rig;
use support::targets::Target;
use support::{find_program, free_port, patience, skip, text, user, wait_until};

/// Calls the first script with this argument at a terminal of its own (script(1)); what it printed.
fn at_terminal(controller: &Controller, port: u16, argument: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/custom_script1.sh");
    let line = format!("sh {} '{argument}'", text(&script));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    environment(&mut command, &controller.scene);
    command
        .env("REACHBACK", wrapper(&controller.scene))
        .env("REACHBACK_KEY", controller.key.file())
        .env("REACHBACK_REMOTE_PORT", port.to_string())
        .stdin(Stdio::null());
    let ran = command.output().unwrap();
    String::from_utf8(ran.stdout).unwrap().replace('\r', "")
}

#[test]
fn at_a_terminal_the_scripts_say_in_one_line_what_came_of_it() {
    if find_program("script").is_none() {
        return skip("script(1) is not installed");
    }
    let controller = controller();
    let (port, destination) = (free_port(), controller.destination());
    let see = "see: reachback status\n";
    let said = at_terminal(&controller, port, &destination);
    assert_eq!(said, format!("{destination}: started; {see}"));
    let up = "tunnel up: ";
    controller.syslog.lines.wait_for(up, patience());
    let said = at_terminal(&controller, port, &destination);
    assert_eq!(said, format!("{destination}: already up; {see}"));
    let said = at_terminal(&controller, port, "status");
    assert!(
        said.contains(": up for ") && said.lines().count() == 1,
        "{said}"
    );
    let said = at_terminal(&controller, port, "operator");
    assert!(
        said.starts_with("reachback: argument does not match user@domain: 'operator'"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_keeps_a_tunnel_down_is_said_at_the_terminal() {
    if find_program("script").is_none() {
        return skip("script(1) is not installed");
    }
    let mut controller = controller();
    controller.server.stop();
    let (port, destination) = (free_port(), controller.destination());
    at_terminal(&controller, port, &destination);
    controller
        .syslog
        .lines
        .wait_for("next attempt in", patience());
    let said = at_terminal(&controller, port, &destination);
    assert!(said.contains(": not up: "), "{said}");
    assert!(
        said.contains("Connection refused") && !said.contains("os error"),
        "{said}"
    );
}

#[test]
fn by_ocpp_status_and_reconnect_leave_their_lines_in_the_log_and_print_nothing() {
    let controller = controller();
    let (port, other) = (free_port(), free_port());
    let lines = &controller.syslog.lines;
    let silent = |port: u16, argument: &str| {
        let ended = controller.invoke(port, argument);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.stdout.is_empty() && ended.stderr.is_empty(),
            "{ended:?}"
        );
    };
    silent(port, "status");
    lines.wait_for("no tunnel is running", patience());
    silent(port, &controller.destination());
    controller.confirmed(port);
    let mark = lines.mark();
    silent(port, "Status");
    lines.wait_after(mark, ": up for ", patience());
    silent(other, "reconnect");
    lines.wait_after(mark, "no tunnel has this forward", patience());
    assert_eq!(controller.logins(), 1);
    silent(port, "reconnect");
    lines.wait_after(mark, "tunnel up: ", patience());
    let since = &lines.all()[mark..];
    assert!(!since.join("\n").contains("connection lost"), "{since:#?}");
    assert_eq!(controller.logins(), 2);
    silent(port, "off");
    closed(port);
}

/// What a terminal of this size shows of `status` with these words, as soon as it shows something.
fn shown(rig: &Rig, size: [usize; 2], words: &str) -> Vec<String> {
    let [columns, rows] = size;
    let program = text(&wrapper(&rig.scene));
    let line = format!("stty cols {columns} rows {rows}; {program} status {words}");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    environment(&mut command, &rig.scene);
    let process = Process::start(&mut command);
    wait_until("three looks", patience(), || {
        process.stdout.count("\x1b[H\x1b[J") > 2
    });
    let all = process.stdout.all().join("\n");
    let looks = all.split("\x1b[H\x1b[J").skip(1);
    // The last may not be whole.
    let whole: Vec<String> = looks.map(|look| look.trim_end().to_owned()).collect();
    whole[..2].to_vec()
}

#[test]
fn watch_keeps_the_answer_on_a_phones_screen() {
    if find_program("script").is_none() || find_program("stty").is_none() {
        return skip("script(1) is not installed");
    }
    let rig = Rig::up(Target::http("served"));
    let rows = |look: &str, columns: usize| -> usize {
        let lines = look.lines();
        lines
            .map(|line| line.chars().count().div_ceil(columns).max(1))
            .sum()
    };
    for [columns, height] in [[40, 20], [40, 24], [80, 24]] {
        for look in shown(&rig, [columns, height], "--watch") {
            assert!(rows(&look, columns) < height, "{columns}x{height}:\n{look}");
            assert!(look.contains(": up for "), "{look}");
            let answer = look.lines().next().unwrap();
            assert!(answer.starts_with(user()), "{look}");
        }
    }
    let (cut, whole) = (
        &shown(&rig, [40, 20], "--watch")[0],
        &shown(&rig, [80, 60], "--watch")[0],
    );
    assert!(
        !cut.contains("tunnel up") && whole.contains("tunnel up"),
        "{cut}\n{whole}"
    );
    // With two tunnels, both answers stand before what there is to say about the first.
    let call = Call::trusting(&rig.scene, &rig.key);
    let call = call.forward(free_port(), rig.target.address);
    let down = call.start(user(), free_port());
    down.wait_for("next attempt in ");
    for look in shown(&rig, [40, 20], "--watch") {
        assert!(rows(&look, 40) < 20, "{look}");
        let answers: Vec<&str> = look.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(answers.len(), 2, "{look}");
    }
    let short = &shown(&rig, [40, 20], "--watch --short")[0];
    assert_eq!(short.lines().count(), 2, "{short}");
}
