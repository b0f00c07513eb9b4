//! From nothing to a browser by docs/operating.md alone; then what breaks, what `doctor` says of it, and
//! up again by what it says. `make demo WALK=1` walks the same way on a booted controller.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;

use support::client::Ended;
use support::doctor::Said;
use support::keys::{self, Format, Kind};
use support::process::Process;
use support::targets::Target;
use support::typist::{DASHBOARD, Typist, printed};
use support::{document, find_program, patience, skip, targets, wait_until};

const ENROLL: &str = "reachback enroll -i /home/charge/.ssh/id_rsa operator@server.example";
const ENROLL_ALONE: &str = "reachback enroll -y --password-fd 3 -i /home/charge/.ssh/id_rsa \
                            operator@server.example 3<password";
const SCRIPT_1: &str = "/home/charge/custom_script1.sh operator@server.example";
const SCRIPT_2: &str = "/home/charge/custom_script2.sh operator@server.example";
const STATUS: &str = "reachback status operator@server.example";
const DASHBOARD_WAY: &str = "ssh -N -L 8080:localhost:1112 operator@server.example";
const FIRST: &str = "## From nothing to a browser";

/// At the start of the walk; nothing where it cannot be gone.
fn typist() -> Option<Typist> {
    if find_program("setsid").is_none() {
        skip("setsid starts the program on a terminal of its own");
        return None;
    }
    Typist::new().map_err(|reason| skip(&reason)).ok()
}

/// As far as both scripts, without a person.
fn started() -> Option<Typist> {
    let typist = typist()?;
    let ended = typist.types(ENROLL_ALONE);
    assert_eq!(ended.code, 0, "{ended:#?}");
    typist.call();
    typist.is_up();
    Some(typist)
}

impl Typist {
    /// Calls both scripts.
    fn call(&self) {
        for script in [SCRIPT_1, SCRIPT_2] {
            let ended = self.types(script);
            assert_eq!(ended.code, 0, "{ended:#?}");
        }
    }

    /// The technician opens the dashboard.
    fn opens_the_dashboard(&self) -> Process {
        let way = self.begins(DASHBOARD_WAY);
        wait_until("ssh listens", patience(), || {
            std::net::TcpStream::connect(("127.0.0.1", self.local)).is_ok()
        });
        assert_eq!(targets::fetch(self.local), DASHBOARD);
        way
    }

    /// `doctor` ends with this status for this step, with what is wrong and what to do.
    #[track_caller]
    fn doctor(&self, code: i32, step: &str, words: &str, action: &str) -> String {
        let said = Said::of(self.types("reachback doctor"));
        said.assert_fails(code, step, words, action);
        said.step(step).1.to_owned()
    }

    /// Everything is right, and the dashboard is there.
    fn is_well(&self) {
        self.is_up();
        let ended = self.types("reachback doctor");
        assert_eq!(ended.code, 0, "{ended:#?}");
        drop(self.opens_the_dashboard());
    }
}

/// The command between the backticks of what `doctor` says.
fn command(action: &str) -> &str {
    action.split('`').nth(1).unwrap()
}

#[test]
fn from_nothing_to_a_browser() {
    let Some(typist) = typist() else {
        return;
    };
    let shown = typist.enrolls(ENROLL);
    let page = document::read("docs/operating.md");
    let shows = |command: &str, printed: &str| {
        let expected = typist.here(document::shown(&page, FIRST, command));
        assert!(document::shows(&expected, printed), "{printed}\n{expected}");
    };
    shows(ENROLL, &shown);
    // Once more, as a program does it; the key is known by now.
    let ended = typist.types(ENROLL_ALONE);
    assert_eq!(ended.code, 0, "{ended:#?}");

    let (code, shown) = typist.at_terminal(SCRIPT_1).end();
    assert_eq!(code, 0, "{shown}");
    shows(SCRIPT_1, &shown);
    assert_eq!(typist.types(SCRIPT_2).code, 0);
    typist.sees(FIRST, STATUS);
    let said = Said::of(typist.types("reachback doctor"));
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let example = document::shown(&page, "## Why not", "reachback doctor");
    let stdout = example.lines().map(str::to_owned).collect();
    let example = Ended {
        stdout,
        code: 77,
        stderr: Vec::new(),
    };
    for (_, step, _) in Said::of(example).steps {
        said.step(&typist.here(&step));
    }
    drop(typist.opens_the_dashboard());
    let shell = "ssh -J operator@server.example -p 1111 root@localhost";
    let shell = typist.here(shell) + " echo on the controller";
    assert_eq!(typist.follows(&shell).stdout, ["on the controller"]);
}

#[test]
fn the_four_questions_of_the_manual() {
    let Some(mut typist) = started() else {
        return;
    };
    let nothing = "**Nothing happens";
    let wrong = typist.here("/home/charge/custom_script1.sh operator@server");
    let ended = typist.follows(&wrong);
    assert_eq!(ended.code, 64, "{ended:#?}");
    wait_until("it is logged", patience(), || {
        typist.write_log();
        printed(&typist.types("grep -e 'Ebee custom script' -e reachback /var/log/messages"))
            .contains("not invoked")
    });
    typist.sees(
        nothing,
        "grep -e 'Ebee custom script' -e reachback /var/log/messages",
    );

    typist.stop_dashboard();
    typist.sees("**The dashboard at port 1112", STATUS);
    typist.start_dashboard();
    typist.is_up();

    // Somebody else takes the port while the tunnel is away.
    let stopped = typist.types("reachback stop --all");
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    let other = wait_for_port(typist.ports[0]);
    typist.call();
    typist.sees("**Port 1111 does not answer", STATUS);
    drop(other);

    fs::remove_file(typist.authorized_keys()).unwrap();
    typist.server.kill_sessions();
    typist.sees("**The server cannot be reached", "reachback doctor");
}

/// Both loopback addresses of a port, as soon as they are free.
fn wait_for_port(port: u16) -> Vec<std::net::TcpListener> {
    let mut held = Vec::new();
    for address in ["127.0.0.1", "::1"] {
        if address == "::1" && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        wait_until("the port is free", patience(), || {
            let listener = std::net::TcpListener::bind((address, port));
            listener.map(|listener| held.push(listener)).is_ok()
        });
    }
    held
}

#[test]
fn six_ways_to_break_it_and_each_is_mended_by_what_doctor_says() {
    let Some(mut typist) = started() else {
        return;
    };
    typist.is_well();

    // The key is not on the server any more.
    fs::remove_file(typist.authorized_keys()).unwrap();
    typist.server.kill_sessions();
    typist.status_is(2);
    let said = typist.doctor(
        77,
        "login",
        "accepts none of the keys",
        "enroll * call again",
    );
    let ended = typist.follows(&format!("{} -y --password-fd 3 3<password", command(&said)));
    assert_eq!(ended.code, 0, "{ended:#?}");
    typist.call();
    typist.is_well();

    // The server has another host key.
    let other = keys::generate(&typist.scene, "other", Kind::Ed25519, Format::OpenSsh);
    fs::copy(other.file(), typist.server.host_key.file()).unwrap();
    typist.restart_server();
    typist.status_is(2);
    let forget = "has changed: *: reachback known-hosts forget";
    let said = typist.doctor(77, "host key", forget, "find out why");
    // Behind it stands how long the step took.
    let line = said.split(" what to do: ").next().unwrap();
    let forget = &line[line.find("reachback known-hosts forget").unwrap()..];
    let forget = forget.rsplit_once(", ").unwrap().0;
    let ended = typist.follows(forget);
    assert_eq!(ended.code, 0, "{ended:#?}");
    typist.call();
    typist.is_well();

    // The server is down.
    typist.server.stop();
    typist.status_is(2);
    typist.doctor(69, "TCP", "Connection refused", "is sshd running");
    typist.restart_server();
    typist.call();
    typist.is_well();

    // The dashboard is down.
    typist.stop_dashboard();
    typist.doctor(
        1,
        &typist.here("target localhost:80"),
        "Connection refused",
        "start the service",
    );
    typist.start_dashboard();
    typist.is_well();

    // The server permits no such listener.
    let allowed = fs::read_to_string(typist.authorized_keys()).unwrap();
    let limited = format!("permitlisten=\"localhost:9\" {allowed}");
    fs::write(typist.authorized_keys(), limited).unwrap();
    typist.server.kill_sessions();
    wait_until("it is refused", patience(), || {
        printed(&typist.types("reachback status")).contains("refused by the server")
    });
    let step = typist.here("forward 1111");
    typist.doctor(69, &step, "refused: ", "permitlisten");
    fs::write(typist.authorized_keys(), &allowed).unwrap();
    assert_eq!(typist.types("reachback reconnect").code, 0);
    typist.is_well();

    // Somebody called with the port of a web server.
    assert_eq!(typist.types("reachback stop --all").code, 0);
    let web = Target::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let script = typist.here("/home/charge/custom_script1.sh");
    let call = format!("{script} root@127.0.0.1:{}", web.address.port());
    assert_eq!(typist.follows(&call).code, 0);
    typist.status_is(2);
    typist.doctor(69, "server", "HTTP", "is it the port of an SSH server");
    assert_eq!(typist.types("reachback stop --all").code, 0);
    typist.call();
    typist.is_well();
}
