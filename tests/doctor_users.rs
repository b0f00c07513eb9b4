//! `reachback doctor`: beside tunnels of this user and of others, and for programs.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use support::client::{self, Call};
use support::doctor::{Place, Said, names};
use support::keys::{self, Kind};
use support::process::Process;
use support::targets;
use support::{Scene, is_root, on_host, patience, skip, text, user, wait_until};

/// The key for nobody, who may look for it.
fn theirs(place: &Place) -> PathBuf {
    let scene = &place.site.scene;
    fs::set_permissions(scene.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let key = scene.path("theirs");
    fs::copy(place.site.key.file(), &key).unwrap();
    chown(&key, Some(65534), Some(65534)).unwrap();
    key
}

#[test]
fn beside_a_tunnel_its_own_words_are_used_and_it_is_left_alone() {
    if !on_host() {
        return skip("its arguments are the runner's");
    }
    let place = Place::up();
    let tunnel = place.site.call().forward(place.port, place.target.address);
    let tunnel = tunnel.start(user(), place.site.server.port);
    tunnel.wait_up(place.port);
    let (worker, mark) = (tunnel.worker(), tunnel.log().mark());
    // Neither key, nor forward, nor destination: the tunnel has them.
    let said = Said::of(Call::new(&place.site.scene).args(&["doctor"]).run());
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let order: Vec<&str> = said.steps.iter().map(|step| step.1.as_str()).collect();
    assert_eq!(order, names(place.port, &place.target));
    assert!(said.step("login").1.contains(&place.site.key.file()));
    let forward = said.step(&format!("forward {}", place.port)).1;
    assert!(
        forward.starts_with("listening, says the running tunnel"),
        "{forward}"
    );
    assert!(
        said.step("process").1.contains(": up for "),
        "{:#?}",
        said.ended
    );
    assert_eq!(tunnel.worker(), worker);
    assert_eq!(tunnel.log().all()[mark..], [""; 0]);
    assert_eq!(place.target.hits(), 1);
    assert_eq!(targets::fetch(place.port), "page");
}

#[test]
fn beside_a_tunnel_that_is_down_the_cause_is_found_and_what_mends_it() {
    if !on_host() {
        return skip("its arguments are the runner's");
    }
    let place = Place::up();
    let other = keys::key(&place.site.scene, "other", Kind::Ed25519);
    let script = Call::new(&place.site.scene).args(&["invoke", "-y"]);
    let script = script
        .identity(&other)
        .forward(place.port, place.target.address);
    let called = script.args(&["--", &place.site.destination()]).run();
    assert_eq!(called.code, 0, "{called:#?}");
    wait_until("it waits", patience(), || {
        let status = Call::new(&place.site.scene).args(&["status"]).run();
        status
            .stdout
            .iter()
            .any(|line| line.contains("next attempt in "))
    });
    let said = Said::of(Call::new(&place.site.scene).args(&["doctor"]).run());
    let action = format!("reachback enroll -i {}", other.file());
    said.assert_fails(77, "login", "accepts none of the keys", &action);
    assert!(said.step("process").1.contains("next attempt in "));
}

#[test]
fn programs_read_a_document() {
    let place = Place::up();
    let said = place
        .call()
        .args(&["--json"])
        .forward(place.port, place.target.address);
    let ended = said.args(&[&place.site.destination()]).run();
    assert_eq!((ended.code, ended.stdout.len()), (0, 1), "{ended:#?}");
    let line = &ended.stdout[0];
    let begin = format!(
        "{{\"schema\":\"reachback-doctor\",\"version\":1,\"destination\":\"{}\",\"status\":0,\
         \"steps\":[{{\"step\":\"key\",\"result\":\"ok\",\"text\":\"ssh-ed25519 SHA256:",
        place.site.destination()
    );
    assert!(line.starts_with(&begin) && line.ends_with("}]}"), "{line}");
    assert_eq!(
        line.matches("\"action\":null,\"ms\":").count(),
        14,
        "{line}"
    );
    let call = place
        .call()
        .args(&["--json", "-R", "1:localhost:1", "u@127.0.0.1:1"]);
    let ended = call.run();
    let line = &ended.stdout[0];
    assert_eq!(ended.code, 69);
    let failed = "\"step\":\"TCP\",\"result\":\"failed\",\"text\":\"127.0.0.1:1: Connection refused\",\"action\":\"";
    assert!(
        line.contains(failed) && line.contains("\"result\":\"not-tried\""),
        "{line}"
    );
}

#[test]
fn another_user_sees_who_holds_the_tunnel() {
    if !on_host() || !is_root() {
        return skip("needs root to be another user");
    }
    let place = Place::up();
    let scene = &place.site.scene;
    let tunnel = place.site.call().forward(place.port, place.target.address);
    let tunnel = tunnel.start(user(), place.site.server.port);
    tunnel.wait_up(place.port);
    let key = theirs(&place);
    let mut command = client::command(scene);
    command.args(["doctor", "-y", "-i", &text(&key), &place.site.destination()]);
    command.env("REACHBACK_RUNTIME_DIR", scene.path("theirs-run"));
    command.current_dir("/").uid(65534).gid(65534);
    let mut process = Process::start_and_keep(&mut command);
    let code = process.wait(patience());
    let said = Said::of(client::ended(process, code));
    assert_eq!(said.step("login").0, "ok", "{:#?}", said.ended);
    let pid = tunnel.process.pid();
    let words = format!("besides: process {pid} of root: *-R {}:", place.port);
    said.assert_fails(1, "process", &words, &format!("kill {pid}"));
    wait_until("it is undisturbed", patience(), || {
        targets::fetch(place.port) == "page"
    });
}

#[test]
fn the_arguments_of_another_users_process_are_not_believed() {
    if !on_host() || !is_root() {
        return skip("needs root and another user");
    }
    let place = Place::up();
    let scene = &place.site.scene;
    let (key, run) = (theirs(&place), scene.path("theirs-run"));
    fs::create_dir(&run).unwrap();
    chown(&run, Some(65534), Some(65534)).unwrap();
    let spec = format!("{}:{}", place.port, place.target.address);
    let mut command = client::command(scene);
    command.args([
        "-y",
        "-i",
        &text(&key),
        "-R",
        &spec,
        &place.site.destination(),
    ]);
    command.env("REACHBACK_RUNTIME_DIR", &run);
    command.current_dir("/").uid(65534).gid(65534);
    let tunnel = Process::start(&mut command);
    tunnel.stderr.wait_for("tunnel up: ", patience());
    let doctor = Call::new(scene).args(&["doctor"]);
    let said = Said::of(doctor.env("REACHBACK_RUNTIME_DIR", &run).run());
    said.assert_fails(64, "key", "no identity", "name a key file with -i");
    assert!(!said.step("configuration").1.contains("was called"));
    assert!(
        said.step("process").1.contains(": up for "),
        "{:#?}",
        said.ended
    );
}

#[test]
fn without_a_destination_there_has_to_be_one_tunnel() {
    let scene = Scene::new();
    let doctor = |args: &[&str]| Call::new(&scene).args(&["doctor"]).args(args).run();
    let ended = doctor(&[]);
    assert_eq!(ended.code, 64);
    assert!(
        ended.stderr[0].contains("no tunnel is running"),
        "{ended:#?}"
    );
    let file = scene.file(
        "config",
        "Host one\nHostname 127.0.0.1\nPort 1\nRemoteForward 1 localhost:1\n\
         Host two\nRemoteForward 2 localhost:2\n",
    );
    let ended = doctor(&["-F", &text(&file)]);
    assert_eq!(ended.code, 64);
    assert!(
        ended.stderr[0].contains("name one of: one two"),
        "{ended:#?}"
    );
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let said = Said::of(doctor(&["-F", &text(&file), "-i", &key.file(), "one"]));
    assert!(said.step("configuration").1.contains("forwards: 1"));
    said.assert_fails(
        69,
        "TCP",
        "127.0.0.1:1: Connection refused",
        "is sshd running",
    );
    let file = scene.file("bad", "Nonsense 1\n");
    let said = Said::of(doctor(&["-F", &text(&file), "u@127.0.0.1"]));
    said.assert_fails(78, "configuration", "bad*Nonsense", "");
}
