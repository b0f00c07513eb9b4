//! The command lines that ask running tunnels: `status`, `stop`, `reconnect`,
//! `reload`, `renew` and `-O`.

use std::path::PathBuf;

use reachback_core::config::Config;
use reachback_core::destination::Destination;

use super::{Command, Options, destination, local};
use crate::exit::Exit;
use crate::instance::lock;
use crate::instance::orders::{Order, What};
use crate::keys;
use crate::status::View;

/// The directory of the control sockets.
pub fn directory(config: &Config) -> PathBuf {
    let configured = config.runtime_directory().map(keys::absolute);
    lock::directory(configured.as_deref())
}

/// Whether each flag stands where it means something.
pub fn check(options: &Options, subcommand: Option<&str>) -> Result<(), Exit> {
    let misplaced = [
        (options.watch, "--watch", "status"),
        (options.short, "--short", "status"),
        (options.service, "--service", "stop"),
        (options.list, "--list", "boot"),
        (options.password_fd.is_some(), "--password-fd", "enroll"),
    ];
    for (given, flag, command) in misplaced {
        if given && subcommand != Some(command) {
            return Err(Exit::usage(format!(
                "{flag}: only with reachback {command}"
            )));
        }
    }
    if options.json && !matches!(subcommand, Some("status" | "doctor")) {
        return Err(Exit::usage("--json: only with reachback status or doctor"));
    }
    if options.all && !matches!(subcommand, Some("stop" | "reload" | "renew")) {
        return Err(Exit::usage(
            "--all: only with reachback stop, reload or renew",
        ));
    }
    if options.restrict && !matches!(subcommand, Some("pubkey" | "enroll")) {
        return Err(Exit::usage(
            "--restrict: only with reachback pubkey or enroll",
        ));
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
    let named = named(options, words)?;
    Ok(Command::Status(View {
        directory: directory(&named.config),
        destination: named.name(),
        json: options.json,
        watch: options.watch,
        short: options.short,
    }))
}

/// `-O`, `reachback stop`, `reconnect`, `reload` and `renew [destination | --all]`.
pub fn order(options: &Options, words: &[String], what: What) -> Result<Command, Exit> {
    if options.order.is_some() && words.is_empty() {
        return Err(Exit::usage("no destination: -O: give user@host[:port]"));
    }
    if (options.all || options.service) && !words.is_empty() {
        let flag = if options.all { "--all" } else { "--service" };
        return Err(Exit::usage(format!(
            "{flag}: not together with a destination"
        )));
    }
    let named = named(options, words)?;
    let place = named
        .destination
        .as_ref()
        .map(|(found, given)| (found, given.as_str()));
    // The file's forwards are not what was meant here.
    let forwards = local::expand_forwards(options.config.forwards(), &named.config, place)?;
    if matches!(what, What::Forward | What::Cancel) && forwards.is_empty() {
        return Err(Exit::usage("no forward: -O: name it with -R"));
    }
    Ok(Command::Order(Order {
        what: match what {
            What::Stop if options.service => What::StopService,
            what => what,
        },
        directory: directory(&named.config),
        name: named.name().map(|(name, _)| name),
        all: options.all || options.service,
        forwards,
    }))
}

/// What running tunnels are looked for with.
struct Named {
    config: Config,
    /// The one destination, and its host as the caller gave it.
    destination: Option<(Destination, String)>,
}

impl Named {
    /// The destination's file name and its words.
    fn name(&self) -> Option<(String, String)> {
        let (destination, called) = self.destination.as_ref()?;
        let port = destination.port.unwrap_or_else(|| self.config.port());
        let name = lock::name(destination, port);
        let name = lock::find(&directory(&self.config), name, called);
        Some((name, destination.to_string()))
    }
}

fn named(options: &Options, words: &[String]) -> Result<Named, Exit> {
    if words.is_empty() {
        return Ok(Named {
            config: options.read_config("")?,
            destination: None,
        });
    }
    let (destination, given, read) = destination(options, words)?;
    Ok(Named {
        config: read.config,
        destination: Some((destination, given)),
    })
}
