//! The tunnels of other users, as far as they can be found without believing what those wrote.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{SOCKET, SYSTEM, entries, is_name, sockets};
use crate::sys::file;

/// Most sockets of one user that are asked.
const MOST_SOCKETS: usize = 16;
/// Longest list of sockets of proc(5) that is read, bytes.
const LIST_BYTES: usize = 1024 * 1024;
/// `SO_ACCEPTCON` in that list: somebody listens.
const LISTENS: &str = " 00010000 ";

/// The sockets of users other than root, with the user, where this program puts them by default. Each
/// of their directories and sockets is that user's own, and none a symbolic link.
pub fn others() -> Vec<(u32, PathBuf)> {
    let mut found = Vec::new();
    for (parent, prefix, below) in [("/run/user", "", "reachback"), ("/tmp", "reachback-", "")] {
        for path in entries(Path::new(parent)) {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix(prefix));
            let Some(uid) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            let directory = path.join(below);
            if uid != 0 && is_his(&path, uid) && is_his(&directory, uid) {
                let sockets = sockets(&directory).into_iter();
                let sockets = sockets.filter(|path| is_socket(path, uid));
                found.extend(sockets.take(MOST_SOCKETS).map(|path| (uid, path)));
            }
        }
    }
    found
}

fn is_his(directory: &Path, uid: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0)
}

fn is_socket(path: &Path, uid: u32) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && found.uid() == uid)
}

/// The names of the tunnels in the directory of the system, and whose that is, where this user may
/// not look into it: proc(5) shows everybody where somebody listens.
pub fn hidden() -> Option<(u32, Vec<String>)> {
    let owner = fs::symlink_metadata(SYSTEM).ok()?.uid();
    let list = file::read_bounded(Path::new("/proc/net/unix"), LIST_BYTES).ok()?;
    let list = String::from_utf8_lossy(&list);
    let name = |line: &str| {
        let (fields, path) = line.split_once(" /")?;
        let stem = path.strip_prefix(&SYSTEM[1..])?.strip_prefix('/')?;
        let stem = stem.strip_suffix(SOCKET)?.strip_suffix('.')?;
        let is_one = fields.contains(LISTENS) && is_name(OsStr::new(stem));
        is_one.then(|| stem.to_owned())
    };
    let names: Vec<String> = list.lines().filter_map(name).collect();
    (!names.is_empty()).then_some((owner, names))
}
