//! What the worker asks its supervisor to do, because it may not do it itself: a line of text on
//! a socket that both have, and a line back. The supervisor does it in a process of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Longest errand and longest answer, bytes; a host key of RSA with 16,384 bits fits.
const MAX: usize = 4096;

/// The worker's end; empty in every other process.
static SUPERVISOR: OnceLock<OwnedFd> = OnceLock::new();

/// Makes the supervisor's end and the worker's.
///
/// # Errors
/// socketpair(2)'s.
pub fn pair() -> nix::Result<(Errands, OwnedFd)> {
    let family = AddressFamily::Unix;
    let flags = SockFlag::SOCK_CLOEXEC;
    let (supervisor, worker) = socketpair(family, SockType::SeqPacket, None, flags)?;
    let errands = Errands {
        socket: supervisor,
        running: None,
    };
    Ok((errands, worker))
}

/// This process is the worker from now on.
pub fn is_worker(end: OwnedFd) {
    let _ = SUPERVISOR.set(end);
}

/// Has the supervisor run an errand, and waits for the answer. None in a process that has no
/// supervisor, which may do it itself.
///
/// # Errors
/// The supervisor is gone, or the errand ended without an answer.
pub fn ask(errand: &str) -> Option<io::Result<String>> {
    let socket = SUPERVISOR.get()?.as_raw_fd();
    let asked = || {
        send(socket, errand.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
        let mut answer = [0; MAX];
        let length = recv(socket, &mut answer, MsgFlags::empty())?;
        let text = answer[..length].strip_suffix(b"\n");
        let text = text.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    Some(asked())
}

/// The supervisor's end, and the errand that is being run, one at a time.
pub struct Errands {
    socket: OwnedFd,
    running: Option<Pid>,
}

impl Errands {
    /// What can be read when there is an errand to run; none while one is running.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.running.is_none().then(|| self.socket.as_fd())
    }

    /// Runs the errand that can be read: `perform` gives the answer, in a process of its own. Whatever
    /// fails there or costs memory ends with it.
    pub fn run(&mut self, perform: &dyn Fn(&str) -> String) {
        let mut errand = [0; MAX];
        let socket = self.socket.as_raw_fd();
        let length = match recv(socket, &mut errand, MsgFlags::MSG_DONTWAIT) {
            Ok(length) if length > 0 => length,
            // The worker has ended: its signal is on the way, and this would be readable until then.
            Ok(_) => return self.running = Some(Pid::from_raw(0)),
            Err(_) => return,
        };
        // SAFETY: the process has one thread, so the child may use the allocator and every lock.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => self.running = Some(child),
            Ok(ForkResult::Child) => {
                let answer = perform(&String::from_utf8_lossy(&errand[..length]));
                self.answer(&answer);
                std::process::exit(0);
            }
            Err(error) => self.answer(error.desc()),
        }
    }

    fn answer(&self, text: &str) {
        let length = text.len().min(MAX - 1);
        let answer = [&text.as_bytes()[..length], b"\n"].concat();
        let _ = send(self.socket.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL);
    }

    /// A child has ended: perhaps this errand. One that failed has an empty message for its answer.
    pub fn reap(&mut self) {
        let Some(pid) = self.running.filter(|pid| pid.as_raw() > 0) else {
            return;
        };
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return,
            Ok(WaitStatus::Exited(_, 0)) => {}
            _ => {
                let _ = send(self.socket.as_raw_fd(), b"?", MsgFlags::MSG_NOSIGNAL);
            }
        }
        self.running = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn run(errand: &str, perform: &dyn Fn(&str) -> String) -> Vec<u8> {
        let (mut errands, worker) = pair().unwrap();
        send(worker.as_raw_fd(), errand.as_bytes(), MsgFlags::empty()).unwrap();
        errands.run(perform);
        let pid = errands.running.unwrap();
        assert!(errands.waits_for().is_none(), "one at a time");
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(pid),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        errands.reap();
        assert!(errands.waits_for().is_some());
        let mut ready = [PollFd::new(worker.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE).unwrap();
        let mut answer = [0; MAX];
        let length = recv(worker.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        answer[..length].to_vec()
    }

    #[test]
    fn an_errand_is_answered_in_a_line_and_one_that_fails_in_none() {
        assert_eq!(run("x", &|errand| format!("{errand}y")), b"xy\n");
        assert_eq!(run("x", &|_| "é".repeat(MAX)).len(), MAX);
        assert_eq!(run("x", &|_| std::process::exit(1)), b"?");
    }

    #[test]
    fn who_has_no_supervisor_is_told_so() {
        assert!(ask("x").is_none());
    }
}
