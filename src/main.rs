//! Keeps SSH reverse forwards from an embedded controller up.

mod app;
mod cli;
mod commands;
mod exit;
mod hostkey;
mod keys;
mod logging;
mod net;
mod relay;
mod run;
mod session;
mod sys;
mod trust;
mod tunnel;

use std::io::Write;
use std::process::ExitCode;

use cli::Command;
use exit::Exit;

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            // Without standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "reachback: {exit}");
            ExitCode::from(exit.code)
        }
    }
}

fn perform() -> Result<(), Exit> {
    match cli::parse(std::env::args_os().skip(1))? {
        Command::Run(settings) => run::run(*settings),
        Command::Invoke(invocation) => run::invoke(*invocation),
        Command::Pubkey { identity_files } => {
            commands::pubkey(&identity_files, &mut std::io::stdout().lock())
        }
        Command::Help => commands::print(&cli::help()),
        Command::Version => commands::print(&format!("reachback {}\n", cli::version())),
    }
}
