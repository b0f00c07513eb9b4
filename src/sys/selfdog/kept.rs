//! What a restart hands to the program that comes after it, beside its arguments: the lock of its
//! destination, which so is free at no time between, and from when its limits count.
//!
//! Whoever waits after a restart says so in the lock's file, `PID RESTARTS`. Callers that find
//! the lock taken and nobody listening wake it with `SIGUSR1`, or end it with `SIGTERM`.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::libc;
use reachback_core::lifetime::Since;
use reachback_core::time::Instant;

/// The lock that this process has; 0 is none, since descriptor 0 is standard input.
static LOCK: AtomicI32 = AtomicI32::new(0);
/// The lock that this process came with and nobody has taken yet.
static INHERITED: AtomicI32 = AtomicI32::new(0);
/// [`Since`] in seconds, as not every processor has atomics of 64 bits; 0 is none.
static ASKED: AtomicU32 = AtomicU32::new(0);
static IDLE: AtomicU32 = AtomicU32::new(0);

/// A restart from now on hands on this lock. It must stay open until [`forget_lock`].
pub fn keep_lock(lock: &File) {
    LOCK.store(lock.as_raw_fd(), Ordering::Release);
}

/// The lock is given back.
pub fn forget_lock() {
    LOCK.store(0, Ordering::Release);
}

/// The lock that the process before this restart had, as an open file; once.
pub fn take_lock() -> Option<File> {
    let fd = INHERITED.swap(0, Ordering::AcqRel);
    if fd == 0 {
        return None;
    }
    forget_lock();
    // SAFETY: `inherit` found it open, and the swap gives it to one owner only.
    Some(unsafe { File::from_raw_fd(fd) })
}

/// A restart from now on hands on from when the limits count.
pub fn keep_since(since: Since) {
    let seconds = |at: Instant| (at.0 / 1000).max(1) as u32;
    ASKED.store(seconds(since.asked), Ordering::Relaxed);
    IDLE.store(since.idle.map_or(0, seconds), Ordering::Relaxed);
}

/// The same as the process before had it.
pub fn since() -> Option<Since> {
    let instant = |value: &AtomicU32| match value.load(Ordering::Relaxed) {
        0 => None,
        seconds => Some(Instant(u64::from(seconds) * 1000)),
    };
    Some(Since {
        asked: instant(&ASKED)?,
        idle: instant(&IDLE),
    })
}

/// The numbers of the marker, `LOCK ASKED IDLE`. Async-signal-safe. The lock stays open over
/// execve(2) from now on.
pub(super) fn hand_on() -> [u32; 3] {
    let fd = LOCK.load(Ordering::Acquire);
    // SAFETY: fcntl(2) is async-signal-safe and takes any number.
    let open = fd > 0 && unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } == 0;
    [
        if open { fd.unsigned_abs() } else { 0 },
        ASKED.load(Ordering::Relaxed),
        IDLE.load(Ordering::Relaxed),
    ]
}

/// Takes over what the marker says.
pub(super) fn inherit([lock, asked, idle]: [u32; 3]) {
    ASKED.store(asked, Ordering::Relaxed);
    IDLE.store(idle, Ordering::Relaxed);
    let Ok(fd) = RawFd::try_from(lock) else {
        return;
    };
    // SAFETY: fcntl(2) takes any number; it fails for one that is not open.
    if fd > 2 && unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
        LOCK.store(fd, Ordering::Release);
        INHERITED.store(fd, Ordering::Release);
    }
}

/// Says in the lock's file that this process waits after that many restarts in a row, or (0) that
/// it does so no more.
pub(super) fn say_waiting(restarts: u32) {
    let fd = INHERITED.load(Ordering::Acquire);
    if fd == 0 {
        return;
    }
    let text = match restarts {
        0 => String::new(),
        _ => format!("{} {restarts}", std::process::id()),
    };
    // On a full file system callers take it for one that starts, and wait for it.
    // SAFETY: the text lives for the call; a number that is not open is refused.
    unsafe {
        libc::ftruncate(fd, 0);
        libc::pwrite(fd, text.as_ptr().cast(), text.len(), 0);
    }
}
