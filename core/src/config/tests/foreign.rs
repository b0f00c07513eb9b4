//! Options and files that were written for ssh.

use super::*;

/// Applies options and gives what is said about them.
fn said(options: &[&str]) -> (Config, StdVec<std::string::String>) {
    let mut config = Config::new();
    let notices = options.iter().filter_map(|option| {
        let notice = config.parse_option(option).unwrap();
        notice.map(|notice| notice.to_string())
    });
    let notices = notices.collect();
    (config, notices)
}

#[test]
fn values_are_taken_as_ssh_takes_them() {
    let (config, notices) = said(&[
        "TCPKeepAlive=false",
        "ConnectTimeout none",
        "ServerAliveInterval none",
        "ServerAliveCountMax=1000",
        "IdentityFile='/my key'",
        "Port ssh",
        "KeepAlive yes",
        "RemoteForward 0 localhost:http",
    ]);
    assert!(notices.is_empty(), "{notices:?}");
    assert!(!config.tcp_keep_alive());
    assert_eq!(config.connect_timeout().as_secs(), 127);
    assert_eq!(config.server_alive_interval(), Duration::ZERO);
    assert_eq!(config.identity_files(), ["/my key"]);
    assert_eq!((config.port(), config.server_alive_count_max()), (22, 1000));
    assert_eq!(config.forwards()[0].to_string(), "0:localhost:80");
    for (option, warning) in [
        ("StrictHostKeyChecking=off", "taken as accept-new"),
        ("StrictHostKeyChecking ask", "taken as yes"),
        ("UpdateHostKeys ask", "taken as no"),
        ("UserKnownHostsFile /dev/null", "in memory only"),
        ("ServerAliveCountMax 0", "without a byte"),
    ] {
        let (_, notices) = said(&[option]);
        assert_eq!(notices.len(), 1, "{option}");
        assert!(notices[0].contains(warning), "{notices:?}");
    }
    let (none, _) = said(&["UserKnownHostsFile none"]);
    assert!(none.known_hosts_files().0.is_empty());
    let (two, _) = said(&["UserKnownHostsFile /a \"/b c\""]);
    assert_eq!(two.known_hosts_files().0, ["/a", "/b c"]);
}

#[test]
fn every_word_of_ssh_config_is_known_and_said_only_where_it_asks_for_more() {
    let (_, notices) = said(&[
        "BatchMode=yes",
        "Compression yes",
        "ForwardAgent no",
        "ForwardAgent yes",
    ]);
    assert!(notices.is_empty(), "the first value counts: {notices:?}");
    let (_, notices) = said(&[
        "PubkeyAuthentication=no",
        "PreferredAuthentications password,publickey",
    ]);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].starts_with("PubkeyAuthentication no: public keys are the only method"));
    let refused = Config::new().parse_option("ProxyJump=bastion").unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("ProxyJump bastion cannot be done")
    );
    assert!(Config::new().parse_option("ProxyJump none").is_ok());
    let (_, notices) = said(&[
        "IgnoreUnknown=Use*,Nothing",
        "UseKeychain yes",
        "nothing x y",
    ]);
    assert!(notices.is_empty());
    assert!(Config::new().parse_option("UseKeychain yes").is_err());
}

#[test]
fn a_block_of_another_host_is_passed_over_and_said() {
    let text =
        "Host x\n  ProxyJump y\n  IdentitiesOnly yes\n  RemoteForward 1080\nHost *\n  Port 9\n";
    let (mut config, mut parser) = (Config::new(), FileParser::new(text, Scope::new("h")));
    let mut notices = StdVec::new();
    while let Some(found) = parser.step(&mut config).unwrap() {
        if let Found::Notice(notice, position) = found {
            assert!(!notice.is_warning);
            notices.push(format!("{}: {notice}", position.line));
        }
    }
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(
        notices[0].starts_with("2: passed over: ProxyJump y: "),
        "{notices:?}"
    );
    assert_eq!(config.port(), 9);
}

#[test]
fn match_blocks_are_judged_without_running_anything() {
    let port = |criteria: &str, again: bool| {
        let text = format!("Hostname real.example\nMatch {criteria}\n  Port 9\n");
        let scope = Scope::new("hub").by(Some("op"), "me");
        let scope = if again {
            scope.again("real.example")
        } else {
            scope
        };
        let (mut config, mut parser) = (Config::new(), FileParser::new(&text, scope));
        let mut notices = 0;
        while let Some(found) = parser.step(&mut config).unwrap() {
            notices += usize::from(matches!(found, Found::Notice(..)));
        }
        (config.port(), notices, parser.wants_final())
    };
    for holds in [
        "all",
        "host real.*",
        "Host=x,real.example user op",
        "originalhost hub !user root",
        "localuser me",
        "!final",
    ] {
        assert_eq!(port(holds, false).0, 9, "{holds}");
    }
    for other in [
        "host hub",
        "user op,!o*",
        "!all user x",
        "canonical",
        "host * exec true",
    ] {
        assert_eq!(port(other, false).0, 22, "{other}");
    }
    assert_eq!(port("exec \"touch /x\"", false), (22, 1, false));
    assert_eq!(port("final host real.example", false), (22, 0, true));
    assert_eq!(port("final host real.example", true), (9, 0, true));
}
