//! The machine's own network comes, goes and moves: in network namespaces, with a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::client::{Call, Reachback};
use support::keys::{self, Key, Kind};
use support::names::NameServer;
use support::netns::{FAR, NEAR, Net, OWN, ROUTER, SERVER};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, patience, user};

/// How soon the tunnel is usable once the network is.
const SOON: Duration = Duration::from_secs(2);
/// Port of the forward on the server.
const PORT: u16 = 1111;
const SSH: u16 = 2222;

/// A controller with a server across its default route. Fields are dropped in this order.
struct World {
    sshd: Sshd,
    target: Target,
    key: Key,
    scene: Scene,
    net: Net,
}

impl World {
    /// With a server that notices within 3 s that a session was cut off, and gives its listener
    /// back. `None` where namespaces are not permitted.
    fn new() -> Option<World> {
        Self::with(&["ClientAliveInterval 1", "ClientAliveCountMax 2"])
    }

    /// With these lines in sshd_config(5).
    fn with(lines: &[&str]) -> Option<World> {
        let net = Net::new()?;
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let listen = |address: &str| format!("ListenAddress {address}:{SSH}");
        let mut sshd = sshd::builder(&scene)
            .port(SSH)
            .config(&listen(SERVER))
            .config(&listen("10.78.0.1"))
            .authorize(&key);
        for line in lines {
            sshd = sshd.config(line);
        }
        let mut sshd = sshd.prepare();
        // Not there yet when sshd starts, in the test with a second interface.
        net.internet.ip("address add 10.78.0.1/32 dev lo");
        sshd.start_in(&net.internet);
        let target = net.controller.inside(|| Target::http("reached"));
        Some(World {
            sshd,
            target,
            key,
            scene,
            net,
        })
    }

    fn call(&self) -> Call<'_> {
        Call::trusting(&self.scene, &self.key).forward(PORT, self.target.address)
    }

    /// Starts the program towards `host`.
    fn start(&self, call: Call<'_>, host: &str) -> Reachback {
        let destination = format!("{}@{host}:{SSH}", user());
        call.start_in(&self.net.controller, &destination)
    }

    fn up(&self, call: Call<'_>) -> Reachback {
        let client = self.start(call, SERVER);
        client.wait_up(PORT);
        client
    }

    /// Asserts that someone at the server reaches the target.
    fn assert_usable(&self) {
        let body = self.net.internet.inside(|| targets::fetch(PORT));
        assert_eq!(body, "reached");
    }

    /// Waits until the server has noticed that its old session is cut off.
    fn wait_until_the_listener_is_free(&self) {
        support::wait_until("the old session ends", patience(), || {
            self.sshd.sessions().is_empty()
        });
    }

    /// Waits until the program is about to wait for at least `least_s` seconds.
    fn wait_for_a_long_wait(&self, client: &Reachback, mark: usize, least_s: u64) {
        let announced = |line: &String| -> Option<u64> {
            let (_, rest) = line.split_once("next attempt in ")?;
            rest.split(' ').next()?.parse().ok()
        };
        let long = || {
            let lines = client.log().all();
            let last = lines.iter().skip(mark).rev().find_map(announced);
            last.is_some_and(|wait_s| wait_s >= least_s)
        };
        support::wait_until("the program waits long", Duration::from_secs(120), long);
    }
}

#[test]
fn with_the_link_back_the_tunnel_is_usable_at_once_however_long_the_wait_was() {
    let Some(world) = World::new() else {
        return;
    };
    let call = world
        .call()
        .option("ServerAliveInterval=1")
        .option("ServerAliveCountMax=2");
    let client = world.up(call);
    let mark = client.log().mark();
    world.net.controller.ip(&format!("link set {NEAR} down"));
    client.wait_after(mark, "connection lost: ");
    world.wait_until_the_listener_is_free();
    world.wait_for_a_long_wait(&client, mark, 8);
    let mark = client.log().mark();
    let back = Instant::now();
    world.net.controller.ip(&format!("link set {NEAR} up"));
    world.net.route();
    client.wait_up_after(mark, PORT);
    let took = back.elapsed();
    assert!(took < SOON, "{took:?}; {:#?}", client.log().all());
    world.assert_usable();
}

#[test]
fn a_connection_whose_address_is_gone_ends_at_once_and_returns_from_the_new_one() {
    let Some(world) = World::new() else {
        return;
    };
    let client = world.up(world.call());
    let mark = client.log().mark();
    let controller = &world.net.controller;
    let gone = Instant::now();
    controller.ip(&format!("address del {OWN}/24 dev {NEAR}"));
    let line = format!("connection lost: the address {OWN} is gone; next attempt in ");
    client.wait_after(mark, &line);
    assert!(gone.elapsed() < Duration::from_secs(1), "{gone:?}");
    world.wait_for_a_long_wait(&client, mark, 4);
    world.wait_until_the_listener_is_free();
    let mark = client.log().mark();
    let back = Instant::now();
    controller.ip(&format!("address add 10.77.0.3/24 dev {NEAR}"));
    world.net.route();
    client.wait_up_after(mark, PORT);
    let took = back.elapsed();
    assert!(took < SOON, "{took:?}; {:#?}", client.log().all());
    assert!(world.sshd.log.contains("Connection from 10.77.0.3 "));
}

#[test]
fn an_address_of_something_else_that_goes_leaves_the_connection_alone() {
    let Some(world) = World::new() else {
        return;
    };
    let controller = &world.net.controller;
    controller.ip(&format!("address add 10.99.0.1/24 dev {NEAR}"));
    let client = world.up(world.call());
    let mark = client.log().mark();
    controller.ip(&format!("address del 10.99.0.1/24 dev {NEAR}"));
    controller.ip("link add other type veth peer name another");
    controller.ip("link set other up");
    controller.ip("link del other");
    let lost = || {
        client.log().all()[mark..]
            .iter()
            .any(|line| line.contains("connection lost"))
    };
    support::never_during("the connection ends", Duration::from_secs(3), lost);
    world.assert_usable();
}

#[test]
fn a_connection_attempt_into_an_unplugged_cable_is_begun_anew_when_it_is_plugged_in() {
    let Some(world) = World::new() else {
        return;
    };
    let Net {
        controller,
        internet,
    } = &world.net;
    // Without this the attempt would end for want of an answer to ARP, and not hang.
    let router = internet.link_address(FAR);
    // Linux 6.5 and later repeat the first SYNs faster than RFC 6298 has it.
    controller.sysctl("ipv4/tcp_syn_linear_timeouts", "0");
    controller.ip(&format!(
        "neighbor replace {ROUTER} lladdr {router} nud permanent dev {NEAR}"
    ));
    internet.ip(&format!("link set {FAR} down"));
    let client = world.start(world.call(), SERVER);
    client.wait_for("connecting to ");
    // SYN goes out at 0, 1, 3 and 7 s: now the next is more than 3 s away.
    std::thread::sleep(Duration::from_millis(3300));
    assert!(!client.log().contains("connection lost"));
    let back = Instant::now();
    internet.ip(&format!("link set {FAR} up"));
    client.wait_up(PORT);
    let took = back.elapsed();
    assert!(took < SOON, "{took:?}; {:#?}", client.log().all());
    world.assert_usable();
}

#[test]
fn a_connection_that_outlives_an_unplugged_cable_proves_itself_as_soon_as_it_is_back() {
    let Some(world) = World::with(&["ClientAliveInterval 0"]) else {
        return;
    };
    let call = world
        .call()
        .option("ServerAliveInterval=10")
        .option("ServerAliveCountMax=100");
    let client = world.up(call);
    let mark = client.log().mark();
    let internet = &world.net.internet;
    internet.ip(&format!("link set {FAR} down"));
    // A probe goes out at 10 s and is lost.
    std::thread::sleep(Duration::from_secs(14));
    let back = Instant::now();
    let seen = world.sshd.log.mark();
    internet.ip(&format!("link set {FAR} up"));
    let probe = "rtype keepalive@openssh.com";
    world.sshd.log.wait_after(seen, probe, patience());
    let took = back.elapsed();
    assert!(took < SOON + Duration::from_millis(500), "{took:?}");
    world.assert_usable();
    let lines = client.log().all();
    assert!(lines.len() == mark, "the same connection: {lines:#?}");
}

#[test]
fn a_link_that_flaps_makes_no_storm_of_attempts() {
    let Some(world) = World::new() else {
        return;
    };
    let controller = &world.net.controller;
    let call = world.call().args(&["-v"]);
    let client = world.up(call);
    let mark = client.log().mark();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        controller.ip(&format!("address add 10.77.0.9/32 dev {NEAR}"));
        controller.ip(&format!("address del 10.77.0.9/32 dev {NEAR}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let noted = client.log().all()[mark..]
        .iter()
        .filter(|line| line.contains("the network has changed"))
        .count();
    assert!((4..=6).contains(&noted), "{noted} times");
    world.assert_usable();
    assert!(!client.log().contains("connection lost"));
}

#[test]
fn a_modem_that_is_not_there_yet_is_waited_for_and_then_used() {
    let Some(world) = World::new() else {
        return;
    };
    let Net {
        controller,
        internet,
    } = &world.net;
    let call = world.call().args(&["-B", "modem0", "-b", "10.78.0.2"]);
    let mut client = world.start(call, "10.78.0.1");
    client.wait_for("BindInterface modem0: there is no such interface yet");
    assert!(client.process.is_running());
    world.net.plug("modem0", "tower0");
    client.wait_for("BindAddress 10.78.0.2: this machine does not have the address yet");
    internet.ip("address add 10.78.0.254/24 dev tower0");
    let mark = client.log().mark();
    let back = Instant::now();
    controller.ip("address add 10.78.0.2/24 dev modem0");
    client.wait_up_after(mark, PORT);
    let took = back.elapsed();
    assert!(took < SOON, "{took:?}; {:#?}", client.log().all());
    assert!(world.sshd.log.contains("Connection from 10.78.0.2 "));
}

#[test]
fn when_the_name_servers_are_silent_the_last_address_is_used_even_after_a_restart() {
    let Some(world) = World::new() else {
        return;
    };
    let controller = &world.net.controller;
    controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    controller.etc("hosts", "127.0.0.1 localhost\n");
    let names = controller.inside(|| NameServer::start(&[SERVER]));
    let state = world.scene.path("state");
    let option = format!("StateFile={}", state.display());
    let told = "name resolution failed (*); using the last address that worked";

    let client = world.start(world.call().option(&option), "hub.test");
    client.wait_up(PORT);
    let text = std::fs::read_to_string(&state).unwrap();
    assert_eq!(
        text,
        format!("reachback-state 1\nhub.test {SSH} {SERVER}\n")
    );
    assert!(!client.log().contains(told));

    names.answer(false);
    let mark = client.log().mark();
    world.sshd.kill_sessions();
    client.wait_after(mark, told);
    client.wait_up_after(mark, PORT);
    world.assert_usable();
    assert_eq!(client.stop(), 0);

    let client = world.start(world.call().option(&option), "hub.test");
    client.log().wait_for(told, patience());
    client.wait_up(PORT);
    world.assert_usable();
}

/// The kernel accepts for it, and it says nothing.
#[test]
fn the_next_attempt_begins_with_another_address_when_the_first_says_nothing() {
    const MUTE: &str = "10.78.0.2";
    let Some(world) = World::new() else {
        return;
    };
    world.net.internet.ip("address add 10.78.0.2/32 dev lo");
    let listen = || TcpListener::bind((MUTE, SSH)).unwrap();
    let _mute = world.net.internet.inside(listen);
    let controller = &world.net.controller;
    controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    controller.etc("hosts", "127.0.0.1 localhost\n");
    controller.inside(|| NameServer::start(&[MUTE, SERVER]));
    let call = world.call().option("ConnectTimeout=3");
    let client = world.start(call, "hub.test");
    client.wait_up(PORT);
    world.assert_usable();
    for _ in 0..2 {
        let mark = client.log().mark();
        world.sshd.kill_sessions();
        client.wait_up_after(mark, PORT);
    }
    let log = client.log();
    assert_eq!(
        log.count(&format!("connected to hub.test port {SSH} ({MUTE})")),
        1
    );
    assert_eq!(
        log.count(&format!("connected to hub.test port {SSH} ({SERVER})")),
        3
    );
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_remembered_address_with_another_host_key_is_forgotten_and_no_alarm() {
    let Some(world) = World::new() else {
        return;
    };
    let controller = &world.net.controller;
    controller.etc(
        "resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    );
    controller.etc("hosts", "127.0.0.1 localhost\n");
    let other = keys::key(&world.scene, "other", Kind::Ed25519);
    let pinned = format!("[hub.test]:{SSH} {}\n", other.public);
    std::fs::write(world.scene.known_hosts(), pinned).unwrap();
    let state = format!("reachback-state 1\nhub.test {SSH} {SERVER}\n");
    let state = world.scene.file("state", state);
    let option = format!("StateFile={}", state.display());
    let client = world.start(world.call().option(&option), "hub.test");
    client.wait_for("using the last address that worked");
    client.wait_for("no connection: the last address that worked belongs to another server now");
    // Names are asked again soon, not after the pause for a changed key.
    let line = client.wait_for("no connection: cannot resolve hub.test*; next attempt in ");
    assert!(!line.contains("min"), "{line}");
}
