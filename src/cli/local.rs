//! What this machine has to say to the tokens of a configuration.

use std::path::Path;

use reachback_core::config::Config;
use reachback_core::destination::{Destination, UserName, parse_user};
use reachback_core::forward::ForwardSpec;
use reachback_core::tokens::{self, MAX_SERIAL, Remote, Tokens};

use crate::exit::{self, Exit};
use crate::keys;
use crate::logging::escaped;
use crate::sys::{file, host};

/// Largest `SerialFile`, bytes; blanks around the number included.
const SERIAL_BYTES: usize = 4 * MAX_SERIAL;

/// This machine, its user, and its serial number where it is asked for.
struct Here {
    home: String,
    local_host: String,
    local_user: String,
    serial: Option<String>,
}

impl Here {
    fn look(serial_file: Option<&str>) -> Result<Here, Exit> {
        let home = host::home_directory();
        Ok(Here {
            home: home.to_string_lossy().into_owned(),
            local_host: host::host_name(),
            local_user: host::user_name(),
            serial: serial_file
                .map(|path| read_serial(&keys::absolute(path)))
                .transpose()?,
        })
    }

    fn tokens<'a>(&'a self, remote: Option<Remote<'a>>) -> Tokens<'a> {
        Tokens {
            variable: &|name, give| match std::env::var(name) {
                Ok(value) => {
                    give(&value);
                    true
                }
                Err(_) => false,
            },
            remote,
            home: &self.home,
            local_host: &self.local_host,
            local_user: &self.local_user,
            uid: host::user_id(),
            serial: self.serial.as_deref(),
        }
    }
}

fn read_serial(path: &Path) -> Result<String, Exit> {
    let shown = path.display();
    let bytes = file::read_bounded(path, SERIAL_BYTES).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
            std::io::ErrorKind::FileTooLarge => exit::DATA,
            _ => exit::NO_INPUT,
        };
        let reason = file::reason(&error);
        let message = format!("cannot read the serial number: {shown}: {reason}; see SerialFile");
        Exit::new(code, message)
    })?;
    match tokens::serial(&bytes) {
        Ok(serial) => Ok(serial.to_owned()),
        Err(error) => Err(Exit::new(
            exit::DATA,
            format!("bad serial number: {shown}: {error}"),
        )),
    }
}

fn remote<'a>(destination: &'a Destination, given: &'a str, port: u16) -> Remote<'a> {
    Remote {
        host: &destination.host,
        given,
        port,
        user: &destination.user,
    }
}

fn bad(why: &dyn std::fmt::Display) -> Exit {
    Exit::new(exit::CONFIG, format!("bad configuration: {why}"))
}

/// Replaces the tokens of a configuration for a destination that was given as `given`.
///
/// # Errors
/// [`exit::CONFIG`] for a token that has no value or makes no path; [`exit::NO_INPUT`],
/// [`exit::NO_PERMISSION`] and [`exit::DATA`] for the file with the serial number, which is read
/// only if it is asked for.
pub fn expand(config: &mut Config, destination: &Destination, given: &str) -> Result<(), Exit> {
    let port = destination.port.unwrap_or_else(|| config.port());
    let serial = config.uses_token('s').then(|| config.serial_file());
    let here = Here::look(serial.flatten())?;
    let remote = remote(destination, given, port);
    let expanded = config.expand(&here.tokens(Some(remote)));
    expanded.map_err(|error| bad(&error))
}

/// The login name that `ScriptUser` puts in the place of a script's.
///
/// # Errors
/// As [`expand`]; [`exit::CONFIG`] for what is no login name.
pub fn script_user(
    config: &Config,
    destination: &Destination,
    given: &str,
) -> Result<Option<UserName>, Exit> {
    let template = config.script_user();
    let login = |template| login("ScriptUser", template, config, destination, given);
    template.map(login).transpose()
}

/// The login name that a keyword's template makes; `%r` in it is the destination's user.
///
/// # Errors
/// As [`expand`]; [`exit::CONFIG`] for what is no login name.
pub fn login(
    keyword: &str,
    template: &str,
    config: &Config,
    destination: &Destination,
    given: &str,
) -> Result<UserName, Exit> {
    let port = destination.port.unwrap_or_else(|| config.port());
    let here = Here::look(config.serial_file().filter(|_| tokens::uses(template, 's')))?;
    let tokens = here.tokens(Some(remote(destination, given, port)));
    let wrong = |why: &dyn std::fmt::Display| bad(&format_args!("{keyword}: {why}"));
    let user: UserName = tokens.expand(template).map_err(|error| wrong(&error))?;
    parse_user(&user).map_err(|error| wrong(&error))
}

/// The same for the forwards of an order; without a destination its tokens have no value.
///
/// # Errors
/// As [`expand`].
pub fn expand_forwards(
    forwards: &[ForwardSpec],
    config: &Config,
    destination: Option<(&Destination, &str)>,
) -> Result<Vec<ForwardSpec>, Exit> {
    let asked = forwards.iter().any(|spec| spec.uses_token('s'));
    let here = Here::look(config.serial_file().filter(|_| asked))?;
    let remote = destination.map(|(destination, given)| {
        let port = destination.port.unwrap_or_else(|| config.port());
        remote(destination, given, port)
    });
    let expanded = forwards.iter().map(|spec| {
        let tokens = here.tokens(remote);
        let shown = escaped(spec);
        spec.expand(&tokens)
            .map_err(|error| bad(&format_args!("{shown}: {error}")))
    });
    expanded.collect()
}
