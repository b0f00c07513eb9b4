//! `reachback doctor`: every fault is made for real, and what to do is read.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use support::client::{self, Call, Ended};
use support::keys::{self, Kind};
use support::names::NameServer;
use support::netns::Net;
use support::process::{self, Process};
use support::rig::Site;
use support::sshd;
use support::targets::{self, Target};
use support::{Scene, bound, free_port, is_root, on_host, patience, skip, text, user, wait_until};

/// The steps of a tunnel with one forward of this port, in their order.
fn names(port: u16, target: &Target) -> Vec<String> {
    let before = [
        "key",
        "configuration",
        "route",
        "DNS",
        "TCP",
        "server",
        "algorithms",
        "host key",
        "login",
    ];
    let mut names: Vec<String> = before.map(str::to_owned).to_vec();
    names.push(format!("forward {port}"));
    names.push(format!("target {}", target.address));
    names.extend(["clock", "known_hosts", "process"].map(str::to_owned));
    names
}

/// What was said: result, step, text, each in one piece whatever the lines.
struct Said {
    ended: Ended,
    steps: Vec<(String, String, String)>,
}

impl Said {
    fn of(ended: Ended) -> Said {
        let mut lines: Vec<String> = Vec::new();
        for line in &ended.stdout {
            assert!(
                line.chars().count() <= 80 || !line.trim().contains(' '),
                "{line}"
            );
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(rest), Some(last)) => *last += &format!(" {}", rest.trim_start()),
                _ => lines.push(line.clone()),
            }
        }
        let steps = lines.iter().map(|line| {
            let (result, rest) = line.split_at(5);
            let at = rest.find(": ").unwrap();
            (
                result.trim().to_owned(),
                rest[..at].to_owned(),
                rest[at + 2..].to_owned(),
            )
        });
        let steps = steps.collect();
        Said { steps, ended }
    }

    /// Result and text of a step.
    #[track_caller]
    fn step(&self, name: &str) -> (&str, &str) {
        let step = self.steps.iter().find(|step| step.1 == name);
        let (result, _, text) = step.unwrap_or_else(|| panic!("no {name}: {:#?}", self.ended));
        (result, text)
    }

    /// This is the first that failed, with these words, and what to do has these.
    #[track_caller]
    fn assert_fails(&self, code: i32, name: &str, words: &str, action: &str) {
        let first = self.steps.iter().find(|step| step.0 == "FAIL");
        let first = first.map(|step| step.1.as_str());
        assert_eq!(
            (self.ended.code, first),
            (code, Some(name)),
            "{:#?}",
            self.ended
        );
        let (_, text) = self.step(name);
        let (what, to_do) = text.split_once(" what to do: ").unwrap();
        assert!(process::matches(what, words), "{what}");
        assert!(process::matches(to_do, action), "{to_do}");
    }
}

/// A site whose host key is pinned, and a target.
struct Place {
    site: Site,
    target: Target,
    port: u16,
}

impl Place {
    fn with(lines: &[&str]) -> Place {
        let place = Place {
            site: Site::with(lines),
            target: Target::http("page"),
            port: free_port(),
        };
        place.pin(&place.site.server.host_key.public);
        place
    }

    fn up() -> Place {
        Place::with(&[])
    }

    fn pin(&self, public: &str) {
        let words: Vec<&str> = public.split(' ').collect();
        let line = format!(
            "[127.0.0.1]:{} {} {}\n",
            self.site.server.port, words[0], words[1]
        );
        fs::write(self.site.scene.known_hosts(), line).unwrap();
    }

    fn call(&self) -> Call<'_> {
        Call::new(&self.site.scene)
            .args(&["doctor"])
            .identity(&self.site.key)
    }

    /// With a forward to the target, and these flags.
    fn doctor(&self, flags: &[&str]) -> Said {
        let call = self
            .call()
            .args(flags)
            .forward(self.port, self.target.address);
        Said::of(call.args(&[&self.site.destination()]).run())
    }
}

#[test]
fn everything_that_is_right_is_said_in_order_and_nothing_is_left_behind() {
    let place = Place::up();
    let before = place.site.scene.known_hosts_text();
    let said = place.doctor(&[]);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let order: Vec<&str> = said.steps.iter().map(|step| step.1.as_str()).collect();
    assert_eq!(order, names(place.port, &place.target));
    assert!(
        said.steps.iter().all(|step| step.0 == "ok"),
        "{:#?}",
        said.ended
    );
    let fingerprint = support::output("ssh-keygen", &["-lf", &place.site.key.file()]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    assert!(said.step("key").1.contains(fingerprint));
    assert!(said.step("server").1.starts_with("OpenSSH_"));
    let pinned = format!(
        "pinned in {} line 1",
        place.site.scene.known_hosts().display()
    );
    assert!(said.step("host key").1.contains(&pinned));
    assert!(said.step("login").1.contains(&place.site.key.file()));
    let listening = said.step(&format!("forward {}", place.port)).1;
    assert!(listening.starts_with("listening on the server's loopback address only"));
    assert_eq!(place.target.hits(), 1, "the look at it is all that it sees");
    assert_eq!(place.site.scene.known_hosts_text(), before);
    assert!(TcpStream::connect(("127.0.0.1", place.port)).is_err());
    assert!(!place.site.scene.path("run").exists());
}

#[test]
fn an_unknown_host_key_is_shown_and_never_pinned() {
    let place = Place::up();
    fs::remove_file(place.site.scene.known_hosts()).unwrap();
    let said = place.doctor(&[]);
    said.assert_fails(
        77,
        "host key",
        "ssh-ed25519 SHA256:*, unknown",
        "compare it * call once with -y",
    );
    assert_eq!(said.step("login").1, "not tried");
    let said = place.doctor(&["-y"]);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    assert!(said.step("host key").1.contains("a tunnel would pin it"));
    assert!(!place.site.scene.known_hosts().exists());
}

#[test]
fn a_changed_host_key_names_the_line_and_the_command() {
    let place = Place::up();
    let other = keys::key(&place.site.scene, "other", Kind::Ed25519);
    place.pin(&other.public);
    let said = place.doctor(&["-y"]);
    said.assert_fails(
        77,
        "host key",
        "has changed: *known_hosts line 1 pins another*: reachback known-hosts forget",
        "find out why",
    );
    assert_eq!(said.step("login").0, "-");
}

#[test]
fn a_key_that_is_not_authorised_leads_to_enroll() {
    let place = Place::up();
    let other = keys::key(&place.site.scene, "other", Kind::Ed25519);
    let call = Call::new(&place.site.scene).args(&["doctor", &place.site.destination()]);
    let said = Said::of(call.identity(&other).run());
    let action = format!(
        "reachback enroll -i {} -p {} {}@127.0.0.1`",
        other.file(),
        place.site.server.port,
        user()
    );
    said.assert_fails(
        77,
        "login",
        "accepts none of the keys; it would take: publickey",
        &action,
    );
    let said = Said::of(place.call().args(&["-i", "/no/such", "u@127.0.0.1"]).run());
    assert_eq!(said.step("key").0, "ok", "another one is there");
    let call = Call::new(&place.site.scene).args(&["doctor", "-i", "/no/such", "u@127.0.0.1"]);
    Said::of(call.run()).assert_fails(66, "key", "/no/such", "name another with -i");
}

#[test]
fn a_forward_that_is_refused_is_taken_or_not_permitted() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let (taken, forbidden) = (free_port(), free_port());
    let permit = format!("permitlisten=\"{taken}\"");
    let server = sshd::builder(&scene).authorize_with(&permit, &key).start();
    let listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let second = TcpListener::bind(("::1", taken));
    let target = Target::http("page");
    let doctor = |port: u16| {
        let call = Call::new(&scene).args(&["doctor", "-y"]).identity(&key);
        let call = call.forward(port, target.address);
        Said::of(
            call.args(&[&format!("{}@127.0.0.1:{}", user(), server.port)])
                .run(),
        )
    };
    let (name, action) = (
        format!("forward {taken}"),
        "`ss -ltnp` shows who holds the port",
    );
    doctor(taken).assert_fails(69, &name, "refused: the port is taken", action);
    drop(second);
    if TcpListener::bind(("::1", 0)).is_ok() {
        // sshd is content with the other address.
        doctor(taken).assert_fails(69, &name, "it leads elsewhere", action);
    }
    drop(listener);
    let (name, action) = (
        format!("forward {forbidden}"),
        "permitlisten, PermitListen or AllowTcpForwarding",
    );
    doctor(forbidden).assert_fails(69, &name, "refused: the port is free", action);
}

#[test]
fn a_public_forward_on_loopback_only_names_gatewayports() {
    let place = Place::up();
    let everywhere = |place: &Place| {
        let spec = format!("*:{}:{}", place.port, place.target.address);
        Said::of(
            place
                .call()
                .args(&["-R", &spec, &place.site.destination()])
                .run(),
        )
    };
    let name = format!("forward {}", place.port);
    everywhere(&place).assert_fails(
        1,
        &name,
        "loopback address only",
        "GatewayPorts clientspecified",
    );
    let place = Place::with(&["GatewayPorts clientspecified"]);
    let said = everywhere(&place);
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    let text = said.step(&format!("forward {}", place.port)).1;
    assert!(text.contains("for everybody"), "{text}");
}

#[test]
fn a_target_that_is_down_is_said_behind_a_forward_that_is_right() {
    let place = Place::up();
    let nobody = free_port();
    let spec = format!("{}:127.0.0.1:{nobody}", place.port);
    let said = Said::of(
        place
            .call()
            .args(&["-R", &spec, &place.site.destination()])
            .run(),
    );
    let name = format!("target 127.0.0.1:{nobody}");
    said.assert_fails(1, &name, "Connection refused", "start the service");
    assert_eq!(said.step(&format!("forward {}", place.port)).0, "ok");
}

#[test]
fn a_name_tells_who_answered_or_did_not() {
    let Some(net) = Net::new() else {
        return;
    };
    let controller = &net.controller;
    controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    controller.etc("hosts", "127.0.0.1 localhost\n");
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let doctor = || {
        let mut command = client::command(&scene);
        command.args(["doctor", "-i", &key.file(), "u@hub.test"]);
        let mut process = Process::start_and_keep(&mut controller.wrap(&command));
        let code = process.wait(patience());
        Said::of(client::ended(process, code))
    };
    let said = doctor();
    said.assert_fails(
        69,
        "DNS",
        "cannot resolve hub.test*127.0.0.1",
        "/etc/resolv.conf",
    );
    assert_eq!(said.step("TCP").0, "-");
    let _names = controller.inside(|| NameServer::start(&["127.0.0.1"]));
    let said = doctor();
    assert_eq!(said.step("DNS").0, "ok");
    assert!(said.step("DNS").1.starts_with("127.0.0.1 from 127.0.0.1"));
    assert!(said.step("route").1.contains("name server"));
    controller.etc("resolv.conf", "nameserver 203.0.113.1\n");
    controller.ip("route flush table main");
    doctor().assert_fails(
        69,
        "route",
        "203.0.113.1: Network is unreachable",
        "ip route",
    );
    controller.etc("hosts", "127.0.0.1 hub.test\n");
    let said = doctor();
    assert!(
        said.step("DNS")
            .1
            .starts_with("127.0.0.1 without a name server")
    );
    assert_eq!(said.step("TCP").0, "FAIL");
}

#[test]
fn a_port_that_is_closed_silent_or_not_sshs_is_told_apart() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let doctor = |port: u16| {
        let call = Call::new(&scene).args(&["doctor", "-y"]).identity(&key);
        Said::of(call.args(&[&format!("u@127.0.0.1:{port}")]).run())
    };
    let port = free_port();
    doctor(port).assert_fails(
        69,
        "TCP",
        "Connection refused",
        "is sshd running, and on this port",
    );
    let web = Target::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let action = "is it the port of an SSH server";
    doctor(web.address.port()).assert_fails(
        69,
        "server",
        "it said: HTTP/1.1 400 Bad Request",
        action,
    );
    let mute = Target::stuck();
    let began = Instant::now();
    let said = doctor(mute.address.port());
    said.assert_fails(
        69,
        "server",
        "the server was silent for 8 s",
        "says nothing: is it the port of an SSH server",
    );
    assert!(
        began.elapsed() < bound(Duration::from_secs(15)),
        "{:?}",
        began.elapsed()
    );
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
    fs::set_permissions(scene.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let key = scene.path("theirs");
    fs::copy(place.site.key.file(), &key).unwrap();
    chown(&key, Some(65534), Some(65534)).unwrap();
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
