#![allow(clippy::unwrap_used)]
mod others;
mod settings;

use super::*;
use crate::exit::{CONFIG, NO_INPUT, USAGE};
use crate::instance::withdraw::Named;
use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;
use std::path::Path;

fn parsed(line: &str) -> Result<Command, Exit> {
    parse(line.split(' ').map(OsString::from).collect())
}

/// Without the machine's own configuration file.
fn run_settings(line: &str) -> Settings {
    match parsed(&format!("-F none {line}")).unwrap() {
        Command::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> Exit {
    parsed(&format!("-F none {line}")).unwrap_err()
}

fn with_file<T>(name: &str, text: &[u8], act: impl FnOnce(&Path) -> T) -> T {
    let path = std::env::temp_dir().join(format!("reachback-cli-{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let result = act(&path);
    std::fs::remove_file(path).unwrap();
    result
}

#[test]
fn the_scripts_line_is_understood() {
    let line = "invoke -R 1111:localhost:22 -y -N -f -i /home/charge/.ssh/id_rsa -F none -- me@hub.example";
    let Command::Invoke(invocation) = parsed(line).unwrap() else {
        panic!("no invocation");
    };
    assert_eq!(invocation.parameter(), "me@hub.example");
    let destination = invocation.destination().unwrap();
    let settings = invocation.settings(destination).unwrap();
    assert!(settings.background && settings.accept_new);
    assert_eq!(settings.destination.to_string(), "me@hub.example");
    let forward = ForwardSpec::parse("1111:localhost:22").unwrap();
    assert_eq!(settings.config.forwards(), [forward]);
    assert_eq!(
        settings.identity_files(),
        [Path::new("/home/charge/.ssh/id_rsa")]
    );
}

#[test]
fn an_invocation_takes_exactly_one_word_that_is_a_destination() {
    let destination = |words: &[&str]| {
        let line = ["invoke", "-R", "1:h:1", "-F", "none", "--"];
        let line = line.iter().chain(words).map(OsString::from);
        match parse(line.collect()).unwrap() {
            Command::Invoke(invocation) => invocation.destination(),
            other => panic!("{other:?}"),
        }
    };
    assert!(destination(&[" me@1.2.3.4\t"]).is_ok());
    for words in [
        &[][..],
        &[""],
        &["me@1.2.3.4", "x"],
        &["me@1.2.3.4. -R 0:h:1"],
        &["-Rx"],
        &["--help"],
        &["me@hub.example\n"],
    ] {
        assert!(destination(words).is_err(), "{words:?}");
    }
}

#[test]
fn an_invocation_is_in_the_background_without_the_flag_too() {
    let Command::Invoke(invocation) = parsed("invoke -F none -R 1:h:1 -- me@hub.example").unwrap()
    else {
        panic!("no invocation");
    };
    let destination = invocation.destination().unwrap();
    assert!(invocation.settings(destination).unwrap().background);
}

#[test]
fn flags_may_follow_the_destination_and_stand_in_clusters() {
    let settings = run_settings("me@hub:2200 -R 1:h:2 -yNfnT -p22 -vv -R3:h:4");
    assert!(settings.background && settings.accept_new && !settings.quiet);
    assert_eq!(settings.port(), 2200);
    assert_eq!(settings.config.port(), 22);
    assert_eq!(settings.config.forwards().len(), 2);
    assert_eq!(settings.log_level(), LogLevel::Debug2);
}

#[test]
fn the_dialling_flags_are_keywords_too() {
    let settings = run_settings("me@hub -R 1:h:2 -4 -b 10.0.0.7 -Bwwan0");
    let config = &settings.config;
    assert_eq!(config.address_family(), AddressFamily::V4);
    assert_eq!(config.bind_address(), Some("10.0.0.7".parse().unwrap()));
    assert_eq!(config.bind_interface(), Some("wwan0"));
    let six = run_settings("-6 me@hub -R 1:h:2");
    assert_eq!(six.config.address_family(), AddressFamily::V6);
    for bad in ["-b hub.example", "-B a/b", "-B seventeen_letters"] {
        let exit = refused(&format!("-R 1:h:2 me@hub {bad}"));
        assert_eq!(exit.code, USAGE, "{bad}");
        assert!(
            exit.message.starts_with(&format!("bad {}", &bad[..2])),
            "{exit}"
        );
    }
}

#[test]
fn checking_is_strict_unless_asked_otherwise_and_never_off() {
    assert!(!run_settings("-R 1:h:2 me@hub").accept_new);
    assert!(run_settings("-R 1:h:2 -o StrictHostKeyChecking=accept-new me@hub").accept_new);
    for off in ["-o StrictHostKeyChecking=no", "-y -y"] {
        let settings = run_settings(&format!("-R 1:h:2 {off} me@hub"));
        assert!(settings.accept_new);
        let warnings: Vec<_> = settings.notes.iter().filter(|n| n.is_warning).collect();
        assert_eq!(warnings.len(), 1, "{off}: {warnings:?}");
        assert!(warnings[0].text.contains("a changed one is refused"));
    }
}

#[test]
fn every_wrong_word_gets_one_line_and_the_usage_code() {
    for line in [
        "-R 1:h:2",
        "-R 1:h:2 me@hub uptime",
        "-R 1:h:2 me@hub -Z",
        "-N -R 1:h:2 me@hub you@hub",
        "-R 1:h:2 me@hub --no-such",
        "-R 1:h:2 me@hub -p",
        "-R 1:h:2 me@hub -p 0",
        "-R 1:h:2 me@hub -y=1",
        "-R x me@hub",
        "-R 1:h:2 -o NoSuchKey=1 me@hub",
        "-R 1:h:2 -o Port=x me@hub",
        "me@hub",
        "-R 1:h:2 me@hu\u{1b}b",
    ] {
        let exit = refused(line);
        assert_eq!(exit.code, USAGE, "{line}: {exit}");
        assert!(!exit.message.contains(char::is_control), "{line}: {exit}");
        assert!(!exit.message.is_empty());
    }
}

#[test]
fn seventeen_forwards_are_too_many_and_a_fifth_key_is_left_out() {
    let forwards: String = (1..=17).map(|port| format!("-R {port}:h:1 ")).collect();
    assert_eq!(refused(&format!("{forwards}me@hub")).code, USAGE);
    let keys: String = (1..=5).map(|key| format!("-i /k{key} ")).collect();
    let Command::Run(settings) = parsed(&format!("{keys}-R 1:h:2 me@hub")).unwrap() else {
        panic!("no run");
    };
    assert_eq!(settings.config.identity_files().len(), 4);
    assert!(
        settings.notes[0]
            .text
            .starts_with("IdentityFile /k5: not tried")
    );
}

#[test]
fn the_keepalive_of_dbclient_is_ssh_configs_and_gateway_ports_are_taken() {
    let Command::Run(settings) = parsed("-K 30 -g -R 1:h:2 u@h").unwrap() else {
        panic!("no run");
    };
    assert_eq!(
        settings.config.server_alive_interval(),
        Duration::from_secs(30)
    );
    assert_eq!(parsed("-K x -R 1:h:2 u@h").unwrap_err().code, USAGE);
}

#[test]
fn pubkey_takes_keys_and_nothing_else() {
    let Command::Pubkey { identity_files, .. } = parsed("pubkey -i /a -i /b").unwrap() else {
        panic!("no pubkey");
    };
    assert_eq!(identity_files, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(parsed("pubkey /a").unwrap_err().code, USAGE);
}

#[test]
fn pubkey_restrict_names_what_the_forwards_need() {
    let options = |line: &str| match parsed(line) {
        Ok(Command::Pubkey { options, .. }) => options,
        Ok(_) => panic!("no pubkey"),
        Err(exit) => {
            assert_eq!(exit.code, USAGE);
            exit.message
        }
    };
    let permit = |listen: &str, open: &str| {
        format!(
            "restrict,command=\"/bin/false\",port-forwarding,permitlisten=\"{listen}\",permitopen={open} "
        )
    };
    assert_eq!(
        options("pubkey --restrict -R 1111:localhost:22"),
        permit(
            "localhost:1111",
            "\"127.0.0.1:1111\",permitopen=\"[::1]:1111\""
        )
    );
    assert_eq!(
        options("pubkey --restrict -R [::1]:1111:localhost:22"),
        permit("[::1]:1111", "\"[::1]:1111\"")
    );
    assert_eq!(
        options("pubkey --restrict -R 0.0.0.0:0:localhost:22"),
        permit("0.0.0.0:*", "\"127.0.0.1:1\"")
    );
    assert_eq!(
        options("pubkey --restrict -R Hub.Example:1:localhost:22"),
        permit(
            "hub.example:1",
            "\"Hub.Example:1\",permitopen=\"127.0.0.1:1\""
        )
    );
    assert!(options("pubkey --restrict").contains("no forward"));
    assert!(options("pubkey --restrict -R /tmp/s:localhost:22").contains("sockets"));
    assert!(options("--restrict -R 1:localhost:22 u@h").contains("only with reachback pubkey"));
}

#[test]
fn help_names_every_flag_and_keyword_and_needs_no_destination() {
    assert!(matches!(parsed("--help").unwrap(), Command::Help));
    assert!(matches!(parsed("-V").unwrap(), Command::Version));
    let help = help();
    for flag in flags::all() {
        assert!(
            help.contains(&format!("  -{}", flag.short))
                || (flag.short == flags::LONG_ONLY
                    && help.contains(&format!("  --{}", flag.long.unwrap()))),
            "{}",
            flag.short
        );
    }
    for keyword in &reachback_core::keyword::KEYWORDS {
        assert!(help.contains(keyword.name), "{}", keyword.name);
    }
}
