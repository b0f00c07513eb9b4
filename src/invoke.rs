//! What a custom script asks for: its lines of the log, and one line for a person at a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use log::{error, info};
use reachback_core::control::Request;

use crate::cli::{Invocation, Word};
use crate::commands;
use crate::exit::Exit;
use crate::instance::client::CallError;
use crate::instance::orders::HandedOver;
use crate::instance::withdraw;
use crate::logging::{self, Target, escaped};
use crate::run::{Ran, begin};
use crate::status;

const COMPLETED: &str = "Ebee custom script invocation completed";

/// The log has what OCPP's backend looks for, and standard output nothing unless somebody sits there.
///
/// # Errors
/// [`crate::exit::USAGE`] for an argument that is neither a destination nor a word, and those of
/// [`crate::run::begin`].
pub fn invoke(invocation: Invocation) -> Result<Ran, Exit> {
    logging::init(Target::syslog(), logging::filter(invocation.log_level()));
    let parameter = invocation.parameter();
    info!(
        "Ebee custom script invoked with parameter {}",
        escaped(&parameter)
    );
    if let Some(word) = invocation.order() {
        let (forwards, directory) = invocation.own_forwards()?;
        match word {
            Word::Off => withdraw::withdraw(&directory, &forwards)?,
            Word::Reconnect => withdraw::reconnect(&directory, &forwards)?,
            Word::Status => status::lines(&directory)?.iter().try_for_each(|line| {
                info!("{line}");
                tell(line)
            })?,
        }
        info!("{COMPLETED}");
        return Ok(Ran::Caller);
    }
    let destination = match invocation.destination() {
        Ok(destination) => destination,
        Err(why) => {
            info!("Ebee custom script not invoked: Argument does not match user@domain");
            return Err(Exit::usage(format!(
                "argument does not match user@domain: '{}': {why}; also off, stop, status, reconnect",
                escaped(&parameter)
            )));
        }
    };
    let shown = destination.to_string();
    let done = match invocation.settings(destination).and_then(begin) {
        Ok(Ran::Caller) => "started".to_owned(),
        Ok(Ran::HandedOver(handed)) => state(handed),
        Ok(holder) => return Ok(holder),
        Err(exit) => {
            error!("not started: {}", exit.line());
            return Err(exit.said());
        }
    };
    info!("{COMPLETED}");
    tell(&format!("{shown}: {done}; see: reachback status"))?;
    Ok(Ran::Caller)
}

/// How a tunnel is that ran already.
fn state(handed: HandedOver) -> String {
    let HandedOver { mut owner, refused } = handed;
    let mut words = match owner.order(&Request::Wait(Duration::ZERO)) {
        Ok(_) => "already up".to_owned(),
        Err(CallError::Refused(_, why)) => format!("not up: {why}"),
        Err(error) => error.to_string(),
    };
    for note in refused {
        words = format!("{words}; {}", note.text);
    }
    words
}

/// For a person.
fn tell(line: &str) -> Result<(), Exit> {
    match std::io::stdout().is_terminal() {
        true => commands::print(&format!("{line}\n")),
        false => Ok(()),
    }
}
