//! The two script entry points as they are shipped: same argument, same log
//! lines word for word, back at once, and no way to inject anything.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::client::{self, Ended, environment, wrapper};
use support::keys::{self, Format, Key, Kind};
use support::process::{Process, is_alive};
use support::sshd::{self, Sshd};
use support::syslog::{Syslog, parse};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, never_during, patience, skip, user};

const INVOKED: &str = "Ebee custom script invoked with parameter ";
const COMPLETED: &str = "Ebee custom script invocation completed";
const NOT_INVOKED: &str = "Ebee custom script not invoked: Argument does not match user@domain";

fn script(number: u8) -> PathBuf {
    let name = format!("packaging/custom_script{number}.sh");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A controller: its key in Dropbear's format, as on today's devices, and a
/// syslog that reads.
struct Controller {
    syslog: Syslog,
    key: Key,
    scene: Scene,
}

fn controller() -> Controller {
    let scene = Scene::new();
    let dropbear = keys::have_dropbear_tools();
    let format = if dropbear {
        Format::Dropbear
    } else {
        Format::OpenSsh
    };
    let key = keys::generate(&scene, "id_rsa", Kind::Rsa, format);
    Controller {
        syslog: Syslog::start(&scene),
        key,
        scene,
    }
}

impl Controller {
    fn command(&self, number: u8) -> Command {
        let mut command = Command::new("sh");
        command.arg(script(number));
        environment(&mut command, &self.scene);
        command
            .env("REACHBACK", wrapper(&self.scene))
            .env("REACHBACK_KEY", &self.key.private);
        command
    }

    fn run(&self, command: &mut Command) -> Ended {
        let start = Instant::now();
        let mut process = Process::start(command);
        let code = process.wait(patience());
        let took = start.elapsed();
        assert!(
            took < bound(Duration::from_secs(2)),
            "it did not return at once: {took:?}"
        );
        // What it left in the background must outlive the handle of the test.
        let ended = Ended {
            code,
            stdout: process.stdout.all(),
            stderr: process.stderr.all(),
        };
        drop(process);
        ended
    }

    /// Texts of the messages that a script logged, in order.
    fn ebee_lines(&self) -> Vec<String> {
        let all = self.syslog.lines.all();
        all.iter()
            .map(|l| parse(l).text)
            .filter(|t| t.starts_with("Ebee "))
            .collect()
    }

    fn server(&self) -> Sshd {
        sshd::builder(&self.scene).authorize(&self.key).start()
    }

    /// The pid in the tag of the line that says the tunnel is up.
    fn tunnel_pid(&self) -> i32 {
        parse(&self.syslog.lines.wait_for("tunnel up: ", patience())).pid
    }
}

#[test]
fn a_script_brings_the_tunnel_up_in_the_background_and_returns_at_once() {
    for number in [1, 2] {
        let controller = controller();
        let server = controller.server();
        let port = free_port();
        let argument = format!("{}@127.0.0.1:{}", user(), server.port);
        let ended = controller.run(
            controller
                .command(number)
                .arg(&argument)
                .env("REACHBACK_REMOTE_PORT", port.to_string()),
        );
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.stdout.is_empty() && ended.stderr.is_empty(),
            "{ended:?}"
        );
        let local = if number == 1 { 22 } else { 80 };
        let confirmed = format!("forward confirmed: server port {port} to localhost:{local}");
        controller.syslog.lines.wait_for(&confirmed, patience());
        let pid = controller.tunnel_pid();
        assert!(is_alive(pid), "the process in the log's tag is not there");
        assert!(controller.scene.processes().contains(&pid));
        assert_eq!(
            controller.ebee_lines(),
            [format!("{INVOKED}{argument}"), COMPLETED.to_owned()]
        );
        TcpStream::connect(("127.0.0.1", port)).expect("the server listens for the forward");
    }
}

#[test]
fn the_scripts_ask_for_the_ports_that_people_know() {
    static PORTS: Mutex<()> = Mutex::new(());
    let _alone = PORTS.lock().unwrap();
    for (number, port, local) in [(1, 1111, 22), (2, 1112, 80)] {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return skip(&format!("port {port} is in use"));
        }
        let controller = controller();
        let server = controller.server();
        let argument = format!("{}@127.0.0.1:{}", user(), server.port);
        let ended = controller.run(controller.command(number).arg(&argument));
        assert_eq!(ended.code, 0, "{ended:?}");
        let confirmed = format!("forward confirmed: server port {port} to localhost:{local}");
        controller.syslog.lines.wait_for(&confirmed, patience());
    }
}

#[test]
fn the_dashboard_is_reached_through_the_second_script() {
    let controller = controller();
    let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:80") else {
        return skip("port 80 of this machine cannot be bound");
    };
    let dashboard = Target::on(listener, |stream| {
        use std::io::Write;
        let mut stream = stream;
        let _ = stream.write_all(b"dashboard");
    });
    let server = controller.server();
    let port = free_port();
    let argument = format!("{}@127.0.0.1:{}", user(), server.port);
    let mut command = controller.command(2);
    command
        .arg(&argument)
        .env("REACHBACK_REMOTE_PORT", port.to_string());
    assert_eq!(controller.run(&mut command).code, 0);
    controller.syslog.lines.wait_for("tunnel up: ", patience());
    let confirmed = format!("forward confirmed: server port {port} ");
    controller.syslog.lines.wait_for(&confirmed, patience());
    assert_eq!(targets::exchange(port, b""), b"dashboard");
    assert_eq!(dashboard.hits(), 1);
}

#[test]
fn a_script_that_was_accepted_returns_at_once_even_if_the_server_is_not_there() {
    let controller = controller();
    let argument = format!("{}@127.0.0.1:{}", user(), free_port());
    let ended = controller.run(controller.command(1).arg(&argument));
    assert_eq!(ended.code, 0, "{ended:?}");
    controller
        .syslog
        .lines
        .wait_for("next attempt in ", patience());
    assert_eq!(controller.scene.program_processes().len(), 1);
}

#[test]
fn nothing_that_is_not_one_destination_gets_through() {
    let controller = controller();
    let marker = controller.scene.path("injected");
    let touch = |text: &str| text.replace("MARKER", marker.to_str().unwrap());
    let arguments = [
        "u@1.2.3.4. -R 0.0.0.0:9:h:1",
        "u@1.2.3.4 -R 0.0.0.0:9:h:1",
        "u@127.0.0.1\n",
        "u@127.0.0.1\nu@127.0.0.2",
        "u@127.0.0.1; touch MARKER",
        "u@127.0.0.1;touch${IFS}MARKER",
        "$(touch MARKER)@127.0.0.1",
        "u@$(touch MARKER)",
        "u@`touch MARKER`",
        "u@127.0.0.1 && touch MARKER",
        "u@127.0.0.1|touch MARKER",
        "u@127.0.0.1 second",
        "-R",
        "-oProxyCommand=touch MARKER",
        "-u@127.0.0.1 -f",
        "--help",
        "",
        "u",
        "@127.0.0.1",
        "u@",
        "u@127.0.0.1\0",
        "u@-host",
        "u@host*",
        "u\u{1b}[2J@127.0.0.1",
        "../u@127.0.0.1",
        "u@127.0.0.1:0",
        "u@127.0.0.1:99999",
        "u@127.0.0.1:22:22",
        "u@127.0.0.1/../x",
    ];
    // A NUL can't be in an argument; what the kernel would pass is tested.
    for argument in arguments.iter().filter(|a| !a.contains('\0')) {
        let argument = touch(argument);
        let mark = controller.ebee_lines().len();
        let ended = controller.run(controller.command(1).arg(&argument));
        assert_eq!(ended.code, 64, "{argument:?}: {ended:?}");
        let text = format!("no refusal of {argument:?} in the log");
        support::wait_until(&text, patience(), || {
            controller.ebee_lines().len() >= mark + 2
        });
        let lines = &controller.ebee_lines()[mark..];
        assert!(lines[0].starts_with(INVOKED), "{argument:?}: {lines:?}");
        assert!(
            !lines[0].contains(char::is_control),
            "{argument:?}: {lines:?}"
        );
        assert_eq!(lines[1..], [NOT_INVOKED.to_owned()], "{argument:?}");
        assert_eq!(
            controller.scene.program_processes(),
            Vec::<i32>::new(),
            "{argument:?}"
        );
    }
    assert!(!marker.exists(), "a command was run");
}

#[test]
fn no_argument_and_two_arguments_are_not_one_destination() {
    let controller = controller();
    for arguments in [
        &[][..],
        &["u@127.0.0.1", "v@127.0.0.1"],
        &["u@127.0.0.1", "-v"],
    ] {
        let mark = controller.ebee_lines().len();
        let ended = controller.run(controller.command(2).args(arguments));
        assert_eq!(ended.code, 64, "{arguments:?}: {ended:?}");
        support::wait_until("the refusal is logged", patience(), || {
            controller.ebee_lines()[mark..].contains(&NOT_INVOKED.to_owned())
        });
        assert_eq!(
            controller.scene.program_processes(),
            Vec::<i32>::new(),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_form_that_the_old_scripts_took_is_still_taken() {
    // Names do not resolve here and need not: acceptance is what is tested,
    // so the grammar is asked without letting the tunnel start, by a key
    // that does not exist.
    let controller = controller();
    for argument in [
        "u@1.2.3.4",
        "U_1-x@255.255.255.255",
        "a@b.cd",
        "a@sub-1.example.x1",
        "0@10.0.2.2",
    ] {
        let mark = controller.syslog.lines.mark();
        let ended = controller.run(
            controller
                .command(1)
                .arg(argument)
                .env("REACHBACK_KEY", controller.scene.path("none")),
        );
        // 66 is the missing key, so the argument itself was fine.
        assert_eq!(ended.code, 66, "{argument}: {ended:?}");
        controller
            .syslog
            .lines
            .wait_after(mark, &format!("{INVOKED}{argument}"), patience());
        assert!(
            !controller.ebee_lines().contains(&NOT_INVOKED.to_owned()),
            "{argument}"
        );
    }
}

#[test]
fn a_program_that_is_not_installed_is_an_error_exit() {
    let controller = controller();
    let mut command = controller.command(1);
    command
        .arg("u@127.0.0.1")
        .env("REACHBACK", controller.scene.path("absent"));
    let ended = controller.run(&mut command);
    assert_ne!(ended.code, 0, "{ended:?}");
    never_during(
        "anything started",
        bound(Duration::from_millis(300)),
        || !controller.scene.processes().is_empty(),
    );
    assert!(client::program().exists());
}

/// What the script runs, with a configuration file and nothing that allows what it leaves open.
fn invoke(controller: &Controller, file: &str, argument: &str) -> i32 {
    let file = controller.scene.file("config", file);
    let mut command = client::command(&controller.scene);
    command
        .args(["invoke", "-R", &format!("{}:localhost:22", free_port())])
        .args(["-y", "-N", "-f", "-i", &controller.key.file()])
        .args(["-F", support::text(&file).as_str(), "--", argument]);
    controller.run(&mut command).code
}

#[test]
fn the_argument_leads_to_no_loopback_or_link_unless_the_file_allows_it() {
    let controller = controller();
    let server = controller.server();
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "x.localhost",
    ] {
        let mark = controller.syslog.lines.mark();
        assert_eq!(invoke(&controller, "", &format!("u@{host}")), 77, "{host}");
        let said = format!("not started: not allowed: u@{host}: a loopback, *AllowDestinations*");
        controller.syslog.lines.wait_after(mark, &said, patience());
    }
    let argument = format!("{}@127.0.0.1:{}", user(), server.port);
    for denied in ["hub.example", "other@127.0.0.1", "*,!127.*"] {
        let file = format!("AllowDestinations {denied}\n");
        let mark = controller.syslog.lines.mark();
        assert_eq!(invoke(&controller, &file, &argument), 77, "{denied}");
        let said = "not started: not allowed: *: AllowDestinations does not name it";
        controller.syslog.lines.wait_after(mark, said, patience());
    }
    assert_eq!(controller.scene.program_processes(), [0; 0]);
    let file = format!("AllowDestinations {}@127.0.0.*\n", user());
    assert_eq!(invoke(&controller, &file, &argument), 0);
    controller.syslog.lines.wait_for("tunnel up: ", patience());
}

#[test]
fn strict_checking_and_pinned_hosts_in_the_file_win_over_the_scripts_y() {
    let controller = controller();
    let server = controller.server();
    let argument = format!("{}@127.0.0.1:{}", user(), server.port);
    let pinned = controller.scene.file("pinned", "");
    let file = format!(
        "AllowDestinations *\nStrictHostKeyChecking yes\nUserKnownHostsFile {}\n",
        pinned.display()
    );
    assert_eq!(invoke(&controller, &file, &argument), 0);
    let wait = |text: &str| controller.syslog.lines.wait_for(text, patience());
    wait("-y: not done: the configuration file says StrictHostKeyChecking yes");
    wait("*host key for 127.0.0.1 port * is unknown*");
    assert_eq!(
        std::fs::read_to_string(&pinned).unwrap(),
        "",
        "nothing was pinned"
    );
    assert!(!controller.syslog.lines.contains("tunnel up: "));
}
