//! Keeps SSH reverse forwards from an embedded controller up.
// The ARM build leaves the code of Debug out (scripts/build-arm.sh): it would print nothing.
#![cfg_attr(not(test), deny(clippy::use_debug))]

mod app;
mod boot;
mod check;
mod cli;
mod commands;
mod doctor;
mod enroll;
mod errands;
mod exit;
mod hold;
mod hostkey;
mod instance;
mod invoke;
mod keys;
mod logging;
mod net;
mod once;
mod plan;
mod privilege;
mod proxy;
mod renew;
mod reread;
mod run;
mod status;
mod sys;
mod trust;

use std::io::Write;
use std::process::ExitCode;

use cli::Command;
use exit::Exit;
use instance::{orders, supervisor};

fn main() -> ExitCode {
    sys::relro::protect();
    sys::user::keep_to_itself();
    // The start goes deep into the stack, and a tunnel stays for years: it begins from here.
    let ended = perform().and_then(|done| match done {
        Done::Status(code) => Ok(code),
        Done::Holder(holder) => holder.hold(),
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(exit) => {
            // Without standard error there is nobody to tell; who does not read it is not waited
            // for.
            if logging::stderr_takes(1000) {
                let _ = writeln!(std::io::stderr(), "reachback: {exit}");
            }
            leave_in_syslog(&exit);
            ExitCode::from(exit.code)
        }
    }
}

/// A tunnel that does not start where nobody looks leaves its line in syslog.
fn leave_in_syslog(exit: &Exit) {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let program = cli::Program::this();
    let unseen = logging::stderr_is_null() && program.starts(&arguments);
    if exit.is_said || !unseen && !program.goes_to_background(&arguments) {
        return;
    }
    logging::init(logging::Target::syslog(), log::LevelFilter::Error);
    log::error!("not started: {}", exit.line());
}

/// What is left to do in `main`.
enum Done {
    /// Nothing failed; the exit status.
    Status(u8),
    /// To hold a tunnel.
    Holder(Box<hold::Holder>),
}

impl From<run::Ran> for Done {
    fn from(ran: run::Ran) -> Done {
        match ran {
            run::Ran::Caller | run::Ran::HandedOver(_) => Done::Status(0),
            run::Ran::Holder(holder) => Done::Holder(Box::new(holder)),
        }
    }
}

#[inline(never)]
fn perform() -> Result<Done, Exit> {
    if let Some(before) = supervisor::before() {
        return run::resume(before).map(Done::from);
    }
    if renew::is_look() {
        return run::look().map(|()| Done::Status(0));
    }
    match cli::parse(std::env::args_os().skip(1).collect())? {
        Command::Status(view) => return status::run(&view).map(Done::Status),
        Command::Doctor(visit) => return doctor::run(&visit).map(Done::Status),
        Command::Enroll(enrollment) => return enroll::run(&enrollment).map(Done::Status),
        Command::Run(settings) => {
            sys::inherit::close_the_callers();
            return run::begin(*settings).map(Done::from);
        }
        Command::Invoke(invocation) => {
            sys::inherit::close_the_callers();
            return invoke::invoke(*invocation).map(Done::from);
        }
        Command::Order(order) => orders::order(&order),
        Command::Pubkey {
            identity_files,
            options,
        } => commands::pubkey(&identity_files, &options),
        Command::Print(text) => commands::print(&text),
        Command::Check(checked) => check::run(checked),
        Command::KnownHosts(order) => hostkey::pins(&order).and_then(|text| commands::print(&text)),
        Command::Boot(boot) => boot::run(&boot),
        Command::Help => commands::print(&cli::help()),
        Command::Version => commands::print(&format!("reachback {}\n", cli::version())),
    }
    .map(|()| Done::Status(0))
}
