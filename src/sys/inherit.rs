//! Open files over execve(2).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

/// Lets a file stay open over execve(2).
///
/// # Errors
/// fcntl(2)'s.
pub fn hand_over(file: BorrowedFd<'_>) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// What is open under this number for reading, for this process alone from now on. Standard input
/// stays where it is. To be called before anything else is opened.
///
/// # Errors
/// fcntl(2)'s; [`io::ErrorKind::InvalidInput`] for standard output and error.
pub fn read_end(number: RawFd) -> io::Result<File> {
    match number {
        0 => Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?)),
        1 | 2 => Err(io::ErrorKind::InvalidInput.into()),
        _ => take(number).ok_or_else(|| io::Error::from(nix::errno::Errno::EBADF)),
    }
}

/// Most files that are closed one by one, where the kernel has no close_range(2) (before Linux 5.9).
const ONE_BY_ONE: i32 = 4096;

/// Closes what the caller left open, but for standard input, output and error: a tunnel lives for years,
/// and would hold a listening socket or a file of its caller for as long. To be called before anything
/// is opened.
pub fn close_the_callers() {
    // SAFETY: nothing of this process has any of them, as nothing was opened before.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if Errno::result(closed).is_err() {
        for number in 3..ONE_BY_ONE {
            // SAFETY: as above; a number that is not open is an error and no more.
            unsafe { libc::close(number) };
        }
    }
}

/// Takes a file that the program before this one left open under this number, and lets it stay open
/// no further. None if nothing is open there, or if it is standard input, output or error. Take each
/// number once, before anything is opened.
pub fn take(number: RawFd) -> Option<File> {
    if number <= 2 {
        return None;
    }
    // SAFETY: a borrow of a number that may not be open, for a call that takes any number.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it is open, and nothing of this process has it, as nothing was opened before.
    Some(unsafe { File::from_raw_fd(number) })
}
