//! The texts of `--help`, for a terminal of 80 columns.

use reachback_core::keyword::KEYWORDS;

use super::flags::{self, Action, FOREIGN, LONG_ONLY, SUBCOMMANDS, Subcommand};

/// Columns.
const WIDTH: usize = 80;

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Keeps SSH reverse forwards to a server up.\n\n\
         reachback [flags] user@host[:port]\nreachback COMMAND ...\n\n\
         Commands (reachback help COMMAND shows examples):\n",
    );
    for command in &SUBCOMMANDS {
        let left = format!("{} {}", command.name, command.arguments);
        row(&mut text, &left, 33, command.help);
    }
    text.push_str("\nFlags:\n");
    for flag in flags::all() {
        let left = match (flag.short, flag.long) {
            // An optional argument begins with its `=`.
            (LONG_ONLY, Some(long)) => {
                let space = flag.argument.starts_with(|c: char| c.is_ascii_alphabetic());
                format!("--{long}{}{}", if space { " " } else { "" }, flag.argument)
            }
            (short, Some(long)) => format!("-{short}, --{long} {}", flag.argument),
            (short, None) => format!("-{short} {}", flag.argument),
        };
        row(&mut text, &left, 22, flag.help);
    }
    text.push_str(
        "\nTaken from lines of ssh, dbclient and autossh, without effect; see the manual:\n",
    );
    let taken = FOREIGN.iter().filter(|flag| flag.action != Action::Refused);
    let taken: String = taken.map(|flag| format!("-{} ", flag.short)).collect();
    row(&mut text, "", 2, &(taken + "-M port"));
    text.push_str("\nKeywords of -o and of the configuration file (default):\n");
    for keyword in &KEYWORDS {
        let default = match keyword.default {
            "" => String::new(),
            default => format!(" ({default})"),
        };
        row(
            &mut text,
            keyword.name,
            25,
            &format!("{}{default}", keyword.help),
        );
    }
    text.push_str("\nExit codes are those of sysexits(3). Network trouble never ends it.\n");
    text
}

/// The text of `reachback help COMMAND`.
pub fn of(command: &Subcommand) -> String {
    let Subcommand {
        name,
        arguments,
        help,
        examples,
    } = command;
    let mut text = format!("reachback {name} {arguments}\n\n");
    row(&mut text, "", 2, help);
    text.push_str("\nExamples:\n");
    for example in examples {
        text.push_str("  reachback ");
        text.push_str(example);
        text.push('\n');
    }
    text.push_str("\nFlags: reachback --help\n");
    text
}

/// Two columns: the right one is broken between words, and begins a line of its own where the left
/// one is too long.
fn row(text: &mut String, left: &str, column: usize, right: &str) {
    let mut line = format!("  {}", left.trim_end());
    if line.len() >= column && !left.is_empty() {
        text.push_str(&line);
        text.push('\n');
        line.clear();
    }
    let mut line = format!("{line:column$}");
    for word in right.split(' ') {
        let is_first = line.len() <= column;
        if !is_first && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(column);
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
