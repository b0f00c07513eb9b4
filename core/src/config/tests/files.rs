use super::*;

/// Reads `files[0]` as [`FileParser`] wants it done: other files stand in for those included.
fn read(
    files: &[(&str, &str)],
    host: &str,
) -> Result<(Config, StdVec<std::string::String>), ConfigError> {
    fn one(
        files: &[(&str, &str)],
        text: &str,
        scope: Scope<'_>,
        config: &mut Config,
        names: &mut StdVec<std::string::String>,
    ) -> Result<(), ConfigError> {
        let mut parser = FileParser::new(text, scope);
        while let Some(found) = parser.step(config)? {
            match found {
                Found::Name(name) => names.push(name.to_string()),
                Found::Notice(..) => {}
                Found::Include { pattern, scope, .. } => {
                    let included = files.iter().find(|(name, _)| **name == *pattern).unwrap();
                    one(files, included.1, scope, config, names)?;
                }
            }
        }
        Ok(())
    }
    let (mut config, mut names) = (Config::new(), StdVec::new());
    one(files, files[0].1, Scope::new(host), &mut config, &mut names)?;
    Ok((config, names))
}

#[test]
fn an_included_file_stands_in_the_place_of_its_line_and_leaves_the_block_as_it_was() {
    let files = [
        (
            "",
            "Host a\nInclude one \"two x\" # both\nUser after\nHost *\nPort 9\n",
        ),
        ("one", "User first\nHost b\nPort 1\n"),
        ("two x", "User second\nHost a\nPort 2\n"),
    ];
    let (a, names) = read(&files, "a").unwrap();
    assert_eq!((a.user(), a.port()), (Some("first"), 2));
    assert_eq!(names, ["a", "b", "a"]);
    let (b, _) = read(&files, "b").unwrap();
    assert_eq!(
        (b.user(), b.port()),
        (None, 9),
        "the block of a is not for b"
    );
}

#[test]
fn names_are_patterns_that_mean_one_server() {
    let (_, names) = read(&[("", "Host hub *.lan !x h? \"c d\"\nHost hub\n")], "").unwrap();
    assert_eq!(names, ["hub", "c d", "hub"]);
}

#[test]
fn files_include_each_other_at_most_8_deep() {
    let error = read(&[("x", "Include x\n")], "h").unwrap_err();
    assert_eq!(error.kind, ConfigErrorKind::IncludeDepth);
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];
    let texts = names.map(|n| format!("Include {}\n", n.parse::<u8>().unwrap() + 1));
    let mut files: StdVec<(&str, &str)> = names
        .into_iter()
        .zip(texts.iter().map(|t| t.as_str()))
        .collect();
    files[8].1 = "User deep\n";
    assert_eq!(read(&files, "h").unwrap().0.user(), Some("deep"));
}

#[test]
fn host_blocks_hold_for_hosts_that_match_their_patterns() {
    let text = "User early\n\
                Host other.example\n  Port 1\n  RemoteForward 1 h:1\n  IdentityFile /no\n\
                Host * !server.example\n  Port 2\n\
                Host \"x\" *.EXAMPLE\n  Port 3\n  RemoteForward 3 h:3\n\
                Host *\n  Port 4\n  User late\n";
    let config = parsed(text);
    assert_eq!((config.port(), config.user()), (3, Some("early")));
    assert_eq!(config.forwards().len(), 1);
    assert!(config.identity_files().is_empty());
}

#[test]
fn a_host_block_can_name_the_real_host_and_forwards_from_and_to_sockets() {
    let text = "Host server.example\n  Hostname %h.lan\n  StartAtBoot yes\n  SerialFile /etc/serial\n\
                \x20 RemoteForward /run/%s.sock localhost:22\n  RemoteForward 1111 /run/web.sock\n";
    let config = parsed(text);
    let hostname = |given| config.hostname(given).unwrap().map(|h| h.to_string());
    assert_eq!(hostname("server.example").unwrap(), "server.example.lan");
    assert!(hostname("::1").is_err(), "an address is no part of a name");
    assert!(config.start_at_boot());
    assert_eq!(config.serial_file(), Some("/etc/serial"));
    let forwards: StdVec<_> = config.forwards().iter().map(ToString::to_string).collect();
    assert_eq!(
        forwards,
        ["/run/%s.sock:localhost:22", "1111:/run/web.sock"]
    );
    assert!(config.uses_token('s') && !config.uses_token('h'));
    assert!(Config::new().hostname("x").is_none());
    let fixed = parsed("Hostname 10.0.0.7\n");
    assert_eq!(fixed.hostname("hub").unwrap().unwrap(), "10.0.0.7");
}
