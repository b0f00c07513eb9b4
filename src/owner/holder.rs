//! Who has the lock of a destination while nobody listens on its socket.

use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg, OFlag};

use super::LOCK;

/// Longest text in a lock's file, bytes: two numbers.
const TEXT_BYTES: usize = 32;
/// Open files of a process that are looked at. A restart closes all but a few.
const FILES: usize = 256;

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, whatever files there are.
    Nobody,
    /// A process that starts or ends, or that cannot be told.
    Busy,
    /// One that waits to go on after a restart by itself ([`crate::sys::selfdog::hold`]).
    Waiting {
        /// Its number.
        pid: u32,
        /// How many restarts in a row it has behind it.
        restarts: u32,
    },
}

/// Who has the lock that belongs to a socket.
pub fn holder(socket: &Path) -> Holder {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(socket.with_extension(LOCK));
    let Ok(lock) = opened else {
        return Holder::Nobody;
    };
    // Shared: two who look do not take each other for the holder.
    match Flock::lock(lock, FlockArg::LockSharedNonblock) {
        // Read now: what stands there while nobody has the lock is of a process that is gone.
        Err((lock, nix::Error::EWOULDBLOCK)) => waiting(&lock).unwrap_or(Holder::Busy),
        _ => Holder::Nobody,
    }
}

/// The process that the lock's file names, if it is the one that has it: it will be signalled, and
/// its number may be another's by now. It must have this very file open and be of the file's user,
/// so that nobody makes root signal whom he likes.
fn waiting(lock: &File) -> Option<Holder> {
    let mut text = [0; TEXT_BYTES];
    let length = lock.read_at(&mut text, 0).ok()?;
    let (number, restarts) = std::str::from_utf8(&text[..length]).ok()?.split_once(' ')?;
    let pid: u32 = number.parse().ok()?;
    // kill(2) takes 0 and what is negative for groups. This process has the file open as well.
    if pid == 0 || i32::try_from(pid).is_err() || pid == std::process::id() {
        return None;
    }
    let locked = lock.metadata().ok()?;
    let process = Path::new("/proc").join(number);
    let same = |found: Metadata| found.ino() == locked.ino() && found.dev() == locked.dev();
    let files = fs::read_dir(process.join("fd")).ok()?;
    let has_it = files
        .flatten()
        .take(FILES)
        .any(|entry| fs::metadata(entry.path()).is_ok_and(same));
    let owner = fs::metadata(process).ok()?.uid();
    (has_it && owner == locked.uid()).then_some(Holder::Waiting {
        pid,
        restarts: restarts.parse().ok()?,
    })
}
