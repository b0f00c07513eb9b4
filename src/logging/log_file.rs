//! Lines to a file (`LogFile`, `-E`), beside which at most one older file is kept.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reachback_core::calendar::{LogTime, Utc};

use super::escaped;
use crate::sys::clock;

/// A file of this size becomes `FILE.1`, in the place of the one before.
const FILE_BYTES: u64 = 1024 * 1024;

/// Appends a line. The file is opened for each, so that one that was moved away is made anew; a
/// line that it does not take is lost.
pub fn append(path: &Path, message: &dyn std::fmt::Display) {
    if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() >= FILE_BYTES) {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        let _ = fs::rename(path, PathBuf::from(older));
    }
    let time = LogTime(Utc::from_unix_s(clock::wall_s()));
    let line = format!(
        "{time} reachback[{}]: {}\n",
        std::process::id(),
        escaped(message)
    );
    let mut options = OpenOptions::new();
    // Of a FIFO that nobody reads it is not waited for.
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NONBLOCK);
    let _ = options
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_added_and_a_large_file_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, &"one");
        append(&path, &"two\n");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().next().unwrap().ends_with("]: one"), "{text}");
        fs::write(&path, vec![b'x'; FILE_BYTES as usize]).unwrap();
        append(&path, &"three");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(
            fs::metadata(directory.path().join("log.1")).unwrap().len(),
            FILE_BYTES
        );
    }
}
