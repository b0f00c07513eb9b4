//! The command line of `doctor`: which tunnel, and with which settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reachback_core::keyword::KEYWORDS;

use super::{Command, Options, Settings, orders, parse_after, prepared, settings_without_forward};
use crate::doctor::{Visit, arguments, is_tunnel, socket};
use crate::exit::Exit;
use crate::instance::client::Owner;
use crate::instance::lock;
use crate::logging::escaped;
use crate::reread::settings_in;
use crate::sys::host;

/// `reachback doctor [destination]`. A tunnel that runs was called with flags that no file has: they
/// hold, behind those of this call, if its process is this user's.
pub fn doctor(options: Options, words: &[String]) -> Result<Command, Exit> {
    let mut words = words.to_vec();
    if words.is_empty() {
        words = candidates(&options)?;
        if words.len() != 1 {
            return Err(Exit::usage(match words.as_slice() {
                [] => "doctor: no tunnel is running, none is configured: give user@host[:port]"
                    .to_owned(),
                words => format!("doctor: name one of: {}", words.join(" ")),
            }));
        }
    }
    let (json, asked) = (options.json, asked(&options));
    // A forward need not be named.
    let given = prepared(&options, &words).and_then(|(destination, called, read)| {
        settings_without_forward(options, destination, called, read)
    });
    let running = given
        .as_ref()
        .ok()
        .and_then(|given| called_with(&socket(given)));
    let (process, settings) = match running {
        Some((pid, arguments)) => {
            let command = parse_after(&asked, arguments);
            (Some(pid), command.and_then(settings_in))
        }
        None => (None, given),
    };
    Ok(Command::Doctor(Box::new(Visit {
        what: escaped(words.join(" ")).to_string(),
        process,
        settings: settings.map(Box::new),
        json,
    })))
}

/// The tunnels that run, else those of the configuration.
fn candidates(options: &Options) -> Result<Vec<String>, Exit> {
    let sockets = running(options)?;
    let name = |socket: &PathBuf| Some(socket.file_stem()?.to_string_lossy().into_owned());
    match sockets.is_empty() {
        true => Ok(options.read_all("", None)?.names),
        false => Ok(sockets.iter().filter_map(name).collect()),
    }
}

fn running(options: &Options) -> Result<Vec<PathBuf>, Exit> {
    let directory = orders::directory(&options.read_config("")?);
    lock::check_for_look(&directory)?;
    let mut sockets = lock::sockets(&directory);
    sockets.retain(|socket| Owner::open(socket).is_ok());
    Ok(sockets)
}

/// The settings of the tunnel that runs, if there is one and no second.
pub fn settings_of_the_only(options: &Options) -> Option<Settings> {
    match running(options).ok()?.as_slice() {
        [socket] => settings_in(parse_after(&[], called_with(socket)?.1).ok()?).ok(),
        _ => None,
    }
}

/// What the flags say, in the form of `-o`.
fn asked(options: &Options) -> Vec<String> {
    let mut asked = String::new();
    for keyword in KEYWORDS
        .iter()
        .filter(|keyword| options.config.is_set(keyword))
    {
        asked += &options.config.lines(keyword).to_string();
    }
    asked.lines().map(str::to_owned).collect()
}

/// The process that holds a tunnel, and its arguments. Those of another user's process are not
/// believed: they name keys to be read and servers to be called.
fn called_with(socket: &Path) -> Option<(u32, Vec<OsString>)> {
    let pid = Owner::open_of(socket, host::user_id()).ok()?.pid;
    let arguments = arguments(pid);
    is_tunnel(&arguments).then_some((pid, arguments))
}
