//! `reachback known-hosts`: what is pinned, and a server that really has a new key.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use support::controller::{Controller, controller};
use support::keys::{self, Kind};
use support::{free_port, output, text};

/// Another key is pinned for the server than it has; gives the one it has.
fn pin_another(controller: &Controller) -> String {
    let other = keys::key(&controller.scene, "other", Kind::Ed25519);
    let line = format!(
        "# mine\nelsewhere ssh-ed25519 {}\n[127.0.0.1]:{} ssh-ed25519 {}\n@revoked bad ssh-ed25519 {}",
        other.blob(),
        controller.server.port,
        other.blob(),
        other.blob()
    );
    let file = controller.scene.known_hosts();
    fs::write(&file, line).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    controller.server.host_key.fingerprint(&controller.scene)
}

#[test]
fn the_command_that_log_and_page_name_for_a_changed_key_brings_the_tunnel_back() {
    let controller = controller();
    let shown = pin_another(&controller);
    let port = free_port();
    let refused = controller.call(port).args(&["--wait"]).run();
    assert_eq!(refused.code, 75, "{refused:?}");
    let file = text(&controller.scene.known_hosts());
    let place = format!("{file} line 3");
    let command = format!(
        "reachback known-hosts forget 127.0.0.1:{}",
        controller.server.port
    );
    let page = controller.ask(&["status"]).stdout.join("\n");
    let log = controller.syslog.lines.all().join("\n");
    for said in [&page, &log] {
        for words in [&shown, &place, &command] {
            assert!(said.contains(words.as_str()), "{words}: {said}");
        }
    }
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let forgotten = controller.ask(&words);
    assert_eq!(forgotten.code, 0, "{forgotten:?}");
    let said = forgotten.stdout.join("\n");
    assert!(said.contains("removed [127.0.0.1]:"), "{said}");
    assert!(said.contains(&place), "{said}");
    let left = controller.scene.known_hosts_text();
    assert!(left.starts_with("# mine\nelsewhere ssh-ed25519 "), "{left}");
    assert!(left.contains("\n@revoked bad "), "{left}");
    let mode = fs::metadata(controller.scene.known_hosts())
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o640);
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let again = controller.ask(&["known-hosts", "forget", "elsewhere:99"]);
    assert_eq!(again.code, 69, "{again:?}");
}

#[test]
fn the_list_has_names_fingerprints_and_places_and_hashed_names_can_be_forgotten() {
    let controller = controller();
    pin_another(&controller);
    let file = text(&controller.scene.known_hosts());
    let listed = controller.ask(&["known-hosts"]).stdout.join("\n");
    for line in output("ssh-keygen", &["-l", "-f", &file]).lines() {
        let fingerprint = line.split(' ').nth(1).unwrap();
        assert!(listed.contains(fingerprint), "{listed}");
    }
    assert!(
        listed.contains("elsewhere\n  ssh-ed25519 SHA256:"),
        "{listed}"
    );
    assert!(listed.contains(&format!("  {file} line 2\n")), "{listed}");
    assert!(listed.contains("@revoked bad\n"), "{listed}");
    assert!(
        Command::new("ssh-keygen")
            .args(["-H", "-f", &file])
            .output()
            .unwrap()
            .status
            .success()
    );
    let hashed = controller.ask(&["known-hosts"]).stdout.join("\n");
    assert!(hashed.contains("(hashed name)"), "{hashed}");
    let name = format!("[127.0.0.1]:{}", controller.server.port);
    assert_eq!(controller.ask(&["known-hosts", "forget", &name]).code, 0);
    assert_eq!(controller.ask(&["known-hosts", "forget", &name]).code, 69);
    assert_eq!(
        controller.ask(&["known-hosts", "forget", "bad"]).code,
        69,
        "it is revoked"
    );
}

#[test]
fn a_file_that_another_process_writes_is_left_alone() {
    let controller = controller();
    pin_another(&controller);
    let before = controller.scene.known_hosts_text();
    let held = fs::File::open(controller.scene.known_hosts()).unwrap();
    let held = Flock::lock(held, FlockArg::LockExclusive).unwrap();
    let busy = controller.ask(&["known-hosts", "forget", "elsewhere"]);
    assert_eq!(busy.code, 69, "{busy:?}");
    assert!(busy.stderr.join(" ").contains("try again"), "{busy:?}");
    assert_eq!(controller.scene.known_hosts_text(), before);
    drop(held);
    assert_eq!(
        controller.ask(&["known-hosts", "forget", "elsewhere"]).code,
        0
    );
    let left = fs::read_dir(controller.scene.known_hosts().parent().unwrap()).unwrap();
    assert_eq!(left.count(), 1, "nothing is left beside it");
}
