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
                Found::Include { pattern, scope, .. } => {
                    let included = files.iter().find(|(name, _)| *name == pattern).unwrap();
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
