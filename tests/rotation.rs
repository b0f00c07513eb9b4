//! A server gets new host keys, and no controller is lost by it: pins follow what a server that is known
//! announces (OpenSSH's `hostkeys-00@openssh.com`, `UpdateHostKeys`).
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Call, Reachback};
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, free_port, output, text, user};

/// A place for a server whose host keys change.
struct Place {
    target: Target,
    key: Key,
    port: u16,
    scene: Scene,
}

/// A controller: its known_hosts, and the port of its forward.
struct Controller<'a> {
    place: &'a Place,
    name: &'static str,
    known_hosts: PathBuf,
    port: u16,
}

impl Place {
    fn new() -> Place {
        let scene = Scene::new();
        Place {
            target: Target::http("page"),
            key: keys::key(&scene, "key", Kind::Ed25519),
            port: free_port(),
            scene,
        }
    }

    fn host_key(&self, name: &str, kind: Kind) -> Key {
        keys::key(&self.scene, name, kind)
    }

    /// The server, with these host keys, on the same port each time.
    fn serve(&self, host_keys: &[&Key]) -> Sshd {
        let server = sshd::builder(&self.scene).authorize(&self.key);
        let server = host_keys
            .iter()
            .fold(server, |server, key| server.with_host_key(key));
        server.port(self.port).start()
    }

    fn controller(&self, name: &'static str) -> Controller<'_> {
        Controller {
            place: self,
            name,
            known_hosts: self.scene.path(&format!("known_hosts-{name}")),
            port: free_port(),
        }
    }

    fn line(&self, key: &Key) -> String {
        let words: Vec<&str> = key.public.split(' ').collect();
        format!("[127.0.0.1]:{} {} {}\n", self.port, words[0], words[1])
    }
}

impl Controller<'_> {
    fn call(&self, arguments: &[&str]) -> Reachback {
        let run = self.place.scene.path(&format!("run-{}", self.name));
        Call::new(&self.place.scene)
            .args(&["-N"])
            .args(arguments)
            .identity(&self.place.key)
            .option(&format!("RuntimeDirectory={}", text(&run)))
            .option(&format!("UserKnownHostsFile={}", text(&self.known_hosts)))
            .forward(self.port, self.place.target.address)
            .start(user(), self.place.port)
    }

    fn knows(&self, text: &str) {
        fs::write(&self.known_hosts, text).unwrap();
    }

    fn known(&self) -> String {
        fs::read_to_string(&self.known_hosts).unwrap()
    }

    fn works(&self, client: &Reachback, mark: usize) {
        client.wait_up_after(mark, self.port);
        assert_eq!(targets::fetch(self.port), "page");
    }
}

fn reconnect(client: &Reachback) {
    kill(Pid::from_raw(client.process.pid()), Signal::SIGUSR1).unwrap();
}

#[test]
fn the_walk_of_a_rotation_loses_nobody_but_who_was_away_and_says_how_to_get_it_back() {
    let place = Place::new();
    let (old, new) = (
        place.host_key("old", Kind::Ed25519),
        place.host_key("new", Kind::Ed25519),
    );
    let (old_shown, new_shown) = (old.fingerprint(&place.scene), new.fingerprint(&place.scene));
    let [one, away, no_file] = ["one", "away", "no-file"].map(|name| place.controller(name));
    let no_file = Controller {
        known_hosts: place.scene.path("not/there/known_hosts"),
        ..no_file
    };

    // Before: all of them know the old key.
    let mut server = place.serve(&[&old]);
    let client_away = away.call(&["-y"]);
    away.works(&client_away, 0);
    assert_eq!(client_away.stop(), 0);
    let clients = [&one, &no_file].map(|controller| controller.call(&["-y"]));
    for (controller, client) in [&one, &no_file].iter().zip(&clients) {
        controller.works(client, 0);
    }
    assert_eq!(one.known(), place.line(&old));

    // The new one beside it: who connects learns it.
    let step = |server: &mut Sshd, host_keys: &[&Key], says: [&str; 2]| {
        let marks = clients.each_ref().map(|client| client.log().mark());
        server.stop();
        *server = place.serve(host_keys);
        for (at, controller) in [&one, &no_file].iter().enumerate() {
            let client = &clients[at];
            let line = client.wait_after(marks[at], says[at]);
            assert!(line.contains("127.0.0.1 port"), "{line}");
            controller.works(client, marks[at]);
        }
    };
    let file = text(&one.known_hosts);
    let learned = [
        format!("host key ssh-ed25519 {new_shown} of * pinned in {file}*"),
        format!("host key ssh-ed25519 {new_shown} of * pinned in memory*"),
    ];
    step(
        &mut server,
        &[&old, &new],
        learned.each_ref().map(String::as_str),
    );
    assert_eq!(one.known(), place.line(&old) + &place.line(&new));

    // The old one goes: all that learned the new one come back, and forget the old one.
    let dropped = [
        format!("host key ssh-ed25519 {old_shown} of * removed from {file}*"),
        format!("host key ssh-ed25519 {old_shown} of * removed from memory*"),
    ];
    step(&mut server, &[&new], dropped.each_ref().map(String::as_str));
    assert_eq!(one.known(), place.line(&new));

    // Who was away is refused, even with -y, and the log has the command that mends it.
    let client = away.call(&["-y"]);
    let line = client.wait_for("host key for 127.0.0.1 has changed*");
    assert_eq!(away.known(), place.line(&old));
    let (_, command) = line.split_once("reachback known-hosts").unwrap();
    let command = command.replace('\'', "");
    let option = format!("UserKnownHostsFile {}", text(&away.known_hosts));
    assert!(command.contains(&option), "{command}");
    let host = command.split(' ').next_back().unwrap();
    let words = ["known-hosts", "forget", "-o", &option, host];
    assert_eq!(Call::new(&place.scene).args(&words).run().code, 0);
    let mark = client.log().mark();
    reconnect(&client);
    away.works(&client, mark);
    assert_eq!(away.known(), place.line(&new));
}

#[test]
fn keys_of_every_type_are_proven_and_the_rest_of_the_file_stays_as_it_is() {
    let place = Place::new();
    let old = place.host_key("old", Kind::Rsa);
    let kinds = [
        Kind::Ed25519,
        Kind::EcdsaP256,
        Kind::EcdsaP384,
        Kind::EcdsaP521,
        Kind::Rsa,
    ];
    let others = kinds.map(|kind| place.host_key(&format!("new-{kind:?}"), kind));
    let gone = place.host_key("gone", Kind::Rsa);
    let one = place.controller("one");
    // A hashed name is this server's as well; a line with two names is kept for the other one.
    one.knows(&place.line(&gone));
    output("ssh-keygen", &["-H", "-f", &text(&one.known_hosts)]);
    let hashed = one.known();
    let kept = format!(
        "# of the factory\n{}{}not a line at all\n@revoked elsewhere{}",
        place.line(&gone).replace("127.0.0.1", "192.0.2.1"),
        place.line(&gone).replacen(' ', ",elsewhere ", 1),
        place
            .line(&gone)
            .replacen(&format!("[127.0.0.1]:{}", place.port), "", 1),
    );
    let end = "# the end, without a line feed";
    one.knows(&format!("{kept}{}{hashed}{end}", place.line(&old)));

    let mut host_keys = vec![&old];
    host_keys.extend(&others);
    let _server = place.serve(&host_keys);
    let client = one.call(&[]);
    client.wait_for("host key * removed from *");
    one.works(&client, 0);
    // P-521 is not spoken here, so it is not pinned.
    let spoken = others.iter().filter(|key| !key.public.contains("521"));
    let learned: String = spoken.map(|key| place.line(key)).collect();
    let after = one.known();
    assert_eq!(after, format!("{kept}{}{end}\n{learned}", place.line(&old)));

    // Nothing is new the next time.
    let mark = client.log().mark();
    reconnect(&client);
    one.works(&client, mark);
    assert_eq!(client.stop(), 0);
    assert_eq!(one.known(), after);
}

#[test]
fn a_pin_that_dbclient_wrote_is_followed_under_the_name_with_the_port() {
    let place = Place::new();
    let (old, new) = (
        place.host_key("old", Kind::Ed25519),
        place.host_key("new", Kind::EcdsaP256),
    );
    let server = place.serve(&[&old, &new]);
    let one = place.controller("one");
    let plain = place
        .line(&old)
        .replace(&format!("[127.0.0.1]:{}", place.port), "127.0.0.1");
    one.knows(&plain);
    let client = one.call(&[]);
    client.wait_for("host key ecdsa-sha2-nistp256 * pinned in *");
    one.works(&client, 0);
    let known = format!("{plain}{}{}", place.line(&old), place.line(&new));
    assert_eq!(one.known(), known);
    drop(server);
    let mark = client.log().mark();
    let _server = place.serve(&[&new]);
    one.works(&client, mark);
}

#[test]
fn what_does_not_pin_this_server_alone_in_the_first_file_stays_as_it_is() {
    let place = Place::new();
    let (old, new) = (
        place.host_key("old", Kind::Ed25519),
        place.host_key("new", Kind::EcdsaP256),
    );
    let _server = place.serve(&[&old, &new]);
    let one = place.controller("one");
    let second = place.scene.file("second", place.line(&old));
    let first_and_second = format!(
        "UserKnownHostsFile={} {}",
        text(&one.known_hosts),
        text(&second)
    );
    for (known, option) in [
        (
            place.line(&old).replace("127.0.0.1", "127.0.0.*"),
            "UpdateHostKeys=yes",
        ),
        (place.line(&old), "UpdateHostKeys=no"),
        (place.line(&old), "UpdateHostKeys=ask"),
        ("# nothing\n".to_owned(), &first_and_second),
    ] {
        one.knows(&known);
        let client = one.call(&["-o", option]);
        one.works(&client, 0);
        // Its announcement came before the next answer.
        let mark = client.log().mark();
        reconnect(&client);
        one.works(&client, mark);
        assert_eq!(client.stop(), 0);
        assert_eq!(one.known(), known, "{option}");
    }
    assert_eq!(fs::read_to_string(second).unwrap(), place.line(&old));
}
