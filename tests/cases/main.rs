//! Command lines and configuration files that were written for ssh, autossh and dbclient: each is
//! run against a real server and has the outcome that `lines.txt` or the file itself states. The
//! old program is run with the same words beside it.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::client::{self, Call};
use support::keys::{self, Format, Key, Kind};
use support::process::{self, Lines, Process};
use support::sshd::{self, Sshd};
use support::syslog::Syslog;
use support::targets::{self, Target};
use support::{Scene, find_program, free_port, on_host, patience, skip, text, user, wait_until};

#[derive(Debug)]
enum Outcome {
    Up { warnings: Vec<String> },
    Refused { words: String },
}

impl Outcome {
    fn read(said: &[&str]) -> Self {
        let mut warnings = Vec::new();
        for said in said {
            match said.trim().split_once(": ") {
                Some(("refused", words)) => {
                    let words = words.to_owned();
                    return Self::Refused { words };
                }
                Some(("up", words)) => warnings.push(words.to_owned()),
                _ => assert_eq!(said.trim(), "up", "no outcome"),
            }
        }
        Self::Up { warnings }
    }
}

/// A server, a target, and the keys.
struct Site {
    server: Sshd,
    target: Target,
    key: Key,
    dropbear_key: Option<Key>,
    syslog: Syslog,
    scene: Scene,
}

impl Site {
    fn up() -> Self {
        let scene = Scene::new();
        let key = keys::key(&scene, "home/key", Kind::Ed25519);
        let mut server = sshd::builder(&scene).authorize(&key);
        let dropbear_key = keys::have_dropbear_tools()
            .then(|| keys::generate(&scene, "dkey", Kind::Ed25519, Format::Dropbear));
        if let Some(key) = &dropbear_key {
            server = server.authorize(key);
        }
        let server = server.start();
        let site = Self {
            server,
            target: Target::http("through"),
            key,
            dropbear_key,
            syslog: Syslog::start(&scene),
            scene,
        };
        site.pin();
        site
    }

    /// The server is known, as after years.
    fn pin(&self) {
        let line = format!(
            "[127.0.0.1]:{} {}\n",
            self.server.port, self.server.host_key.public
        );
        let ssh = self.scene.path("home/.ssh");
        std::fs::create_dir_all(&ssh).unwrap();
        std::fs::write(self.scene.known_hosts(), line).unwrap();
    }

    /// The words with everything in its place; none without Dropbear's tools.
    fn fill(&self, words: &str, listen: u16, socket: &Path) -> Option<String> {
        let dropbear_key = match &self.dropbear_key {
            Some(key) => key.file(),
            None if words.contains("DKEY") => return None,
            None => String::new(),
        };
        let filled = [
            ("SERVER", "127.0.0.1".to_owned()),
            ("PORT", self.server.port.to_string()),
            ("LISTEN", listen.to_string()),
            ("TARGET", self.target.address.port().to_string()),
            ("USER", user().to_owned()),
            ("DKEY", dropbear_key),
            ("KEY", self.key.file()),
            ("KNOWN", text(&self.scene.known_hosts())),
            ("MARK", text(&self.scene.path("mark"))),
            ("SOCKET", text(socket)),
        ];
        let whole = filled
            .iter()
            .fold(words.to_owned(), |words, (name, value)| {
                replace_word(&words, name, value)
            });
        Some(whole)
    }

    /// A shell line whose last command takes the shell's place.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]);
        client::environment(&mut command, &self.scene);
        command
    }

    /// Processes of the program, by whatever name they were called.
    fn tunnels(&self) -> Vec<i32> {
        let program = client::program().canonicalize().unwrap();
        let mut all = self.scene.processes();
        all.retain(|pid| {
            let found = std::fs::read_link(format!("/proc/{pid}/exe"));
            found.is_ok_and(|found| found == program)
        });
        all
    }

    fn assert_outcome(&self, name: &str, line: &str, outcome: &Outcome, socket: &Path) {
        let (listens, said) = (self.server.log.mark(), self.syslog.lines.mark());
        let mut command = self.shell(line);
        match outcome {
            Outcome::Refused { words } => {
                let mut process = Process::start_and_keep(&mut command);
                let code = process.wait(patience());
                let all = process.stderr.all().join("\n");
                assert!(matches!(code, 64 | 78), "{name}: {code}: {all}");
                assert!(all.contains(words), "{name}: {all}");
                assert!(self.tunnels().is_empty(), "{name}");
            }
            Outcome::Up { warnings } => {
                let mut process = Process::start(&mut command);
                let mut found = None;
                wait_until(name, patience(), || {
                    found = listener(&self.server.log, listens);
                    let ended = !process.is_running() && self.tunnels().is_empty();
                    let all = || process.stderr.all().join("\n");
                    assert!(!ended || found.is_some(), "{name}: ended: {}", all());
                    found.is_some()
                });
                self.assert_reached(name, &found.unwrap(), socket);
                let lines = [
                    process.stderr.all(),
                    self.syslog.lines.all()[said..].to_vec(),
                ];
                let lines = lines.concat();
                for words in warnings {
                    let warned = |line: &String| line.contains(words.as_str());
                    assert!(lines.iter().any(warned), "{name}: no {words}: {lines:#?}");
                }
                let stop = Call::new(&self.scene).args(&["stop", "--all", "-F", "none"]);
                assert_eq!(stop.run().code, 0, "{name}");
                wait_until("it has ended", patience(), || {
                    !process.is_running() && self.tunnels().is_empty()
                });
            }
        }
    }

    fn assert_reached(&self, name: &str, listener: &str, socket: &Path) {
        if listener.contains(" path ") {
            assert!(socket.exists(), "{name}");
            return;
        }
        let port = listener.trim_end_matches('.').rsplit(' ').next().unwrap();
        assert_eq!(targets::fetch(port.parse().unwrap()), "through", "{name}");
    }
}

/// The line of sshd's log that says where it listens for a forward, after a mark.
fn listener(log: &Lines, mark: usize) -> Option<String> {
    let mut lines = log.all().split_off(mark).into_iter();
    lines.find(|line| {
        let on = |place| process::matches(line, &format!("Local forwarding listening on {place}"));
        on("127.0.0.1") || on("path ")
    })
}

/// Replaces `name` where it stands alone or beside signs.
fn replace_word(text: &str, name: &str, value: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, from) = rest.split_at(at);
        let after = &from[name.len()..];
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let alone = !letter(before.chars().next_back()) && !letter(after.chars().next());
        whole.push_str(before);
        whole.push_str(if alone { value } else { name });
        rest = after;
    }
    whole + rest
}

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(path)
}

/// The program under the name that a line was written for.
fn called(scene: &Scene, name: &str) -> String {
    let link = scene.path(name);
    if !link.exists() {
        symlink(client::program(), &link).unwrap();
    }
    text(&link)
}

#[test]
fn every_line_of_another_program_has_its_outcome() {
    if !on_host() {
        return skip("the names of the links are the runner's");
    }
    let site = Site::up();
    let lines = std::fs::read_to_string(top("lines.txt")).unwrap();
    let mut count = 0;
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let [program, words, outcome] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three fields: {line}");
        };
        let outcome = Outcome::read(&[outcome]);
        // Under its own name, and under that of the program.
        for name in ["reachback", program] {
            let socket = site.scene.path(&format!("s{count}.sock"));
            count += 1;
            let Some(words) = site.fill(words, free_port(), &socket) else {
                continue;
            };
            let line = format!("{} {words}", called(&site.scene, name));
            site.assert_outcome(&format!("{name} {words}"), &line, &outcome, &socket);
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn every_configuration_file_has_its_outcome() {
    if !on_host() {
        return skip("the shell cannot take a runner's place");
    }
    let site = Site::up();
    let mut count = 0;
    let copies = site.scene.path("configs");
    std::fs::create_dir_all(&copies).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(top("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        // One byte for each, so that other encodings stay what they are.
        let lines: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let expected: Vec<&str> = lines
            .lines()
            .filter_map(|line| line.strip_prefix("# expected: "))
            .collect();
        let outcome = Outcome::read(&expected);
        let socket = site.scene.path(&format!("c{count}.sock"));
        let filled = site.fill(&lines, free_port(), &socket).unwrap();
        let name = file.file_name().unwrap();
        let bytes: Vec<u8> = filled.chars().map(|c| c as u8).collect();
        std::fs::write(copies.join(name), bytes).unwrap();
        let (program, config) = (text(&client::program()), text(&copies.join(name)));
        let line = format!("{program} -F {config} hub");
        site.assert_outcome(&config, &line, &outcome, &socket);
        count += 1;
    }
    assert!(count > 12 && !site.scene.path("mark").exists(), "{count}");
}

/// What is up here is up with the program that the line was written for.
#[test]
fn the_old_program_comes_up_with_the_same_line() {
    let site = Site::up();
    let lines = std::fs::read_to_string(top("lines.txt")).unwrap();
    let mut count = 0;
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let [program, words, outcome] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three fields: {line}");
        };
        // ssh would run a shell without -N, and its home is not the scene's.
        let other = words.contains("PubkeyAuthentication=no") || words.contains("${HOME}");
        let comes_up = outcome.starts_with("up") && words.contains('N') && !other;
        let Some(found) = find_program(program).filter(|_| program != "autossh" && comes_up) else {
            continue;
        };
        let (port, socket) = (free_port(), site.scene.path(&format!("o{count}.sock")));
        let Some(words) = site.fill(words, port, &socket) else {
            continue;
        };
        let first = match program {
            "ssh" => format!(
                "-F none -N -o UserKnownHostsFile={} -o ControlMaster=no",
                text(&site.scene.known_hosts())
            ),
            _ => "-y".to_owned(),
        };
        let listens = site.server.log.mark();
        let line = format!("{} {first} {words}", text(&found));
        let mut process = Process::start(&mut site.shell(&line));
        let mut found = None;
        wait_until(&format!("{program} {words}"), patience(), || {
            found = listener(&site.server.log, listens);
            found.is_some()
        });
        site.assert_reached(&words, &found.unwrap(), &socket);
        process.kill();
        site.server.kill_sessions();
        wait_until("the old program has ended", Duration::from_secs(10), || {
            process::with_command_line(&port.to_string()).is_empty()
        });
        count += 1;
    }
    assert!(count > 20 || find_program("ssh").is_none(), "{count}");
}
