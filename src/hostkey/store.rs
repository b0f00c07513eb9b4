//! One known_hosts file on disk: whether it takes a line, appending one, and taking some away.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, eaccess};

use super::Unusable;
use crate::sys::file;

/// Whether a line may be appended: to the file, or where it would be made.
pub fn writable(path: &Path) -> io::Result<()> {
    let may = |path: &Path| eaccess(path, AccessFlags::W_OK);
    let mut result = may(path);
    // The file, its directory, and the one in which that is made.
    for above in path.ancestors().skip(1).take(2) {
        if result != Err(Errno::ENOENT) {
            break;
        }
        result = may(above);
    }
    Ok(result?)
}

/// Appends `line`, unless `stop` says by then that it has no place there; whether it did. The file
/// is locked meanwhile (flock(2)), so that of two processes one sees what the other pinned. A
/// line that does not reach the disk whole is taken back.
pub(super) fn append(
    path: &Path,
    line: &str,
    stop: &dyn Fn() -> Result<bool, Unusable>,
) -> io::Result<bool> {
    let directory = path.parent();
    if let Some(directory) = directory.filter(|directory| !directory.exists()) {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let (mut file, ours) = lock(file, path)?;
    if stop().map_err(|unusable| unusable.error)? {
        return Ok(false);
    }
    let begin = if ends_with_line_feed(&mut file)? {
        ""
    } else {
        "\n"
    };
    let written = file
        .write_all(format!("{begin}{line}").as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = file.set_len(ours.len());
        return Err(error);
    }
    if let Some(directory) = directory.filter(|_| is_new) {
        File::open(directory)?.sync_all()?;
    }
    Ok(true)
}

/// Replaces the file by what `edit` makes of its bytes, if it makes anything of them. The file is replaced
/// whole: a reader sees the one or the other, and who writes meanwhile is told that it is locked.
pub(super) fn rewrite(
    path: &Path,
    edit: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
) -> io::Result<()> {
    // The file itself, not a link to it.
    let path = path.canonicalize()?;
    let (_locked, data) = lock(File::open(&path)?, &path)?;
    let bytes = file::read_bounded(&path, super::KNOWN_HOSTS_BYTES)?;
    let Some(kept) = edit(&bytes) else {
        return Ok(());
    };
    file::replace(&path, &kept, |file| {
        // Root may tidy up another user's.
        if file.metadata()?.uid() != data.uid() {
            fchown(file, Some(data.uid()), Some(data.gid()))?;
        }
        // Not at its making: the umask would cut it.
        file.set_permissions(data.permissions())
    })?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Bytes of a file without these lines of it, which count from 1.
pub(super) fn without(bytes: &[u8], lines: &[u32]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1u32..) {
        if !lines.contains(&number) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// The file, locked, and what it is: unless another took its place before.
fn lock(file: File, path: &Path) -> io::Result<(Flock<File>, Metadata)> {
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| io::Error::from(error))?;
    let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok((file, ours))
}

/// True for an empty file as well.
fn ends_with_line_feed(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
