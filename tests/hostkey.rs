//! The server's identity: accepted once, pinned, and never replaced quietly.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::Duration;

use support::client::{Call, Reachback};
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, never_during, output, text, user};

/// A server, a key that may log in, and a target.
struct Place {
    sshd: Sshd,
    target: Target,
    port: u16,
    key: Key,
    scene: Scene,
}

fn place(host_keys: &[Kind]) -> Place {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let mut builder = sshd::builder(&scene).authorize(&key);
    for kind in host_keys {
        builder = builder.host_key(*kind);
    }
    let sshd = builder.start();
    Place {
        sshd,
        target: Target::http("page"),
        port: free_port(),
        key,
        scene,
    }
}

impl Place {
    fn call(&self) -> Call<'_> {
        Call::new(&self.scene)
            .args(&["-N"])
            .identity(&self.key)
            .forward(self.port, self.target.address)
    }

    fn start(&self) -> Reachback {
        self.call().start(user(), self.sshd.port)
    }

    fn start_accepting(&self) -> Reachback {
        self.call().args(&["-y"]).start(user(), self.sshd.port)
    }

    /// The server's name in known_hosts.
    fn host(&self) -> String {
        format!("[127.0.0.1]:{}", self.sshd.port)
    }

    fn entry(&self, key: &Key) -> String {
        let words: Vec<&str> = key.public.split(' ').collect();
        format!("{} {} {}\n", self.host(), words[0], words[1])
    }

    fn know(&self, text: &str) {
        fs::write(self.scene.known_hosts(), text).unwrap();
    }

    /// The program stays, has pinned nothing beyond `known`, and has not told
    /// the server even the user's name.
    fn assert_refused(&self, mut client: Reachback, known: &str) {
        never_during("authentication", bound(Duration::from_secs(2)), || {
            self.sshd.log.contains("userauth-request")
        });
        assert!(client.process.is_running(), "{:#?}", client.log().all());
        assert!(!client.log().contains("tunnel up"));
        assert_eq!(self.scene.known_hosts_text(), known);
    }
}

#[test]
fn an_unknown_host_key_is_refused_without_y_and_the_log_says_what_to_do() {
    let place = place(&[]);
    let client = place.start();
    client.wait_for("host key*-y");
    place.assert_refused(client, "");
}

#[test]
fn y_pins_an_unknown_host_key_once_and_ssh_keygen_finds_it() {
    let place = place(&[]);
    let client = place.start_accepting();
    let fingerprint = place.sshd.host_key.fingerprint(&place.scene);
    client.wait_for(&format!(
        "host key *{fingerprint} accepted and pinned in {}",
        text(&place.scene.known_hosts())
    ));
    client.wait_up(place.port);
    let file = text(&place.scene.known_hosts());
    let found = output("ssh-keygen", &["-F", &place.host(), "-f", &file]);
    assert!(found.contains(place.sshd.host_key.blob()), "{found}");
    assert_eq!(
        place.scene.known_hosts_text(),
        place.entry(&place.sshd.host_key)
    );
    assert_eq!(client.stop(), 0);

    let pinned = place.scene.known_hosts_text();
    for start in [Place::start, Place::start_accepting] {
        let client = start(&place);
        client.wait_up(place.port);
        assert_eq!(targets::fetch(place.port), "page");
        assert!(!client.log().contains("accepted and pinned"));
        assert_eq!(client.stop(), 0);
    }
    assert_eq!(place.scene.known_hosts_text(), pinned);
}

#[test]
fn pinning_creates_the_directory_and_keeps_what_the_file_says_already() {
    let place = place(&[]);
    let file = place.scene.path("new/known_hosts");
    let option = format!("UserKnownHostsFile={}", text(&file));
    let client = place
        .call()
        .args(&["-y"])
        .option(&option)
        .start(user(), place.sshd.port);
    client.wait_up(place.port);
    assert_eq!(client.stop(), 0);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        place.entry(&place.sshd.host_key)
    );

    // No newline at the end of the file: the new entry is a line of its own.
    let old = format!(
        "# kept\n{}",
        place.entry(&place.key).replace(&place.host(), "elsewhere")
    );
    place.know(old.trim_end());
    let client = place.start_accepting();
    client.wait_up(place.port);
    assert_eq!(
        place.scene.known_hosts_text(),
        format!("{old}{}", place.entry(&place.sshd.host_key))
    );
}

#[test]
fn a_changed_host_key_is_refused_even_with_y_whatever_its_algorithm() {
    for kind in [Kind::Ed25519, Kind::EcdsaP256] {
        let place = place(&[]);
        let known = place.entry(&keys::key(&place.scene, "other", kind));
        place.know(&known);
        let client = place.start_accepting();
        client.wait_for("host key for *127.0.0.1*has changed");
        place.assert_refused(client, &known);
    }
}

#[test]
fn the_algorithm_that_is_pinned_is_asked_for_first() {
    for kind in [Kind::EcdsaP256, Kind::Rsa, Kind::Ed25519] {
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let hosts: Vec<Key> = [Kind::Ed25519, Kind::EcdsaP256, Kind::Rsa]
            .iter()
            .map(|kind| keys::key(&scene, kind.name(), *kind))
            .collect();
        let mut builder = sshd::builder(&scene).authorize(&key);
        for host in &hosts {
            builder = builder.with_host_key(host);
        }
        let (sshd, target, port) = (builder.start(), Target::http("page"), free_port());
        let place = Place {
            sshd,
            target,
            port,
            key,
            scene,
        };
        let pinned = hosts
            .iter()
            .find(|host| host.public.starts_with(kind.name()))
            .unwrap();
        let known = place.entry(pinned);
        place.know(&known);
        let call = place.call().option("UpdateHostKeys=no");
        let client = call.start(user(), place.sshd.port);
        client.wait_up(place.port);
        assert_eq!(place.scene.known_hosts_text(), known, "{kind:?}");
    }
}

#[test]
fn a_hashed_entry_is_recognised() {
    let place = place(&[]);
    place.know(&place.entry(&place.sshd.host_key));
    output(
        "ssh-keygen",
        &["-H", "-f", &text(&place.scene.known_hosts())],
    );
    let hashed = place.scene.known_hosts_text();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let client = place.start();
    client.wait_up(place.port);
    assert_eq!(place.scene.known_hosts_text(), hashed);
}

#[test]
fn a_hashed_entry_with_another_key_is_a_changed_key() {
    let place = place(&[]);
    place.know(&place.entry(&keys::key(&place.scene, "other", Kind::Ed25519)));
    output(
        "ssh-keygen",
        &["-H", "-f", &text(&place.scene.known_hosts())],
    );
    let hashed = place.scene.known_hosts_text();
    let client = place.start_accepting();
    client.wait_for("host key for *127.0.0.1*has changed");
    place.assert_refused(client, &hashed);
}

#[test]
fn a_revoked_host_key_is_refused_even_with_y() {
    let place = place(&[]);
    let known = format!("@revoked {}", place.entry(&place.sshd.host_key));
    place.know(&known);
    let client = place.start_accepting();
    client.wait_for("revoked");
    place.assert_refused(client, &known);
}

#[test]
fn a_host_key_that_was_put_right_is_accepted_without_a_restart() {
    let place = place(&[]);
    let client = place.start();
    client.wait_for("host key*-y");
    // The next look at an identity problem may be minutes away; a new start is not.
    assert_eq!(client.stop(), 0);
    place.know(&place.entry(&place.sshd.host_key));
    let client = place.start();
    client.wait_up(place.port);
}

#[test]
fn a_known_hosts_file_that_cannot_be_read_is_an_error_not_an_empty_list() {
    let place = place(&[]);
    fs::create_dir(place.scene.known_hosts()).unwrap();
    let destination = format!("{}@127.0.0.1:{}", user(), place.sshd.port);
    let ended = place.call().args(&["-y", &destination]).run();
    assert!(matches!(ended.code, 66 | 77), "{ended:?}");
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert!(ended.stderr[0].starts_with("reachback: "), "{ended:?}");
    assert!(ended.stderr[0].contains("known_hosts"), "{ended:?}");
    assert!(
        !place.sshd.log.contains("Connection from"),
        "it connected all the same"
    );
}

#[test]
fn an_alias_is_the_name_of_the_pin_and_has_no_port_as_with_ssh() {
    let place = place(&[]);
    let call = || place.call().option("HostKeyAlias=hub.charging");
    let client = call().args(&["-y"]).start(user(), place.sshd.port);
    client.wait_up(place.port);
    assert_eq!(client.stop(), 0);
    let entry = place.entry(&place.sshd.host_key);
    let entry = entry.replace(&place.host(), "hub.charging");
    assert_eq!(place.scene.known_hosts_text(), entry);

    // ssh finds it under that name, and so does the next start; the address alone is unknown.
    let known = format!("UserKnownHostsFile={}", text(&place.scene.known_hosts()));
    let (port, key) = (place.sshd.port.to_string(), place.key.file());
    let options = [
        "-F",
        "none",
        "-o",
        &known,
        "-o",
        "HostKeyAlias=hub.charging",
    ];
    let words = ["-i", &key, "-p", &port, "-l", user(), "127.0.0.1", "true"];
    output("ssh", &[&options[..], &words[..]].concat());
    let client = call().start(user(), place.sshd.port);
    client.wait_up(place.port);
    assert_eq!(client.stop(), 0);
    place.start().wait_for("host key*is unknown*");
}
