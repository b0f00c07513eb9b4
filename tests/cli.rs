//! What the command line takes.
#![allow(clippy::unwrap_used)]

mod support;

use support::client::{Call, command};
use support::keys::{self, Format, Key, Kind};
use support::process::Process;
use support::rig::Site;
use support::targets::{self, Target};
use support::{Scene, free_port, patience, skip, sshd, text, user};

#[test]
fn version_and_help_are_printed_on_stdout() {
    let scene = Scene::new();
    for flag in ["-V", "--version"] {
        let ended = Call::new(&scene).args(&[flag]).run();
        assert_eq!((ended.code, ended.stderr.len()), (0, 0), "{ended:?}");
        let wanted = format!("reachback {}", env!("CARGO_PKG_VERSION"));
        assert!(ended.stdout[0].starts_with(&wanted), "{ended:?}");
    }
    for flag in ["-h", "--help"] {
        let ended = Call::new(&scene).args(&[flag]).run();
        assert_eq!((ended.code, ended.stderr.len()), (0, 0), "{ended:?}");
        let all = ended.stdout.join("\n");
        for flag in [
            "-R", "-N", "-n", "-T", "-f", "-i", "-y", "-p", "-v", "-q", "-o", "-F",
        ] {
            assert!(all.contains(flag), "{flag} is not in the help:\n{all}");
        }
        assert!(all.contains("user@host"), "{all}");
    }
}

#[test]
fn every_help_fits_80_columns_and_each_commands_has_two_examples() {
    let scene = Scene::new();
    let said = |words: &[&str]| {
        let ended = Call::new(&scene).args(words).run();
        assert_eq!((ended.code, ended.stderr.len()), (0, 0), "{ended:?}");
        let wide = ended.stdout.iter().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None);
        ended.stdout
    };
    let all = said(&["help"]);
    assert_eq!(all, said(&["--help"]));
    let at = all.iter().position(|line| line.starts_with("Commands"));
    let commands = all[at.unwrap() + 1..].iter();
    let commands = commands.take_while(|line| !line.is_empty());
    let mut names: Vec<&str> = commands
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names.drain(..) {
        let help = said(&["help", name]);
        assert_eq!(help, said(&[name, "--help"]));
        assert!(
            help[0].starts_with(&format!("reachback {name}")),
            "{help:?}"
        );
        let example = format!("  reachback {name}");
        let examples = help.iter().filter(|line| line.starts_with(&example));
        assert_eq!(examples.count(), 2, "{help:?}");
    }
    assert_eq!(said(&["version"]), said(&["--version"]));
}

/// Runs the words against a real server and expects a page through the tunnel. The ports that they
/// are made of are those of the server, of the forward on it, and of the target.
fn assert_works(words: impl Fn(&Scene, &Key, [u16; 3]) -> Vec<String>) {
    let Site { scene, key, server } = Site::up();
    let (target, port) = (Target::http("page"), free_port());
    let ports = [server.port, port, target.address.port()];
    let words = words(&scene, &key, ports);
    let process = Process::start(command(&scene).args(&words));
    process.stderr.wait_for(
        &format!("forward confirmed: server port {port} "),
        patience(),
    );
    assert_eq!(targets::fetch(port), "page", "{words:?}");
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn options_may_follow_the_destination_as_the_old_scripts_wrote_them() {
    assert_works(|_, key, [server, port, target]| {
        words(&format!(
            "{}@127.0.0.1:{server} -R {port}:localhost:{target} -y -N -i {}",
            user(),
            key.file()
        ))
    });
}

#[test]
fn flags_may_be_clustered_and_values_attached() {
    assert_works(|_, key, [server, port, target]| {
        words(&format!(
            "-yNnT -p{server} -i{} -R{port}:127.0.0.1:{target} -- {}@127.0.0.1",
            key.file(),
            user()
        ))
    });
}

#[test]
fn options_take_ssh_config_keywords_in_either_spelling_and_any_case() {
    assert_works(|scene, key, [server, port, target]| {
        let mut words = words(&format!("-o Port={server} -o user={}", user()));
        for option in [
            format!("IdentityFile {}", key.file()),
            format!("RemoteForward {port} 127.0.0.1:{target}"),
            "stricthostkeychecking=accept-new".to_owned(),
            format!("UserKnownHostsFile={}", text(&scene.path("known"))),
            "ServerAliveInterval=30".to_owned(),
            "AddressFamily inet".to_owned(),
        ] {
            words.extend(["-o".to_owned(), option]);
        }
        words.push("127.0.0.1".to_owned());
        words
    });
}

#[test]
fn a_configuration_file_gives_everything_but_the_destination() {
    assert_works(|scene, key, [server, port, target]| {
        let config = format!(
            "# a comment\nPort {server}\nUser = {}\nIdentityFile \"{}\"\n\
             RemoteForward {port} 127.0.0.1:{target}\nStrictHostKeyChecking accept-new\n",
            user(),
            key.file()
        );
        let file = scene.file("tunnel.conf", config);
        words(&format!("-F {} 127.0.0.1", text(&file)))
    });
}

#[test]
fn the_command_line_wins_over_the_configuration_file() {
    assert_works(|scene, key, [server, port, target]| {
        let file = scene.file(
            "tunnel.conf",
            "Port 1\nUser nobody\nStrictHostKeyChecking yes\n",
        );
        words(&format!(
            "-F {} -y -p {server} -i {} -R {port}:127.0.0.1:{target} {}@127.0.0.1",
            text(&file),
            key.file(),
            user()
        ))
    });
}

#[test]
fn the_key_of_dbclient_is_the_default_identity() {
    if !keys::have_dropbear_tools() {
        return skip("dropbearkey is not installed");
    }
    let scene = Scene::new();
    let key = keys::generate(
        &scene,
        "home/.ssh/id_dropbear",
        Kind::Ed25519,
        Format::Dropbear,
    );
    let server = sshd::builder(&scene).authorize(&key).start();
    let (target, port) = (Target::http("default"), free_port());
    let client = Call::new(&scene)
        .args(&["-y"])
        .forward(port, target.address)
        .start(user(), server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "default");
}

#[test]
fn sixteen_forwards_are_all_served() {
    let Site { scene, key, server } = Site::up();
    let target = Target::http("one of sixteen");
    let ports: Vec<u16> = (0..16).map(|_| free_port()).collect();
    let mut call = Call::trusting(&scene, &key);
    for port in &ports {
        call = call.forward(*port, target.address);
    }
    let client = call.start(user(), server.port);
    for port in &ports {
        client.wait_up(*port);
        assert_eq!(targets::fetch(*port), "one of sixteen");
    }
}

#[test]
fn quiet_says_nothing_and_verbose_says_more() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    let target = Target::echo();
    let nobody = free_port();
    let run = |flag: &str| {
        let client = Call::trusting(&scene, &key)
            .args(&[flag])
            .forward(free_port(), target.address)
            .start("someone", nobody);
        if flag == "-q" {
            std::thread::sleep(support::bound(std::time::Duration::from_millis(1500)));
        } else {
            client.wait_for("next attempt in ");
        }
        let lines = client.log().all();
        assert_eq!(client.stop(), 0);
        lines
    };
    assert_eq!(run("-q"), Vec::<String>::new());
    assert!(!run("-v").is_empty());
}

#[test]
fn pubkey_prints_the_authorized_keys_line_of_a_private_key_in_every_format() {
    let scene = Scene::new();
    for kind in [Kind::Rsa, Kind::Ed25519, Kind::EcdsaP256] {
        for format in [Format::OpenSsh, Format::Pem, Format::Dropbear] {
            let unavailable = format == Format::Dropbear && !keys::have_dropbear_tools();
            if unavailable || (kind, format) == (Kind::Ed25519, Format::Pem) {
                continue;
            }
            let key = keys::generate(&scene, &format!("{kind:?}{format:?}"), kind, format);
            let ended = Call::new(&scene).args(&["pubkey", "-i", &key.file()]).run();
            assert_eq!(ended.code, 0, "{ended:?}");
            assert_eq!(ended.stdout.len(), 1, "{ended:?}");
            let fingerprint = key.fingerprint(&scene);
            assert!(ended.stderr[0].ends_with(&fingerprint), "{ended:?}");
            let fields = |line: &str| {
                line.split(' ')
                    .take(2)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                fields(&ended.stdout[0]),
                fields(&key.public),
                "{kind:?} {format:?}"
            );
        }
    }
}
