//! The tunnel with independent SSH servers: OpenSSH with every algorithm that
//! the client offers, Dropbear, and a server built on thrussh.
#![allow(clippy::unwrap_used)]

mod support;

use support::client::Call;
use support::keys::{self, Format, Kind};
use support::peers::{Dropbear, Thrussh};
use support::rig::{Setup, Site};
use support::targets::{self, Target};
use support::{Scene, free_port, patience, skip};

/// Brings a tunnel up with `setup`, sends bytes both ways, and checks the
/// server's own word on what was negotiated.
fn assert_serves(setup: &Setup, negotiated: &str) {
    let rig = setup.up(Target::echo());
    rig.assert_echoes(negotiated);
    let log = &rig.sshd.log;
    assert!(
        log.contains(negotiated),
        "the server did not log '{negotiated}': {:#?}",
        log.all()
    );
    assert_eq!(rig.client.stop(), 0, "{negotiated}");
}

/// As [`assert_serves`], with keys that are renewed again and again while bytes go both ways.
fn assert_serves_and_renews(lines: &[&str], negotiated: &str) {
    let mut server = lines.to_vec();
    server.push("RekeyLimit 64K");
    let setup = Setup {
        server: &server,
        ..Setup::default()
    };
    let rig = setup.up(Target::echo());
    for _ in 0..2 {
        rig.assert_echoes(negotiated);
    }
    let log = &rig.sshd.log;
    for line in [negotiated, "rekey"] {
        assert!(
            log.contains(line),
            "the server did not log '{line}': {:#?}",
            log.all()
        );
    }
    assert_eq!(rig.client.stop(), 0, "{negotiated}");
}

#[test]
fn each_key_exchange_of_openssh_carries_a_tunnel() {
    for name in [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
    ] {
        let line = format!("KexAlgorithms {name}");
        assert_serves_and_renews(&[&line], &format!("kex: algorithm: {name}"));
    }
}

#[test]
fn each_cipher_of_openssh_carries_a_tunnel() {
    for name in [
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
    ] {
        let line = format!("Ciphers {name}");
        assert_serves_and_renews(&[&line], &format!("kex: client->server cipher: {name}"));
    }
}

#[test]
fn counter_mode_with_each_mac_of_openssh_carries_a_tunnel() {
    for cipher in ["aes256-ctr", "aes192-ctr", "aes128-ctr"] {
        for mac in [
            "hmac-sha2-256-etm@openssh.com",
            "hmac-sha2-512-etm@openssh.com",
            "hmac-sha2-256",
            "hmac-sha2-512",
        ] {
            let lines = [format!("Ciphers {cipher}"), format!("MACs {mac}")];
            assert_serves_and_renews(
                &[&lines[0], &lines[1]],
                &format!("kex: server->client cipher: {cipher} MAC: {mac}"),
            );
        }
    }
}

#[test]
fn each_host_key_algorithm_of_openssh_carries_a_tunnel() {
    for (kind, name) in [
        (Kind::Ed25519, "ssh-ed25519"),
        (Kind::EcdsaP256, "ecdsa-sha2-nistp256"),
        (Kind::EcdsaP384, "ecdsa-sha2-nistp384"),
        (Kind::Rsa, "rsa-sha2-256"),
        (Kind::Rsa, "rsa-sha2-512"),
    ] {
        let line = format!("HostKeyAlgorithms {name}");
        assert_serves(
            &Setup {
                server: &[&line],
                host_keys: &[kind],
                ..Setup::default()
            },
            &format!("kex: host key algorithm: {name}"),
        );
    }
}

fn assert_key_logs_in(kind: Kind, format: Format) {
    let setup = Setup {
        key: (kind, format),
        ..Setup::default()
    };
    let rig = setup.up(Target::echo());
    rig.assert_echoes(&format!("{kind:?} in {format:?}"));
    rig.client.wait_for(&format!(
        "authenticated as {} with *{}",
        support::user(),
        rig.key.fingerprint(&rig.scene)
    ));
    assert!(
        rig.sshd.log.contains("Accepted publickey for"),
        "{:#?}",
        rig.sshd.log.all()
    );
}

#[test]
fn openssh_key_files_of_each_kind_log_in() {
    for kind in [Kind::Rsa, Kind::Ed25519, Kind::EcdsaP256] {
        assert_key_logs_in(kind, Format::OpenSsh);
    }
}

#[test]
fn pem_key_files_of_each_kind_log_in() {
    for kind in [Kind::Rsa, Kind::EcdsaP256] {
        assert_key_logs_in(kind, Format::Pem);
    }
}

#[test]
fn dropbear_key_files_of_each_kind_log_in() {
    if !keys::have_dropbear_tools() {
        return skip("dropbearkey is not installed");
    }
    for kind in [Kind::Rsa, Kind::Ed25519, Kind::EcdsaP256] {
        assert_key_logs_in(kind, Format::Dropbear);
    }
}

#[test]
fn an_rsa_key_needs_no_sha1() {
    let setup = Setup {
        key: (Kind::Rsa, Format::OpenSsh),
        server: &["PubkeyAcceptedAlgorithms rsa-sha2-256,rsa-sha2-512"],
        ..Setup::default()
    };
    let rig = setup.up(Target::echo());
    rig.assert_echoes("RSA with SHA-2");
    assert!(
        !rig.sshd.log.contains("pkalg ssh-rsa "),
        "{:#?}",
        rig.sshd.log.all()
    );
}

#[test]
fn the_first_of_several_keys_that_the_server_knows_logs_in() {
    let scene = Scene::new();
    let stranger = keys::key(&scene, "stranger", Kind::Ed25519);
    let known = keys::key(&scene, "known", Kind::EcdsaP256);
    let server = support::sshd::builder(&scene).authorize(&known).start();
    let (target, port) = (Target::http("second key"), free_port());
    let client = Call::trusting(&scene, &stranger)
        .identity(&known)
        .forward(port, target.address)
        .start(support::user(), server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "second key");
    client.wait_for(&format!("authenticated as *{}", known.fingerprint(&scene)));
}

#[test]
fn a_server_that_wants_two_keys_gets_both() {
    let scene = Scene::new();
    let keys = [Kind::Ed25519, Kind::Rsa].map(|kind| keys::key(&scene, kind.name(), kind));
    let server = support::sshd::builder(&scene)
        .authorize(&keys[0])
        .authorize(&keys[1])
        .config("AuthenticationMethods publickey,publickey")
        .start();
    let (target, port) = (Target::http("both"), free_port());
    let client = Call::trusting(&scene, &keys[0])
        .identity(&keys[1])
        .forward(port, target.address)
        .start(support::user(), server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "both");
    assert!(
        server.log.contains("Partial publickey for"),
        "{:#?}",
        server.log.all()
    );
}

#[test]
fn a_login_banner_reaches_the_log_without_its_control_characters() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let banner = scene.file("banner", "authorised \u{1b}[31muse\u{7} only\r\n");
    let line = format!("Banner {}", support::text(&banner));
    let server = support::sshd::builder(&scene)
        .authorize(&key)
        .config(&line)
        .start();
    let (target, port) = (Target::http("welcome"), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(support::user(), server.port);
    client.wait_up(port);
    client.wait_for("authorised *use* only");
    for line in client.log().all() {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    assert_eq!(targets::fetch(port), "welcome");
}

#[test]
fn a_port_that_the_server_chose_is_told_and_works() {
    let Site { scene, key, server } = Site::up();
    let target = Target::http("chosen");
    let client = Call::trusting(&scene, &key)
        .forward(0, target.address)
        .start(support::user(), server.port);
    let line = client.wait_for("forward confirmed: server port * to ");
    let port = line
        .split("server port ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let port: u16 = port.parse().unwrap();
    assert_ne!(port, 0, "{line}");
    assert_eq!(targets::fetch(port), "chosen");
}

#[test]
fn a_permitted_listen_address_is_asked_for_as_localhost() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let port = free_port();
    let options = format!("restrict,port-forwarding,permitlisten=\"localhost:{port}\"");
    let server = support::sshd::builder(&scene)
        .authorize_with(&options, &key)
        .start();
    let target = Target::http("permitted");
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start(support::user(), server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "permitted");
}

#[test]
fn a_key_with_the_options_of_pubkey_restrict_may_do_what_it_is_for_and_nothing_else() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let target = Target::http("permitted");
    let (ports, other) = ([free_port(), free_port(), free_port()], free_port());
    let specs = [
        format!("{}:{}", ports[0], target.address),
        format!("127.0.0.1:{}:{}", ports[1], target.address),
        format!("*:{}:{}", ports[2], target.address),
    ];
    let forwards = ["-R", &specs[0], "-R", &specs[1], "-R", &specs[2]];
    let printed = Call::new(&scene)
        .args(&["pubkey", "--restrict", "-i", &key.file()])
        .args(&forwards)
        .run();
    let line = &printed.stdout[0];
    let (options, _) = line.split_once(" ssh-ed25519 ").unwrap();
    let server = support::sshd::builder(&scene)
        .config("GatewayPorts clientspecified")
        .authorize_with(options, &key)
        .start();
    let client = Call::trusting(&scene, &key)
        .args(&forwards)
        .forward(other, target.address)
        .option("VerifyForward=yes")
        .start(support::user(), server.port);
    for port in ports {
        client.wait_for(&format!("forward verified: server port {port} leads here"));
        assert_eq!(targets::fetch(port), "permitted");
    }
    client.wait_for(&format!("forward refused: server port {other}"));
    let ssh = |more: &[&str]| {
        let output = std::process::Command::new("ssh")
            .args(["-F", "none", "-i", &key.file()])
            .args(["-p", &server.port.to_string()])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(more)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let destination = format!("{}@127.0.0.1", support::user());
    let (_, said) = ssh(&["-W", &target.address.to_string(), &destination]);
    assert!(said.contains("administratively prohibited"), "{said}");
    let (done, said) = ssh(&[&destination, "echo a shell"]);
    assert!(!done && !said.contains("a shell"), "{said}");
}

#[test]
fn a_refused_forward_leaves_the_tunnel_up() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let (allowed, refused) = (free_port(), free_port());
    let permit = format!("PermitListen localhost:{allowed}");
    let server = support::sshd::builder(&scene)
        .authorize(&key)
        .config(&permit)
        .start();
    let target = Target::http("allowed");
    let mut client = Call::trusting(&scene, &key)
        .forward(refused, target.address)
        .forward(allowed, target.address)
        .start(support::user(), server.port);
    client.wait_for(&format!("forward refused: server port {refused}"));
    client.wait_for(&format!("forward confirmed: server port {allowed} "));
    assert_eq!(targets::fetch(allowed), "allowed");
    assert!(client.process.is_running());
}

#[test]
fn dropbear_carries_a_tunnel_both_ways() {
    for kind in [Kind::Rsa, Kind::Ed25519, Kind::EcdsaP256] {
        let scene = Scene::new();
        if !keys::have_dropbear_tools() {
            return skip("dropbearkey is not installed");
        }
        let key = keys::generate(&scene, "key", kind, Format::Dropbear);
        let server = match Dropbear::start(&scene, &key) {
            Ok(server) => server,
            Err(reason) => return skip(&reason),
        };
        let (target, port) = (Target::echo(), free_port());
        let client = Call::trusting(&scene, &key)
            .forward(port, target.address)
            .start(Dropbear::USER, server.port);
        client.wait_up(port);
        let sent = vec![0x5A; 300_000];
        assert!(
            targets::exchange(port, &sent) == sent,
            "{kind:?}: bytes differ"
        );
        server
            .process
            .stderr
            .wait_for("Pubkey auth succeeded for 'root'", patience());
    }
}

#[test]
fn thrussh_carries_a_tunnel_over_the_post_quantum_exchange() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let server = match Thrussh::start(&scene, &key, &[]) {
        Ok(server) => server,
        Err(reason) => return skip(&reason),
    };
    let (target, port) = (Target::echo(), free_port());
    let client = Call::trusting(&scene, &key)
        .forward(port, target.address)
        .start("anyone", server.port);
    client.wait_up(port);
    server
        .process
        .stdout
        .wait_for("kex mlkem768x25519-sha256", patience());
    let sent: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    for _ in 0..3 {
        assert!(targets::exchange(port, &sent) == sent, "bytes differ");
    }
}

#[test]
fn openssh_and_the_client_agree_on_strict_key_exchange() {
    let setup = Setup {
        server: &["LogLevel DEBUG3", "RekeyLimit 64K"],
        ..Setup::default()
    };
    let rig = setup.up(Target::echo());
    // Sequence numbers are reset at every new key, so rekeys are part of it.
    for _ in 0..3 {
        rig.assert_echoes("strict key exchange");
    }
    if !rig.sshd.log.contains("strict KEX ordering") {
        return skip("this sshd does not know strict key exchange");
    }
    assert!(rig.sshd.log.contains("will use strict KEX ordering"));
    assert!(rig.sshd.log.count("SSH2_MSG_NEWKEYS received") >= 3);
}
