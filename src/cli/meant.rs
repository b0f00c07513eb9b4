//! What was meant by a word in a command's place that is no command.

use reachback_core::keyword::nearest_of;

use super::flags::{SUBCOMMANDS, Subcommand};
use super::{Command, Options, help};
use crate::exit::Exit;

/// Words of other programs, with what they are here.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "list",
        "reachback status shows the tunnels, reachback known-hosts the pinned host keys",
    ),
    (
        "start",
        "reachback -f -R 1111:localhost:22 user@host begins a tunnel, reachback boot those of \
         the configuration",
    ),
    (
        "restart",
        "reachback reconnect connects anew, reachback renew takes the program that is installed now",
    ),
];

/// What a line asks for whose first word names no server and is close to a command. None for
/// everything else: what has a forward, names a `Host` block, or is close to nothing.
///
/// # Errors
/// [`crate::exit::USAGE`] with the command that was meant.
pub fn command(options: &Options, words: &[String]) -> Result<Option<Command>, Exit> {
    let Some((word, rest)) = words.split_first() else {
        return Ok(None);
    };
    let names_server = || {
        let read = options.read_all("", None);
        read.is_ok_and(|read| {
            read.names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(word))
        })
    };
    let is_word = word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    if !is_word || options.order.is_some() || !options.config.forwards().is_empty() {
        return Ok(None);
    }
    let found = match word.as_str() {
        "help" | "version" => Ok(word.as_str()),
        word => match ELSEWHERE.iter().find(|(known, _)| *known == word) {
            Some((_, meant)) => Err((*meant).to_owned()),
            None => match nearest(word) {
                Some(command) if command.name == word => {
                    Err(format!("it stands first: reachback {word} ..."))
                }
                Some(command) => Err(format!(
                    "did you mean {}? a server of that name is user@{word}",
                    command.name
                )),
                None => return Ok(None),
            },
        },
    };
    if names_server() {
        return Ok(None);
    }
    match (found, rest) {
        (Ok("version"), _) => Ok(Some(Command::Version)),
        (Ok(_), [name, ..]) => match nearest(name) {
            Some(command) => Ok(Some(Command::Print(help::of(command)))),
            None => Ok(Some(Command::Help)),
        },
        (Ok(_), []) => Ok(Some(Command::Help)),
        (Err(meant), _) => Err(Exit::usage(format!("no such command: {word}: {meant}"))),
    }
}

fn nearest(word: &str) -> Option<&'static Subcommand> {
    let name = nearest_of(word, SUBCOMMANDS.iter().map(|known| known.name))?;
    SUBCOMMANDS.iter().find(|known| known.name == name)
}
