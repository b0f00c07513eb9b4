//! The command lines that ask running tunnels: `status`, `stop`, `reconnect` and `-O`.

use std::path::PathBuf;

use reachback_core::config::Config;

use super::{Command, Options, destination};
use crate::call::{Order, What};
use crate::exit::Exit;
use crate::keys;
use crate::owner;
use crate::status::View;

/// The directory of the control sockets.
pub fn directory(config: &Config) -> PathBuf {
    let configured = config.runtime_directory().map(keys::absolute);
    owner::directory(configured.as_deref())
}

/// Whether each flag stands where it means something.
pub fn check(options: &Options, subcommand: Option<&str>) -> Result<(), Exit> {
    let misplaced = [
        (options.json, "--json", "status"),
        (options.watch, "--watch", "status"),
        (options.all, "--all", "stop"),
    ];
    for (given, flag, command) in misplaced {
        if given && subcommand != Some(command) {
            return Err(Exit::usage(format!(
                "{flag}: only with reachback {command}"
            )));
        }
    }
    if options.order.is_some() && subcommand.is_some() {
        return Err(Exit::usage(
            "-O: only with a destination, without subcommand",
        ));
    }
    Ok(())
}

/// `reachback status [destination]`.
pub fn status(options: &Options, words: &[String]) -> Result<Command, Exit> {
    let (name, config) = named(options, words)?;
    Ok(Command::Status(View {
        directory: directory(&config),
        destination: name,
        json: options.json,
        watch: options.watch,
    }))
}

/// `-O`, `reachback stop [destination | --all]` and `reachback reconnect [destination]`.
pub fn order(options: &Options, words: &[String], what: What) -> Result<Command, Exit> {
    if options.order.is_some() && words.is_empty() {
        return Err(Exit::usage("no destination: -O: give user@host[:port]"));
    }
    if options.all && !words.is_empty() {
        return Err(Exit::usage("--all: not together with a destination"));
    }
    let (name, config) = named(options, words)?;
    // The file's forwards are not what was meant here.
    let forwards = options.config.forwards().to_vec();
    if matches!(what, What::Forward | What::Cancel) && forwards.is_empty() {
        return Err(Exit::usage("no forward: -O: name it with -R"));
    }
    Ok(Command::Order(Order {
        what,
        directory: directory(&config),
        name: name.map(|(name, _)| name),
        all: options.all,
        forwards,
    }))
}

/// The destination's file name and its words, if one is given.
fn named(options: &Options, words: &[String]) -> Result<(Option<(String, String)>, Config), Exit> {
    if words.is_empty() {
        return Ok((None, options.read_config("")?));
    }
    let (destination, config) = destination(options, words)?;
    let port = destination.port.unwrap_or_else(|| config.port());
    let name = owner::name(&destination, port);
    Ok((Some((name, destination.to_string())), config))
}
