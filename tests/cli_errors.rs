//! What the command line does not take: one clear line, the right exit code
//! (sysexits(3)), and nothing started.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::client::{Call, Ended};
use support::keys::{self, Format, Key, Kind};
use support::syslog::Syslog;
use support::targets::Target;
use support::{Scene, is_root, patience, skip, text};

const USAGE: i32 = 64;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const CONFIG: i32 = 78;

/// A scene with a key and a "server" that counts who connects.
struct Place {
    scene: Scene,
    key: Key,
    server: Target,
}

fn place() -> Place {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    Place {
        scene,
        key,
        server: Target::stuck(),
    }
}

impl Place {
    fn destination(&self) -> String {
        format!("someone@127.0.0.1:{}", self.server.address.port())
    }

    /// A complete call, to which a test adds what is wrong. `-f` shows that
    /// nothing goes to the background either.
    fn call(&self) -> Call<'_> {
        Call::new(&self.scene).args(&["-y", "-N", "-f", &self.destination()])
    }

    fn with_key(&self) -> Call<'_> {
        self.call().identity(&self.key)
    }

    fn complete(&self) -> Call<'_> {
        self.with_key().args(&["-R", "8022:localhost:22"])
    }

    /// One line, the code, no process, no connection.
    fn assert_rejected(&self, ended: &Ended, code: i32, mention: &str) {
        assert_eq!(ended.code, code, "{mention}: {ended:?}");
        assert_eq!(ended.stderr.len(), 1, "{mention}: {ended:?}");
        let line = &ended.stderr[0];
        assert!(line.starts_with("reachback: "), "{line}");
        assert!(line.contains(mention), "{line} does not mention {mention}");
        assert!(
            line.len() > "reachback: ".len() + mention.len(),
            "{line} says too little"
        );
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert_eq!(
            self.scene.program_processes(),
            Vec::<i32>::new(),
            "{mention}"
        );
        assert_eq!(self.server.hits(), 0, "{mention}: it connected");
    }
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let place = place();
    for flag in ["-Z", "--no-such-flag", "-yZ"] {
        let mention = if flag == "-yZ" { "Z" } else { flag };
        place.assert_rejected(&place.complete().args(&[flag]).run(), USAGE, mention);
    }
}

#[test]
fn a_word_that_is_no_command_leads_to_the_one_that_was_meant() {
    let place = place();
    for (words, meant) in [
        (&["statsu"][..], "did you mean status?"),
        (&["statsu", "--json"], "did you mean status?"),
        (&["relaod", "--all"], "did you mean reload?"),
        (&["enrol", "-i", "key", "u@h"], "did you mean enroll?"),
        (&["-v", "status"], "it stands first: reachback status"),
        (&["list"], "reachback status shows the tunnels"),
        (&["start"], "begins a tunnel"),
        (&["restart"], "reachback reconnect connects anew"),
    ] {
        let ended = Call::new(&place.scene).args(words).run();
        place.assert_rejected(&ended, USAGE, meant);
    }
    // With a forward, it is a server's name; in the configuration, the name of one.
    let forward = ["-F", "none", "statsu", "-R", "8022:localhost:22"];
    let ended = Call::new(&place.scene).args(&forward).run();
    place.assert_rejected(&ended, USAGE, "no identity");
    let file = place.scene.file("config", "Host statsu\nUser op\n");
    let named = Call::new(&place.scene).args(&["-F", &text(&file), "statsu"]);
    place.assert_rejected(&named.run(), USAGE, "nothing to forward: op@statsu");
}

#[test]
fn two_forwards_for_one_listener_of_the_server_are_refused_before_anything_starts() {
    let place = place();
    let call = || place.with_key().args(&["-R", "8022:localhost:22"]);
    let both = "8022:localhost:22 and 8022:localhost:80";
    let clash = call().args(&["-R", "8022:localhost:80"]).run();
    place.assert_rejected(&clash, USAGE, both);
    let clash = call().args(&["-R", "localhost:8022:localhost:80"]).run();
    place.assert_rejected(&clash, USAGE, both);
    let sockets = ["-R", "/run/a:localhost:22", "-R", "/run/a:localhost:80"];
    let clash = place.with_key().args(&sockets).run();
    place.assert_rejected(&clash, USAGE, "server socket /run/a");
    let lines = "RemoteForward 8022 localhost:22\nRemoteForward 8022 localhost:80\n";
    let file = text(&place.scene.file("config", lines));
    let clash = place.with_key().args(&["-F", &file]).run();
    place.assert_rejected(&clash, CONFIG, both);
}

#[test]
fn an_error_of_the_system_is_in_words_alone() {
    let scene = Scene::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = support::client::command(&scene);
    let ended = command.arg("--version").stdout(full).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ended.stderr),
        "reachback: cannot print: No space left on device\n"
    );
}

#[test]
fn a_missing_or_second_destination_is_a_usage_error() {
    let place = place();
    let none = Call::new(&place.scene)
        .identity(&place.key)
        .args(&["-R", "1:localhost:22"]);
    place.assert_rejected(&none.run(), USAGE, "destination");
    let two = place.complete().args(&["other@127.0.0.1"]);
    place.assert_rejected(&two.run(), USAGE, "other@127.0.0.1");
}

#[test]
fn a_malformed_destination_is_a_usage_error() {
    let place = place();
    for bad in [
        "@127.0.0.1",
        "user@",
        "user@127.0.0.1:0",
        "user@127.0.0.1:65536",
        "u@h:x",
        "u@a b",
    ] {
        let call = Call::new(&place.scene).identity(&place.key).args(&[
            "-f",
            "-R",
            "8022:localhost:22",
            "--",
            bad,
        ]);
        place.assert_rejected(&call.run(), USAGE, bad);
    }
}

#[test]
fn a_malformed_forward_is_a_usage_error() {
    let place = place();
    for bad in [
        "8022",
        "8022:localhost",
        "localhost:22",
        "8022:localhost:",
        "8022:localhost:0",
        "8022:localhost:65536",
        "65536:localhost:22",
        "x:localhost:22",
        ":::",
        "8022:local host:22",
        "8022:[::1:22",
        "1:2:3:4:5:6",
    ] {
        place.assert_rejected(&place.with_key().args(&["-R", bad]).run(), USAGE, bad);
    }
    place.assert_rejected(&place.with_key().args(&["-R", ""]).run(), USAGE, "-R");
}

#[test]
fn a_seventeenth_forward_is_a_usage_error() {
    let place = place();
    let mut call = place.with_key();
    for port in 9000..9017 {
        call = call.args(&["-R", &format!("{port}:localhost:22")]);
    }
    place.assert_rejected(&call.run(), USAGE, "16");
}

#[test]
fn a_bad_port_is_a_usage_error() {
    let place = place();
    for bad in ["0", "65536", "shh", "-1"] {
        place.assert_rejected(&place.complete().args(&["-p", bad]).run(), USAGE, bad);
    }
}

#[test]
fn a_flag_without_its_value_is_a_usage_error() {
    let place = place();
    for flag in ["-R", "-i", "-p", "-o", "-F"] {
        place.assert_rejected(&place.complete().args(&[flag]).run(), USAGE, flag);
    }
}

#[test]
fn an_unknown_keyword_or_a_bad_value_after_o_is_a_usage_error() {
    let place = place();
    for (option, mention) in [
        ("NoSuchKeyword=yes", "NoSuchKeyword"),
        ("ServerAliveInterval=soon", "ServerAliveInterval"),
        ("LogLevel=LOUD", "LogLevel"),
        ("RekeyLimit=lots", "RekeyLimit"),
        ("Port=70000", "Port"),
        ("ProxyJump=bastion", "there are no jump hosts"),
        ("ServerAliveInterval", "ServerAliveInterval"),
    ] {
        place.assert_rejected(&place.complete().option(option).run(), USAGE, mention);
    }
}

#[test]
fn a_start_that_nobody_sees_leaves_its_line_in_syslog() {
    let place = place();
    let syslog = Syslog::start(&place.scene);
    let said = |pattern: &str| syslog.lines.wait_for(pattern, patience());
    place.assert_rejected(&place.complete().args(&["-Z"]).run(), USAGE, "-Z");
    said("*not started: unknown flag: -Z*");
    let argument = place.with_key().args(&["-R", "1080"]);
    place.assert_rejected(&argument.run(), USAGE, "SOCKS");
    said("*not started: bad -R: 1080: *");
    let script = Call::new(&place.scene).args(&["invoke", "-R", "1:h:2", "-F", "none", "--"]);
    let script = script.args(&["u@h.example:99999"]).run();
    assert_eq!(script.code, USAGE);
    said("*Ebee custom script not invoked: Argument does not match user@domain");
    said("*not started: argument does not match *: port 99999 is above 65535");
    // In the foreground somebody sees it.
    let mark = syslog.lines.mark();
    let seen = Call::new(&place.scene).args(&["-Z", "u@h"]).run();
    assert_eq!((seen.code, seen.stderr.len()), (USAGE, 1));
    assert_eq!(syslog.lines.mark(), mark);
}

#[test]
fn no_identity_at_all_is_a_usage_error() {
    let place = place();
    let call = place.call().args(&["-R", "8022:localhost:22"]);
    place.assert_rejected(&call.run(), USAGE, "no identity");
}

#[test]
fn a_missing_or_unreadable_key_is_missing_input() {
    let place = place();
    let call = || place.call().args(&["-R", "8022:localhost:22"]);
    let missing = text(&place.scene.path("missing"));
    place.assert_rejected(&call().args(&["-i", &missing]).run(), NO_INPUT, &missing);
    let directory = text(&place.scene.path("home"));
    place.assert_rejected(
        &call().args(&["-i", &directory]).run(),
        NO_INPUT,
        &directory,
    );
    if is_root() {
        return skip("root can read a file without permission (the other cases were run)");
    }
    fs::set_permissions(&place.key.private, fs::Permissions::from_mode(0o000)).unwrap();
    let ended = place.complete().run();
    assert!(matches!(ended.code, NO_INPUT | 77), "{ended:?}");
    place.assert_rejected(&ended, ended.code, &place.key.file());
}

#[test]
fn a_key_of_an_unknown_type_or_a_broken_one_is_bad_data() {
    let place = place();
    let wire = |parts: &[&[u8]]| -> Vec<u8> {
        let field = |p: &&[u8]| [&(p.len() as u32).to_be_bytes()[..], p].concat();
        parts.iter().flat_map(field).collect()
    };
    let whole = fs::read_to_string(&place.key.private).unwrap();
    let cut: String = whole.chars().take(whole.len() / 2).collect();
    let p521 = keys::key(&place.scene, "p521", Kind::EcdsaP521);
    let files = [
        place
            .scene
            .file("dss", wire(&[b"ssh-dss", &[1; 129], &[2; 21], &[3; 20]])),
        place.scene.file("cut", cut),
        place.scene.file("noise", [0x80_u8, 0, 255, 7].repeat(100)),
        place.scene.file("words", "this is no key\n"),
        place.scene.file("nothing", ""),
        place.scene.file("public", &place.key.public),
        place.scene.file("huge", vec![b'A'; 3_000_000]),
        p521.private.clone(),
    ];
    for file in files {
        let call = place
            .call()
            .args(&["-R", "8022:localhost:22", "-i", &text(&file)]);
        place.assert_rejected(&call.run(), DATA, &text(&file));
    }
}

#[test]
fn an_encrypted_key_is_bad_data_and_the_line_says_why() {
    let place = place();
    for (kind, format) in [
        (Kind::Ed25519, Format::OpenSsh),
        (Kind::Rsa, Format::Pem),
        (Kind::EcdsaP256, Format::Pem),
    ] {
        let key = keys::encrypted(&place.scene, &format!("{kind:?}{format:?}"), kind, format);
        let ended = place
            .call()
            .args(&["-R", "8022:localhost:22"])
            .identity(&key)
            .run();
        place.assert_rejected(&ended, DATA, &key.file());
        assert!(
            ended.stderr[0].contains("encrypted") || ended.stderr[0].contains("passphrase"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_missing_configuration_file_is_missing_input_and_a_wrong_one_names_the_place() {
    let place = place();
    let missing = text(&place.scene.path("missing.conf"));
    place.assert_rejected(
        &place.complete().args(&["-F", &missing]).run(),
        NO_INPUT,
        &missing,
    );
    let wrong = text(
        &place
            .scene
            .file("wrong.conf", "# first\nPort 22\n  NoSuchKeyword yes\n"),
    );
    let mut ended = place.complete().args(&["-F", &wrong]).run();
    let shown = ended.stderr.split_off(1);
    assert_eq!(shown, ["      NoSuchKeyword yes", "      ^"]);
    place.assert_rejected(&ended, CONFIG, "NoSuchKeyword");
    assert!(
        ended.stderr[0].contains(&format!("{wrong}:3:3")),
        "file:line:column: {ended:?}"
    );
}

#[test]
fn arguments_cannot_put_control_characters_into_the_message() {
    let place = place();
    let ended = place.with_key().args(&["-R", "1\u{1b}[31m\n:x\u{7}"]).run();
    assert_eq!(ended.code, USAGE, "{ended:?}");
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert!(!ended.stderr[0].contains(char::is_control), "{ended:?}");
}
