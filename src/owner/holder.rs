//! Who has the lock of a destination while nobody listens on its socket.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use super::LOCK;

/// Longest text in a lock's file, bytes: two numbers.
const TEXT_BYTES: usize = 32;

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, whatever files there are.
    Nobody,
    /// A process that starts or ends, or another user's.
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
    // What others wrote must not make root signal whom they like.
    let own = |found: std::fs::Metadata| found.uid() == geteuid().as_raw();
    let trusted = lock.metadata().is_ok_and(own);
    let mut text = [0; TEXT_BYTES];
    let length = lock.read_at(&mut text, 0).unwrap_or(0);
    // Shared: two who look do not take each other for the holder.
    match Flock::lock(lock, FlockArg::LockSharedNonblock) {
        Err((_, nix::Error::EWOULDBLOCK)) => {}
        _ => return Holder::Nobody,
    }
    let waiting = || {
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let (pid, restarts) = text.split_once(' ')?;
        Some(Holder::Waiting {
            pid: pid.parse().ok()?,
            restarts: restarts.parse().ok()?,
        })
    };
    let waiting = waiting().filter(|_| trusted);
    waiting.unwrap_or(Holder::Busy)
}
