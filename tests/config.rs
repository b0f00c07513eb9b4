//! The configuration file as a person meets it: blocks with names, included files, `config`,
//! `check` and `boot`.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::client::{Call, Ended};
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, on_host, patience, skip, text, user, wait_until};

fn server(scene: &Scene) -> (Sshd, Key) {
    server_for(scene, "key")
}

fn server_for(scene: &Scene, key: &str) -> (Sshd, Key) {
    let key = keys::key(scene, key, Kind::Ed25519);
    let server = sshd::builder(scene).authorize(&key).start();
    (server, key)
}

/// A `Host` block that says everything about a tunnel.
fn block(name: &str, server: &Sshd, key: &Key, port: u16, target: &Target) -> String {
    format!(
        "Host {name}\n  Hostname 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  \
         StrictHostKeyChecking accept-new\n  RemoteForward {port} {}\n",
        server.port,
        user(),
        key.file(),
        target.address
    )
}

fn run(scene: &Scene, words: &str) -> Ended {
    let words: Vec<&str> = words.split_whitespace().collect();
    Call::new(scene).args(&words).run()
}

#[test]
fn the_name_of_a_host_block_is_a_destination() {
    let scene = Scene::new();
    let (server, key) = server(&scene);
    let (target, port) = (Target::http("by name"), free_port());
    let config = text(&scene.file("config", block("hub", &server, &key, port, &target)));
    let started = run(&scene, &format!("-f --wait -F {config} hub"));
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(targets::fetch(port), "by name");
    assert!(scene.known_hosts_text().contains("[127.0.0.1]:"));
    let real = format!("{}@127.0.0.1:{}", user(), server.port);
    let check = run(&scene, &format!("-O check {real}"));
    assert_eq!(check.code, 0, "the same tunnel by its real name: {check:?}");
    let stopped = run(&scene, &format!("stop -F {config} hub"));
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn a_word_that_no_block_names_is_a_host_for_the_local_user() {
    let scene = Scene::new();
    let config = text(&scene.file("config", "Host hub\n  User op\n"));
    for (name, login) in [("hub", "op"), ("hab", user())] {
        let shown = run(&scene, &format!("config -F {config} {name}"));
        let lines = [format!("Hostname {name}"), format!("User {login}")];
        assert!(
            lines.iter().all(|line| shown.stdout.contains(line)),
            "{shown:?}"
        );
    }
}

#[test]
fn config_prints_a_file_that_means_the_same() {
    let scene = Scene::new();
    let config = text(&scene.file(
        "config",
        "Host hub\n  Hostname %h.example\n  User = op\n  RemoteForward /run/%r.sock localhost:22\n\
         Host *\n  ServerAliveInterval 5m\n  IdentityFile \"%d/.ssh/the key\"\n",
    ));
    let shown = run(&scene, &format!("config -F {config} -p 2222 hub"));
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in [
        "Hostname hub.example",
        "User op",
        "Port 2222",
        "ServerAliveInterval 300",
        "RemoteForward /run/op.sock localhost:22",
        &format!(
            "IdentityFile \"{}/.ssh/the key\"",
            text(&scene.path("home"))
        ),
        "ConnectTimeout 30",
    ] {
        let found = shown.stdout.iter().any(|shown| shown == line);
        assert!(found, "{line}: {:#?}", shown.stdout);
    }
    let again = text(&scene.file("again", shown.stdout.join("\n")));
    let again = run(&scene, &format!("config -F {again} hub"));
    assert_eq!(again.stdout, shown.stdout);
}

#[test]
fn a_wrong_line_of_an_included_file_is_shown_with_a_mark_and_what_would_be_right() {
    let scene = Scene::new();
    fs::create_dir(scene.path("conf.d")).unwrap();
    let config = text(&scene.file("config", "Include conf.d/*.conf\n"));
    let wrong = text(&scene.file("conf.d/site.conf", "# the site\n  RemotForward 1 h:2\n"));
    for command in ["check", "-R 1:h:2 me@hub", "config", "boot", "status"] {
        let ended = run(&scene, &format!("{command} -F {config}"));
        assert_eq!(ended.code, 78, "{command}: {ended:?}");
        assert_eq!(
            ended.stderr,
            [
                format!(
                    "reachback: bad configuration: {wrong}:2:3: unknown keyword 'RemotForward'; \
                     did you mean RemoteForward?"
                ),
                "      RemotForward 1 h:2".to_owned(),
                "      ^".to_owned(),
            ]
        );
    }
}

#[test]
fn check_finds_what_would_keep_each_tunnel_from_starting_and_starts_nothing() {
    let scene = Scene::new();
    let (server, key) = server(&scene);
    let target = Target::http("never");
    let good = block("good", &server, &key, 1, &target);
    let config = text(&scene.file("good", &good));
    let ended = run(&scene, &format!("check -F {config}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.stdout,
        [format!("{config}: in order"), "good: in order".to_owned()]
    );
    let damaged = text(&scene.file("damaged", "no key"));
    for (line, code, words) in [
        (format!("IdentityFile {damaged}"), 65, damaged.as_str()),
        (
            format!("UserKnownHostsFile {}", text(&scene.path("home"))),
            66,
            "known hosts",
        ),
        (
            "RemoteForward /run/%s.sock h:1".to_owned(),
            78,
            "SerialFile",
        ),
    ] {
        let config = text(&scene.file("bad", format!("{good}Host good bad\n  {line}\n")));
        let ended = run(&scene, &format!("check -F {config}"));
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.stderr[0].starts_with("good: "), "{ended:?}");
        assert!(ended.stderr[0].contains(words), "{line}: {ended:?}");
    }
    let none = run(&scene, "check -F none");
    assert_eq!(none.code, 64, "{none:?}");
    let one = run(
        &scene,
        &format!("check -F none -i {} -R 1:h:2 op@hub", key.file()),
    );
    assert_eq!((one.code, one.stdout.len()), (0, 1), "{one:?}");
    assert_eq!(run(&scene, "check -F none -R 1:h:2 op@").code, 64);
    assert_eq!(server.log.count("Connection from"), 0);
    assert!(scene.program_processes().is_empty());
}

#[test]
fn boot_starts_each_block_that_wants_it_and_one_that_fails_keeps_no_other() {
    if !on_host() {
        return skip("the runner cannot start the program again");
    }
    let scene = Scene::new();
    let servers = ["one", "two"].map(|key| server_for(&scene, key));
    let bodies = ["first", "second"];
    let (first, second) = (Target::http(bodies[0]), Target::http(bodies[1]));
    let ports = [free_port(), free_port(), free_port()];
    let gone = text(&scene.path("gone"));
    let boot = "  StartAtBoot yes\n";
    let config = [
        "Host broken\n  User op\n",
        &format!("  IdentityFile {gone}\n  RemoteForward 1 h:1\n{boot}"),
        &block("first", &servers[0].0, &servers[0].1, ports[0], &first),
        boot,
        &block("asleep", &servers[0].0, &servers[0].1, ports[2], &first),
        &block("second", &servers[1].0, &servers[1].1, ports[1], &second),
        boot,
    ]
    .concat();
    let config = text(&scene.file("config", config));
    let ended = run(&scene, &format!("boot --wait -F {config}"));
    assert_eq!(ended.code, 66, "{ended:?}");
    assert!(ended.stderr[0].contains(&gone), "{ended:?}");
    assert_eq!(
        ended.stderr[1..],
        [
            "reachback: boot: broken: not started: exit status 66",
            "reachback: boot: 1 of 3 not started",
        ]
    );
    assert_eq!(targets::fetch(ports[0]), bodies[0]);
    assert_eq!(targets::fetch(ports[1]), bodies[1]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[2])).is_err());
    assert_eq!(scene.program_processes().len(), 2);
    // Once more is no more: each has an owner already.
    assert_eq!(run(&scene, &format!("boot -F {config}")).code, 66);
    assert_eq!(scene.program_processes().len(), 2);
    assert_eq!(run(&scene, "stop --all").code, 0);
    wait_until("both have ended", patience(), || {
        scene.program_processes().is_empty()
    });
}

#[test]
fn boot_waits_for_no_network_and_says_so_where_it_was_to_wait() {
    if !on_host() {
        return skip("the runner cannot start the program again");
    }
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    // Nobody listens there.
    let away = |name: &str| {
        format!(
            "Host {name}\n  Hostname 127.0.0.1\n  Port {}\n  User op\n  IdentityFile {}\n  \
             RemoteForward 1 h:1\n  StartAtBoot yes\n  ExitOnForwardFailure yes\n",
            free_port(),
            key.file()
        )
    };
    let config = text(&scene.file("config", away("first") + &away("second")));
    let ended = run(&scene, &format!("boot -F {config}"));
    assert_eq!((ended.code, ended.stderr.len()), (0, 0), "{ended:?}");
    assert_eq!(scene.program_processes().len(), 2);
    let waited = run(&scene, &format!("boot --wait=1 -F {config}"));
    assert_eq!(waited.code, 75, "{waited:?}");
    let said: Vec<&String> = waited
        .stderr
        .iter()
        .filter(|line| line.starts_with("reachback: boot: "))
        .collect();
    assert_eq!(
        said,
        [
            "reachback: boot: first: started, not confirmed",
            "reachback: boot: second: started, not confirmed",
            "reachback: boot: 2 of 2 not confirmed",
        ]
    );
    assert_eq!(scene.program_processes().len(), 2);
}

#[test]
fn boot_lists_the_names_that_it_would_start() {
    let scene = Scene::new();
    let config =
        "Host one two\n  StartAtBoot yes\nHost three\n  User op\nHost four\n  StartAtBoot yes\n";
    let config = text(&scene.file("config", config));
    let listed = run(&scene, &format!("boot --list -F {config}"));
    assert_eq!((listed.code, listed.stderr.len()), (0, 0), "{listed:?}");
    assert_eq!(listed.stdout, ["one", "two", "four"]);
    assert!(scene.program_processes().is_empty());
    assert_eq!(run(&scene, "check --list").code, 64);
}

#[test]
fn boot_takes_no_name_that_is_no_host() {
    let scene = Scene::new();
    let names = "\"my hub\" [x] u@hub hub:22 -n";
    let config = format!("Host {names} hub 2001:db8::1\n  StartAtBoot yes\n");
    let config = text(&scene.file("config", config));
    let listed = run(&scene, &format!("boot --list -F {config}"));
    assert_eq!(listed.code, 78, "{listed:?}");
    assert_eq!(listed.stdout, ["hub", "2001:db8::1"]);
    let why = "bad Host name for StartAtBoot: it is neither a host name nor an address";
    let named = ["my hub", "[x]", "u@hub", "hub:22", "-n"];
    let mut said = named.map(|name| format!("reachback: boot: {name}: {why}"));
    assert_eq!(listed.stderr[..5], said);
    assert_eq!(listed.stderr[5..], ["reachback: boot: 5 of 7 not started"]);
    // Neither is it started.
    let config = text(&scene.file("config", "Host u@hub\n  StartAtBoot yes\n"));
    let ended = run(&scene, &format!("boot -F {config}"));
    said.swap(0, 2);
    assert_eq!((ended.code, &ended.stderr[0]), (78, &said[0]), "{ended:?}");
}

#[test]
fn boot_without_a_block_that_wants_it_starts_nothing_and_is_no_failure() {
    let scene = Scene::new();
    let config = text(&scene.file("config", "Host hub\n  User op\n"));
    let ended = run(&scene, &format!("boot -F {config}"));
    assert_eq!((ended.code, ended.stderr.len()), (0, 0), "{ended:?}");
    let word = run(&scene, &format!("boot -F {config} op@hub"));
    assert_eq!(word.code, 64, "{word:?}");
}

#[test]
fn a_tunnel_of_boot_reads_its_configuration_again() {
    if !on_host() {
        return skip("the runner cannot start the program again");
    }
    let scene = Scene::new();
    let (server, key) = server(&scene);
    let (target, ports) = (Target::http("again"), [free_port(), free_port()]);
    let config = |port| block("hub", &server, &key, port, &target) + "  StartAtBoot yes\n";
    let file = text(&scene.file("config", config(ports[0])));
    let started = run(&scene, &format!("boot --wait -F {file}"));
    assert_eq!(started.code, 0, "{started:?}");
    scene.file("config", config(ports[1]));
    let pids = scene.program_processes();
    assert_eq!(pids.len(), 1);
    let pid = nix::unistd::Pid::from_raw(pids[0]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    wait_until("the new port listens", patience(), || {
        std::net::TcpStream::connect(("127.0.0.1", ports[1])).is_ok()
    });
    assert_eq!(targets::fetch(ports[1]), "again");
}
