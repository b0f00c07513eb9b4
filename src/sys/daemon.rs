//! Going to the background (`-f`).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use crate::exit::{self, Exit};

/// Which of the two processes this is after [`detach`].
#[derive(Debug)]
pub enum Side {
    /// The process that was called: it exits 0 at once, for its daemon has announced itself.
    Caller,
    /// The daemon, not announced yet.
    Daemon(Announcement),
}

/// The caller waits for this. Dropped without [`Announcement::ready`], it tells the caller
/// that the daemon failed.
#[derive(Debug)]
pub struct Announcement {
    pipe: File,
}

impl Announcement {
    /// Lets the caller exit with 0.
    pub fn ready(mut self) {
        // A caller that was killed meanwhile is no reason for the daemon to end.
        let _ = self.pipe.write_all(&[1]);
    }

    /// Lets the caller exit with this code and line.
    pub fn failed(mut self, exit: &Exit) {
        let _ = self.pipe.write_all(&[0, exit.code]);
        let _ = self.pipe.write_all(exit.message.as_bytes());
    }
}

/// Splits off the daemon: a new session without terminal, working directory `/`, and standard
/// input, output and error on `/dev/null`. To be called after everything local was checked and
/// before the loop, the log and any descriptor of theirs exist.
///
/// One fork is enough: the daemon leads its session and so could gain a controlling terminal,
/// but only by opening one without `O_NOCTTY` (setsid(2)), and it opens none.
///
/// # Errors
/// In the caller: [`exit::OS`] when the kernel refuses, or what the daemon announced as failed.
pub fn detach() -> Result<Side, Exit> {
    let refused = |error: nix::Error| Exit::os("cannot go to the background", error.desc());
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(refused)?;
    // SAFETY: the process has one thread, so the child may use the allocator and every lock.
    match unsafe { fork() }.map_err(refused)? {
        ForkResult::Parent { .. } => {
            drop(writer);
            await_daemon(reader).map(|()| Side::Caller)
        }
        ForkResult::Child => {
            drop(reader);
            let announcement = Announcement {
                pipe: writer.into(),
            };
            match settle() {
                Ok(()) => Ok(Side::Daemon(announcement)),
                Err(failure) => {
                    announcement.failed(&failure);
                    Err(failure)
                }
            }
        }
    }
}

fn settle() -> Result<(), Exit> {
    let refused = |error: nix::Error| Exit::os("cannot go to the background", error.desc());
    setsid().map_err(refused)?;
    chdir("/").map_err(refused)?;
    // Where there is no /dev/null, a directory takes and gives as little.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null
        .or_else(|_| File::open("/"))
        .map_err(|error| Exit::os("cannot open: /", error))?;
    dup2_stdin(&null).map_err(refused)?;
    dup2_stdout(&null).map_err(refused)?;
    dup2_stderr(&null).map_err(refused)
}

fn await_daemon(reader: OwnedFd) -> Result<(), Exit> {
    let mut answer = Vec::new();
    let read = File::from(reader).take(1024).read_to_end(&mut answer);
    match (read, answer.as_slice()) {
        (Ok(_), [1]) => Ok(()),
        (Ok(_), [0, code, message @ ..]) => Err(Exit::new(*code, String::from_utf8_lossy(message))),
        _ => Err(Exit::new(
            exit::OS,
            "the background process ended before it was ready: see the system log",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn announced(act: impl FnOnce(Announcement)) -> Result<(), Exit> {
        let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        act(Announcement {
            pipe: writer.into(),
        });
        await_daemon(reader)
    }

    #[test]
    fn the_caller_learns_how_the_daemon_started() {
        assert_eq!(announced(Announcement::ready), Ok(()));
        let failure = Exit::new(exit::UNAVAILABLE, "no");
        assert_eq!(announced(|a| a.failed(&failure)), Err(failure));
        assert_eq!(announced(drop).unwrap_err().code, exit::OS);
    }
}
