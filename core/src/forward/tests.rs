#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::string::ToString;

fn address(text: &str) -> Bind {
    Bind::Address(String::try_from(text).unwrap())
}

fn spec(bind: Bind, port: u16, host: &str, host_port: u16) -> Result<ForwardSpec, ForwardError> {
    Ok(ForwardSpec {
        bind,
        port,
        host: String::try_from(host).unwrap(),
        host_port,
    })
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
    let wire = |text| ForwardSpec::parse(text).unwrap().bind.wire().to_string();
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
    let parse = ForwardSpec::parse_keyword;
    assert_eq!(
        parse("1111 localhost:22"),
        spec(Bind::Default, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("\t*:1111   localhost:22 "),
        spec(Bind::Any, 1111, "localhost", 22)
    );
    assert_eq!(
        parse("[::]:1111 [::1]:22"),
        spec(address("::"), 1111, "::1", 22)
    );
    for bad in ["1111", "1111:localhost:22", "1111 localhost:22 x", ""] {
        assert_eq!(parse(bad), Err(ForwardError::Words), "{bad}");
    }
    assert_eq!(parse("1:2:3 h:4"), Err(ForwardError::Fields));
    assert_eq!(parse("1111 localhost"), Err(ForwardError::Fields));
}

#[test]
fn each_error_names_the_part_that_is_wrong() {
    use ForwardError as E;
    for (text, error) in [
        ("", E::Fields),
        ("1080", E::Fields),
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
        ("1111:localhost:ssh", E::HostPort),
        ("1111:localhost:22 ", E::HostPort),
        ("/tmp/sock:1:h:2", E::Bind),
        ("[*]:1:h:2", E::Bind),
    ] {
        assert_eq!(ForwardSpec::parse(text), Err(error), "{text}");
        assert!(error.to_string().contains("; "), "says what would be right");
    }
}

proptest! {
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
            let _ = ForwardSpec::parse_keyword(text);
        }
    }
}
