//! Processes of this machine that seem to hold the same tunnel (proc(5)).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::{Uid, User};
use zeroize::Zeroizing;

use crate::cli::{Program, Settings};
use crate::sys::file;

/// Most bytes of a file of a process that are looked at.
const BYTES: usize = 16 * 1024;
/// Most bytes of a command line that are shown.
const LINE: usize = 120;
/// Those that keep a tunnel up.
const PROGRAMS: [&str; 4] = ["reachback", "ssh", "dbclient", "autossh"];

fn read(pid: u32, file: &str) -> Zeroizing<Vec<u8>> {
    let path = format!("/proc/{pid}/{file}");
    file::read_bounded(Path::new(&path), BYTES).unwrap_or_default()
}

/// The arguments of a process that is this program, whatever runs it.
pub fn arguments(pid: u32) -> Vec<OsString> {
    let bytes = read(pid, "cmdline");
    let words = || {
        bytes
            .strip_suffix(b"\0")
            .unwrap_or(&bytes)
            .split(|byte| *byte == 0)
    };
    let own = std::env::args_os().next().unwrap_or_default();
    let name = |word: &OsStr| Path::new(word).file_name().map(OsStr::to_owned);
    let at = words().position(|word| name(OsStr::from_bytes(word)) == name(&own));
    let arguments = words().skip(at.unwrap_or(0) + 1);
    arguments
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect()
}

/// Whether these arguments of this program keep a tunnel up.
pub fn is_tunnel(arguments: &[OsString]) -> bool {
    !arguments.is_empty() && Program::Reachback.starts(arguments)
}

/// The first that seems to hold a tunnel to the same account, but for the process `own` and its kin:
/// its number, its user and its command line.
pub fn other(settings: &Settings, own: u32) -> Option<(u32, String, String)> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let is_kin = || pid == own || status(pid, "PPid:") == own || status(own, "PPid:") == pid;
        let line = String::from_utf8_lossy(&read(pid, "cmdline")).into_owned();
        let words: Vec<&str> = line.split_terminator('\0').collect();
        if pid == std::process::id() || !holds(&words, settings) || is_kin() {
            continue;
        }
        let uid = status(pid, "Uid:");
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let user = user.map_or_else(|| uid.to_string(), |user| user.name);
        let line = words.join(" ");
        return Some((pid, user, line.get(..LINE).unwrap_or(&line).to_owned()));
    }
    None
}

fn holds(words: &[&str], settings: &Settings) -> bool {
    let name = |word: &&str| {
        word.rsplit('/')
            .next()
            .and_then(|name| PROGRAMS.iter().position(|known| *known == name))
    };
    // One word in front may be what runs it.
    let mut programs = words.iter().take(2).map(name);
    let Some(at) = programs.position(|found| found.is_some()) else {
        return false;
    };
    let arguments = &words[at + 1..];
    let leads = match name(&words[at]) {
        Some(0) => arguments
            .first()
            .is_some_and(|first| is_tunnel(&[first.into()])),
        _ => arguments
            .iter()
            .any(|word| word.starts_with('-') && word.contains('R')),
    };
    let (destination, port) = (&settings.destination, settings.port());
    let account = format!("{}@{}", destination.user, destination.host);
    let whole = format!("{account}:{port}");
    let port = port.to_string();
    let has_port = || port == "22" || arguments.contains(&port.as_str());
    let named = |word: &&str| {
        *word == whole
            || *word == account && has_port()
            || *word == settings.called && *word != destination.host.as_str()
    };
    leads && arguments.iter().any(named)
}

/// The first number of a line of proc_pid_status(5), or 0.
fn status(pid: u32, name: &str) -> u32 {
    let text = read(pid, "status");
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
