//! One known_hosts file on disk: whether it takes a line, and appending one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, eaccess};

use super::{Known, Unusable};

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

/// Appends `line` unless `known` says that something is known about its server by then. The file
/// is locked meanwhile (flock(2)), so that of two processes one sees what the other pinned. A
/// line that does not reach the disk whole is taken back.
pub(super) fn append(
    path: &Path,
    line: &str,
    known: impl Fn() -> Result<Known, Unusable>,
) -> io::Result<Option<Known>> {
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
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| io::Error::from(error))?;
    let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    match known().map_err(|unusable| unusable.error)? {
        Known::Nothing | Known::PinnedForThisRun => {}
        known => return Ok(Some(known)),
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
    Ok(None)
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
