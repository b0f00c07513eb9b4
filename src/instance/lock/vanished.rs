//! Files that somebody else took away (a cleaner of /tmp, `rm`) while their tunnel goes on: without
//! them, callers would find no tunnel and start a second one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use reachback_core::time::Instant;

use super::{LOCK, Ownership};

/// Between two looks, at least; none wakes the loop.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks from time to time whether lock and socket are at their paths.
#[derive(Debug)]
pub struct Lookout {
    files: [(PathBuf, Identity); 2],
    next: Instant,
}

/// Device and inode.
type Identity = (u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Lookout {
    /// For the files of this owner.
    ///
    /// # Errors
    /// lstat(2)'s.
    pub fn new(ownership: &Ownership, now: Instant) -> io::Result<Lookout> {
        let socket = ownership.socket_path.clone();
        let lock = socket.with_extension(LOCK);
        let (socket_is, lock_is) = (identity(&socket)?, identity(&lock)?);
        Ok(Lookout {
            files: [(lock, lock_is), (socket, socket_is)],
            next: now + PAUSE,
        })
    }

    /// The file that is gone, or another one now, if it is time to look and there is such a one.
    pub fn gone(&mut self, now: Instant) -> Option<&Path> {
        if now < self.next {
            return None;
        }
        self.next = now + PAUSE;
        let gone = |(path, is): &&(PathBuf, Identity)| identity(path).ok().as_ref() != Some(is);
        self.files.iter().find(gone).map(|(path, _)| path.as_path())
    }

    /// Whether this process may make them where they were.
    pub fn may_make_anew(&self) -> bool {
        let directory = self.files[0].0.parent();
        let is_there = |path: &&Path| fs::symlink_metadata(path).is_ok();
        let place = directory
            .filter(is_there)
            .or(directory.and_then(Path::parent));
        place.is_some_and(|place| access(place, AccessFlags::W_OK).is_ok())
    }
}
