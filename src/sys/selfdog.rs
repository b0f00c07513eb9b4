//! The process's own health: a turn of the loop that does not end, a panic or a fatal signal
//! restarts the program in place, with the arguments, the environment and the process number
//! that it had. `docs/watchdog.md` has the rules.
//!
//! What runs in a signal handler here uses only what was prepared before and only system calls
//! that signal-safety(7) lists (and chdir(2), execve(2), which it lists as well).

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::fmt::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use reachback_core::backoff;

use super::signals;
use crate::exit::{self, Exit};

pub mod faults;
mod kept;
pub use kept::{forget_lock, keep_lock, keep_since, since, take_lock};

/// How long one turn of the loop may take.
const STALL: Duration = Duration::from_secs(60);
/// Carries the count, what is in [`kept`] and the reason over exec:
/// `PID COUNT LOCK ASKED IDLE REASON`.
const MARKER: &str = "REACHBACK_RESTARTED";
/// Room for the marker with its name and its end, bytes.
const MARKER_BYTES: usize = 256;
/// Signals after which this process cannot go on. `SIGABRT` is how a failed allocation ends.
const FATAL: [(Signal, &[u8]); 5] = [
    (Signal::SIGSEGV, b"signal SIGSEGV"),
    (Signal::SIGBUS, b"signal SIGBUS"),
    (Signal::SIGILL, b"signal SIGILL"),
    (Signal::SIGFPE, b"signal SIGFPE"),
    (Signal::SIGABRT, b"signal SIGABRT"),
];

/// Everything that a restart needs, made before anything can go wrong and never freed.
struct Prepared {
    /// Null-terminated, as execve(2) takes them.
    argv: Vec<*const c_char>,
    /// The last entry before the null is `marker`.
    envp: Vec<*const c_char>,
    marker: [u8; MARKER_BYTES],
    /// Where relative names in the arguments start.
    directory: CString,
    mask: SigSet,
    restarts: u32,
    started_ms: u64,
}

static PREPARED: AtomicPtr<Prepared> = AtomicPtr::new(ptr::null_mut());
/// A restart is under way; a second cause on top of it adds nothing.
static RESTARTING: AtomicBool = AtomicBool::new(false);

/// What this process is the restart of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How many in a row, this one included.
    pub count: u32,
    /// Why, fit for a log.
    pub reason: String,
    /// How long to wait before anything else.
    pub delay: Duration,
}

/// Whether this process restarted itself. The number of the process is part of the marker, so
/// that a variable that was passed on to another process means nothing there.
pub fn restarted() -> Option<Restart> {
    let value = std::env::var(MARKER).ok()?;
    let (restart, kept) = parse_marker(&value, std::process::id())?;
    kept::inherit(kept);
    Some(restart)
}

fn parse_marker(value: &str, own_pid: u32) -> Option<(Restart, [u32; 3])> {
    let mut parts = value.splitn(6, ' ');
    let pid: u32 = parts.next()?.parse().ok()?;
    let count: u32 = parts.next()?.parse().ok()?;
    let mut kept = [0; 3];
    for number in &mut kept {
        *number = parts.next()?.parse().ok()?;
    }
    let reason = parts.next()?.to_owned();
    let restart = || Restart {
        count,
        reason,
        delay: backoff::restart_delay(count),
    };
    (pid == own_pid && count > 0).then(|| (restart(), kept))
}

/// Prepares restarts: arguments, environment and working directory are those of this moment.
/// `before` is what this process is the restart of.
pub fn prepare(before: Option<&Restart>) {
    let arguments = std::env::args_os().map(OsString::into_vec);
    let variables = std::env::vars_os()
        .filter(|(name, _)| name != MARKER)
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let prepared = Box::leak(Box::new(Prepared {
        argv: c_strings(arguments),
        envp: c_strings(variables),
        marker: [0; MARKER_BYTES],
        directory: CString::new(directory.into_os_string().into_vec()).unwrap_or_default(),
        // The new process finds what was sent meanwhile, once it listens.
        mask: signals::handled(),
        restarts: before.map_or(0, |restart| restart.count),
        started_ms: now_ms(),
    }));
    let marker = prepared.marker.as_ptr().cast::<c_char>();
    prepared.argv.push(ptr::null());
    prepared.envp.extend([marker, ptr::null()]);
    PREPARED.store(prepared, Ordering::Release);
}

/// The working directory of [`prepare`]'s moment.
pub fn directory() -> PathBuf {
    let prepared = PREPARED.load(Ordering::Acquire);
    if prepared.is_null() {
        return PathBuf::from("/");
    }
    // SAFETY: set once to a leaked box whose `directory` nothing changes.
    let directory = unsafe { &(*prepared).directory };
    PathBuf::from(OsStr::from_bytes(directory.as_bytes()))
}

/// Text that cannot hold a zero byte: it came from the kernel as C strings.
fn c_strings(texts: impl Iterator<Item = Vec<u8>>) -> Vec<*const c_char> {
    texts
        .filter_map(|text| CString::new(text).ok())
        .map(|text| text.into_raw().cast_const())
        .collect()
}

/// How the wait after a restart ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It is over.
    Due,
    /// `SIGUSR1`: a caller or a person asks for the tunnel, which cuts every wait short.
    Called,
    /// `SIGTERM` or `SIGINT`.
    Ended,
}

/// Waits as a restarted process has to. While it does, callers can see that, and wake or end it.
///
/// Nothing is served meanwhile: what brought the process down may be the service, and the
/// configuration. So an order does not lie in wait for the end of this, it ends it.
pub fn hold(restart: &Restart) -> Wake {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        set.add(signal);
    }
    if set.thread_block().is_err() {
        return Wake::Due;
    }
    kept::say_waiting(restart.count);
    let wake = wait_for(&set, restart.delay);
    kept::say_waiting(0);
    wake
}

fn wait_for(set: &SigSet, delay: Duration) -> Wake {
    let deadline_ms = now_ms() + delay.as_millis() as u64;
    loop {
        let left = Duration::from_millis(deadline_ms.saturating_sub(now_ms()));
        let timeout = nix::sys::time::TimeSpec::from_duration(left);
        // SAFETY: both pointers are to living values of the right types; no siginfo is wanted.
        let got = unsafe { libc::sigtimedwait(set.as_ref(), ptr::null_mut(), timeout.as_ref()) };
        match (got, nix::errno::Errno::last()) {
            (-1, nix::errno::Errno::EINTR) => {}
            (-1, _) => return Wake::Due,
            (libc::SIGUSR1, _) => return Wake::Called,
            _ => return Wake::Ended,
        }
    }
}

/// Takes over panics and fatal signals from now on.
///
/// # Errors
/// sigaction(2)'s.
pub fn guard() -> nix::Result<()> {
    std::panic::set_hook(Box::new(panicked));
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let fatal = SigAction::new(SigHandler::SigAction(fatal), flags, SigSet::all());
    let stalled = SigAction::new(SigHandler::SigAction(stalled), flags, SigSet::all());
    for (signal, _) in FATAL {
        // SAFETY: the handler makes only async-signal-safe calls, see `restart`.
        unsafe { sigaction(signal, &fatal) }?;
    }
    // SAFETY: as above.
    unsafe { sigaction(Signal::SIGALRM, &stalled) }?;
    Ok(())
}

/// Watches one turn of the loop after the other.
pub struct Selfdog {
    timer: Timer,
    limit: Duration,
}

impl Selfdog {
    /// Calls [`guard`] and makes the timer. Call it after [`prepare`] and
    /// after the fork.
    ///
    /// # Errors
    /// [`exit::OS`] when the kernel refuses a timer or a handler.
    pub fn start() -> Result<Selfdog, Exit> {
        let refused = |error: nix::Error| Exit::os("cannot watch over this process", error.desc());
        guard().map_err(refused)?;
        let notify = SigevNotify::SigevSignal {
            signal: Signal::SIGALRM,
            si_value: 0,
        };
        // CLOCK_MONOTONIC stands still in suspend: a turn that was suspended is no stall.
        let timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify)).map_err(refused)?;
        Ok(Selfdog {
            timer,
            limit: faults::limit().unwrap_or(STALL),
        })
    }

    /// The loop woke up: this turn has [`STALL`] to end.
    pub fn turn_begins(&mut self) {
        self.set(self.limit);
        faults::cause();
    }

    /// The loop is about to wait, for however long: the timer is off, so it wakes nobody.
    pub fn turn_ends(&mut self) {
        self.set(Duration::ZERO);
    }

    fn set(&mut self, limit: Duration) {
        // Fails only for a timer that does not exist or a time that is none.
        let _ = self.timer.set(
            Expiration::OneShot(limit.into()),
            TimerSetTimeFlags::empty(),
        );
    }
}

/// Restarts because of something that this process found out itself. Gives back only before
/// [`prepare`].
pub fn restart_because(reason: &str) {
    restart(reason.as_bytes());
}

/// From now on a fault ends the process: it was asked to end, and must not come back.
pub fn disarm() {
    PREPARED.store(ptr::null_mut(), Ordering::Release);
}

fn panicked(info: &PanicHookInfo<'_>) {
    let mut reason = Reason::default();
    let place = info.location().map_or(("?", 0), |l| (l.file(), l.line()));
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let _ = write!(reason, "panic at {}:{}: {text}", place.0, place.1);
    restart(&reason.text[..reason.len]);
}

extern "C" fn fatal(number: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let name = FATAL
        .iter()
        .find(|(signal, _)| *signal as c_int == number)
        .map_or(&b"a fatal signal"[..], |(_, name)| name);
    restart(name);
    // A second fault on the way: the instruction would fault again for ever.
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { libc::_exit(71) }
}

extern "C" fn stalled(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // Another process's SIGALRM says nothing about the loop.
    if code == libc::SI_TIMER {
        restart(b"the loop made no progress for 60 s");
        if PREPARED.load(Ordering::Acquire).is_null() {
            // SAFETY: _exit(2) is async-signal-safe.
            unsafe { libc::_exit(exit::OS.into()) }
        }
    }
}

/// Replaces the process image. Async-signal-safe: no allocation, no lock, system calls only.
/// Gives back only before [`prepare`], after [`disarm`], or when a restart is under way already.
fn restart(reason: &[u8]) {
    let prepared = PREPARED.load(Ordering::Acquire);
    if prepared.is_null() || RESTARTING.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: a leaked box; RESTARTING makes this the only place that touches it from now on.
    let prepared = unsafe { &mut *prepared };
    let count = next_count(
        prepared.restarts,
        now_ms().saturating_sub(prepared.started_ms),
    );
    let pid = nix::unistd::getpid().as_raw().unsigned_abs();
    let [lock, asked, idle] = kept::hand_on();
    let numbers = [pid, count, lock, asked, idle];
    write_marker(&mut prepared.marker, numbers, reason);
    // SAFETY: every pointer was prepared, null-terminated where the call wants it, and lives for
    // ever; the calls are async-signal-safe. `/proc/self/exe` is this very file, even if it was
    // replaced by a newer one meanwhile.
    unsafe {
        // Without its directory, absolute names in the arguments still hold.
        let _ = libc::chdir(prepared.directory.as_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, prepared.mask.as_ref(), ptr::null_mut());
        let exe = c"/proc/self/exe";
        libc::execve(exe.as_ptr(), prepared.argv.as_ptr(), prepared.envp.as_ptr());
        libc::_exit(exit::OS.into());
    }
}

/// Restarts in a row, this one included; a process that was healthy for a while starts over.
fn next_count(before: u32, lived_ms: u64) -> u32 {
    if lived_ms >= backoff::RESTART_HEALTHY.as_millis() as u64 {
        1
    } else {
        before.saturating_add(1)
    }
}

/// Writes `REACHBACK_RESTARTED=`, the numbers, the reason and its end, cut to the room there is;
/// bytes that are no printable ASCII become `?`.
fn write_marker(marker: &mut [u8; MARKER_BYTES], numbers: [u32; 5], reason: &[u8]) {
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for &byte in bytes {
            if length < MARKER_BYTES - 1 {
                let printable = (b' '..=b'~').contains(&byte);
                marker[length] = if printable { byte } else { b'?' };
                length += 1;
            }
        }
    };
    put(MARKER.as_bytes());
    put(b"=");
    for number in numbers {
        put(decimal(number, &mut [0; 10]));
        put(b" ");
    }
    put(reason);
    marker[length] = 0;
}

fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

fn now_ms() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
}

/// Text on the stack: a panic may come from an allocation.
struct Reason {
    text: [u8; MARKER_BYTES],
    len: usize,
}

impl Default for Reason {
    fn default() -> Self {
        Reason {
            text: [0; MARKER_BYTES],
            len: 0,
        }
    }
}

impl Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (slot, &byte) in self.text[self.len..].iter_mut().zip(text.as_bytes()) {
            *slot = byte;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
