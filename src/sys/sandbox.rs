//! What the kernel lets the worker do from some point on: which files it may write and which program
//! it may execute (landlock(7)), and which system calls it may make (seccomp(2)). Neither can be
//! taken back, and both outlive execve(2).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::syscalls;

/// The program itself, even if its file was replaced, and its dynamic linker, if it has one.
const EXECUTABLE: &[&str] = match cfg!(target_feature = "crt-static") {
    true => &["/proc/self/exe"],
    false => &["/proc/self/exe", "/lib", "/lib64", "/usr/lib"],
};

/// Access rights of linux/landlock.h.
mod right {
    pub const EXECUTE: u64 = 1;
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_REG: u64 = 1 << 8;
    pub const MAKE_SOCK: u64 = 1 << 9;
    /// From `REMOVE_DIR` to `MAKE_SYM`.
    pub const CHANGE_DIRECTORIES: u64 = 0b1_1111_1111 << 4;
    /// Since version 2, 3 and 5.
    pub const REFER: u64 = 1 << 13;
    pub const TRUNCATE: u64 = 1 << 14;
    pub const IOCTL_DEV: u64 = 1 << 15;
    /// Abstract Unix sockets and signals; since version 6.
    pub const SCOPES: u64 = 3;
}

/// `struct landlock_ruleset_attr`. What an older kernel does not know is zero for it.
#[repr(C)]
struct Ruleset {
    handled_files: u64,
    handled_ports: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Limits this process to writing beneath these directories, and to executing no other program than
/// its own. What is open already stays as it is. A place that is not there is left out; in the
/// stead of a directory, a device or a FIFO may be named.
///
/// # Errors
/// Those of landlock_create_ruleset(2): `ENOSYS` before Linux 5.13, `EOPNOTSUPP` where it is off.
pub fn limit_files<'a>(writable: impl Iterator<Item = &'a Path>) -> nix::Result<()> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: without a ruleset the call gives the version of the interface.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, 1_u32) };
    let version = Errno::result(version)?;
    let since = |first, rights| if version >= first { rights } else { 0 };
    let truncate = since(3, right::TRUNCATE);
    let ruleset = Ruleset {
        handled_files: right::EXECUTE
            | right::WRITE_FILE
            | right::CHANGE_DIRECTORIES
            | since(2, right::REFER)
            | truncate
            | since(5, right::IOCTL_DEV),
        handled_ports: 0,
        scoped: since(6, right::SCOPES),
    };
    let size = size_of::<Ruleset>();
    // SAFETY: the call reads `size` bytes of `ruleset` and makes a descriptor.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size,
            0_u32,
        )
    };
    let made = Errno::result(made)? as i32;
    // SAFETY: the descriptor is new, and nothing else has it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(made) };
    for program in EXECUTABLE {
        allow(&ruleset, Path::new(program), right::EXECUTE)?;
    }
    let beneath =
        right::WRITE_FILE | truncate | right::REMOVE_FILE | right::MAKE_REG | right::MAKE_SOCK;
    for path in writable {
        let rights = if path.is_dir() {
            beneath
        } else {
            right::WRITE_FILE
        };
        allow(&ruleset, path, rights)?;
    }
    // SAFETY: the call takes numbers only.
    let limited =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    match Errno::result(limited) {
        // Sixteen limits are the most, and this process has inherited them from its own program, which
        // went on again and again: nothing is left to limit.
        Err(Errno::E2BIG) => Ok(()),
        limited => limited.map(drop),
    }
}

fn allow(ruleset: &OwnedFd, path: &Path, allowed: u64) -> nix::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    let Ok(place) = opened else {
        return Ok(());
    };
    let rule = Beneath {
        allowed,
        parent: place.as_raw_fd(),
    };
    let kind = 1; // LANDLOCK_RULE_PATH_BENEATH
    // SAFETY: the call reads one rule of this kind.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            kind,
            &raw const rule,
            0_u32,
        )
    };
    Errno::result(added).map(drop)
}

/// Limits this process to the calls of [`syscalls`].
///
/// # Errors
/// `EINVAL` or `ENOSYS` where the kernel has no filters of system calls.
pub fn limit_system_calls() -> nix::Result<()> {
    let mut program = syscalls::program();
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call copies the program.
    let limited = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_LOG,
            &raw const filter,
        )
    };
    if limited == 0 {
        return Ok(());
    }
    // SAFETY: as before; this is how kernels before 3.17 are asked, and before 4.14 without the log.
    let limited = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    Errno::result(limited).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::prctl::set_no_new_privs;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    #[test]
    fn more_limits_than_the_kernel_keeps_are_no_error() {
        // SAFETY: the child makes system calls, and ends.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let limited = set_no_new_privs()
                    .and_then(|()| (0..20).try_for_each(|_| limit_files(std::iter::empty())));
                let code = match limited {
                    Ok(()) | Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => 0,
                    Err(error) => error as i32,
                };
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(code) }
            }
            Ok(ForkResult::Parent { child }) => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
            Err(error) => panic!("{error}"),
        }
    }
}
