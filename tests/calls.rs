//! A call is a person asking: what waits is tried at once, and what the call asks for beyond a forward
//! is taken over, or named.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::client::{Call, Ended};
use support::controller::{Controller, controller};
use support::keys::{self, Key, Kind};
use support::{bound, free_port, on_host, patience, skip, text};

/// A call for a forward of this port, with this key and these flags.
fn call(controller: &Controller, key: &Key, port: u16, flags: &[&str]) -> Ended {
    let spec = controller.spec(port);
    Call::new(&controller.scene)
        .args(&["-f", "--wait=20", "-i", &key.file()])
        .args(flags)
        .args(&["-R", &spec, &controller.destination()])
        .run()
}

fn authorize(controller: &Controller, key: &Key) {
    let file = controller
        .scene
        .path(&format!("authorized-{}", controller.server.port));
    let lines = fs::read_to_string(&file).unwrap() + &key.public + "\n";
    fs::write(file, lines).unwrap();
}

fn stranger(controller: &Controller) -> Key {
    keys::key(&controller.scene, "stranger", Kind::Ed25519)
}

#[test]
fn a_key_that_was_authorised_meanwhile_is_tried_at_once_when_it_is_called_again() {
    let controller = controller();
    let (key, port) = (stranger(&controller), free_port());
    let refused = call(&controller, &key, port, &["-y"]);
    assert_eq!(refused.code, 75, "{refused:?}");
    authorize(&controller, &key);
    let start = Instant::now();
    let again = call(&controller, &key, port, &["-y"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(start.elapsed() < bound(Duration::from_secs(10)));
    controller.confirmed(port);
    assert!(again.stderr.is_empty(), "{again:?}");
}

#[test]
fn wait_gives_the_reason_of_the_attempt_that_the_call_began() {
    let controller = controller();
    let (key, port) = (stranger(&controller), free_port());
    let unknown = call(&controller, &key, port, &[]);
    assert!(unknown.stderr.join(" ").contains("unknown"), "{unknown:?}");
    let now = call(&controller, &key, port, &["-y"]);
    assert_eq!(now.code, 75, "{now:?}");
    assert!(now.stderr.join(" ").contains("none of the keys"), "{now:?}");
    assert!(controller.scene.known_hosts_text().contains("ssh-ed25519"));
}

#[test]
fn a_key_of_another_call_is_added_and_outlives_the_end_of_the_worker() {
    if !on_host() {
        return skip("the runner does not emulate exec of itself");
    }
    let controller = controller();
    let port = free_port();
    let refused = call(&controller, &stranger(&controller), port, &["-y"]);
    assert_eq!(refused.code, 75, "{refused:?}");
    let added = call(&controller, &controller.key, port, &["-y"]);
    assert_eq!(added.code, 0, "{added:?}");
    let owner = controller.owners()[0];
    let mark = controller.syslog.lines.mark();
    support::process::kill(support::process::worker(owner));
    let lines = &controller.syslog.lines;
    lines.wait_after(mark, "restarted after: ", patience());
    lines.wait_after(mark, "tunnel up: ", patience());
}

#[test]
fn what_a_reload_can_change_is_taken_over_and_the_connection_stays() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let mark = controller.syslog.lines.mark();
    let option = ["-y", "-o", "ServerAliveInterval=7"];
    let taken = call(&controller, &controller.key, port, &option);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(taken.stderr.is_empty(), "{taken:?}");
    let line = "taken over from another call: ServerAliveInterval 7";
    controller.syslog.lines.wait_after(mark, line, patience());
    controller
        .syslog
        .lines
        .wait_after(mark, "the server is probed", patience());
    let mark = controller.syslog.lines.mark();
    assert_eq!(call(&controller, &controller.key, port, &option).code, 0);
    let since = &controller.syslog.lines.all()[mark..];
    assert!(!since.join("\n").contains("taken over"), "{since:#?}");
    assert_eq!(controller.logins(), 1);
}

#[test]
fn what_cannot_be_taken_over_is_named_with_what_to_do() {
    let controller = controller();
    let port = free_port();
    assert_eq!(controller.call(port).args(&["--wait"]).run().code, 0);
    let log = text(&controller.scene.path("other.log"));
    let option = format!("LogFile={log}");
    let damaged = text(&controller.scene.file("damaged", "no key"));
    let flags = ["-o", &option, "-i", &damaged, "-y"];
    let spec = controller.spec(free_port());
    let named = Call::new(&controller.scene)
        .args(&[
            "-f",
            "-i",
            &controller.key.file(),
            "-o",
            &option,
            "-y",
            "-R",
            &spec,
        ])
        .args(&[&controller.destination()])
        .run();
    assert_eq!(named.code, 0, "the forward was taken: {named:?}");
    let said = named.stderr.join("\n");
    assert!(said.contains(&format!("LogFile {log}")), "{said}");
    assert!(said.contains("reachback stop, then call again"), "{said}");
    let refused = call(&controller, &controller.key, port, &flags);
    let said = refused.stderr.join("\n");
    assert!(
        said.contains("does not take over: ") && said.contains(&damaged),
        "{said}"
    );
    assert_eq!(refused.code, 0, "the tunnel is up all the same");
}

#[test]
fn pubkey_without_a_key_means_that_of_the_tunnel_that_runs() {
    if !on_host() {
        return skip("the arguments of an emulated process are the emulator's");
    }
    let controller = controller();
    let port = free_port();
    let up = controller.call(port).args(&["--wait"]).run();
    assert_eq!(up.code, 0, "{up:?}");
    let line = controller.ask(&["pubkey"]);
    assert_eq!(line.code, 0, "{line:?}");
    let fields = |line: &str| {
        line.split(' ')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&line.stdout[0]), fields(&controller.key.public));
    let restricted = controller.ask(&["pubkey", "--restrict"]);
    let permits = format!("permitlisten=\"localhost:{port}\"");
    assert!(restricted.stdout[0].contains(&permits), "{restricted:?}");
    let own = controller.ask(&["pubkey", "-i", &stranger(&controller).file()]);
    assert_ne!(fields(&own.stdout[0]), fields(&controller.key.public));
}
