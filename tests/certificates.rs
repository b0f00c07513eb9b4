//! Host certificates: an authority that known_hosts names vouches for a server's key, for its name and for a time
//! (`@cert-authority`, OpenSSH's PROTOCOL.certkeys). The certificates are ssh-keygen's, the server is OpenSSH's.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::client::{Call, Reachback};
use support::clock::at;
use support::keys::{self, Key, Kind};
use support::sshd::{self, Sshd};
use support::targets::{self, Target};
use support::{Scene, bound, free_port, never_during, output, text, user};

/// A server whose key can be certified, and the authority.
struct Place {
    target: Target,
    key: Key,
    host: Key,
    authority: Key,
    port: u16,
    scene: Scene,
}

impl Place {
    fn new() -> Place {
        Place::of(Kind::Ed25519, Kind::Ed25519)
    }

    fn of(host: Kind, authority: Kind) -> Place {
        let scene = Scene::new();
        Place {
            target: Target::http("page"),
            key: keys::key(&scene, "key", Kind::Ed25519),
            host: keys::key(&scene, "host", host),
            authority: keys::key(&scene, "authority", authority),
            port: free_port(),
            scene,
        }
    }

    /// The server with its key, certified by `authority` with these words of ssh-keygen.
    fn serve_by(&self, authority: &Key, words: &[&str]) -> Sshd {
        let public = format!("{}.pub", self.host.file());
        let certificate = format!("{}-cert.pub", self.host.file());
        let _ = fs::remove_file(&certificate);
        let fixed = ["-q", "-s", &authority.file(), "-I", "hub"];
        output("ssh-keygen", &[&fixed[..], words, &[&public]].concat());
        sshd::builder(&self.scene)
            .authorize(&self.key)
            .with_host_key(&self.host)
            .config(&format!("HostCertificate {certificate}"))
            .start()
    }

    fn serve(&self, words: &[&str]) -> Sshd {
        self.serve_by(&self.authority, words)
    }

    /// A line of known_hosts for the server; `marker` may be `@cert-authority `.
    fn line(&self, marker: &str, names: &str, key: &Key) -> String {
        let words: Vec<&str> = key.public.split(' ').collect();
        format!("{marker}{names} {} {}\n", words[0], words[1])
    }

    fn knows(&self, lines: &str) {
        let file = self.scene.known_hosts();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, lines).unwrap();
    }

    /// known_hosts names the authority for every server.
    fn trusts(&self) {
        self.knows(&self.line(CA, "*", &self.authority));
    }

    fn call(&self) -> Call<'_> {
        Call::new(&self.scene)
            .args(&["-N", "-v"])
            .identity(&self.key)
            .forward(self.port, self.target.address)
    }

    fn works(&self, client: Reachback) {
        client.wait_up(self.port);
        assert_eq!(targets::fetch(self.port), "page");
        assert_eq!(client.stop(), 0);
    }

    /// The tunnel is refused for this reason even with `-y`, before the user's name is told, and nothing is pinned.
    fn refuses(&self, server: &Sshd, why: &str) {
        let known = self.scene.known_hosts_text();
        let mut client = self.call().args(&["-y"]).start(user(), server.port);
        client.wait_for(why);
        never_during(
            "authentication",
            bound(std::time::Duration::from_secs(1)),
            || server.log.contains("userauth-request"),
        );
        assert!(client.process.is_running());
        assert_eq!(self.scene.known_hosts_text(), known);
    }
}

const CA: &str = "@cert-authority ";

#[test]
fn a_certified_key_of_any_type_is_trusted_without_being_pinned() {
    for (host, authority) in [
        (Kind::Ed25519, Kind::Ed25519),
        (Kind::EcdsaP256, Kind::Rsa),
        (Kind::EcdsaP384, Kind::EcdsaP256),
        (Kind::Rsa, Kind::EcdsaP384),
    ] {
        let place = Place::of(host, authority);
        let server = place.serve(&["-h", "-n", "127.0.0.1"]);
        let named = format!("[127.0.0.1]:{}", server.port);
        for names in ["*", "127.0.0.?", &named] {
            let line = place.line(CA, names, &place.authority);
            place.knows(&line);
            let client = place.call().start(user(), server.port);
            place.works(client);
            assert_eq!(place.scene.known_hosts_text(), line, "{names}");
        }
        assert!(server.log.contains("-cert-v01@openssh.com"));
    }
}

#[test]
fn the_certificate_has_to_be_for_this_name_and_now_without_conditions() {
    let place = Place::new();
    place.trusts();
    for (words, why) in [
        (
            &["-h", "-n", "hub.example,10.0.0.1"][..],
            "*is for 'hub.example,10.0.0.1' and not for 127.0.0.1*",
        ),
        (&["-h"], "*is for '' and not for 127.0.0.1*"),
        (
            &["-h", "-n", "127.0.0.1", "-V", "20260101Z:20260201Z"],
            "*expired at 2026-02-01T00:00:00Z, and the clock here says 20*",
        ),
        (
            &["-h", "-n", "127.0.0.1", "-V", "20900101Z:20910101Z"],
            "*is not valid before 2090-01-01T00:00:00Z, and the clock here says 20*",
        ),
        (
            &[
                "-h",
                "-n",
                "127.0.0.1",
                "-O",
                "critical:nobody@knows.example=x",
            ],
            "*has critical options, which nobody knows here*",
        ),
    ] {
        let server = place.serve(words);
        place.refuses(
            &server,
            &format!("host certificate 'hub' of 127.0.0.1{why}"),
        );
    }
}

#[test]
fn another_authority_vouches_for_nothing_and_a_revoked_one_or_key_is_refused() {
    let place = Place::new();
    place.trusts();
    let other = keys::key(&place.scene, "other", Kind::Ed25519);
    let words = ["-h", "-n", "127.0.0.1"];
    let server = place.serve_by(&other, &words);
    place.refuses(&server, "host key for * is unknown *no authority*");
    drop(server);
    let server = place.serve(&words);
    let trusted = place.line(CA, "*", &place.authority);
    place.knows(&format!(
        "{trusted}{}",
        place.line("@revoked ", "*", &place.authority)
    ));
    place.refuses(&server, "host certificate * whose key is revoked*");
    place.knows(&format!(
        "{trusted}{}",
        place.line("@revoked ", "*", &place.host)
    ));
    place.refuses(&server, "host key for 127.0.0.1 is revoked*");
    // An authority for other servers is none for this one.
    place.knows(&place.line(CA, "*.example", &place.authority));
    let client = place.call().start(user(), server.port);
    client.wait_for("host key for * is unknown*or call once with -y*");
    assert_eq!(client.stop(), 0);
}

#[test]
fn who_names_an_authority_is_not_talked_out_of_it_and_a_pin_is_still_one() {
    let place = Place::new();
    let server = sshd::builder(&place.scene)
        .authorize(&place.key)
        .with_host_key(&place.host)
        .start();
    place.trusts();
    place.refuses(&server, "host key for * is unknown *-y does not pin it*");
    let name = format!("[127.0.0.1]:{}", server.port);
    let pin = place.line("", &name, &place.host);
    let both = format!("{}{pin}", place.line(CA, "*", &place.authority));
    place.knows(&both);
    place.works(place.call().start(user(), server.port));
    drop(server);

    // The certificate is over, the key in it is pinned.
    let server = place.serve(&["-h", "-n", "127.0.0.1", "-V", "20260101Z:20260201Z"]);
    place.knows(&both.replace(&name, &format!("[127.0.0.1]:{}", server.port)));
    let client = place.call().start(user(), server.port);
    client.wait_for("host certificate * expired at *; its key is pinned");
    place.works(client);
}

#[test]
fn a_clock_that_was_never_set_keeps_nobody_out_and_it_is_said() {
    let place = Place::new();
    place.trusts();
    let server = place.serve(&["-h", "-n", "127.0.0.1", "-V", "20260101Z:20260201Z"]);
    for time in ["1970-01-01 00:00:00", "2107-01-01 00:00:01"] {
        let client = at(place.call(), time).start(user(), server.port);
        client.wait_for("until when the host certificate of 127.0.0.1 is valid is not looked at: the clock says *");
        place.works(client);
    }
    let client = at(place.call(), "2026-01-15 00:00:00").start(user(), server.port);
    place.works(client);
}

#[test]
fn with_an_alias_the_certificate_is_for_the_alias_and_pins_do_not_follow() {
    let place = Place::new();
    place.trusts();
    let server = place.serve(&["-h", "-n", "hub.charging"]);
    let call = || place.call().option("HostKeyAlias=hub.charging");
    place.works(call().start(user(), server.port));
    // A renewal of keys shows the same certificate; what the server announces changes nothing.
    let client = call().option("RekeyLimit=16K").start(user(), server.port);
    client.wait_up(place.port);
    for _ in 0..40 {
        assert_eq!(targets::fetch(place.port), "page");
    }
    assert!(!client.log().contains("counts for nothing"));
    assert_eq!(client.stop(), 0);
    let line = place.line(CA, "*", &place.authority);
    assert_eq!(place.scene.known_hosts_text(), line);
    let destination = format!("{}@127.0.0.1:{}", user(), server.port);
    let words = [
        "doctor",
        "-i",
        &place.key.file(),
        "-o",
        "HostKeyAlias=hub.charging",
    ];
    let ended = Call::new(&place.scene)
        .args(&words)
        .args(&["-R", &format!("{}:{}", free_port(), place.target.address)])
        .args(&[&destination])
        .run();
    let file = text(&place.scene.known_hosts());
    let said = ended.stdout.join(" ");
    assert!(said.contains("certified by an authority of"), "{ended:?}");
    assert!(said.contains(&file), "{ended:?}");
}
