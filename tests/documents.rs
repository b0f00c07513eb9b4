//! What the documents tell people to type, typed as it stands there.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;

use support::client::Call;
use support::process::Process;
use support::rig::Site;
use support::targets::{self, Target};
use support::{free_port, output, patience, text, user, wait_until};

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
