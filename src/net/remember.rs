//! The last address of each server at which the tunnel worked: in memory, and in a file where
//! `StateFile` names one, so that it outlives a restart.
//!
//! The file is a line `reachback-state 1` and then a line `host port address` for each server.
//! Several processes may share it. It is written when an address is new, never otherwise:
//! flash wears out.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::sys::file;

/// First line of the file: what it is, and its format's version.
const HEADER: &str = "reachback-state 1";
/// Largest file read, bytes.
const FILE_BYTES: usize = 8 * 1024;
/// Servers remembered; the oldest makes room.
const SERVERS: usize = 16;

/// Where a server was last reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    host: String,
    port: u16,
    address: IpAddr,
}

/// What is remembered of the servers.
#[derive(Debug, Default)]
pub struct Remembered {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

impl Remembered {
    /// Reads the file, if there is one. One that is damaged is left out with a warning: then
    /// nothing is remembered yet.
    pub fn open(path: Option<PathBuf>) -> Remembered {
        let entries = match &path {
            Some(path) => read(path).unwrap_or_else(|why| {
                log::warn!("state file {} is left out: {why}", path.display());
                Vec::new()
            }),
            None => Vec::new(),
        };
        Remembered { path, entries }
    }

    /// The address that worked last.
    pub fn address(&self, host: &str, port: u16) -> Option<IpAddr> {
        let found = self.entries.iter().find(|entry| entry.is(host, port));
        found.map(|entry| entry.address)
    }

    /// The tunnel works at this address. A host that is an address itself is not remembered.
    pub fn keep(&mut self, host: &str, port: u16, address: IpAddr) {
        if host.parse::<IpAddr>().is_ok() || self.address(host, port) == Some(address) {
            return;
        }
        let host = host.to_ascii_lowercase();
        put(
            &mut self.entries,
            Entry {
                host,
                port,
                address,
            },
        );
        self.save();
    }

    /// What was remembered of this server is wrong. The file keeps it until another address
    /// works: whoever reads it checks the host key as well.
    pub fn forget(&mut self, host: &str, port: u16) {
        self.entries.retain(|entry| !entry.is(host, port));
    }

    fn save(&self) {
        let Some(path) = &self.path else {
            return;
        };
        if let Err(why) = self.write(path) {
            log::warn!("cannot write the state file {}: {why}", path.display());
        }
    }

    /// Writes anew and renames, so that there is always one whole file.
    fn write(&self, path: &Path) -> Result<(), String> {
        let reason = |error: io::Error| file::reason(&error);
        // Other processes' servers stay. A damaged file is replaced; one that was never a
        // state file is somebody's, and is not touched.
        let mut entries = match file::read_bounded(path, FILE_BYTES) {
            Ok(bytes) if bytes.is_empty() => Vec::new(),
            Ok(bytes) if bytes.starts_with(HEADER.as_bytes()) => parse(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Ok(_) => return Err("it holds something else; name another".to_owned()),
            Err(error) => return Err(reason(error)),
        };
        for entry in &self.entries {
            put(&mut entries, entry.clone());
        }
        let mut text = format!("{HEADER}\n");
        for Entry {
            host,
            port,
            address,
        } in &entries
        {
            text.push_str(&format!("{host} {port} {address}\n"));
        }
        file::replace(path, text.as_bytes(), |_| Ok(())).map_err(reason)
    }
}

impl Entry {
    fn is(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.eq_ignore_ascii_case(host)
    }
}

/// Puts an entry last, in place of an older one of the same server, and keeps the bound.
fn put(entries: &mut Vec<Entry>, entry: Entry) {
    entries.retain(|old| !old.is(&entry.host, entry.port));
    if entries.len() >= SERVERS {
        entries.remove(0);
    }
    entries.push(entry);
}

fn read(path: &Path) -> Result<Vec<Entry>, String> {
    match file::read_bounded(path, FILE_BYTES) {
        Ok(bytes) if bytes.is_empty() => Ok(Vec::new()),
        Ok(bytes) => parse(&bytes).ok_or_else(|| "it is damaged".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(file::reason(&error)),
    }
}

/// All or nothing: half of a damaged file is no better than none.
fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != HEADER {
        return None;
    }
    let mut entries = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let (host, port, address) = (words.next()?, words.next()?, words.next()?);
        let entry = Entry {
            host: host.to_owned(),
            port: port.parse().ok().filter(|port| *port > 0)?,
            address: address.parse().ok()?,
        };
        if words.next().is_some() || host.is_empty() || host.contains(char::is_control) {
            return None;
        }
        put(&mut entries, entry);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn in_directory<T>(act: impl FnOnce(&Path) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        let result = act(&directory.path().join("state"));
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(left <= 1, "temporary files are left behind");
        result
    }

    fn open(path: &Path) -> Remembered {
        Remembered::open(Some(path.to_owned()))
    }

    #[test]
    fn an_address_outlives_the_process_and_the_latest_counts() {
        in_directory(|path| {
            let mut state = open(path);
            assert_eq!(state.address("hub.test", 22), None);
            state.keep("hub.test", 22, ip("10.0.0.1"));
            state.keep("Hub.test", 22, ip("fd00::1"));
            state.keep("hub.test", 2222, ip("10.0.0.3"));
            let text = std::fs::read_to_string(path).unwrap();
            let wanted = "reachback-state 1\nhub.test 22 fd00::1\nhub.test 2222 10.0.0.3\n";
            assert_eq!(text, wanted);
            assert_eq!(open(path).address("HUB.test", 22), Some(ip("fd00::1")));
        });
    }

    #[test]
    fn the_file_is_written_only_when_an_address_is_new() {
        in_directory(|path| {
            let mut state = open(path);
            state.keep("hub.test", 22, ip("10.0.0.1"));
            std::fs::remove_file(path).unwrap();
            state.keep("hub.test", 22, ip("10.0.0.1"));
            state.keep("10.0.0.1", 22, ip("10.0.0.1"));
            assert!(!path.exists());
        });
    }

    #[test]
    fn processes_that_share_a_file_keep_each_others_servers() {
        in_directory(|path| {
            let (mut one, mut two) = (open(path), open(path));
            one.keep("one.test", 22, ip("10.0.0.1"));
            two.keep("two.test", 22, ip("10.0.0.2"));
            let both = open(path);
            assert_eq!(both.address("one.test", 22), Some(ip("10.0.0.1")));
            assert_eq!(both.address("two.test", 22), Some(ip("10.0.0.2")));
        });
    }

    #[test]
    fn a_damaged_file_is_left_out_and_replaced_by_the_next_address() {
        for damaged in [
            &b"reachback-state 1\nhub.test 22 10.0.0."[..],
            b"reachback-state 1\nhub.test 22 10.0.0.1",
            b"reachback-state 1\nhub.test 22 10.0.0.1 x\n",
            b"reachback-state 1\nhub.test 0 10.0.0.1\n",
            b"reachback-state 1\nhub.test ssh 10.0.0.1\n",
            b"reachback-state 1\n\n",
            b"reachback-state 1\n\xff\n",
            b"reachback-state 1 hub.test 22 10.0.0.1\n",
        ] {
            in_directory(|path| {
                std::fs::write(path, damaged).unwrap();
                let mut state = open(path);
                assert!(state.entries.is_empty(), "{}", damaged.escape_ascii());
                state.keep("hub.test", 22, ip("10.0.0.9"));
                assert_eq!(open(path).address("hub.test", 22), Some(ip("10.0.0.9")));
            });
        }
    }

    #[test]
    fn a_file_that_is_something_else_or_too_large_is_not_touched() {
        for other in [b"-----BEGIN KEY-----\n".to_vec(), vec![b'x'; 9000]] {
            in_directory(|path| {
                std::fs::write(path, &other).unwrap();
                let mut state = open(path);
                state.keep("hub.test", 22, ip("10.0.0.9"));
                assert_eq!(state.address("hub.test", 22), Some(ip("10.0.0.9")));
                assert_eq!(std::fs::read(path).unwrap(), other);
            });
        }
    }

    #[test]
    fn no_more_than_16_servers_are_remembered() {
        in_directory(|path| {
            let mut state = open(path);
            for port in 1..=40 {
                state.keep("hub.test", port, ip("10.0.0.1"));
            }
            assert_eq!(state.entries.len(), 16);
            assert_eq!(open(path).entries.len(), 16);
            assert_eq!(open(path).address("hub.test", 40), Some(ip("10.0.0.1")));
        });
    }

    #[test]
    fn what_is_forgotten_does_not_stand_in_again() {
        let mut state = Remembered::open(None);
        state.keep("hub.test", 22, ip("10.0.0.1"));
        state.forget("hub.test", 22);
        assert_eq!(state.address("hub.test", 22), None);
    }
}
