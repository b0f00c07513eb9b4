//! Reading whole small files, bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
pub use reachback_tunnel::reason;
use zeroize::Zeroizing;

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
