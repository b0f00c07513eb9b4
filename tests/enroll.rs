//! `reachback enroll`: real servers, real passwords.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::termios::{LocalFlags, tcgetattr};
use support::accounts::Account;
use support::client::{self, Call, Ended};
use support::keys::{self, Format, Key, Kind};
use support::process::Process;
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::terminal::Terminal;
use support::{Scene, find_program, free_port, on_host, patience, skip, text};

const PASSWORD: &str = "it's a secret, \\ \"quoted\"";
const UPLOADED: &str = "[✓] Key uploaded successfully!";
const REACHABLE: &str = "[✓] Server reachable...";

/// A server that takes passwords, and a key that it does not know.
struct Site {
    server: Sshd,
    account: Account,
    key: Key,
    scene: Scene,
}

impl Site {
    /// With this login shell and these lines of sshd_config(5); none where no account can be had.
    fn up(shell: &str, lines: &[&str]) -> Option<Site> {
        let scene = Scene::new();
        let account = match Account::new(&scene, PASSWORD, shell) {
            Ok(account) => account,
            Err(reason) => {
                skip(&reason);
                return None;
            }
        };
        let key = keys::generate(&scene, "key", Kind::Ed25519, Format::OpenSsh);
        let mut server = sshd::builder(&scene).config("AuthorizedKeysFile .ssh/authorized_keys");
        for line in lines {
            server = server.config(line);
        }
        let mut server = server
            .config("PasswordAuthentication yes")
            .config("StrictModes yes")
            .prepare();
        server.start_for(&account);
        Some(Site {
            server,
            account,
            key,
            scene,
        })
    }

    fn destination(&self) -> String {
        format!("root@127.0.0.1:{}", self.server.port)
    }

    /// `enroll` with these flags besides, and these lines behind `--password-fd`.
    fn enroll(&self, flags: &[&str], answers: &str) -> Ended {
        enroll(&self.scene, &self.key, flags, answers, &self.destination())
    }

    /// The key's line stands in the file, and nothing besides.
    fn assert_enrolled(&self, options: &str) {
        let words: Vec<&str> = self.key.public.split(' ').collect();
        let begin = format!("{options}{} {}", words[0], words[1]);
        let text = self.account.authorized_keys();
        assert!(text.starts_with(&begin) && text.ends_with('\n'), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    /// A tunnel that has nothing but the key is up and is used.
    fn assert_serves(&self, port: u16, target: &Target) {
        let client = Call::new(&self.scene)
            .args(&["-N"])
            .identity(&self.key)
            .forward(port, target.address)
            .start("root", self.server.port);
        client.wait_up(port);
        assert_eq!(targets::fetch(port), "through");
    }
}

fn enroll(scene: &Scene, key: &Key, flags: &[&str], answers: &str, destination: &str) -> Ended {
    let file = text(&scene.file("answers", answers));
    let script = format!("exec \"$0\" \"$@\" 3<{file}");
    Call::new(scene)
        .under(&["sh", "-c", &script])
        .args(&["enroll", "--password-fd", "3"])
        .identity(key)
        .args(flags)
        .args(&[destination])
        .run()
}

fn answers(count: usize) -> String {
    format!("{PASSWORD}\n").repeat(count)
}

fn last(ended: &Ended) -> &str {
    ended.stdout.last().map_or("", String::as_str)
}

/// Asserts a failure: its exit status, and the words of its last line.
#[track_caller]
fn assert_fails(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, code, "{ended:#?}");
    let said = ended.stderr.last().unwrap();
    assert!(
        said.starts_with("[✗] SSH connection failed... ") && said.contains(words),
        "{said}"
    );
}

#[test]
fn a_password_puts_the_key_on_the_server_once_and_a_tunnel_comes_up_with_it() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    let ended = site.enroll(&["-y"], &answers(1));
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
    assert!(ended.stdout.iter().any(|line| line == REACHABLE));
    let shown = ended.stdout.join("\n");
    for fingerprint in [
        site.key.fingerprint(&site.scene),
        site.server.host_key.fingerprint(&site.scene),
    ] {
        assert!(shown.contains(&fingerprint), "{shown}");
    }
    site.assert_enrolled("");
    let pinned = site.scene.known_hosts_text();
    assert!(pinned.contains(site.server.host_key.blob()), "{pinned}");

    // Once more: the key is known, nobody is asked, and nothing changes.
    let again = site.enroll(&[], "");
    assert_eq!(again.code, 0, "{again:#?}");
    assert!(
        last(&again).contains("accepts this key already"),
        "{again:#?}"
    );
    site.assert_enrolled("");
    site.assert_serves(free_port(), &Target::http("through"));
}

#[test]
fn neither_the_password_nor_the_private_key_is_printed_or_logged() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    let ended = site.enroll(&["-y"], &answers(1));
    let all = [ended.stdout, ended.stderr, site.server.log.all()].concat();
    let all = all.join("\n") + &site.account.authorized_keys();
    let private = fs::read_to_string(site.key.file()).unwrap();
    for secret in ["secret", private.lines().nth(2).unwrap()] {
        assert!(!all.contains(secret), "{all}");
    }
}

#[test]
fn the_restricted_line_permits_the_forwards_and_no_command() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    let (target, port) = (Target::http("through"), free_port());
    let forward = format!("{port}:127.0.0.1:{}", target.address.port());
    let ended = site.enroll(&["-y", "--restrict", "-R", &forward], &answers(1));
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
    let options = format!(
        "restrict,command=\"/bin/false\",port-forwarding,permitlisten=\"localhost:{port}\","
    );
    assert!(site.account.authorized_keys().starts_with(&options));
    site.assert_serves(port, &target);
}

#[test]
fn the_last_line_of_a_file_without_an_end_stays_whole() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    fs::create_dir_all(site.account.home.join(".ssh")).unwrap();
    let file = site.account.home.join(".ssh/authorized_keys");
    fs::write(&file, "ssh-rsa AAAAB3 another").unwrap();
    let ended = site.enroll(&["-y"], &answers(1));
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
    let lines = site.account.authorized_keys();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "ssh-rsa AAAAB3 another"));
}

#[test]
fn a_wrong_password_is_tried_three_times_at_most() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    let ended = site.enroll(&["-y"], &"wrong\n".repeat(9));
    assert_fails(&ended, 77, "the server does not accept the password");
    assert_eq!(site.server.log.count("Failed password for root"), 3);
    assert_eq!(site.account.authorized_keys(), "");
    // Right at the second time.
    let ended = site.enroll(&["-y"], &format!("wrong\n{}", answers(1)));
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
}

#[test]
fn an_account_without_a_shell_gets_the_line_to_paste() {
    let nologin = find_program("nologin").map_or_else(|| "/bin/false".to_owned(), |p| text(&p));
    for (shell, lines) in [
        (nologin.as_str(), &[][..]),
        ("/bin/sh", &["ForceCommand echo no; false"][..]),
        ("/bin/sh", &["MaxSessions 0"][..]),
    ] {
        let Some(site) = Site::up(shell, lines) else {
            return;
        };
        let ended = site.enroll(&["-y"], &answers(1));
        assert_fails(&ended, 69, "the server runs ");
        assert!(last(&ended).contains(site.key.blob()), "{ended:#?}");
        assert_eq!(site.account.authorized_keys(), "");
    }
}

#[test]
fn a_server_that_takes_no_password_says_what_it_takes() {
    let Some(site) = Site::up("/bin/sh", &["PasswordAuthentication no"]) else {
        return;
    };
    let ended = site.enroll(&["-y"], &answers(1));
    let words = "takes neither the key nor a password; it would take: publickey";
    assert_fails(&ended, 77, words);
}

#[test]
fn a_server_that_is_not_there_cannot_be_reached() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let port = free_port();
    let ended = enroll(&scene, &key, &[], "", &format!("root@127.0.0.1:{port}"));
    assert_eq!(ended.code, 69, "{ended:#?}");
    let said = ended.stderr.last().unwrap();
    let begin = format!("[✗] Cannot reach 127.0.0.1 port {port}...");
    assert!(
        said.starts_with(&begin) && said.contains("refused"),
        "{said}"
    );
}

#[test]
fn an_unknown_host_key_is_not_taken_without_y_and_a_changed_one_never() {
    let Some(site) = Site::up("/bin/sh", &[]) else {
        return;
    };
    let ended = site.enroll(&[], &answers(1));
    assert_fails(&ended, 77, "then call again with -y");
    assert_eq!(site.scene.known_hosts_text(), "");
    let other = keys::generate(&site.scene, "other", Kind::Ed25519, Format::OpenSsh);
    let line = format!("[127.0.0.1]:{} {}\n", site.server.port, other.public);
    fs::write(site.scene.known_hosts(), &line).unwrap();
    let ended = site.enroll(&["-y"], &answers(1));
    assert_fails(&ended, 77, "has changed");
    assert_eq!(site.scene.known_hosts_text(), line);
    assert!(!site.server.log.contains("userauth-request"), "no name");
}

#[test]
fn a_second_factor_is_said_for_no_tunnel_could_give_it() {
    let line = "AuthenticationMethods password,publickey";
    let Some(site) = Site::up("/bin/sh", &[line]) else {
        return;
    };
    let ended = site.enroll(&["-y"], &answers(1));
    assert_fails(&ended, 77, "second factor");
}

#[test]
fn keyboard_interactive_of_pam_lets_in() {
    let lines = [
        "UsePAM yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication yes",
    ];
    if !Path::new("/etc/pam.d/sshd").exists() {
        return skip("there is no PAM configuration of sshd");
    }
    let Some(site) = Site::up("/bin/sh", &lines) else {
        return;
    };
    let ended = site.enroll(&["-y"], &answers(1));
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
    let accepted = "Accepted keyboard-interactive/pam for root";
    assert!(site.server.log.contains(accepted));
    site.assert_enrolled("");
}

#[test]
fn dropbear_takes_the_password_and_the_key() {
    let scene = Scene::new();
    let account = match Account::new(&scene, PASSWORD, "/bin/sh") {
        Ok(account) => account,
        Err(reason) => return skip(&reason),
    };
    let Some(program) = find_program("dropbear") else {
        return skip("dropbear is not installed");
    };
    let key = keys::generate(&scene, "key", Kind::Rsa, Format::Dropbear);
    let host_key = keys::generate(&scene, "host", Kind::Ed25519, Format::Dropbear);
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    command.args(["-F", "-E", "-p", &listen, "-r", &host_key.file()]);
    let server = Process::start(&mut account.wrap(&command));
    server.stderr.wait_for("Not backgrounding", patience());
    let destination = format!("root@{listen}");
    let restricted = ["-y", "--restrict", "-R", "1111:localhost:22"];
    let refused = enroll(&scene, &key, &restricted, &answers(1), &destination);
    assert_fails(&refused, 77, "call without --restrict");
    let ended = enroll(&scene, &key, &["-y"], &answers(1), &destination);
    assert_eq!((ended.code, last(&ended)), (0, UPLOADED), "{ended:#?}");
    assert!(account.authorized_keys().contains(key.blob()));
}

/// A site for a test with a terminal.
fn site_with_terminal() -> Option<Site> {
    if !on_host() || find_program("setsid").is_none() {
        skip("setsid starts the program on a terminal of its own");
        return None;
    }
    Site::up("/bin/sh", &[])
}

fn at_terminal(site: &Site, flags: &[&str]) -> Terminal {
    let mut command = client::command(&site.scene);
    command
        .args(["enroll", "-i", &site.key.file()])
        .args(flags)
        .arg(site.destination());
    client::environment(&mut command, &site.scene);
    Terminal::start(&command)
}

#[test]
fn a_person_confirms_the_host_key_and_types_a_password_that_is_not_shown() {
    let Some(site) = site_with_terminal() else {
        return;
    };
    let mut terminal = at_terminal(&site, &[]);
    terminal.wait_for("Is this the server's key (yes/no)? ");
    terminal.type_in("what\nyes\n");
    terminal.wait_for("root@127.0.0.1's password: ");
    terminal.type_in(&answers(1));
    terminal.wait_for(UPLOADED);
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    site.assert_enrolled("");
}

#[test]
fn ctrl_c_at_the_password_ends_it_and_the_terminal_shows_again_what_is_typed() {
    let Some(site) = site_with_terminal() else {
        return;
    };
    let mut terminal = at_terminal(&site, &["-y"]);
    terminal.wait_for("root@127.0.0.1's password: ");
    terminal.type_in("secr\x03");
    terminal.wait_for("SSH connection failed... interrupted");
    let flags = tcgetattr(&terminal.keyboard).unwrap().local_flags;
    assert!(flags.contains(LocalFlags::ECHO | LocalFlags::ISIG));
    let (code, shown) = terminal.end();
    assert_eq!(code, 77, "{shown}");
    assert!(!shown.contains("secr"), "{shown}");
}
