//! Where a fatal signal met the worker: a program counter, which the supervisor adds to the reason
//! of the restart. The unstripped program, which `make arm` keeps, has the line for it.
//!
//! In the shipped program a panic is nothing more than such a signal (`docs/decisions/`).

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::libc::{dl_iterate_phdr, dl_phdr_info, siginfo_t, ucontext_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::pipe2;

/// Those that a fault of the program itself brings about (signal(7)). A panic is `SIGILL`, on
/// AArch64 `SIGTRAP`.
const FAULTS: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
];

/// The worker's end of the pipe.
static WORKERS_END: AtomicI32 = AtomicI32::new(-1);

/// The supervisor's end of the pipe.
pub struct Place(File);

/// The worker's end of the pipe, before the worker is there.
pub struct Witness(OwnedFd);

/// A pipe for one program counter.
///
/// # Errors
/// pipe2(2)'s.
pub fn pipe() -> nix::Result<(Place, Witness)> {
    let (place, witness) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((Place(place.into()), Witness(witness)))
}

impl Witness {
    /// In the worker: a fatal signal leaves the program counter, and then ends the process.
    ///
    /// # Errors
    /// sigaction(2)'s.
    pub fn install(self) -> nix::Result<()> {
        // Open as long as the process.
        WORKERS_END.store(self.0.into_raw_fd(), Ordering::Relaxed);
        // The standard library gave the thread a stack for signals.
        let flags = SaFlags::SA_ONSTACK | SaFlags::SA_RESETHAND;
        let action = SigAction::new(SigHandler::SigAction(met), flags, SigSet::empty());
        for fault in FAULTS {
            // SAFETY: `met` makes only calls that signal-safety(7) lists.
            unsafe { sigaction(fault, &action) }?;
        }
        Ok(())
    }
}

impl Place {
    /// Where the worker was, if it left word before it ended: an address as addr2line(1) takes it.
    pub fn read(&mut self) -> Option<usize> {
        let mut bytes = [0; size_of::<usize>()];
        self.0.read_exact(&mut bytes).ok()?;
        // The worker is a fork: it lies where this process lies.
        usize::from_ne_bytes(bytes).checked_sub(load_address())
    }
}

/// By how much the program lies off the addresses it was linked for (dl_iterate_phdr(3)).
fn load_address() -> usize {
    extern "C" fn first(object: *mut dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: the first points to one object's data, the last is what the caller handed over.
        unsafe { *found.cast::<usize>() = (*object).dlpi_addr as usize };
        // No more objects: the first is the program (ld.so(8)).
        1
    }
    let mut found = 0_usize;
    // SAFETY: `first` writes a usize, and only during the call.
    unsafe { dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

extern "C" fn met(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO, which SigHandler::SigAction sets, both point to what sigaction(2)
    // says.
    let (code, place) = unsafe {
        (
            (*info).si_code,
            program_counter(&*context.cast::<ucontext_t>()),
        )
    };
    // Above 0: the kernel sent it, for what this instruction did.
    if code > 0 {
        let bytes = place.to_ne_bytes();
        let end = WORKERS_END.load(Ordering::Relaxed);
        // SAFETY: the descriptor stays open, and the bytes are this frame's.
        let _ = unsafe { nix::libc::write(end, bytes.as_ptr().cast(), bytes.len()) };
    }
    // What another process sent would not come again by itself. The handler was reset, so this
    // ends the process.
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = raise(signal);
    }
}

#[cfg(target_arch = "arm")]
fn program_counter(context: &ucontext_t) -> usize {
    context.uc_mcontext.arm_pc as usize
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: &ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: &ucontext_t) -> usize {
    context.uc_mcontext.gregs[nix::libc::REG_RIP as usize] as usize
}
