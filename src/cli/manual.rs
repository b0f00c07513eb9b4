//! The man pages and the bash completion, made from the tables of flags, subcommands and
//! keywords. Only tests contain this: what is made is committed, and a test compares.

use std::fmt::Write;

use reachback_core::cause::CAUSES;
use reachback_core::keyword::{FOREIGN, KEYWORDS, Keyword, OnReload, STRUCTURE, Treatment};
use reachback_core::tokens::TOKENS;

use super::flags::{self, Flag, LONG_ONLY, SUBCOMMANDS};

mod completion;
mod more;

/// Text as mdoc(7) takes it: nothing in it is a request or an escape.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// The first letter large, a full stop at the end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    plain(&format!("{first}{}.", letters.as_str()))
}

fn header(name: &str, section: u8, about: &str) -> String {
    let title = name.to_uppercase();
    format!(
        ".\\\" Made from the program's tables by `make man`; do not edit.\n\
         .Dd $Mdocdate$\n.Dt {title} {section}\n.Os\n.Sh NAME\n.Nm {name}\n.Nd {about}\n"
    )
    .replace("$Mdocdate$", "November 23, 2026")
}

/// A flag and its argument, as the macros of mdoc have them.
fn flag_item(flag: &Flag) -> String {
    let mut item = match flag.short {
        LONG_ONLY => String::new(),
        short => format!("Fl {short}"),
    };
    if let Some(long) = flag.long {
        let separator = if item.is_empty() { "" } else { " , " };
        let _ = write!(item, "{separator}Fl -{long}");
    }
    match flag.argument {
        "" => {}
        argument if flag.short == LONG_ONLY => {
            let _ = write!(item, " Ns Ar {argument}");
        }
        argument => {
            let _ = write!(item, " Ar {argument}");
        }
    }
    item
}

/// reachback(1).
fn program() -> String {
    let mut page = header("reachback", 1, "keep SSH reverse forwards to a server up");
    page.push_str(".Sh SYNOPSIS\n.Nm\n.Op Ar flags\n.Ar user Ns @ Ns Ar host Ns Op : Ns Ar port\n");
    for command in &SUBCOMMANDS {
        let _ = writeln!(
            page,
            ".Nm\n.Cm {}\n{}",
            command.name,
            arguments(command.arguments)
        );
    }
    while page.contains("\n\n") {
        page = page.replace("\n\n", "\n");
    }
    page.push_str(more::DESCRIPTION);
    page.push_str(
        "The flags, which may stand before or after the destination:\n.Bl -tag -width Ds\n",
    );
    for flag in flags::all() {
        let _ = writeln!(page, ".It {}\n{}", flag_item(flag), sentence(flag.help));
    }
    page.push_str(".El\n.Sh SUBCOMMANDS\n.Bl -tag -width reconnect\n");
    for command in &SUBCOMMANDS {
        let _ = writeln!(page, ".It Cm {}\n{}", command.name, sentence(command.help));
        if let Some(more) = more::subcommand(command.name) {
            page.push_str(more);
        }
    }
    page.push_str(".El\n");
    page.push_str(more::OTHER_PROGRAMS);
    for flag in &flags::FOREIGN {
        let refused = match flag.action {
            flags::Action::Refused => "Refused: ",
            _ => "",
        };
        let _ = writeln!(
            page,
            ".It {}\n{}",
            flag_item(flag),
            match refused {
                "" => sentence(flag.help),
                refused => plain(&format!("{refused}{}.", flag.help)),
            }
        );
    }
    page.push_str(".El\n");
    page.push_str(more::REST);
    page
}

fn arguments(text: &str) -> String {
    match text {
        "" => String::new(),
        _ if text.starts_with('[') && text.ends_with(']') => {
            format!(".Op Ar {}", &text[1..text.len() - 1])
        }
        _ => format!(".Ar {}", plain(text)),
    }
}

/// reachback_config(5).
fn configuration() -> String {
    let mut page = header("reachback_config", 5, "configuration of reachback");
    page.push_str(more::GRAMMAR);
    page.push_str(".Sh KEYWORDS\n.Bl -tag -width Ds\n");
    for keyword in &KEYWORDS {
        page.push_str(&keyword_item(keyword));
    }
    page.push_str(".El\n");
    page.push_str(more::OTHER_KEYWORDS);
    for foreign in &FOREIGN {
        let words = |words: &[&str]| words.join(" , ");
        let text = match foreign.treatment {
            Treatment::Same(why) => plain(&format!("No effect: {why}.")),
            Treatment::Unless([], what) => plain(&format!("Warns: {what}.")),
            Treatment::Unless(values, what) => {
                format!(
                    ".Cm {} ;\n{}",
                    words(values),
                    plain(&format!("else warns: {what}."))
                )
            }
            Treatment::Refused([], why) => plain(&format!("Refused: {why}.")),
            Treatment::Refused(values, why) => {
                format!(
                    ".Cm {} ;\n{}",
                    words(values),
                    plain(&format!("else refused: {why}."))
                )
            }
        };
        let _ = writeln!(page, ".It Cm {}\n{text}", foreign.name);
    }
    page.push_str(".El\n.Sh TOKENS\n");
    page.push_str(more::TOKEN_PLACES);
    page.push_str(".Bl -tag -width Ds -compact\n");
    for (letter, meaning) in TOKENS {
        let _ = writeln!(page, ".It Cm %{letter}\n{}", sentence(meaning));
    }
    page.push_str(".El\n");
    page.push_str(more::EXAMPLES);
    page
}

fn keyword_item(keyword: &Keyword) -> String {
    let kind = keyword.kind.to_string();
    let mut item = format!(".It Cm {}\n{}\n", keyword.name, sentence(keyword.help));
    if let Some(more) = more::keyword(keyword.setting) {
        item.push_str(more);
    }
    let _ = writeln!(item, "Value: {}.", plain(&kind));
    match (keyword.default, keyword.unit) {
        ("", _) => {}
        (default, "") => {
            let _ = writeln!(item, "Default: {}.", plain(default));
        }
        (default, unit) => {
            let _ = writeln!(item, "Default: {} ({unit}).", plain(default));
        }
    }
    let _ = writeln!(item, "A change at\n.Dv SIGHUP\n{}.", keyword.on_reload);
    item
}

/// The lines before and behind what is made, in a page that people write.
const MADE: [&str; 2] = ["<!-- made by `make man` -->\n", "<!-- until here -->\n"];

/// The page with `table` in its place.
fn with_table(path: &str, table: &str) -> String {
    let page = std::fs::read_to_string(top(path)).unwrap_or_default();
    let parts = page.split_once(MADE[0]).zip(page.split_once(MADE[1]));
    match parts {
        Some(((before, _), (_, after))) => [before, MADE[0], table, MADE[1], after].concat(),
        None => page + MADE[0] + table + MADE[1],
    }
}

/// docs/configuration.md, with the table of what `SIGHUP` does.
fn reloads() -> String {
    let mut table = String::from("| a change of | at `SIGHUP` |\n|---|---|\n");
    for class in [
        OnReload::Applies,
        OnReload::Renews,
        OnReload::RenewsIfUsed,
        OnReload::Moves,
        OnReload::NextStart,
    ] {
        let with = KEYWORDS.iter().filter(|k| k.on_reload == class);
        let names: Vec<String> = with.map(|k| format!("`{}`", k.name)).collect();
        let _ = writeln!(table, "| {} | {class} |", names.join(", "));
    }
    with_table("docs/configuration.md", &table)
}

/// docs/operating.md, with what to do about each cause.
fn causes() -> String {
    let mut table = String::from("| cause | what to do |\n|---|---|\n");
    for record in &CAUSES {
        let _ = writeln!(table, "| {} | {} |", record.name, record.advice);
    }
    with_table("docs/operating.md", &table)
}

/// docs/migration.md, with the outcome of each line of the tests.
fn migration() -> String {
    let lines = std::fs::read_to_string(top("tests/cases/lines.txt")).unwrap_or_default();
    let mut table = String::from("| written for | the line | with reachback |\n|---|---|---|\n");
    let usual = [
        ("LISTEN", "1111"),
        ("TARGET", "22"),
        ("PORT", "2222"),
        ("USER", "op"),
        ("SERVER", "hub.example"),
        ("DKEY", "id_dropbear"),
        ("KEY", "id_rsa"),
        ("KNOWN", "known_hosts"),
        ("SOCKET", "/run/t.sock"),
    ];
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let [program, words, outcome] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three fields: {line}");
        };
        let words = usual.iter().fold(words.to_owned(), |words, (name, value)| {
            words.replace(name, value)
        });
        let outcome = match outcome.split_once(": ") {
            Some(("up", warning)) => format!("up, warns: {warning}"),
            _ => outcome.to_owned(),
        };
        let _ = writeln!(table, "| {program} | `{words}` | {outcome} |");
    }
    with_table("docs/migration.md", &table)
}

fn top(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    type Make = fn() -> String;

    const PAGES: [(&str, Make); 6] = [
        ("docs/man/reachback.1", program),
        ("docs/man/reachback_config.5", configuration),
        ("packaging/completion.bash", completion::script),
        ("docs/configuration.md", reloads),
        ("docs/migration.md", migration),
        ("docs/operating.md", causes),
    ];

    /// `make man` sets REACHBACK_WRITE_PAGES.
    #[test]
    fn the_committed_pages_are_those_that_the_tables_make() {
        let write = std::env::var_os("REACHBACK_WRITE_PAGES").is_some();
        for (path, make) in PAGES {
            let made = make();
            if write {
                std::fs::create_dir_all(top(path).parent().unwrap()).unwrap();
                std::fs::write(top(path), &made).unwrap();
            }
            let committed = std::fs::read_to_string(top(path)).unwrap_or_default();
            assert!(
                committed == made,
                "{path} is not up to date: run `make man`"
            );
        }
    }

    #[test]
    fn the_pages_name_every_flag_subcommand_keyword_and_token() {
        let (program, configuration) = (program(), configuration());
        for flag in flags::all() {
            assert!(program.contains(&format!("\n.It {}\n", flag_item(flag))));
        }
        for command in &SUBCOMMANDS {
            assert!(program.contains(&format!("\n.It Cm {}\n", command.name)));
        }
        for keyword in &KEYWORDS {
            let item = format!("\n.It Cm {}\n", keyword.name);
            assert!(configuration.contains(&item), "{}", keyword.name);
        }
        for name in STRUCTURE {
            assert!(
                configuration.contains(&format!("\n.It Cm {name} ")),
                "{name}"
            );
        }
    }

    #[test]
    fn the_sample_configuration_names_every_keyword_and_has_the_tables_defaults() {
        let sample = std::fs::read_to_string(top("packaging/config")).unwrap();
        for Keyword { name, default, .. } in &KEYWORDS {
            let is_it = |line: &&str| line.starts_with(&format!("#{name} "));
            let line = sample.lines().find(is_it);
            let line = line.unwrap_or_else(|| panic!("packaging/config lacks {name}"));
            if !default.is_empty() {
                assert_eq!(line, format!("#{name} {default}"));
            }
        }
    }

    #[test]
    fn groff_has_nothing_to_complain_about() {
        for (path, make) in &PAGES[..2] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), make()).unwrap();
            let made = Command::new("groff")
                .args(["-mdoc", "-Tascii", "-ww", "-z"])
                .arg(file.path())
                .output();
            let Ok(made) = made else {
                return; // Not every machine has it.
            };
            let said = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success() && said.is_empty(), "{path}: {said}");
        }
    }

    #[test]
    fn bash_completes_subcommands_flags_keywords_and_orders() {
        let run = tempfile::tempdir().unwrap();
        let names = ["op@hub.example:22", "op@hub.example:2222", "op@a$(date):22"];
        let _listeners = names.map(|name| {
            let path = run.path().join(format!("{name}.sock"));
            std::os::unix::net::UnixListener::bind(path).unwrap()
        });
        let directory = run.path().display();
        let complete = |words: &[&str]| {
            let count = words.len() - 1;
            let line = words.join(" ");
            let words = words.join("' '");
            let script = format!(
                "{}\nREACHBACK_RUNTIME_DIR={directory}\nXDG_RUNTIME_DIR=/nowhere\n\
                 COMP_WORDBREAKS=' @:'\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n\
                 COMP_WORDS=('{words}'); COMP_CWORD={count}; _reachback; echo \"${{COMPREPLY[*]}}\"",
                completion::script()
            );
            let ran = Command::new("bash").args(["-c", &script]).output();
            let ran = ran.expect("bash is there, as for the scripts");
            assert!(
                ran.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&ran.stderr)
            );
            String::from_utf8(ran.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(complete(&["reachback", "sta"]), "status");
        assert_eq!(complete(&["reachback", "config", "--wa"]), "--wait --watch");
        assert_eq!(
            complete(&["reachback", "-o", "ServerAlive"]),
            "ServerAliveCountMax= ServerAliveInterval="
        );
        assert_eq!(complete(&["reachback", "-O", "c"]), "check cancel");
        assert_eq!(complete(&["reachback", "-R", "1"]), "");
        let running = "op@hub.example op@hub.example:2222";
        assert_eq!(complete(&["reachback", "stop", ""]), running);
        let rest = "hub.example hub.example:2222";
        assert_eq!(complete(&["reachback", "status", "op@hu"]), rest);
    }
}
