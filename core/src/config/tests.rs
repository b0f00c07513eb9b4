#![allow(clippy::unwrap_used)]

use super::*;
use crate::ipqos::IpQos;
use crate::keyword::OnReload;
use proptest::prelude::*;
use std::string::ToString;
use std::{format, vec::Vec as StdVec};

mod files;
mod foreign;
mod show;
mod trust;

fn parsed(text: &str) -> Config {
    let mut config = Config::new();
    config.parse_file(text, "server.example").unwrap();
    config
}

fn file_error(text: &str) -> std::string::String {
    let error = Config::new()
        .parse_file(text, "server.example")
        .unwrap_err();
    error.to_string()
}

#[test]
fn every_default_of_the_table_can_be_read_and_holds() {
    let config = Config::new();
    for keyword in &KEYWORDS {
        let mut given = Config::new();
        if !keyword.default.is_empty() {
            let option = format!("{} {}", keyword.name, keyword.default);
            given.parse_option(&option).unwrap();
        }
        assert_eq!(changes(&config, &given).count(), 0, "{}", keyword.name);
        let line = config.lines(keyword).to_string();
        assert_eq!(line.is_empty(), keyword.default.is_empty());
    }
    assert_eq!(config.server_alive_interval().as_secs(), 60);
    assert_eq!((config.port(), config.log_level()), (22, LogLevel::Info));
    assert_eq!((config.user(), config.forwards().len()), (None, 0));
}

#[test]
fn changes_are_the_keywords_whose_value_is_another_one() {
    let old = parsed("Port 22\nStateFile /a\nRemoteForward 1 h:1\n");
    let new = parsed("ServerAliveInterval 1m\nStateFile /b\nRemoteForward 2 h:1\nUser x\n");
    let changed: StdVec<_> = changes(&old, &new)
        .map(|keyword| (keyword.name, keyword.on_reload))
        .collect();
    assert_eq!(
        changed,
        [
            ("RemoteForward", OnReload::Applies),
            ("StateFile", OnReload::NextStart),
            ("User", OnReload::Renews),
        ]
    );
    assert_eq!(changes(&new, &new.clone()).count(), 0);
}

#[test]
fn a_file_is_read_as_ssh_reads_it() {
    let config = parsed(
        "# the tunnel\r\n\
         PORT=2222\n\
         \tUser  =  charge # who\n\
         IdentityFile \"/home/my key\"\n\
         IdentityFile /etc/key#1\n\
         serveraliveinterval 1m30s\n\
         ServerAliveCountMax 5\n\
         ConnectTimeout 10\n\
         RemoteForward 1111 localhost:22\n\
         RemoteForward \"*:1112\" localhost:80\n\
         RekeyLimit 16M 1h\n\
         StrictHostKeyChecking accept-new\n\
         UserKnownHostsFile ~/known\n\
         LogLevel debug2\n\
         AddressFamily inet6\n\
         ExitOnForwardFailure yes\n\n",
    );
    assert_eq!((config.port(), config.user()), (2222, Some("charge")));
    assert_eq!(config.identity_files(), ["/home/my key", "/etc/key#1"]);
    assert_eq!(config.server_alive_interval().as_secs(), 90);
    assert_eq!(config.server_alive_count_max(), 5);
    assert_eq!(config.connect_timeout().as_secs(), 10);
    let forwards: StdVec<_> = config.forwards().iter().map(ToString::to_string).collect();
    assert_eq!(forwards, ["1111:localhost:22", "*:1112:localhost:80"]);
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(
        config.rekey_limit(),
        RekeyLimit {
            bytes: 16 << 20,
            time: hour
        }
    );
    assert_eq!(
        config.strict_host_key_checking(),
        StrictHostKeyChecking::AcceptNew
    );
    assert_eq!(config.known_hosts_files().0, ["~/known"]);
    assert_eq!(config.log_level(), LogLevel::Debug2);
    assert_eq!(config.address_family(), AddressFamily::V6);
    assert!(config.exit_on_forward_failure());
}

#[test]
fn the_dialling_keywords_are_read() {
    let config = parsed(
        "BindAddress 10.0.0.7\nBindInterface wwan0\nIPQoS af21 cs1\nTCPKeepAlive no\n\
         StateFile \"/var/lib/my state\"\n",
    );
    assert_eq!(config.bind_address(), Some("10.0.0.7".parse().unwrap()));
    assert_eq!(config.bind_interface(), Some("wwan0"));
    assert_eq!(
        config.ip_qos(),
        IpQos::Byte(0x20),
        "the second, as for ssh -N"
    );
    assert!(!config.tcp_keep_alive());
    assert_eq!(config.state_file(), Some("/var/lib/my state"));
    assert_eq!(parsed("IPQoS EF\n").ip_qos(), IpQos::Byte(0xb8));
    let six = parsed("BindAddress fd00::7\n").bind_address();
    assert_eq!(six, Some("fd00::7".parse().unwrap()));
}

#[test]
fn fallbacks_add_up_and_inherit_what_they_do_not_name() {
    let config = parsed(
        "Fallback hub2.example\nFallback ops@hub3.example:2222\nFallback ops@[2001:db8::7]\n\
         Fallback hub2.example\n",
    );
    let fallbacks = config.fallbacks();
    assert_eq!(fallbacks.len(), 3, "each once");
    assert_eq!((&fallbacks[0].user, fallbacks[0].port), (&None, None));
    assert_eq!(fallbacks[1].user.as_deref(), Some("ops"));
    assert_eq!(
        (fallbacks[1].host.as_str(), fallbacks[1].port),
        ("hub3.example", Some(2222))
    );
    assert_eq!(fallbacks[2].host, "2001:db8::7");
    let many: std::string::String = (0..5).map(|n| format!("Fallback h{n}\n")).collect();
    assert_eq!(
        file_error(&many),
        "line 5, column 10: too many of Fallback; give at most 4"
    );
    assert!(file_error("Fallback -x@h\n").starts_with("line 1, column 10: Fallback: bad user"));
    assert!(file_error("Fallback h:0\n").contains("bad port"));
}

#[test]
fn the_first_value_wins_but_forwards_and_keys_add_up_without_repetition() {
    let mut config = Config::new();
    config.parse_option("Port=1").unwrap();
    config
        .parse_option("RemoteForward 1111 localhost:22")
        .unwrap();
    config.set(Setting::IdentityFile, "/a").unwrap();
    let text = "Port 2\nRemoteForward 1111 localhost:22\nRemoteForward 1112 localhost:80\n\
                IdentityFile /a\nIdentityFile /b\n";
    config.parse_file(text, "h").unwrap();
    assert_eq!(config.port(), 1);
    assert_eq!(config.forwards().len(), 2);
    assert_eq!(config.identity_files(), ["/a", "/b"]);
}

#[test]
fn what_a_destination_decides_is_shown_as_it_is() {
    let mut config = parsed("Port 7\nUser x\nHostname y\n");
    config.settle(&crate::destination::Destination::parse("op@[::1]").unwrap());
    let line = |name| config.lines(keyword::find(name).unwrap()).to_string();
    assert_eq!(line("Port"), "Port 7\n");
    assert_eq!(line("user"), "User op\n");
    assert_eq!(line("hostname"), "Hostname ::1\n");
    assert_eq!(line("StateFile"), "");
}

#[test]
fn options_take_an_equals_sign_or_a_blank() {
    for option in ["Port=22", "port 22", "PORT = 22", " Port\t22 "] {
        let mut config = Config::new();
        config.parse_option(option).unwrap();
        assert_eq!(config.port, Some(22), "{option}");
    }
    for bad in [
        "",
        "=",
        "Port",
        "Port=",
        "Port==22",
        "Port=22 23",
        "Port=22\nUser=x",
        "#Port=22",
    ] {
        let error = Config::new().parse_option(bad).unwrap_err();
        assert_eq!(error.position, None, "{bad}");
    }
}

#[test]
fn errors_name_line_and_column_even_in_blocks_of_other_hosts() {
    for (text, wanted) in [
        (
            "Port 22\n  Prot 22\n",
            "line 2, column 3: unknown keyword 'Prot'",
        ),
        (
            "Host x\n  Port none\n",
            "line 2, column 8: bad value 'none' for Port; give a number from 1 to 65535 or",
        ),
        ("Host\n", "line 1, column 5: Host has no pattern"),
        ("Match\n", "line 1, column 6: bad criterion '' of Match"),
        (
            "Match hots x\n",
            "line 1, column 7: bad criterion 'hots' of Match",
        ),
        (
            "Match host\n",
            "line 1, column 7: bad criterion 'host' of Match",
        ),
        ("BatchMode\n", "line 1, column 10: BatchMode has no value"),
        ("User \u{fffd}\n", "line 1, column 6: not UTF-8"),
        (
            "Prot 22\n",
            "line 1, column 1: unknown keyword 'Prot'; did you mean Port?",
        ),
        (
            "UseKeychain x\n",
            "line 1, column 1: unknown keyword 'UseKeychain'; the manual lists",
        ),
        (
            "ProxyCommand x\n",
            "line 1, column 1: ProxyCommand x cannot be done: no program is ever run",
        ),
        ("Include # x\n", "line 1, column 9: Include names no file"),
        ("Include \"\"\n", "line 1, column 9: Include names no file"),
        ("Include \"a\n", "line 1, column 9: a quote without"),
        (
            "IdentityFile /keys/%x\n",
            "line 1, column 14: IdentityFile: unknown token %x; use %% %d",
        ),
        (
            "StateFile /a/100%\n",
            "line 1, column 11: StateFile: stray percent sign",
        ),
        (
            "RemoteForward /run/%x h:1\n",
            "line 1, column 15: RemoteForward: unknown token %x",
        ),
        ("User\n", "line 1, column 5: User has no value"),
        ("User a b\n", "line 1, column 8: too many words for User"),
        ("User é b\n", "line 1, column 8: too many words for User"),
        ("IdentityFile \"/a\n", "line 1, column 14: a quote without"),
        ("IdentityFile /a\"b\n", "line 1, column 16: a quote without"),
        (
            "RemoteForward 1111\n",
            "line 1, column 15: RemoteForward: a port without a target",
        ),
        (
            "RemoteForward 1 h:2 x\n",
            "line 1, column 21: too many words for RemoteForward",
        ),
        (
            "StrictHostKeyChecking maybe\n",
            "line 1, column 23: bad value 'maybe'",
        ),
        (
            "LogLevel LOUD\n",
            "line 1, column 10: bad value 'LOUD' for LogLevel; give one of QUIET",
        ),
    ] {
        let error = file_error(text);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn values_out_of_bounds_are_refused() {
    for bad in [
        "Port 0",
        "Port 65536",
        "Port +22",
        "ServerAliveInterval 86401",
        "ServerAliveInterval x",
        "ServerAliveCountMax 1001",
        "ConnectTimeout 3601",
        "RekeyLimit 1K",
        "RekeyLimit 5G",
        "RekeyLimit 1G 5",
        "RekeyLimit none",
        "AddressFamily inet4",
        "ExitOnForwardFailure 1",
        "User -x",
        "UserKnownHostsFile \"\"",
        "RemoteForward 70000 h:1",
        "BindAddress hub.example",
        "BindAddress 10.0.0.256",
        "BindInterface sixteen_letters_x",
        "BindInterface a/b",
        "BindInterface ..",
        "BindInterface \"a b\"",
        "IPQoS af51",
        "IPQoS af21 fast",
        "IPQoS af21 cs1 cs2",
        "TCPKeepAlive maybe",
        "StateFile \"\"",
        "Hostname a b",
        "Proxy proxy.example:3128",
        "Proxy http://proxy.example",
        "Proxy http://:3128",
        "Proxy http://proxy.example:0",
        "Proxy http://proxy.example:3128/x",
        "Proxy https://proxy.example:3128",
        "Proxy socks5://proxy.example:1080",
        "Proxy http://op:secret@proxy.example:3128",
        "Hostname -x",
        "Hostname %n",
        "Hostname x%",
        "StartAtBoot maybe",
        "SerialFile \"\"",
        "Host x",
        "Include x",
    ] {
        assert!(Config::new().parse_option(bad).is_err(), "{bad}");
    }
    let mut config = Config::new();
    config.parse_option("ServerAliveInterval 0").unwrap();
    config.parse_option("RekeyLimit default none").unwrap();
    assert_eq!(config.server_alive_interval(), Duration::ZERO);
    assert_eq!(
        config.rekey_limit(),
        RekeyLimit {
            bytes: 1 << 30,
            time: None
        }
    );
}

#[test]
fn there_is_room_for_16_forwards_and_4_keys_and_no_more() {
    let mut config = Config::new();
    for n in 1..=16 {
        config
            .parse_option(&format!("RemoteForward {n} h:1"))
            .unwrap();
    }
    let error = config.parse_option("RemoteForward 17 h:1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "too many of RemoteForward; give at most 16"
    );
}

#[test]
fn a_key_or_a_file_of_host_keys_too_many_is_told_of_and_left_out() {
    let mut config = Config::new();
    for n in 1..=4 {
        let said = config.set(Setting::IdentityFile, &format!("/{n}")).unwrap();
        assert_eq!(said, None);
    }
    // It is there already.
    assert_eq!(config.set(Setting::IdentityFile, "/4").unwrap(), None);
    for said in [
        config.set(Setting::IdentityFile, "/5").unwrap(),
        config.parse_option("IdentityFile /5").unwrap(),
    ] {
        let said = said.unwrap().to_string();
        assert!(said.starts_with("IdentityFile /5: not tried: "), "{said}");
    }
    assert_eq!(config.identity_files().len(), 4);
    let said = config
        .parse_option("UserKnownHostsFile /a /b /c /d")
        .unwrap();
    let said = said.unwrap().to_string();
    assert_eq!(said, "UserKnownHostsFile /c: not read: the first 2 are");
    assert_eq!(config.known_hosts_files().0, ["/a", "/b"]);
    assert!(config.set(Setting::IdentityFile, &"x".repeat(256)).is_err());
}

#[test]
fn an_excerpt_shows_no_control_characters_and_is_short() {
    let excerpt = Excerpt::new(&format!("\x1b[31m\n{}", "é".repeat(60))).to_string();
    assert!(excerpt.starts_with("?[31m?é") && excerpt.len() <= 40);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        text in "\\PC{0,60}",
        lines in "((Host|Match|Include|Port|User|RekeyLimit|RemoteForward|IdentityFile|Hostname)?[ =\"#*!\t1G:a\\[\\]é-]{0,12}\n){0,5}"
    ) {
        for text in [&text, &lines] {
            let _ = Config::new().parse_file(text, "server");
            let _ = Config::new().parse_option(text);
            for keyword in &KEYWORDS {
                let _ = Config::new().set(keyword.setting, text);
            }
        }
    }

    #[test]
    fn an_error_in_a_file_points_into_it(lines in "((Port|User|LogLevel)?[ =\"#a1]{0,8}\n){1,5}") {
        if let Err(error) = Config::new().parse_file(&lines, "server") {
            let position = error.position.unwrap();
            let line = lines.lines().nth(position.line as usize - 1).unwrap();
            prop_assert!(position.column as usize <= line.chars().count() + 1);
        }
    }
}

#[test]
fn a_proxy_is_a_place_and_its_password_is_in_no_error() {
    use crate::destination::proxy;
    for (url, host, port) in [
        ("http://proxy.example:3128", "proxy.example", 3128),
        ("HTTP://10.0.0.1:80/", "10.0.0.1", 80),
        ("http://[fd00::1]:8080", "fd00::1", 8080),
    ] {
        let config = parsed(&format!("Proxy {url}\nProxy none\n"));
        let (found, at) = proxy(config.proxy().unwrap()).unwrap();
        assert_eq!((found.as_str(), at), (host, port));
    }
    let config = parsed("Proxy none\nProxy http://proxy.example:3128\n");
    assert_eq!(config.proxy().and_then(proxy), None);
    let error = file_error("Proxy http://op:secret@proxy.example:3128");
    assert!(error.contains("'proxy.example:3128'"), "{error}");
    assert!(error.contains("ProxyCredentialsFile"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    let error = file_error("Proxy https://proxy.example:3128");
    assert!(
        error.contains("TLS to a proxy (https://) cannot be done"),
        "{error}"
    );
}
