//! The command line of `doctor`: which tunnel, and with which settings.

use std::ffi::OsString;
use std::path::Path;

use reachback_core::keyword::KEYWORDS;

use super::{
    Command, Options, destination, orders, parse_after, prepared, settings_without_forward,
};
use crate::doctor::{Visit, arguments, is_tunnel, socket};
use crate::exit::Exit;
use crate::instance::client::Owner;
use crate::instance::lock;
use crate::reread::settings_in;
use crate::sys::host;

/// `reachback doctor [destination]`. A tunnel that runs was called with flags that no file has: they
/// hold, behind those of this call, if its process is this user's.
pub fn doctor(options: Options, words: &[String]) -> Result<Command, Exit> {
    let mut words = words.to_vec();
    let mut running = None;
    if words.is_empty() {
        let directory = orders::directory(&options.read_config("")?);
        for socket in lock::sockets(&directory) {
            if Owner::open(&socket).is_ok() {
                words.push(
                    socket
                        .file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                );
                running = called_with(&socket);
            }
        }
        if words.is_empty() {
            words = options.read_all("", None)?.names;
        }
        if words.len() != 1 {
            return Err(Exit::usage(match words.as_slice() {
                [] => "doctor: no tunnel is running, none is configured: give user@host[:port]"
                    .to_owned(),
                words => format!("doctor: name one of: {}", words.join(" ")),
            }));
        }
    } else if let Ok((destination, called, read)) = destination(&options, &words) {
        // What is wrong with the line is a step's to say.
        let directory = orders::directory(&read.config);
        let port = destination.port.unwrap_or_else(|| read.config.port());
        let name = lock::name(&destination, port);
        running = called_with(&socket(&directory, name, (&called, &destination.host)));
    }
    let json = options.json;
    let what = crate::logging::escaped(words.join(" ")).to_string();
    let process = running.as_ref().map(|(pid, _)| *pid);
    let settings = match running {
        Some((_, arguments)) => {
            let command = parse_after(&asked(&options), arguments);
            command.and_then(settings_in)
        }
        // A forward need not be named.
        None => prepared(&options, &words).and_then(|(destination, called, read)| {
            settings_without_forward(options, destination, called, read)
        }),
    };
    Ok(Command::Doctor(Box::new(Visit {
        what,
        process,
        settings: settings.map(Box::new),
        json,
    })))
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
