//! What a command line and the configuration make together.

use super::*;

#[test]
fn the_command_line_goes_before_the_file_and_the_file_may_name_the_user() {
    let text = b"Port 2222\nServerAliveInterval 10\nHost hub\nUser you\nHost other\nUser him\n";
    with_file("order", text, |path| {
        let path = path.display();
        let line = format!("-p 2200 -F {path} -R 1:h:2 hub");
        let Command::Run(settings) = parsed(&line).unwrap() else {
            panic!("no run");
        };
        assert_eq!(settings.destination.user, "you");
        assert_eq!(settings.port(), 2200);
        assert_eq!(settings.config.server_alive_interval().as_secs(), 10);
    });
}

#[test]
fn the_real_host_of_a_block_takes_the_place_of_its_name() {
    let text = b"Host hub\nHostname %h.example\nUser you\nPort 7\nIdentityFile /keys/%n-%h-%p-%r\n\
                 Host hub.example\nUser never\n";
    with_file("alias", text, |path| {
        let path = path.display();
        let settings = |line: &str| match parsed(&format!("-F {path} -R /run/%r.sock:h:2 {line}")) {
            Ok(Command::Run(settings)) => *settings,
            other => panic!("{other:?}"),
        };
        let alias = settings("hub");
        assert_eq!(alias.destination.to_string(), "you@hub.example");
        assert_eq!(alias.port(), 7);
        let key = Path::new("/keys/hub-hub.example-7-you");
        assert_eq!(alias.identity_files(), [key]);
        let forward = ForwardSpec::parse("/run/you.sock:h:2").unwrap();
        assert_eq!(alias.config.forwards(), [forward]);
        let other = settings("me@hub:8");
        assert_eq!(other.destination.to_string(), "me@hub.example:8");
        let key = Path::new("/keys/hub-hub.example-8-me");
        assert_eq!(other.identity_files(), [key]);
        assert_eq!(alias.place().name, "you@hub.example:7");
    });
}

#[test]
fn orders_and_a_scripts_off_name_forwards_as_the_tunnel_has_them() {
    let Command::Order(order) = parsed("-F none -O cancel -R /run/%h.sock:h:2 me@hub").unwrap()
    else {
        panic!("no order");
    };
    assert_eq!(
        order.forwards,
        [ForwardSpec::parse("/run/hub.sock:h:2").unwrap()]
    );
    let off = |path: &str| match parsed(&format!("invoke -F none -R {path}:h:2 -- off")) {
        Ok(Command::Invoke(invocation)) => invocation.own_forwards(),
        other => panic!("{other:?}"),
    };
    let Ok((Named::Alike(own), _)) = off("/run/%i.sock") else {
        panic!("it needs no server");
    };
    assert!(!own[0].to_string().contains('%'));
    let at = |path: &str, server: &str| match off(path) {
        Ok((Named::ByServer(own), _)) => own(&Destination::parse(server).unwrap()),
        _ => panic!("it needs a server"),
    };
    let own = at("/run/%h-%p-%r.sock", "me@hub:22").unwrap();
    let spec = ForwardSpec::parse("/run/hub-22-me.sock:h:2").unwrap();
    assert_eq!(own, [spec]);
    // What a Host block may have called it is known to nobody.
    let refused = at("/run/%n.sock", "me@hub:22").unwrap_err();
    assert_eq!(refused.code, CONFIG);
    assert!(
        refused.message.contains("use %h there, and end this one"),
        "{refused}"
    );
}

#[test]
fn what_a_script_asks_for_is_led_to_a_place_and_a_login_of_this_controller() {
    let serial = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&serial, "SN-0042\n").unwrap();
    let text = format!(
        "SerialFile {}\nScriptUser c-%s\nHost hub.example\nScriptForward 1111 /run/%r-%s\n\
         ScriptForward 1112 localhost:20042\nRemoteForward 1114 localhost:443\n",
        serial.path().display()
    );
    with_file("script", text.as_bytes(), |path| {
        let invoked = |port: u16, word: &str| {
            let line = format!(
                "invoke -F {} -R {port}:localhost:22 -- {word}",
                path.display()
            );
            match parsed(&line) {
                Ok(Command::Invoke(invocation)) => invocation,
                other => panic!("{other:?}"),
            }
        };
        let settings = |port, word: &str| {
            let invocation = invoked(port, word);
            let destination = invocation.destination().unwrap();
            invocation.settings(destination)
        };
        let forwards = |port, word: &str| {
            let settings = settings(port, word).unwrap();
            let forwards = settings.config.forwards().iter();
            (
                settings.destination.to_string(),
                forwards.map(ToString::to_string).collect::<Vec<_>>(),
            )
        };
        let of_the_file = "1114:localhost:443".to_owned();
        let led = "/run/c-SN-0042-SN-0042:localhost:22".to_owned();
        let (destination, got) = forwards(1111, "op@hub.example");
        assert_eq!(destination, "c-SN-0042@hub.example");
        assert_eq!(got, [led.clone(), of_the_file.clone()]);
        let (_, got) = forwards(1112, "op@hub.example");
        assert_eq!(got, ["20042:localhost:22".to_owned(), of_the_file.clone()]);
        let (_, got) = forwards(1113, "op@hub.example");
        assert_eq!(got, ["1113:localhost:22".to_owned(), of_the_file]);
        // Only a script's forwards: a person's line means what it says.
        let line = format!("-F {} -R 1111:localhost:22 op@hub.example", path.display());
        let Command::Run(run) = parsed(&line).unwrap() else {
            panic!("no run");
        };
        assert_eq!(run.destination.to_string(), "op@hub.example");
        assert_eq!(run.config.forwards()[0].to_string(), "1111:localhost:22");
        // `off` takes away what the same script asked for.
        let Ok((Named::ByServer(own), _)) = invoked(1111, "off").own_forwards() else {
            panic!("the block of the server says what");
        };
        let server = Destination::parse("c-SN-0042@hub.example:22").unwrap();
        assert_eq!(own(&server).unwrap(), [ForwardSpec::parse(&led).unwrap()]);
        std::fs::write(&serial, "").unwrap();
        assert_eq!(
            settings(1111, "op@hub.example").unwrap_err().code,
            crate::exit::DATA
        );
    });
    with_file("script", b"ScriptUser %d\n", |path| {
        let line = format!(
            "invoke -F {} -R 1:localhost:22 -- op@hub.example",
            path.display()
        );
        let Command::Invoke(invocation) = parsed(&line).unwrap() else {
            panic!("no script");
        };
        let destination = invocation.destination().unwrap();
        let refused = invocation.settings(destination).unwrap_err();
        assert_eq!(refused.code, CONFIG);
        assert!(
            refused.message.contains("ScriptUser: bad user"),
            "{refused}"
        );
    });
}

#[test]
fn a_login_name_of_the_file_may_have_tokens() {
    let serial = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&serial, "SN-0042\n").unwrap();
    let text = format!(
        "SerialFile {}\nHost hub\nHostname 192.0.2.7\nUser c-%s\nRemoteForward /run/%r localhost:22\n\
         Host wrong\nUser %d\nHost plain\nUser op\n",
        serial.path().display()
    );
    with_file("config", text.as_bytes(), |path| {
        let run = |word: &str| match parsed(&format!("-F {} -R 1:h:2 {word}", path.display())) {
            Ok(Command::Run(run)) => Ok(run),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        };
        let hub = run("hub").unwrap();
        assert_eq!(hub.destination.to_string(), "c-SN-0042@192.0.2.7");
        assert_eq!(hub.config.user(), Some("c-SN-0042"));
        let forwards = hub.config.forwards().iter();
        assert!(
            forwards
                .map(ToString::to_string)
                .any(|spec| spec == "/run/c-SN-0042:localhost:22")
        );
        assert_eq!(
            run("me@hub").unwrap().destination.to_string(),
            "me@192.0.2.7"
        );
        assert_eq!(run("plain").unwrap().destination.to_string(), "op@plain");
        let refused = run("wrong").unwrap_err();
        assert_eq!(refused.code, CONFIG);
        assert!(refused.message.contains("User: bad user"), "{refused}");
    });
}

#[test]
fn a_configuration_file_that_is_missing_or_wrong_is_named_with_its_line() {
    let missing = parsed("-F /nonexistent/x -R 1:h:2 me@hub").unwrap_err();
    assert_eq!(missing.code, NO_INPUT);
    assert!(missing.message.contains("/nonexistent/x"), "{missing}");
    for text in [&b"# fine\n  NoSuchKey 1\n"[..], b"# fine\n  \xff\n"] {
        with_file("wrong", text, |path| {
            let line = format!("-F {} -R 1:h:2 me@hub", path.display());
            let wrong = parsed(&line).unwrap_err();
            assert_eq!(wrong.code, CONFIG);
            let place = format!("{}:2:3: ", path.display());
            assert!(wrong.message.contains(&place), "{wrong}");
        });
    }
}
