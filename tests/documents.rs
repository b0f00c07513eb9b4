//! What the documents tell people to type, typed as it stands there.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use support::client::Call;
use support::process::Process;
use support::rig::Site;
use support::targets::{self, Target};
use support::typist::{Typist, printed};
use support::{document, find_program, free_port, output, patience, skip, text, user, wait_until};

/// The only line of the README that begins so, without its comment.
fn readme_line(beginning: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let mut lines = readme.lines().filter(|line| line.starts_with(beginning));
    let line = lines.next().unwrap();
    assert_eq!(lines.next(), None);
    line.split(" #").next().unwrap().trim().to_owned()
}

#[test]
fn the_readmes_ways_in_work_with_what_sshd_permits_by_default() {
    let site = Site::up();
    // The controller's own SSH server and dashboard.
    let controller = support::sshd::builder(&site.scene)
        .authorize(&site.key)
        .start();
    let dashboard = Target::http("the dashboard");
    let ports = [free_port(), free_port()];
    let tunnel = site
        .call()
        .forward(ports[0], ([127, 0, 0, 1], controller.port).into())
        .forward(ports[1], dashboard.address)
        .start(user(), site.server.port);
    for port in ports {
        tunnel.wait_up(port);
    }
    let config = format!(
        "IdentityFile {}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n\
         Host server\nHostname 127.0.0.1\nPort {}\n",
        site.key.file(),
        site.server.port,
    );
    let config = text(&site.scene.file("technician", config));
    let local = free_port();
    // The names and ports of this test in the place of the examples.
    let type_in = |line: String| {
        let line = line
            .replace("user@server.example.com", &format!("{}@server", user()))
            .replace("root@", &format!("{}@", user()))
            .replace("1111", &ports[0].to_string())
            .replace("1112", &ports[1].to_string())
            .replace("8080", &local.to_string());
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(words[0], "ssh");
        let config = ["-F".to_owned(), config.clone()];
        config
            .into_iter()
            .chain(words.into_iter().skip(1))
            .collect::<Vec<_>>()
    };

    let mut shell = type_in(readme_line("ssh -J "));
    shell.push("echo on the controller".to_owned());
    let words: Vec<&str> = shell.iter().map(String::as_str).collect();
    assert_eq!(output("ssh", &words), "on the controller");

    let line = readme_line("ssh -N -L ");
    let mut way = Process::start(Command::new("ssh").args(type_in(line)));
    wait_until("ssh listens", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", local)).is_ok()
    });
    assert_eq!(targets::fetch(local), "the dashboard");
    assert!(way.is_running());

    // What `status` prints for this very tunnel; the controller's ports are taken on this machine.
    let status = Call::new(&site.scene).args(&["status"]).run();
    let end = format!(":localhost:{} ", ports[1]);
    let line = status.stdout.iter().find(|line| line.contains(&end));
    let line = line.unwrap_or_else(|| panic!("{status:#?}")).trim();
    let local = free_port();
    let line = line.replace(
        &format!("-L {}:", dashboard.address.port()),
        &format!("-L {local}:"),
    );
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let _way = Process::start(Command::new("ssh").args(["-F", &config]).args(&words));
    wait_until("ssh listens", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", local)).is_ok()
    });
    assert_eq!(targets::fetch(local), "the dashboard");
    let server = words.last().unwrap();
    let (port, own) = (ports[0].to_string(), format!("{}@localhost", user()));
    let jump = ["-F", &config, "-J", server, "-p", &port, &own, "echo there"];
    assert_eq!(output("ssh", &jump), "there");
}

/// With a server that lets the key in, and both scripts' forwards up.
fn started(lines: &[&str]) -> Option<Typist> {
    if find_program("setsid").is_none() {
        skip("setsid starts the program on a terminal of its own");
        return None;
    }
    let typist = Typist::with(lines).map_err(|reason| skip(&reason)).ok()?;
    let shown = typist.enrolls("reachback enroll -i KEY user@server.example.com");
    let line = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub";
    let compared = typist.types(line).stdout.remove(0);
    assert!(
        shown.contains(compared.split(' ').nth(1).unwrap()),
        "{shown}"
    );
    typist.does(
        "reachback -N -f -y -i /home/charge/.ssh/id_rsa -R 1111:localhost:22 \
         -R 1112:localhost:80 user@server.example.com",
    );
    typist.is_up();
    Some(typist)
}

impl Typist {
    /// Types a command that must succeed; what it printed.
    #[track_caller]
    fn does(&self, command: &str) -> String {
        let ended = self.types(command);
        assert_eq!(ended.code, 0, "{command}: {ended:#?}");
        printed(&ended)
    }
}

#[test]
fn what_is_asked_of_a_tunnel() {
    let Some(typist) = started(&[]) else {
        return;
    };
    assert!(typist.does("reachback --help").contains("reachback"));
    let up = ": up for ";
    assert!(typist.does("reachback status").contains(up));
    assert!(
        typist
            .does("reachback status user@host[:port]")
            .contains(up)
    );
    typist.does("reachback doctor");
    let blob = typist.key.blob();
    for command in ["reachback pubkey -i KEY", "reachback pubkey -i KEYFILE"] {
        assert!(typist.does(command).contains(blob), "{command}");
    }
    let restricted = "reachback pubkey --restrict -i /home/charge/.ssh/id_rsa -R 1111:localhost:22 \
                      -R 1112:localhost:80";
    let limit = format!("permitlisten=\"localhost:{}\"", typist.ports[1]);
    assert!(typist.does(restricted).contains(&limit));
    let known = "reachback enroll -i KEYFILE user@host";
    assert!(typist.does(known).contains("accepts this key already"));
    let pinned = typist.does("reachback known-hosts");
    assert!(
        pinned.contains(&text(&typist.scene.known_hosts())),
        "{pinned}"
    );
    typist.does("reachback known-hosts forget HOST:PORT");
    let again = typist.types("reachback known-hosts forget HOST[:PORT]");
    assert_ne!(again.code, 0, "{again:#?}");
    typist.does("reachback reconnect");
    typist.does("reachback reload");
    typist.is_up();
    for command in ["ss -ltnp", "ip route"] {
        if find_program(command.split(' ').next().unwrap()).is_some() {
            typist.does(command);
        }
    }
}

#[test]
fn what_ends_a_forward_and_a_tunnel() {
    let Some(typist) = started(&[]) else {
        return;
    };
    let call = || {
        for script in ["custom_script1.sh", "custom_script2.sh"] {
            typist.does(&format!("/home/charge/{script} operator@server.example"));
        }
        typist.is_up();
        for port in typist.ports {
            wait_until("the server listens", patience(), || is_open(port));
        }
    };
    let cancel = "reachback -O cancel -R 1111:localhost:22 user@host";
    for (command, left) in [
        ("/home/charge/custom_script1.sh off", true),
        (cancel, true),
        ("reachback stop", false),
        ("reachback stop user@host", false),
        ("reachback stop --all", false),
    ] {
        call();
        typist.does(command);
        wait_until(command, patience(), || !is_open(typist.ports[0]));
        wait_until(command, patience(), || is_open(typist.ports[1]) == left);
    }
    // What hangs is woken, or killed and called again.
    call();
    let check = || typist.does("reachback -O check user@host");
    let pid = check()
        .rsplit('=')
        .next()
        .unwrap()
        .trim()
        .trim_end_matches(')')
        .to_owned();
    let kill = |line: &str| {
        let known = document::commands(&typist.documents);
        assert!(known.contains(&line.to_owned()));
        let ended = typist.follows(&line.replace("PID", &pid));
        assert_eq!(ended.code, 0, "{ended:#?}");
    };
    kill("kill -CONT PID");
    kill("kill -9 PID");
    call();
    assert!(!check().contains(&format!("={pid})")));
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_public_forward_is_there_for_everybody() {
    let Some(typist) = started(&["GatewayPorts clientspecified"]) else {
        return;
    };
    let [shell, web] = typist.ports;
    let everybody = |port| TcpStream::connect(("127.0.0.2", port)).is_ok();
    assert!(!everybody(web));
    typist.does("reachback stop --all");
    let readme = document::read("README.md");
    assert!(readme.contains("-R '*:1112:localhost:80'"));
    let line = "reachback -N -f -y -i /home/charge/.ssh/id_rsa -R '*:1111:localhost:22' \
                -R '*:1112:localhost:80' operator@server.example";
    assert_eq!(typist.follows(&typist.here(line)).code, 0);
    typist.is_up();
    for port in [shell, web] {
        wait_until("the server listens", patience(), || everybody(port));
    }
    let mut terminal = typist.at_terminal("ssh -p 1111 root@server.example.com");
    terminal.type_in("echo on the $((40 + 2))nd; exit\n");
    terminal.wait_for("on the 42nd");
    let (_, shown) = terminal.end();
    assert!(shown.contains("on the 42nd"), "{shown}");
}

#[test]
fn a_tunnel_from_boot_on_is_checked() {
    let Some(typist) = started(&[]) else {
        return;
    };
    // Without the file there is nothing to check.
    let ended = typist.types("reachback check");
    assert_eq!(ended.code, 64, "{ended:#?}");
    let page = document::read("docs/operating.md");
    let block = page.split("```\nHost hub\n").nth(1).unwrap();
    let block = format!("Host hub\n{}", block.split("```").next().unwrap());
    typist.scene.file("config", typist.here(&block));
    let line = format!("reachback check -F {}", text(&typist.scene.path("config")));
    let ended = typist.follows(&line);
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn every_command_is_typed_by_a_test() {
    let lines = [include_str!("documents.rs"), include_str!("walk.rs")].join("\n");
    let parts = lines.split("\\\n").map(str::trim_start);
    let typed = parts.collect::<Vec<_>>().join("");
    // Of the custom scripts' names a part is put in; the service is called by tests/packaging.
    let elsewhere = [
        "ssh -J user@server.example.com -p 1111 root@localhost",
        "ssh -N -L 8080:localhost:1112 user@server.example.com",
        "/etc/init.d/S60reachback start",
    ];
    assert!(include_str!("packaging/device.py").contains("S60reachback"));
    let makefile = document::read("Makefile");
    for name in ["README.md", "docs/operating.md"] {
        for command in document::commands(&document::read(name)) {
            let is_there = match command.strip_prefix("make ") {
                Some(target) => {
                    let target = target.split(' ').next().unwrap();
                    makefile.contains(&format!("\n{target}: "))
                }
                None => {
                    typed.contains(&format!("\"{command}\""))
                        || elsewhere.contains(&command.as_str())
                }
            };
            assert!(is_there, "{name}: {command}");
        }
    }
}
