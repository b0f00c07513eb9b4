//! The command lines about the configuration itself: `config`, `check` and `boot`.

use std::ffi::OsString;
use std::path::PathBuf;

use reachback_core::config::Config;
use reachback_core::destination::Destination;
use reachback_core::keyword::KEYWORDS;

use super::options::DEFAULT_CONFIG_FILE;
use super::{Command, Note, Options, Settings, known_hosts_files, prepared, tunnel_settings};
use crate::boot::Boot;
use crate::exit::Exit;
use crate::hostkey;

/// One thing that `reachback check` looks at.
#[derive(Debug)]
pub struct Checked {
    /// The file, or the destination as the file or the caller names it.
    pub what: String,
    /// The files to look at, if any; or what is wrong without looking.
    pub found: Result<Option<Local>, Exit>,
}

/// The files of one tunnel.
#[derive(Debug)]
pub struct Local {
    /// Private keys; the default ones where none is named.
    pub identity_files: Vec<PathBuf>,
    /// For the proxy's login.
    pub config: Config,
    /// The pinned host keys.
    pub known_hosts_files: Vec<PathBuf>,
    /// Whether new ones are pinned.
    pub accept_new: bool,
    /// `RunAsUser`.
    pub run_as_user: Option<String>,
    /// What a person should know besides.
    pub notes: Vec<Note>,
}

impl Local {
    fn of(settings: &Settings) -> Local {
        Local {
            identity_files: settings.identity_files(),
            config: settings.config.clone(),
            known_hosts_files: settings.known_hosts_files(),
            accept_new: settings.accept_new,
            run_as_user: settings.config.run_as_user().map(str::to_owned),
            notes: settings.notes.clone(),
        }
    }
}

/// `reachback config [destination]`: the values that hold, a line each.
pub fn config(options: &Options, words: &[String]) -> Result<Command, Exit> {
    let config = match words {
        [] => options.read_config("")?,
        words => {
            let (destination, _, mut read) = prepared(options, words)?;
            read.config.settle(&destination);
            read.config
        }
    };
    let lines = KEYWORDS.iter().map(|keyword| config.lines(keyword));
    Ok(Command::Print(
        lines.map(|lines| lines.to_string()).collect(),
    ))
}

/// `reachback check [destination]`: the configuration, and the files of the tunnel to that
/// destination, or of each `Host` name that is one.
pub fn check(options: Options, words: &[String]) -> Result<Command, Exit> {
    let names = options.read_all("", None)?.names;
    let mut checked = Vec::new();
    match options.config_file() {
        Some(file) => checked.push(Checked {
            what: file.display().to_string(),
            found: Ok(None),
        }),
        None if words.is_empty() => {
            let shown = options.file.as_deref().map(|file| file.display());
            let shown = shown.map_or(DEFAULT_CONFIG_FILE.to_owned(), |file| file.to_string());
            return Err(Exit::usage(format!(
                "nothing to check: no configuration file: {shown}; name one with -F or a destination"
            )));
        }
        None => {}
    }
    if !words.is_empty() {
        checked.push(tunnel(&options, words));
        return Ok(Command::Check(checked));
    }
    for name in names {
        let config = options.read_config(&name)?;
        if config.start_at_boot() || (!config.forwards().is_empty() && config.user().is_some()) {
            checked.push(tunnel(&options, std::slice::from_ref(&name)));
        }
    }
    Ok(Command::Check(checked))
}

fn tunnel(options: &Options, words: &[String]) -> Checked {
    let found = tunnel_settings(options.clone(), words);
    let found = found.map(|settings| Some(Local::of(&settings)));
    Checked {
        what: crate::logging::escaped(words.join(" ")).to_string(),
        found,
    }
}

/// `reachback known-hosts`: the files of the configuration, and the name under which a server's keys
/// are known.
pub fn known_hosts(options: &Options, words: &[String]) -> Result<Command, Exit> {
    let (config, forget) = match words {
        [] => (options.read_config("")?, None),
        [word, name] if word == "forget" => {
            // As the file and the list have it: only an address keeps its brackets.
            let bare = name
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("]:"));
            let name = match bare {
                Some((host, port)) if !host.contains(':') => format!("{host}:{port}"),
                _ => name.clone(),
            };
            let (destination, _, read) = prepared(options, &[name])?;
            let port = destination.port.unwrap_or_else(|| read.config.port());
            let name = match read.config.host_key_alias() {
                Some(alias) => (alias.to_owned(), 22),
                None => (destination.host.to_string(), port),
            };
            (read.config, Some(name))
        }
        _ => {
            return Err(Exit::usage(
                "known-hosts: give nothing for the list, or: forget HOST[:PORT]",
            ));
        }
    };
    let files = known_hosts_files(&config);
    Ok(Command::KnownHosts(hostkey::Order { files, forget }))
}

/// `reachback boot`: the `Host` names with `StartAtBoot yes`; with `--list` they are printed only.
pub fn boot(options: &Options, words: &[String], flags: Vec<OsString>) -> Result<Command, Exit> {
    if let Some(word) = words.first() {
        return Err(Exit::usage(format!(
            "unexpected argument: {}: boot takes its destinations from the configuration",
            crate::logging::escaped(word)
        )));
    }
    let all = options.read_all("", None)?.names;
    let (mut names, mut unfit) = (Vec::new(), Vec::new());
    for name in all {
        if options.read_config(&name)?.start_at_boot() {
            let read = Destination::parse_with_default(&name, Some("user"));
            let fits = read.is_ok_and(|read| read.host.eq_ignore_ascii_case(&name));
            let list = if fits { &mut names } else { &mut unfit };
            list.push(name);
        }
    }
    Ok(Command::Boot(Boot {
        names,
        unfit,
        list: options.list,
        flags,
    }))
}
