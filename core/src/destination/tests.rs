#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use regex::Regex;
use std::string::{String as StdString, ToString};
use std::sync::LazyLock;
use std::{format, vec};

mod near;

fn parts(text: &str) -> Result<(StdString, StdString, Option<u16>), DestinationError> {
    let d = Destination::parse(text)?;
    Ok((d.user.as_str().into(), d.host.as_str().into(), d.port))
}

fn ok(
    user: &str,
    host: &str,
    port: Option<u16>,
) -> Result<(StdString, StdString, Option<u16>), DestinationError> {
    Ok((user.into(), host.into(), port))
}

#[test]
fn user_host_and_port_are_read_in_every_usual_form() {
    assert_eq!(parts("u@server"), ok("u", "server", None));
    assert_eq!(
        parts("u@server.example:2222"),
        ok("u", "server.example", Some(2222))
    );
    assert_eq!(parts("u@server^2222"), ok("u", "server", Some(2222)));
    assert_eq!(parts("u@server/2222"), ok("u", "server", Some(2222)));
    assert_eq!(
        parts("first.last+x@10.0.2.2:22"),
        ok("first.last+x", "10.0.2.2", Some(22))
    );
}

#[test]
fn users_of_directory_services_and_uris_are_read_as_ssh_reads_them() {
    assert_eq!(parts(r"DOM\user@h"), ok(r"DOM\user", "h", None));
    assert_eq!(parts("u@realm@h:7"), ok("u@realm", "h", Some(7)));
    assert_eq!(parts("host$@h"), ok("host$", "h", None));
    assert_eq!(parts("ssh://u@h:2222"), ok("u", "h", Some(2222)));
    assert_eq!(parts("ssh://u@[::1]:2222/"), ok("u", "::1", Some(2222)));
    assert_eq!(parts("u@h:ssh"), ok("u", "h", Some(22)));
    let with = Destination::parse_with_default("ssh://h", Some("me"));
    assert_eq!(with.map(|d| d.to_string()).unwrap(), "me@h");
    for bad in ["u\\@h", "a/b@h", "a'b@h", "a|b@h", "ssh://", "ssh://u@h/x"] {
        assert!(Destination::parse(bad).is_err(), "{bad}");
    }
    for not_for_scripts in [
        r"D\u@h.example",
        "u@r@h.example",
        "ssh://u@h.example",
        "u@h.example:ssh",
    ] {
        assert!(
            Destination::parse_script(not_for_scripts).is_err(),
            "{not_for_scripts}"
        );
    }
}

#[test]
fn a_script_argument_is_refused_with_the_rule_that_it_breaks() {
    use DestinationError as E;
    for (text, error) in [
        ("u@h.example:99999", E::PortAbove(99999)),
        ("u@h.example:0", E::Port),
        ("u @h.example", E::ScriptBlank),
        ("u@h.example;id", E::ScriptByte),
        ("h.example", E::NoUser),
        ("-u@h.example", E::ScriptUser),
        ("a.b@h.example", E::ScriptUser),
        ("u@localhost", E::ScriptHost),
        ("u@1.2.3", E::Address),
    ] {
        assert_eq!(Destination::parse_script(text), Err(error), "{text}");
    }
    let above = E::PortAbove(99999).to_string();
    assert_eq!(above, "port 99999 is above 65535");
}

#[test]
fn ipv6_addresses_stand_with_or_without_brackets() {
    assert_eq!(
        parts("u@[2001:DB8::1]:2222"),
        ok("u", "2001:db8::1", Some(2222))
    );
    assert_eq!(parts("u@[::1]"), ok("u", "::1", None));
    assert_eq!(parts("u@2001:db8:0::1"), ok("u", "2001:db8::1", None));
    assert_eq!(parts("u@fe80::1%eth0"), ok("u", "fe80::1%eth0", None));
    assert_eq!(parts("u@::1^22"), ok("u", "::1", Some(22)));
    for bad in [
        "u@[::1",
        "u@[::1]22",
        "u@[host]:22",
        "u@1:2:3",
        "u@fe80::1%",
        "u@[]",
    ] {
        assert!(Destination::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn octets_are_decimal_even_with_leading_zeros() {
    assert_eq!(parts("u@010.001.000.09"), ok("u", "10.1.0.9", None));
    for bad in [
        "u@1.2.3",
        "u@1.2.3.4.5",
        "u@1.2.3.256",
        "u@2130706433",
        "u@1.2.3.0004",
        "u@1.2.3.4.",
    ] {
        assert_eq!(parts(bad), Err(DestinationError::Address), "{bad}");
    }
}

#[test]
fn each_error_names_the_part_that_is_wrong() {
    use DestinationError as E;
    for (text, error) in [
        ("server", E::NoUser),
        ("", E::NoUser),
        ("@server", E::User),
        ("-oProxyCommand=x@server", E::User),
        ("a b@server", E::User),
        ("u;id@server", E::User),
        ("u@", E::NoHost),
        ("u@:22", E::NoHost),
        ("u@a,u@b", E::Jump),
        ("u@-x", E::Host),
        ("u@a..b", E::Host),
        ("u@host ", E::Host),
        ("u@hop,host", E::Jump),
        ("u@host\n", E::Host),
        ("u@hôte", E::Host),
        ("u@host:", E::Port),
        ("u@host:0", E::Port),
        ("u@host:65536", E::PortAbove(65536)),
        ("u@host:+22", E::Port),
        ("u@host:000022", E::Port),
        ("u@host:22 -R x", E::Port),
        ("u@host^22:33", E::Port),
    ] {
        assert_eq!(Destination::parse(text), Err(error), "{text}");
        assert!(!error.to_string().contains('\n'), "one clear line");
    }
}

#[test]
fn lengths_are_bounded() {
    let label = "a".repeat(63);
    let host = format!("{label}.{label}.{label}.{}", "b".repeat(63));
    assert!(Destination::parse(&format!("u@{host}")).is_ok());
    assert!(Destination::parse(&format!("u@{host}a")).is_err());
    assert!(Destination::parse(&format!("{}@h", "u".repeat(64))).is_ok());
    assert!(Destination::parse(&format!("{}@h", "u".repeat(65))).is_err());
}

#[test]
fn a_default_user_stands_in_and_is_checked_too() {
    let with = |text, user| Destination::parse_with_default(text, user).map(|d| d.to_string());
    assert_eq!(with("server:22", Some("me")).unwrap(), "me@server:22");
    assert_eq!(with("you@server", Some("me")).unwrap(), "you@server");
    assert_eq!(with("server", Some("-me")), Err(DestinationError::User));
}

/// The test of the original scripts: grep's, so a match in any line counts.
fn old_test_accepts(text: &str) -> bool {
    static OLD: LazyLock<Regex> = LazyLock::new(|| {
        let run = "^[a-z0-9_-]+";
        let rdm = r"([a-z][a-z0-9-]*\.)+[a-z0-9][a-z0-9-]+$";
        let rip = r"((25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)(\.|$)){4}";
        Regex::new(&format!("(?i){run}@({rdm}|{rip})")).unwrap()
    });
    text.split('\n').any(|line| OLD.is_match(line))
}

/// One destination by RFC 1123 and RFC 791, and no name of numbers alone (inet_aton(3)), said without any
/// of the code under test.
fn is_well_formed(text: &str) -> bool {
    const USER: &str = "[A-Za-z0-9_][A-Za-z0-9_-]{0,31}";
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])";
        Regex::new(&format!(r"^{USER}@(?:{octet}\.){{3}}{octet}$")).unwrap()
    });
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        let label = "[A-Za-z0-9][A-Za-z0-9-]{0,62}";
        Regex::new(&format!(r"^{USER}@((?:{label}\.)+{label})$")).unwrap()
    });
    static NUMBERS: LazyLock<Regex> = LazyLock::new(|| {
        let number = "(?:0[xX][0-9A-Fa-f]*|[0-9]+)";
        Regex::new(&format!(r"^{number}(?:\.{number})*$")).unwrap()
    });
    let (_, host) = text.split_once('@').unwrap_or_default();
    text.len() <= 255
        && (ADDRESS.is_match(text) || (NAME.is_match(text) && !NUMBERS.is_match(host)))
}

#[test]
fn what_the_old_test_let_through_by_mistake_is_refused() {
    for injected in [
        "u@1.2.3.4. -R 0.0.0.0:9:h:1",
        "u@1.2.3.4.;reboot",
        "u@1.2.3.4.$(reboot)",
        "u@1.2.3.4.:22",
        "u@1.2.3.4.",
        "u@1.2.3.4.5",
        "u@1.2.3.4.-oProxyCommand",
        "-x@server.example",
        "u@server.example\n-oProxyCommand=reboot",
        "-oProxyCommand=reboot\nu@server.example",
    ] {
        assert!(
            old_test_accepts(injected),
            "{injected:?} is a case of this kind"
        );
        assert!(Destination::parse_script(injected).is_err(), "{injected:?}");
    }
}

#[test]
fn a_name_of_numbers_alone_is_refused_hexadecimal_ones_too() {
    for host in ["1.2.3.4.5", "0x7f.1", "200.200.200.250.0X"] {
        let text = format!("a@{host}");
        assert!(
            !is_well_formed(&text) && Destination::parse_script(&text).is_err(),
            "{host}"
        );
    }
    for host in ["1.2.3.4.5a", "0xg.1", "200.200.200.250.X0"] {
        let text = format!("a@{host}");
        assert!(
            is_well_formed(&text) && Destination::parse_script(&text).is_ok(),
            "{host}"
        );
    }
}

#[test]
fn a_script_argument_has_at_most_255_bytes() {
    let label = "a".repeat(60);
    let host = format!("{label}.{label}.{label}.{label}.example");
    let user = |bytes: usize| format!("{}@{host}", "u".repeat(bytes - host.len() - 1));
    assert!(Destination::parse_script(&user(255)).is_ok());
    assert!(Destination::parse_script(&user(256)).is_err());
    assert!(
        Destination::parse(&user(256)).is_ok(),
        "it is the script's bound"
    );
}

#[test]
fn a_script_argument_may_have_a_port_and_nothing_else_is_new() {
    let script = |text| Destination::parse_script(text).map(|d| d.to_string());
    assert_eq!(script("root@10.0.2.2:2222").unwrap(), "root@10.0.2.2:2222");
    assert_eq!(
        script("Me_1@Server.Example").unwrap(),
        "Me_1@Server.Example"
    );
    assert_eq!(
        script("u@1.2.3.4.example.com").unwrap(),
        "u@1.2.3.4.example.com"
    );
    assert_eq!(script("u@010.0.0.1").unwrap(), "u@10.0.0.1");
    for bad in [
        "",
        "u",
        "u@",
        "u@localhost",
        "u@server.",
        "u@::1",
        "u@[::1]:22",
        "u@a_b.example",
        "a.b@server.example",
        "a+b@server.example",
        "u@server.example^22",
        "u@server.example/22",
        "u@server.example ",
        " u@server.example",
        "u@server.example x",
        "u@server.example:0",
        "u@server.example:22:22",
        "u@server.example\r",
        "u@server.example\0",
        "u@sérver.example",
    ] {
        assert!(Destination::parse_script(bad).is_err(), "{bad:?}");
    }
}

/// Arguments of which the old test accepts most: a user, then a name or an address with or
/// without something behind it.
fn old_arguments() -> impl Strategy<Value = StdString> {
    let user = "[A-Za-z0-9_-]{1,34}";
    let octet = "(25[0-9]|2[0-4][0-9]|[01]?[0-9]?[0-9])";
    let name = "([A-Za-z][A-Za-z0-9-]{0,66}\\.){1,4}[A-Za-z0-9][A-Za-z0-9-]{1,8}";
    let address = format!("{octet}\\.{octet}\\.{octet}\\.{octet}");
    let behind = "(\\.[a-zA-Z0-9.-]{0,9}|\\.[ -~\n]{0,6}|[ -~]{0,3}|\n[ -~]{0,5})";
    let expressions = vec![
        format!("{user}@{name}"),
        format!("{user}@{address}"),
        format!("{user}@{address}{behind}"),
        format!("{user}@{name}{behind}"),
    ];
    proptest::sample::select(expressions)
        .prop_flat_map(|expression| proptest::string::string_regex(&expression).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_global_rejects: 50_000,
        ..ProptestConfig::with_cases(3000)
    })]

    #[test]
    fn every_well_formed_argument_that_the_old_test_accepted_is_accepted(text in old_arguments()) {
        prop_assume!(old_test_accepts(&text) && is_well_formed(&text));
        let accepted = Destination::parse_script(&text);
        prop_assert!(accepted.is_ok(), "{text:?}: {accepted:?}");
    }

    #[test]
    fn whatever_is_accepted_is_one_harmless_word_that_says_what_was_read(text in old_arguments()) {
        if let Ok(destination) = Destination::parse_script(&text) {
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._-:".contains(&b)));
            prop_assert!(!text.starts_with('-') && text.len() <= 255);
            prop_assert_eq!(text.matches('@').count(), 1);
            let (user, host) = text.split_once('@').unwrap();
            prop_assert_eq!(user, destination.user.as_str());
            prop_assert!(!host.starts_with('-'));
            let without_port = text.rsplit_once(':').map_or(text.as_str(), |(front, _)| front);
            prop_assert!(is_well_formed(without_port), "{text:?}");
        }
    }

    #[test]
    fn display_and_parse_are_inverse(text in "[a-z._+-]{1,4}@(\\[[0-9a-f:]{2,9}\\]|[a-z0-9.-]{1,12})(:[0-9]{1,5})?") {
        if let Ok(destination) = Destination::parse(&text) {
            prop_assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}", tail in "[@:.\\[\\]^/%a0-]{0,20}") {
        for text in [&text, &tail, &format!("u@{text}"), &format!("u@{tail}")] {
            let _ = Destination::parse(text);
            let _ = Destination::parse_script(text);
        }
    }
}
