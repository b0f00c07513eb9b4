//! Two processes for one tunnel. The supervisor stays and does nothing but wait; its worker holds
//! the tunnel, and may fail. `docs/watchdog.md` has the rules, and `docs/decisions/` why.
//!
//! A hang is seen without a wake-up while the tunnel is idle: both have one timerfd open, which the
//! worker sets when its loop wakes and turns off before it waits again. It fires only for a turn
//! that does not end, and it is the supervisor that waits for it.

use std::fmt::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};

use super::errand::{self, Errands};
use super::{crash, faults, signals};
use crate::exit::Exit;
pub use turns::Turns;
use turns::set;

mod turns;

/// How long one turn of the loop may take; with [`GRACE`], a minute.
const STALL: Duration = Duration::from_secs(55);
/// How much longer a turn may take that was found too long: the machine, and not the worker, may
/// have stood still.
const GRACE: Duration = Duration::from_secs(5);

/// The supervisor; 0 is this process itself.
static SUPERVISOR: AtomicU32 = AtomicU32::new(0);

/// The number that people and callers know this tunnel's process by: the supervisor's.
pub fn known_as() -> u32 {
    match SUPERVISOR.load(Ordering::Relaxed) {
        0 => std::process::id(),
        supervisor => supervisor,
    }
}

/// Whether this worker's supervisor has died.
pub fn is_orphaned() -> bool {
    let supervisor = SUPERVISOR.load(Ordering::Relaxed);
    supervisor != 0 && getppid().as_raw().unsigned_abs() != supervisor
}

/// Which of the two processes this is after [`split`].
pub enum Side {
    /// The one that stays.
    Supervisor(Worker),
    /// The one that holds the tunnel.
    Worker(Turns),
}

/// Splits off the worker. Every signal that is for the tunnel is blocked from here on, in both. The
/// worker gets [`signals::ORPHANED`] when the supervisor dies.
///
/// # Errors
/// [`crate::exit::OS`] when the kernel refuses.
pub fn split() -> Result<Side, Exit> {
    let refused = |error: nix::Error| Exit::os("cannot watch over the tunnel", error.desc());
    let mut mask = signals::handled();
    mask.add(Signal::SIGCHLD);
    // For a worker that somebody stopped.
    mask.add(Signal::SIGCONT);
    mask.thread_block().map_err(refused)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).map_err(refused)?;
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    // CLOCK_MONOTONIC stands still in suspend: a turn that was suspended does not hang.
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(refused)?;
    let limit = faults::limit().unwrap_or(STALL);
    let (place, witness) = crash::pipe().map_err(refused)?;
    let (errands, end) = errand::pair().map_err(refused)?;
    let supervisor = std::process::id();
    // SAFETY: the process has one thread, so the child may use the allocator and every lock.
    match unsafe { fork() }.map_err(refused)? {
        ForkResult::Parent { child } => Ok(Side::Supervisor(Worker {
            pid: child,
            signals,
            timer,
            limit,
            place,
            errands,
            stopped: false,
            suspected: None,
            hangs: false,
        })),
        ForkResult::Child => {
            SUPERVISOR.store(supervisor, Ordering::Relaxed);
            witness.install().map_err(refused)?;
            drop(errands);
            errand::is_worker(end);
            prctl::set_pdeathsig(signals::ORPHANED).map_err(refused)?;
            // It may have died before that.
            if is_orphaned() {
                nix::sys::signal::raise(signals::ORPHANED).map_err(refused)?;
            }
            Ok(Side::Worker(Turns::new(timer, limit)))
        }
    }
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By itself, with this status.
    Exited(u8),
    /// It failed; why, fit for a log.
    Failed(String),
}

/// The worker, as the supervisor sees it.
pub struct Worker {
    pid: Pid,
    signals: SignalFd,
    timer: TimerFd,
    limit: Duration,
    place: crash::Place,
    errands: Errands,
    /// By a signal (`SIGSTOP`): that is no hang.
    stopped: bool,
    /// Since when a turn has been found too long.
    suspected: Option<Instant>,
    /// It was killed for that.
    hangs: bool,
}

impl Worker {
    /// Waits until the worker has ended, hands on to it the signals that are for the tunnel, and
    /// has `perform` run its errands. True with it if a signal asked the tunnel to end.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses to wait.
    pub fn watch(mut self, perform: &dyn Fn(&str) -> String) -> Result<(Fate, bool), Exit> {
        let mut asked_to_end = false;
        loop {
            let errand = self.errands.waits_for();
            // While there is none to wait for, its place asks for nothing.
            let wanted = errand.map_or(PollFlags::empty(), |_| PollFlags::POLLIN);
            let mut ready = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
                PollFd::new(errand.unwrap_or(self.timer.as_fd()), wanted),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Exit::os("cannot wait for the tunnel", error.desc())),
            }
            let [signalled, late, asked] = ready.map(|one| one.any().unwrap_or_default());
            if signalled && let Some(got) = next(&self.signals) {
                if got == Signal::SIGCHLD {
                    self.errands.reap();
                    if let Some(fate) = self.ended() {
                        return Ok((fate, asked_to_end));
                    }
                } else if got != signals::ORPHANED {
                    asked_to_end |= matches!(got, Signal::SIGTERM | Signal::SIGINT);
                    // Not reaped yet, so the number is still its own.
                    let _ = kill(self.pid, got);
                }
            }
            if late {
                self.too_long();
            }
            if asked {
                self.errands.run(perform);
            }
        }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<Fate> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        loop {
            return Some(match waitpid(self.pid, Some(flags)) {
                Ok(WaitStatus::StillAlive) => return None,
                Ok(WaitStatus::Stopped(..)) => {
                    self.stopped = true;
                    continue;
                }
                Ok(WaitStatus::Continued(_)) => {
                    self.stopped = false;
                    continue;
                }
                Ok(WaitStatus::Exited(_, status)) => Fate::Exited(status as u8),
                Ok(WaitStatus::Signaled(..)) if self.hangs => {
                    Fate::Failed("the loop made no progress for 60 s".to_owned())
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    let mut reason = format!("signal {}", signal.as_str());
                    if let Some(place) = self.place.read() {
                        let _ = write!(reason, " at {place:#x}");
                    }
                    Fate::Failed(reason)
                }
                // A real-time signal has no name (signal(7)).
                _ => Fate::Failed("a signal".to_owned()),
            });
        }
    }

    /// The timer fired: a turn did not end, or nobody had the time to end it.
    fn too_long(&mut self) {
        // What it counted is of no interest; reading makes it wait again.
        let _ = self.timer.wait();
        let grace = GRACE.min(self.limit / 10);
        let suspected = self.suspected.take();
        if self.stopped {
            set(&self.timer, self.limit);
        } else if suspected.is_some_and(|since| since.elapsed() < grace * 3) {
            self.hangs = true;
            let _ = kill(self.pid, Signal::SIGKILL);
        } else {
            self.suspected = Some(Instant::now());
            set(&self.timer, grace);
        }
    }
}

fn next(signals: &SignalFd) -> Option<Signal> {
    let info = signals.read_signal().ok()??;
    Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It is over.
    Due,
    /// The other descriptor can be read.
    Readable,
    /// A signal asks for the tunnel, which cuts every wait short.
    Called,
    /// `SIGTERM` or `SIGINT`.
    Ended,
}

/// Waits so long, for a signal that is for the tunnel, or until `other` can be read. Call it in a
/// process that has no worker.
pub fn wait(limit: Duration, other: impl AsFd) -> Wake {
    let mask = signals::handled();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let opened = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, flags));
    let Ok(signals) = opened else {
        return Wake::Due;
    };
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // A millisecond more than what is cut off.
        let left = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(other.as_fd(), PollFlags::POLLIN),
        ];
        let polled = poll(&mut ready, left);
        let [_, readable] = ready.map(|one| one.any().unwrap_or_default());
        match next(&signals) {
            Some(Signal::SIGTERM | Signal::SIGINT) => return Wake::Ended,
            Some(other) if other != signals::ORPHANED => return Wake::Called,
            _ if readable => return Wake::Readable,
            _ if Instant::now() >= until => return Wake::Due,
            _ => match polled {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Wake::Due,
            },
        }
    }
}
