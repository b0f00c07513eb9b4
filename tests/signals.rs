//! What a person or an init system asks for with signals, against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Call, Reachback};
use support::rig::{Rig, Site};
use support::sshd::Sshd;
use support::targets::{self, Target};
use support::{Scene, free_port, never_during, patience, text, user, wait_until};

fn send(client: &Reachback, signal: Signal) {
    kill(Pid::from_raw(client.process.pid()), signal).unwrap();
}

/// A tunnel whose forwards are in a configuration file.
struct Configured {
    client: Reachback,
    server: Sshd,
    targets: [Target; 2],
    ports: [u16; 2],
    file: PathBuf,
    _scene: Scene,
}

impl Configured {
    fn up() -> Self {
        let Site { scene, key, server } = Site::up();
        let (targets, ports) = (
            [Target::echo(), Target::http("second")],
            [free_port(), free_port()],
        );
        let file = scene.file("config", line(ports[0], &targets[0]));
        let client = Call::trusting(&scene, &key)
            .args(&["-F", &text(&file)])
            .start(user(), server.port);
        client.wait_up(ports[0]);
        Self {
            client,
            server,
            targets,
            ports,
            file,
            _scene: scene,
        }
    }

    /// The line for one of the two forwards.
    fn forward(&self, index: usize) -> String {
        line(self.ports[index], &self.targets[index])
    }

    /// Writes another configuration and has it read; gives the log's mark before that.
    fn reload(&self, config: &str) -> usize {
        std::fs::write(&self.file, config).unwrap();
        let mark = self.client.log().mark();
        send(&self.client, Signal::SIGHUP);
        mark
    }

    fn connections(&self) -> usize {
        self.client.log().count("connected to ")
    }
}

fn line(port: u16, target: &Target) -> String {
    format!("RemoteForward {port} 127.0.0.1:{}\n", target.address.port())
}

fn assert_echo(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

fn closed(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
}

#[test]
fn sigusr1_reconnects_at_once() {
    let rig = Rig::up(Target::http("again"));
    let mark = rig.client.log().mark();
    send(&rig.client, Signal::SIGUSR1);
    rig.client.wait_up_after(mark, rig.port);
    assert_eq!(targets::fetch(rig.port), "again");
    assert_eq!(rig.client.log().count("connected to "), 2);
}

#[test]
fn sigterm_and_sigint_take_the_listeners_back_and_say_goodbye() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut rig = Rig::up(Target::echo());
        send(&rig.client, signal);
        assert_eq!(rig.client.process.wait(Duration::from_secs(5)), 0);
        let said = [
            "*cancel-tcpip-forward*",
            "Received disconnect from 127.0.0.1 port *:11:*",
        ];
        for line in said {
            rig.sshd.log.wait_for(line, patience());
        }
        wait_until("the port is free", patience(), || closed(rig.port));
    }
}

#[test]
fn a_connection_in_use_is_drained_for_two_seconds_at_most() {
    let mut rig = Rig::up(Target::echo());
    let mut held = targets::dial(rig.port);
    assert_echo(&mut held, b"before");
    let began = std::time::Instant::now();
    send(&rig.client, Signal::SIGTERM);
    rig.sshd.log.wait_for("*cancel-tcpip-forward*", patience());
    assert_echo(&mut held, b"still served");
    assert_eq!(rig.client.process.wait(Duration::from_secs(6)), 0);
    assert!(began.elapsed() >= Duration::from_millis(1500), "{began:?}");
}

#[test]
fn sighup_adds_a_forward_without_dropping_the_tunnel() {
    let tunnel = Configured::up();
    let mut held = targets::dial(tunnel.ports[0]);
    assert_echo(&mut held, b"before");
    let both = tunnel.forward(0) + &tunnel.forward(1);
    let mark = tunnel.reload(&both);
    tunnel.client.wait_up_after(mark, tunnel.ports[1]);
    assert_eq!(targets::fetch(tunnel.ports[1]), "second");
    assert_echo(&mut held, b"after");
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn sighup_takes_a_forward_back_while_its_connections_go_on() {
    let tunnel = Configured::up();
    let mut held = targets::dial(tunnel.ports[0]);
    assert_echo(&mut held, b"before");
    let mark = tunnel.reload(&tunnel.forward(1));
    tunnel
        .client
        .wait_after(mark, &format!("forward cancelled: {}:*", tunnel.ports[0]));
    tunnel.client.wait_up_after(mark, tunnel.ports[1]);
    assert!(closed(tunnel.ports[0]), "the server listens no more");
    assert_echo(&mut held, b"after");
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn a_forward_that_goes_and_comes_back_at_once_is_there_in_the_end() {
    let tunnel = Configured::up();
    let (first, second) = (tunnel.forward(0), tunnel.forward(1));
    for _ in 0..10 {
        tunnel.reload(&second);
        tunnel.reload(&first);
    }
    wait_until(
        "the first forward listens and the second does not",
        patience(),
        || !closed(tunnel.ports[0]) && closed(tunnel.ports[1]),
    );
    never_during("another outcome", Duration::from_secs(1), || {
        closed(tunnel.ports[0]) || !closed(tunnel.ports[1])
    });
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_its_place_is_logged() {
    let tunnel = Configured::up();
    let wrong = format!("{}  ServerAliveInterval soon\n", tunnel.forward(1));
    let mark = tunnel.reload(&wrong);
    let said = format!(
        "configuration rejected, keeping the current one: bad configuration: {}:2:23: bad value 'soon' *",
        text(&tunnel.file)
    );
    tunnel.client.wait_after(mark, &said);
    assert_echo(&mut targets::dial(tunnel.ports[0]), b"still there");
    assert!(closed(tunnel.ports[1]));
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn sighup_changes_the_keepalive_interval_of_a_living_tunnel() {
    let tunnel = Configured::up();
    let asked = || tunnel.server.log.count("*keepalive@openssh.com*");
    assert_eq!(asked(), 0);
    tunnel.reload(&format!("{}ServerAliveInterval 1\n", tunnel.forward(0)));
    wait_until("the server is asked every second", patience(), || {
        asked() >= 3
    });
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn a_change_that_the_connection_cannot_follow_renews_it_and_says_why() {
    let tunnel = Configured::up();
    let mark = tunnel.reload(&format!("{}RekeyLimit 64M 2h\n", tunnel.forward(0)));
    tunnel.client.wait_after(
        mark,
        "the configuration has changed in RekeyLimit; renewing the connection",
    );
    tunnel.client.wait_up_after(mark, tunnel.ports[0]);
    assert_eq!(tunnel.connections(), 2);
}

#[test]
fn what_only_the_next_start_can_follow_is_said() {
    let tunnel = Configured::up();
    let mark = tunnel.reload(&format!("{}StateFile /elsewhere\n", tunnel.forward(0)));
    tunnel.client.wait_after(
        mark,
        "StateFile changed: the new value takes effect at the next start",
    );
    tunnel.client.wait_after(mark, "configuration read again");
    assert_eq!(tunnel.connections(), 1);
}

#[test]
fn the_log_level_changes_with_the_configuration() {
    let tunnel = Configured::up();
    tunnel.reload(&format!("{}LogLevel DEBUG\n", tunnel.forward(0)));
    tunnel.client.wait_for("configuration read again");
    let mark = tunnel.client.log().mark();
    send(&tunnel.client, Signal::SIGUSR1);
    tunnel.client.wait_after(mark, "keys exchanged: *");
}
