//! The process that stays: it holds the lock, waits for its worker, and goes on when that failed.
//! It goes on by becoming the program anew (execve(2)), with the same number, arguments and
//! environment, and with three open files: the lock, the socket, and what is [kept](crate::instance::kept).

mod held;

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::error;
use nix::unistd::execve;
use reachback_core::backoff;
use reachback_core::control::{Refusal, Reply};

use crate::errands;
use crate::exit::{self, Exit};
use crate::instance::kept::Memory;
use crate::instance::lock::{Inherited, Ownership};
use crate::sys::inherit;
use crate::sys::worker::{Fate, Worker};

/// Carries over execve(2) what the program before was: `PID FAULTS LOCK SOCKET MEMORY REASON`. The
/// three in the middle are numbers of open files, 0 for none. Programs of different versions hand
/// this to each other, so its form stays.
const MARKER: &str = "REACHBACK_RESTARTED";
/// Carries over execve(2) as what file the program was begun: where a newer one is looked for. The
/// environment of the supervisor is out of its worker's reach, unlike what is kept.
const PROGRAM: &str = "REACHBACK_PROGRAM";
/// Stands in the environment of what the service began.
const SERVICE: &str = "REACHBACK_SERVICE";
/// [`running`], where the service began the tunnel.
pub const OF_SERVICE: &str = "running for the service";
/// The program as it runs, even if its file was replaced by a newer one.
const ITSELF: &str = "/proc/self/exe";

/// Statuses with which the worker asks for something; none of sysexits(3).
pub mod ask {
    /// The configuration gives the tunnel another name: the process begins anew under it.
    pub const MOVE: u8 = 100;
    /// The program was checked that is installed now: the process becomes it.
    pub const RENEW: u8 = 101;
}

pub use held::Held;

/// Everything that going on needs.
#[derive(Debug)]
pub struct Supervisor {
    /// Where relative names in the arguments start.
    directory: PathBuf,
    /// The file of the program, as it was called at the very start.
    program: PathBuf,
    /// It goes on, rather than begins.
    resumed: bool,
    /// In a row, so far.
    faults: u32,
    began: Instant,
    memory: Memory,
}

/// What the program before handed over.
#[derive(Debug)]
pub struct Before {
    /// How many faults in a row; none if it went on for another reason.
    pub faults: u32,
    /// Why it went on, fit for a log.
    pub reason: String,
    /// The lock and the socket.
    pub inherited: Option<Inherited>,
    memory: Memory,
}

/// What the program before handed over, if there was one. The number of the process is part of it,
/// so that a variable that was passed on to another process means nothing there. To be called once,
/// and first of all.
pub fn before() -> Option<Before> {
    parse(&std::env::var(MARKER).ok()?, std::process::id())
}

fn parse(marker: &str, own_pid: u32) -> Option<Before> {
    let mut parts = marker.splitn(6, ' ');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (pid, faults) = (number()?, number()?);
    let files = [number()?, number()?, number()?];
    let reason = parts.next()?.to_owned();
    if pid != own_pid {
        return None;
    }
    let [lock, listener, memory] = files.map(|number| inherit::take(number as i32));
    let inherited = lock.zip(listener).map(|(lock, listener)| Inherited {
        lock,
        listener: std::os::fd::OwnedFd::from(listener).into(),
    });
    Some(Before {
        faults,
        reason,
        inherited,
        memory: Memory::inherited(memory?),
    })
}

impl Supervisor {
    /// For a tunnel that begins: arguments, environment and working directory are those of this
    /// moment.
    ///
    /// # Errors
    /// [`exit::OS`] when the kernel gives no memory to share.
    pub fn new() -> Result<Supervisor, Exit> {
        let program = std::env::current_exe().unwrap_or_default();
        let refused = |error| Exit::os("cannot share memory between processes", error);
        let memory = Memory::new().map_err(refused)?;
        Ok(Supervisor::with(program, false, 0, memory))
    }

    /// For one that goes on.
    pub fn after(before: Before) -> Supervisor {
        let program = match std::env::var_os(PROGRAM) {
            Some(program) => program.into(),
            // The first versions hand over none.
            None => std::env::current_exe().unwrap_or_default(),
        };
        Supervisor::with(program, true, before.faults, before.memory)
    }

    fn with(program: PathBuf, resumed: bool, faults: u32, memory: Memory) -> Supervisor {
        std::panic::set_hook(Box::new(panicked));
        Supervisor {
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            program,
            resumed,
            faults,
            began: Instant::now(),
            memory,
        }
    }

    /// Whether this process goes on where the program before was.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Where relative names in the arguments start.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is kept of the tunnel.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Waits until the tunnel has ended for good; the exit status. `persistent`: a worker that
    /// cannot be started is tried again, since nobody else would.
    ///
    /// # Errors
    /// [`exit::OS`] when the kernel refuses to wait or to go on.
    pub fn watch(
        &self,
        worker: Worker,
        ownership: Ownership,
        persistent: bool,
    ) -> Result<u8, Exit> {
        let perform = |errand: &str| {
            let orders = self.memory.read().orders;
            errands::perform(errand, &self.program, &self.directory, &orders)
        };
        let (fate, asked_to_end) = worker.watch(&perform)?;
        let ending = asked_to_end || self.memory.read().ending;
        match fate {
            Fate::Failed(_) if ending => {}
            Fate::Failed(reason) => return Err(self.restart(&reason, Some(ownership.files()))),
            Fate::Exited(ask::MOVE) if !ending => {
                ownership.release();
                return Err(self.become_program(
                    ITSELF,
                    0,
                    "its name or its files have changed",
                    None,
                ));
            }
            Fate::Exited(ask::RENEW) if !ending => {
                let installed = &self.program;
                let files = Some(ownership.files());
                let refused = self.execute(installed, 0, "renewed", files).unwrap_err();
                // It was there a moment ago.
                let why = format!("not renewed: {}: {}", installed.display(), refused.desc());
                return Err(self.become_program(ITSELF, 0, &why, files));
            }
            Fate::Exited(ask::MOVE | ask::RENEW | 0) => {}
            Fate::Exited(status) if persistent && status != exit::UNAVAILABLE => {
                return Err(self.restart(NOT_STARTED, Some(ownership.files())));
            }
            Fate::Exited(status) => {
                ownership.release();
                return Ok(status);
            }
        }
        ownership.release();
        Ok(0)
    }

    /// Goes on after a fault, with the lock and the socket if it has them. Gives back only what the
    /// kernel refused.
    pub fn restart(&self, reason: &str, files: Option<[BorrowedFd<'_>; 2]>) -> Exit {
        let faults = next_count(self.faults, self.began.elapsed());
        self.become_program(ITSELF, faults, reason, files)
    }

    fn become_program(
        &self,
        program: &str,
        faults: u32,
        reason: &str,
        files: Option<[BorrowedFd<'_>; 2]>,
    ) -> Exit {
        match self.execute(Path::new(program), faults, reason, files) {
            Ok(never) => match never {},
            Err(error) => Exit::os("cannot restart", error.desc()),
        }
    }

    fn execute(
        &self,
        program: &Path,
        faults: u32,
        reason: &str,
        files: Option<[BorrowedFd<'_>; 2]>,
    ) -> nix::Result<Infallible> {
        let memory = self.memory.file().as_fd();
        let [lock, listener] = files.map_or([None; 2], |files| files.map(Some));
        let mut numbers = [0; 3];
        for (number, file) in numbers.iter_mut().zip([lock, listener, Some(memory)]) {
            if let Some(file) = file {
                inherit::hand_over(file)?;
                *number = file.as_raw_fd();
            }
        }
        let [lock, listener, memory] = numbers;
        let pid = std::process::id();
        let marker = format!("{pid} {faults} {lock} {listener} {memory} {reason}");
        let own = [
            (MARKER.into(), marker.into()),
            (PROGRAM.into(), self.program.clone().into()),
        ];
        let variables = std::env::vars_os()
            .filter(|(name, _)| name != MARKER && name != PROGRAM)
            .chain(own)
            .map(|(name, value): (OsString, OsString)| {
                [name.into_vec(), value.into_vec()].join(&b'=')
            });
        let arguments = std::env::args_os().map(OsString::into_vec);
        let program =
            CString::new(program.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL)?;
        // Without its directory, absolute names in the arguments still hold.
        let _ = nix::unistd::chdir(&self.directory);
        execve(&program, &c_strings(arguments), &c_strings(variables))
    }
}

/// Whether the service began this tunnel.
pub fn is_of_service() -> bool {
    std::env::var_os(SERVICE).is_some()
}

/// What a tunnel answers to who asks whether it is there.
pub fn running() -> Reply {
    Reply::done(if is_of_service() {
        OF_SERVICE
    } else {
        "running"
    })
}

/// What a tunnel answers to an order for the service's.
pub fn not_of_service() -> Reply {
    Reply::refused(Refusal::Absent, "the service did not begin it")
}

/// Why a tunnel goes on that could not be started.
pub const NOT_STARTED: &str = "it could not be started";

/// Text that cannot hold a zero byte: it came from the kernel as C strings.
fn c_strings(texts: impl Iterator<Item = Vec<u8>>) -> Vec<CString> {
    texts.filter_map(|text| CString::new(text).ok()).collect()
}

/// Faults in a row, this one included; a process that was healthy for a while starts over.
fn next_count(before: u32, lived: Duration) -> u32 {
    if lived >= backoff::RESTART_HEALTHY {
        1
    } else {
        before.saturating_add(1)
    }
}

/// Says where it was, and ends the process by a signal, which is a fault.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or(("?", 0), |l| (l.file(), l.line()));
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    error!("panic at {}:{}: {text}", place.0, place.1);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_marker_of_another_process_or_without_memory_means_nothing() {
        for marker in [
            "1 1 0 0 0 x",
            "2 1 0 0 0 x",
            "2 x 3 4 5 y",
            "2 1 3 4 5",
            "2 1 x",
            "2",
            "",
        ] {
            assert!(parse(marker, 2).is_none(), "{marker}");
        }
    }

    #[test]
    fn ten_minutes_of_health_end_a_row_of_faults() {
        let seconds = Duration::from_secs;
        assert_eq!(next_count(0, seconds(0)), 1);
        assert_eq!(next_count(5, seconds(599)), 6);
        assert_eq!(next_count(5, seconds(600)), 1);
        assert_eq!(next_count(u32::MAX, seconds(0)), u32::MAX);
    }
}
