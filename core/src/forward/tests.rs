#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::string::ToString;

fn address(text: &str) -> Bind {
    Bind::Address(String::try_from(text).unwrap())
}

fn spec(bind: Bind, port: u16, host: &str, host_port: u16) -> Result<ForwardSpec, ForwardError> {
    Ok(ForwardSpec {
        listen: Listen::Tcp { bind, port },
        target: Target::Tcp {
            host: String::try_from(host).unwrap(),
            port: host_port,
        },
    })
}

fn path(text: &str) -> SocketPath {
    SocketPath::try_from(text).unwrap()
}

#[test]
fn the_forms_of_ssh_are_read() {
    let parse = ForwardSpec::parse;
    assert_eq!(
        parse("1111:localhost:22"),
        spec(Bind::Default, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("*:1111:localhost:22"),
        spec(Bind::Any, 1111, "localhost", 22)
    );
    assert_eq!(
        parse(":1111:localhost:22"),
        spec(Bind::Any, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("0:10.0.0.1:80"),
        spec(Bind::Default, 0, "10.0.0.1", 80)
    );
    assert_eq!(parse("0.0.0.0:9:h:1"), spec(address("0.0.0.0"), 9, "h", 1));
    assert_eq!(
        parse("[::1]:9:[fe80::1%eth0]:1"),
        spec(address("::1"), 9, "fe80::1%eth0", 1)
    );
}

#[test]
fn no_bind_address_and_localhost_send_localhost_and_a_star_sends_nothing() {
    let wire = |text| match ForwardSpec::parse(text).unwrap().listen {
        Listen::Tcp { bind, .. } => bind.wire().to_string(),
        Listen::Unix(path) => panic!("{path}"),
    };
    assert_eq!(wire("1:h:2"), "localhost");
    assert_eq!(wire("localhost:1:h:2"), "localhost");
    assert_eq!(wire("*:1:h:2"), "");
    assert_eq!(
        wire("127.0.0.1:1:h:2"),
        "127.0.0.1",
        "permitlisten tells them apart"
    );
    assert_eq!(
        ForwardSpec::parse("1:h:2"),
        ForwardSpec::parse("localhost:1:h:2")
    );
}

#[test]
fn ssh_config_separates_listener_and_target_with_blanks() {
    let parse = ForwardSpec::parse_words;
    assert_eq!(
        parse("1111", "localhost:22"),
        spec(Bind::Default, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("*:1111", "localhost:22"),
        spec(Bind::Any, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("[::]:1111", "[::1]:22"),
        spec(address("::"), 1111, "::1", 22)
    );
    assert_eq!(parse("1111", ""), Err(ForwardError::Dynamic));
    assert_eq!(parse("1111:localhost:22", ""), Err(ForwardError::Words));
    assert_eq!(parse("1:2:3", "h:4"), Err(ForwardError::Fields));
    assert_eq!(parse("1111", "localhost"), Err(ForwardError::Fields));
}

#[test]
fn each_error_names_the_part_that_is_wrong() {
    use ForwardError as E;
    for (text, error) in [
        ("", E::Fields),
        ("1080", E::Dynamic),
        ("*:1080", E::Dynamic),
        ("1111:localhost", E::Fields),
        ("a:1:h:2:3", E::Fields),
        ("[::1:1:h:2", E::Fields),
        ("[::1]x:1:h:2", E::Fields),
        ("x:localhost:22", E::Port),
        ("65536:localhost:22", E::Port),
        ("[1]:localhost:22", E::Port),
        ("-1:localhost:22", E::Port),
        ("1111::22", E::Host),
        ("1111:-x:22", E::Host),
        ("1111:[localhost]:22", E::Host),
        ("1111:a b:22", E::Host),
        ("1111:localhost:0", E::HostPort),
        ("1111:localhost:shh", E::HostPort),
        ("1111:localhost:22 ", E::HostPort),
        ("/tmp/sock:1:h:2", E::Bind),
        ("[*]:1:h:2", E::Bind),
        ("/a", E::Fields),
        ("/a:", E::Fields),
        ("/a:1", E::Fields),
        ("/a:h:0", E::HostPort),
        ("/a:1:h:2:3", E::Fields),
        ("a:b:1111:/a", E::Fields),
        ("x:/a", E::Port),
        ("1111:a/b", E::Fields),
        ("[/a]:h:1", E::Port),
        ("/a b:h:1", E::Path),
        ("/a\"b:h:1", E::Path),
        ("/é:h:1", E::Path),
        ("/%x:h:1", E::Token(TokenError::Unknown(Some('x')))),
        ("1111:/a%", E::Token(TokenError::Unknown(None))),
    ] {
        assert_eq!(ForwardSpec::parse(text), Err(error), "{text}");
        assert!(error.to_string().contains("; "), "says what would be right");
    }
}

#[test]
fn a_path_stands_for_the_listener_or_the_target_as_in_ssh() {
    let both = |listen, target| Ok(ForwardSpec { listen, target });
    let tcp = Target::Tcp {
        host: String::try_from("localhost").unwrap(),
        port: 22,
    };
    let on = |bind| Listen::Tcp { bind, port: 1111 };
    assert_eq!(
        ForwardSpec::parse("/run/a.sock:localhost:22"),
        both(Listen::Unix(path("/run/a.sock")), tcp.clone())
    );
    assert_eq!(
        ForwardSpec::parse_words("/run/a.sock", "localhost:22"),
        both(Listen::Unix(path("/run/a.sock")), tcp)
    );
    for text in ["1111:/run/b.sock", "localhost:1111:/run/b.sock"] {
        assert_eq!(
            ForwardSpec::parse(text),
            both(on(Bind::Default), Target::Unix(path("/run/b.sock"))),
        );
    }
    assert_eq!(
        ForwardSpec::parse_words("*:1111", "/run/b.sock"),
        both(on(Bind::Any), Target::Unix(path("/run/b.sock")))
    );
    assert_eq!(
        ForwardSpec::parse("/a:/b").unwrap().to_string(),
        "/a:/b",
        "both at once"
    );
    let longest = std::format!("/{}:h:1", "x".repeat(106));
    assert!(ForwardSpec::parse(&longest).is_ok());
    assert_eq!(
        ForwardSpec::parse(&std::format!("/x{longest}")),
        Err(ForwardError::Path)
    );
}

#[test]
fn tokens_in_paths_are_replaced_and_what_they_bring_is_checked() {
    let tokens = |home, serial| Tokens {
        variable: &|_, _| false,
        remote: None,
        home,
        local_host: "c",
        local_user: "u",
        uid: 0,
        serial,
    };
    let expand = |text, home, serial| {
        let spec = ForwardSpec::parse(text).unwrap();
        spec.expand(&tokens(home, serial)).map(|s| s.to_string())
    };
    assert_eq!(
        expand("/run/t/%s.sock:%d/web.sock", "/home/me", Some("SN-7")).unwrap(),
        "/run/t/SN-7.sock:/home/me/web.sock"
    );
    assert_eq!(expand("1:h:2", "/", None).unwrap(), "1:h:2");
    let path = Err(ForwardError::Path);
    assert_eq!(expand("/x:%d/y", "/my home", None), path);
    assert_eq!(expand("/x:%d/y", "home", None), path);
    assert_eq!(expand("/x:/%%d", "/", None), path);
    let no_serial = ForwardError::Token(TokenError::NoSerial);
    assert_eq!(expand("/%s:h:1", "/", None), Err(no_serial));
    let spec = ForwardSpec::parse("/%%s:/%s").unwrap();
    assert!(spec.uses_token('s') && !spec.uses_token('r'));
}

proptest! {
    #[test]
    fn display_and_parse_of_paths_are_inverse(
        text in "(/[a-z%/.]{0,9}|%d/[a-z]{0,3}|[0-9]{1,5}|x:[0-9]{1,3}):(/[a-z%s/.]{0,9}|h:[0-9]{1,3}|%d/x)"
    ) {
        if let Ok(forward) = ForwardSpec::parse(&text) {
            prop_assert_eq!(ForwardSpec::parse(&forward.to_string()), Ok(forward.clone()));
            let (listen, target) = (forward.listen.to_string(), forward.target.to_string());
            prop_assert_eq!(ForwardSpec::parse_words(&listen, &target), Ok(forward));
        }
    }

    #[test]
    fn display_and_parse_are_inverse(
        text in "((\\*|[a-z]{0,9}|\\[[0-9a-f:]{2,9}\\]|[0-9.]{7,9}):)?[0-9]{1,5}:([a-z0-9.-]{1,9}|\\[::[0-9a-f]\\]):[0-9]{1,5}"
    ) {
        if let Ok(forward) = ForwardSpec::parse(&text) {
            prop_assert_eq!(ForwardSpec::parse(&forward.to_string()), Ok(forward));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}", marks in "[:\\[\\]*%a0 -]{0,20}") {
        for text in [&text, &marks] {
            let _ = ForwardSpec::parse(text);
            let _ = ForwardSpec::parse_words(text, text);
        }
    }
}
