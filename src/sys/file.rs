//! Reading whole small files, bounded, and replacing them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
pub use reachback_tunnel::reason;
use zeroize::Zeroizing;

use super::clock;

/// Opens a regular file for reading; never waits, not even on a FIFO.
///
/// # Errors
/// open(2)'s; [`io::ErrorKind::InvalidInput`] for anything that is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(file)
}

/// The whole of a regular file of at most `limit` bytes, in memory that is wiped on drop.
/// The buffer has the file's size from the start, so that growing it leaves no copy behind.
///
/// # Errors
/// As [`open_regular`]; [`io::ErrorKind::FileTooLarge`] above `limit`; read(2)'s.
pub fn read_bounded(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    read_open(open_regular(path)?, limit)
}

/// As [`read_bounded`], for a file that is open already.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] above `limit`; read(2)'s.
pub fn read_open(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let too_large = || {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        )
    };
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if size > limit {
        return Err(too_large());
    }
    // The file may grow while it is read, so the cap holds for what is read as well.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// A file that is being replaced is not worked on for so long.
const LEFT_BEHIND_S: u32 = 60;

/// Replaces a file by one with mode 0600 and these bytes: who reads it meanwhile sees the one or the
/// other, whole. It is written as `PATH.new` first, and `prepare` may change it there; what a process that
/// was killed left under that name is removed.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] while another process does the same; open(2)'s, write(2)'s, fsync(2)'s
/// and rename(2)'s.
pub fn replace(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let create = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&new)
    };
    let mut file = create().or_else(|error| {
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        if !is_there || std::fs::symlink_metadata(&new).is_ok_and(|found| is_fresh(found.mtime())) {
            return Err(error);
        }
        std::fs::remove_file(&new)?;
        create()
    })?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// However the clock was set in between. The kernel's structure has 32 bits here, so no more are compared.
fn is_fresh(changed_s: i64) -> bool {
    let age = (clock::wall_s() as i32).wrapping_sub(changed_s as i32);
    age.unsigned_abs() < LEFT_BEHIND_S
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("reachback-file-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_file_at_the_limit_is_read_and_one_byte_more_is_refused() {
        let path = scratch("limit");
        std::fs::write(&path, b"12345678").unwrap();
        assert_eq!(&read_bounded(&path, 8).unwrap()[..], b"12345678");
        let error = read_bounded(&path, 7).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_is_in_nobodys_way_and_what_a_living_one_writes_is_left_alone() {
        let path = scratch("replace");
        let new = path.with_extension("new");
        replace(&path, b"first", |_| Ok(())).unwrap();
        File::create(&new).unwrap();
        let busy = replace(&path, b"second", |_| Ok(())).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let now = clock::wall_s() as i64;
        for then in [now - 60, now + 120] {
            File::create(&new).unwrap();
            let then = nix::sys::time::TimeSpec::new(then as _, 0);
            nix::sys::stat::utimensat(
                nix::fcntl::AT_FDCWD,
                &new,
                &then,
                &then,
                nix::sys::stat::UtimensatFlags::NoFollowSymlink,
            )
            .unwrap();
            replace(&path, b"third", |_| Ok(())).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"third");
            assert!(!new.exists());
        }
        let failed = replace(&path, b"fourth", |_| Err(io::ErrorKind::Other.into()));
        assert!(failed.is_err() && !new.exists());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_directory_and_a_fifo_are_refused_without_waiting() {
        let directory = read_bounded(&std::env::temp_dir(), 8).unwrap_err();
        assert_eq!(directory.kind(), io::ErrorKind::InvalidInput);
        let path = scratch("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let fifo = read_bounded(&path, 8).unwrap_err();
        std::fs::remove_file(path).unwrap();
        assert_eq!(fifo.kind(), io::ErrorKind::InvalidInput);
    }
}
