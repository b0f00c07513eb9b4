//! Signals as something the loop waits for (signalfd(2)), never as handlers.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::Exit;

/// What a person or the init system asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `SIGTERM` or `SIGINT`: end cleanly.
    Stop,
    /// `SIGUSR1`: connect anew now.
    Reconnect,
    /// `SIGHUP`: read the configuration again.
    Reload,
    /// [`ORPHANED`].
    Orphaned,
}

/// Tells the worker that its supervisor has died.
pub const ORPHANED: Signal = Signal::SIGUSR2;

/// The signals that the loop reads.
pub fn handled() -> SigSet {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        ORPHANED,
    ] {
        mask.add(signal);
    }
    mask
}

/// Lets this process outlive the terminal or the connection that it was called from.
pub fn outlive_terminal() {
    for end in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGPIPE] {
        // SAFETY: SIG_IGN installs no handler, so no code runs in signal context.
        let _ = unsafe { signal(end, SigHandler::SigIgn) };
    }
}

/// The blocked signals and the descriptor they arrive on.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and opens the descriptor, non-blocking and closed on exec.
    /// Call it after the fork. `SIGPIPE` is ignored: a write to a closed socket is an error
    /// value of that write.
    ///
    /// # Errors
    /// [`crate::exit::OS`] when the kernel refuses.
    pub fn new() -> Result<Self, Exit> {
        Self::open().map_err(|error| Exit::os("cannot wait for signals", error.desc()))
    }

    fn open() -> nix::Result<Self> {
        let mask = handled();
        mask.thread_block()?;
        // SAFETY: SIG_IGN installs no handler, so no code runs in signal context.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The next request that is waiting, `None` when there is none. Read until `None`:
    /// readiness is edge-triggered.
    pub fn next(&mut self) -> Option<Request> {
        let info = self.fd.read_signal().ok()??;
        match Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()? {
            Signal::SIGHUP => Some(Request::Reload),
            Signal::SIGUSR1 => Some(Request::Reconnect),
            ORPHANED => Some(Request::Orphaned),
            _ => Some(Request::Stop),
        }
    }
}

impl AsRawFd for Signals {
    /// To be watched for reading through [`mio::unix::SourceFd`].
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mio::unix::SourceFd;
    use mio::{Interest, Token};
    use nix::sys::signal::raise;
    use std::time::Duration;

    #[test]
    fn signals_wake_the_loop_and_are_read_in_it() {
        let mut signals = Signals::new().unwrap();
        let mut poll = mio::Poll::new().unwrap();
        poll.registry()
            .register(
                &mut SourceFd(&signals.as_raw_fd()),
                Token(7),
                Interest::READABLE,
            )
            .unwrap();
        assert_eq!(signals.next(), None);
        raise(Signal::SIGHUP).unwrap();
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(5)))
            .unwrap();
        assert!(events.iter().any(|event| event.token() == Token(7)));
        assert_eq!(signals.next(), Some(Request::Reload));
        raise(Signal::SIGUSR1).unwrap();
        assert_eq!(signals.next(), Some(Request::Reconnect));
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.next(), Some(Request::Stop));
        assert_eq!(signals.next(), None);
    }
}
