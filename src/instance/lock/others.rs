//! The tunnels of other users, as far as they can be found without believing what those wrote.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{SOCKET, SYSTEM, is_name};

/// Most entries of a directory that are looked at; others fill it.
const MOST_ENTRIES: usize = 1024;
/// Most sockets of one user that are asked.
const MOST_SOCKETS: usize = 16;
/// Most of proc(5)'s list of sockets that is read, bytes.
const LIST_BYTES: u64 = 1024 * 1024;
/// `SO_ACCEPTCON` in that list: somebody listens.
const LISTENS: &str = "00010000";

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
                let sockets = entries(&directory).filter(|path| is_socket(path, uid));
                found.extend(sockets.take(MOST_SOCKETS).map(|path| (uid, path)));
            }
        }
    }
    found.sort();
    found
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let entries = entries.take(MOST_ENTRIES).flatten();
    entries.map(|entry| entry.path())
}

fn is_his(directory: &Path, uid: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0)
}

fn is_socket(path: &Path, uid: u32) -> bool {
    path.extension().is_some_and(|ending| ending == SOCKET)
        && path.file_stem().is_some_and(is_name)
        && fs::symlink_metadata(path)
            .is_ok_and(|found| found.file_type().is_socket() && found.uid() == uid)
}

/// The names of the tunnels in the directory of the system, and whose that is, where this user may
/// not look into it: proc(5) shows everybody where somebody listens.
pub fn hidden() -> Option<(u32, Vec<String>)> {
    let owner = fs::symlink_metadata(SYSTEM).ok()?.uid();
    let (mut list, file) = (Vec::new(), fs::File::open("/proc/net/unix").ok()?);
    file.take(LIST_BYTES).read_to_end(&mut list).ok()?;
    let list = String::from_utf8_lossy(&list);
    let name = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(3).filter(|flags| *flags == LISTENS)?;
        let path = Path::new(fields.nth(3)?);
        let stem = path.file_stem().filter(|stem| is_name(stem))?;
        let is_one = path.parent() == Some(Path::new(SYSTEM)) && path.extension()? == SOCKET;
        is_one.then(|| stem.to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = list.lines().filter_map(name).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then_some((owner, names))
}
