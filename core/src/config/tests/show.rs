use super::*;

fn here() -> Tokens<'static> {
    Tokens {
        variable: &|_, _| false,
        remote: Some(crate::tokens::Remote {
            host: "10.0.0.7",
            given: "hub",
            port: 22,
            user: "op",
        }),
        home: "/home/me",
        local_host: "ctl",
        local_user: "me",
        uid: 7,
        serial: Some("SN-1"),
    }
}

#[test]
fn tokens_are_replaced_in_forwards_and_file_names_and_nowhere_else() {
    let mut config = parsed(
        "RemoteForward /run/%s.sock /run/%u.sock\nRemoteForward /run/SN-1.sock /run/me.sock\n\
         IdentityFile %d/.ssh/%h\nUserKnownHostsFile ~/known-%n\nStateFile /var/%p-%r-100%%\n\
         SerialFile /a/%s\nRuntimeDirectory /b/%s\n",
    );
    config.expand(&here()).unwrap();
    assert_eq!(config.forwards().len(), 1, "the same once replaced");
    assert_eq!(
        config.forwards()[0].to_string(),
        "/run/SN-1.sock:/run/me.sock"
    );
    assert_eq!(config.identity_files(), ["/home/me/.ssh/10.0.0.7"]);
    assert_eq!(config.known_hosts_files().0, ["~/known-hub"]);
    assert_eq!(config.state_file(), Some("/var/22-op-100%"));
    assert_eq!(config.serial_file(), Some("/a/%s"));
    assert_eq!(config.runtime_directory(), Some("/b/%s"));
}

/// Each keyword with values that are not its default, some of them twice.
const LINES: &[&str] = &[
    "AddressFamily inet6",
    "BindAddress 10.0.0.7",
    "BindInterface wwan0",
    "ChannelIdleTimeout 8h",
    "ConnectTimeout 1m",
    "ExitOnForwardFailure yes",
    "Fallback op@[::1]:22",
    "Fallback h",
    "HostKeyAlias hub",
    "Hostname %h.lan",
    "IPQoS af21",
    "IPQoS cs1",
    "IdentityFile \"#x\"",
    r"IdentityFile /it\'s\\it\ x",
    "IdentityFile \"/a\"'\"b'",
    "IdentityFile a%%b",
    "IdleTimeout 1h",
    "LogFile /l",
    "LogLevel verbose",
    "MaxLifetime 2d",
    "Port 7",
    "RekeyLimit 1M none",
    "RekeyLimit 2G 2h",
    "RemoteForward *:0 [::1]:1",
    "RemoteForward /run/%s /run/x",
    "RemoteForward [::1]:1 /a",
    "RunAsUser u",
    "RuntimeDirectory \"/r d\"",
    "Sandbox yes",
    "SerialFile /s",
    "ServerAliveCountMax 9",
    "ServerAliveInterval 0",
    "SessionChannel shell",
    "StartAtBoot yes",
    "StateFile /st",
    "StrictHostKeyChecking accept-new",
    "TCPKeepAlive no",
    "Ciphers ^aes256*",
    "MACs -*md5*",
    "IgnoreUnknown Use*,x",
    "User op",
    "UserKnownHostsFile ~/kh \"/b c\"",
];

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(
        lines in proptest::sample::subsequence(LINES.to_vec(), 0..=LINES.len()),
    ) {
        let show = |config: &Config| -> std::string::String {
            KEYWORDS.iter().map(|k| config.lines(k).to_string()).collect()
        };
        let first = show(&parsed(&lines.join("\n")));
        prop_assert_eq!(&first, &show(&parsed(&first)));
        for line in &lines {
            let name = line.split(' ').next().unwrap();
            prop_assert!(first.contains(name));
        }
    }
}
