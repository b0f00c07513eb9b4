use super::*;
use crate::keyword::Setting;

#[test]
fn destinations_are_allowed_by_host_or_by_user_and_host() {
    let allows = |list: &str, user: &str, host: &str, given: &str| {
        parsed(&format!("AllowDestinations {list}")).allows(user, host, given)
    };
    assert_eq!(Config::new().allows("u", "h", "h"), None);
    for (list, user, host, given, allowed) in [
        ("*", "u", "127.0.0.1", "127.0.0.1", true),
        ("*.example", "u", "A.Example", "hub", true),
        ("hub", "u", "a.example", "hub", true),
        ("other", "u", "a.example", "hub", false),
        ("op@*.example", "op", "a.example", "a.example", true),
        ("op@*.example", "Op", "a.example", "a.example", false),
        ("op@realm@h", "op@realm", "h", "h", true),
        ("o?@10.0.*,x", "op", "10.0.2.15", "10.0.2.15", true),
        ("*,!*.bad", "u", "a.bad", "hub", false),
        ("*,!hub", "u", "a.bad", "hub", false),
        ("*,!root@*", "root", "h", "h", false),
        ("*,!root@*", "op", "h", "h", true),
        ("!h", "u", "other", "other", false),
        ("fe80::*", "u", "fe80::1", "fe80::1", true),
    ] {
        assert_eq!(
            allows(list, user, host, given),
            Some(allowed),
            "{list}: {user}@{host}"
        );
    }
}

#[test]
fn what_a_script_says_of_trust_fills_only_what_the_file_leaves_open() {
    let script = |file: &str| {
        let mut config = Config::new();
        config
            .set(Setting::StrictHostKeyChecking, "accept-new")
            .unwrap();
        config.set(Setting::AllowDestinations, "*").unwrap();
        config.set(Setting::UserKnownHostsFile, "/a").unwrap();
        config.set(Setting::Port, "2222").unwrap();
        let mut options = Config::new();
        let trusted = config.take_trust();
        config.parse_file(file, "h").unwrap();
        let open = config.give_trust(&mut options, trusted);
        let handed = options.is_set(Setting::StrictHostKeyChecking.keyword());
        assert_eq!(handed, open, "what the owner of the tunnel is told");
        let files = config.known_hosts_files();
        let shown = files
            .0
            .iter()
            .map(ToString::to_string)
            .collect::<StdVec<_>>();
        let allowed = config.allow_destinations().map(ToString::to_string);
        (
            open,
            config.strict_host_key_checking(),
            shown.join(" "),
            allowed,
            config.port(),
        )
    };
    let all = "StrictHostKeyChecking yes\nAllowDestinations hub\nUserKnownHostsFile /f\nPort 1\n";
    assert_eq!(
        script(all),
        (
            false,
            StrictHostKeyChecking::Yes,
            "/f".into(),
            Some("hub".into()),
            2222
        )
    );
    assert_eq!(
        script(""),
        (
            true,
            StrictHostKeyChecking::AcceptNew,
            "/a".into(),
            Some("*".into()),
            2222
        )
    );
}
