//! Who answers: a person at the terminal, or a file descriptor for automation.

use std::fs::File;
use std::io;

use reachback_ssh::interactive::Prompts;
use reachback_ssh::limits::ANSWER;
use zeroize::Zeroizing;

use crate::sys::file::reason;
use crate::sys::terminal::{self, Terminal};

/// Longest answer to a question of ours, bytes.
const WORD: usize = 16;

/// Where answers come from.
pub enum Person {
    /// A terminal.
    Terminal(Terminal),
    /// A line for each prompt.
    Lines(File),
    /// Nobody is there.
    Nobody,
}

impl Person {
    /// Whether the server with this host key is the right one: one of `yes` and `no`.
    pub fn confirms(&mut self) -> Result<bool, String> {
        let Person::Terminal(terminal) = self else {
            return Ok(false);
        };
        loop {
            let question = "Is this the server's key (yes/no)? ";
            let answer = terminal.ask(question, true, WORD);
            let answer = answer.map_err(|error| unanswered(&error))?;
            match answer.trim_ascii() {
                b"yes" | b"y" => return Ok(true),
                b"no" | b"n" => return Ok(false),
                _ => {}
            }
        }
    }

    /// The answers to what the server asks, or why there are none. `account` is `user@host`.
    pub fn answer(
        &mut self,
        prompts: &Prompts,
        account: &str,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
        let mut question = String::new();
        for text in [&prompts.name, &prompts.instruction] {
            if !text.is_empty() {
                question += &format!("{text}\n");
            }
        }
        let mut answers = Vec::with_capacity(prompts.prompts.len());
        for prompt in &prompts.prompts {
            question += &match prompt.text.is_empty() {
                true => format!("{account}'s password: "),
                false => format!("({account}) {}", prompt.text),
            };
            let answer = match self {
                Person::Terminal(terminal) => terminal.ask(&question, prompt.echo, ANSWER),
                Person::Lines(file) => terminal::line(file, ANSWER),
                Person::Nobody => {
                    return Err(
                        "a password is wanted, and there is no terminal: give it with \
                         --password-fd"
                            .to_owned(),
                    );
                }
            };
            question.clear();
            answers.push(answer.map_err(|error| unanswered(&error))?);
        }
        Ok(answers)
    }
}

fn unanswered(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Interrupted => "interrupted".to_owned(),
        io::ErrorKind::UnexpectedEof => "no answer to what the server asks".to_owned(),
        io::ErrorKind::FileTooLarge => format!("an answer of more than {ANSWER} bytes"),
        _ => format!("cannot read an answer: {}", reason(error)),
    }
}
