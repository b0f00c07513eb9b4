//! The caller's side of the control socket. A caller has nothing else to do, so it waits.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, geteuid};
use reachback_core::control::{MAX_LINE, Refusal, Request, Snapshot, VERSION, Verdict};

use crate::owner::{self, Holder};
use crate::sys::file;

/// How long an owner may take for an answer. Its loop serves the socket in every turn, so this
/// is far beyond what a healthy one needs.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to try again while the owner is busy, starts or ends.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two tries: there is nothing to wait on for a process that is not there yet.
const PAUSE: Duration = Duration::from_millis(20);

/// Why an owner could not be asked.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens.
    Nobody,
    /// It serves as many clients as it can.
    Busy,
    /// It went away before it answered.
    Gone,
    /// It waits to go on after a restart by itself.
    Waiting {
        /// Its process number.
        pid: u32,
        /// How many restarts in a row it has behind it.
        restarts: u32,
    },
    /// It is there and does not answer; its process number.
    Silent(u32),
    /// It refused; in its words.
    Refused(Refusal, String),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no tunnel is running"),
            Self::Busy => f.write_str("the tunnel's process takes no more callers for now"),
            Self::Gone => f.write_str("the tunnel ended"),
            Self::Waiting { pid, .. } => write!(
                f,
                "process {pid} restarts itself after a fault and is not back yet; \
                 the system log says why; reachback stop ends it"
            ),
            Self::Silent(pid) => write!(
                f,
                "process {pid} holds the tunnel and does not answer; \
                 try kill -CONT {pid}, else kill -9 {pid} and call for it again"
            ),
            Self::Refused(_, text) => f.write_str(text),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> CallError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::Nobody,
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => CallError::Gone,
            // The listener's queue is full (unix(7)).
            io::ErrorKind::WouldBlock => CallError::Busy,
            _ => CallError::Failed(format!(
                "cannot ask the tunnel's process: {}",
                file::reason(&error)
            )),
        }
    }
}

/// A connection to an owner.
pub struct Owner {
    stream: BufReader<UnixStream>,
    /// Its process number.
    pub pid: u32,
}

impl Owner {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn open(socket: &Path) -> Result<Owner, CallError> {
        // Non-blocking: the full queue of a process that hangs would hold us up (unix(7)).
        let stream = match mio::net::UnixStream::connect(socket) {
            Ok(stream) => UnixStream::from(stream),
            Err(error) => return Err(absent(socket, error.into())),
        };
        stream.set_nonblocking(false)?;
        let uid = geteuid();
        let pid = match getsockopt(&stream, sockopt::PeerCredentials) {
            // Root looks at everybody's tunnels.
            Ok(peer) if peer.uid() == uid.as_raw() || peer.uid() == 0 || uid.is_root() => {
                peer.pid() as u32
            }
            _ => {
                return Err(CallError::Failed(
                    "the control socket is another user's".into(),
                ));
            }
        };
        stream.set_write_timeout(Some(ANSWER))?;
        let stream = BufReader::new(stream);
        Ok(Owner { stream, pid })
    }

    /// Connects and says hello.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect(socket: &Path) -> Result<Owner, CallError> {
        let mut owner = Owner::open(socket)?;
        owner.send(&Request::Hello(VERSION), ANSWER)?;
        owner.greeted()?;
        Ok(owner)
    }

    fn greeted(&mut self) -> Result<(), CallError> {
        match self.verdict()? {
            Verdict::Hello { pid, .. } => self.pid = pid,
            _ => return Err(strange()),
        }
        Ok(())
    }

    /// The same, again and again while the owner is busy, starts or ends; one that waits is woken
    /// if so wished.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::Waiting`] for one that is not to be woken, or waits again.
    pub fn connect_patiently(socket: &Path, wake: bool) -> Result<Owner, CallError> {
        let mut alarm = Alarm::default();
        patiently(|| match Owner::connect(socket) {
            // After it has gone, the lock says whether it comes back.
            Err(CallError::Busy | CallError::Gone) => None,
            Err(CallError::Waiting { pid, restarts }) if wake && alarm.wakes(pid, restarts) => None,
            other => Some(other),
        })
        .unwrap_or(Err(CallError::Busy))
    }

    /// Asks, and gives the verdict that is no refusal.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn ask(&mut self, request: &Request) -> Result<Verdict, CallError> {
        let limit = match request {
            Request::Wait(limit) => *limit + ANSWER,
            _ => ANSWER,
        };
        self.send(request, limit)?;
        self.verdict()
    }

    fn verdict(&mut self) -> Result<Verdict, CallError> {
        let line = self.line()?;
        match Verdict::parse(&line).ok_or_else(strange)? {
            Verdict::Refused(Refusal::Busy, _) => Err(CallError::Busy),
            Verdict::Refused(refusal, text) => {
                Err(CallError::Refused(refusal, text.as_str().to_owned()))
            }
            verdict => Ok(verdict),
        }
    }

    /// As [`Owner::ask`]; the words of what was done.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn order(&mut self, request: &Request) -> Result<String, CallError> {
        match self.ask(request)? {
            Verdict::Done(text) => Ok(text.as_str().to_owned()),
            _ => Err(strange()),
        }
    }

    /// Says hello and asks for the status, and does not wait; [`Owner::status`] takes the answer,
    /// which may come within `limit`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn ask_status(&mut self, limit: Duration) -> Result<(), CallError> {
        let limit = limit.max(PAUSE);
        self.send(&Request::Hello(VERSION), limit)?;
        self.send(&Request::Status, limit)
    }

    /// The status that was asked for.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn status(&mut self) -> Result<Box<Snapshot>, CallError> {
        self.greeted()?;
        let mut snapshot = Box::<Snapshot>::default();
        loop {
            let line = self.line()?;
            let last = snapshot.handle_line(&line).map_err(|_| strange())?;
            if last {
                return Ok(snapshot);
            }
        }
    }

    /// True when it has said something.
    pub fn has_answered(&self) -> bool {
        let mut wanted = [PollFd::new(
            self.stream.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Waits until the owner has ended; false if it has not after `limit`.
    pub fn await_end(mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut buffer = [0; 64];
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let stream = self.stream.get_ref();
            let timeout = left.max(Duration::from_millis(1));
            if stream.set_read_timeout(Some(timeout)).is_err() {
                return false;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return true,
                _ => {}
            }
        }
        false
    }

    fn send(&mut self, request: &Request, limit: Duration) -> Result<(), CallError> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(limit))?;
        stream
            .write_all(format!("{request}\n").as_bytes())
            .or_else(|error| {
                // One that was sent away may have an answer all the same.
                match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
                    _ => Err(error),
                }
            })?;
        Ok(())
    }

    fn line(&mut self) -> Result<String, CallError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(MAX_LINE as u64 + 1);
        let silent = CallError::Silent(self.pid);
        bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => silent,
                _ => error.into(),
            })?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| strange()),
            None => Err(CallError::Gone),
            Some(_) if line.len() < MAX_LINE => Err(CallError::Gone),
            Some(_) => Err(strange()),
        }
    }
}

/// Waits until one of them has said something, or for a moment.
pub fn await_any<'a>(owners: impl Iterator<Item = &'a Owner>) {
    let mut wanted: Vec<PollFd> = owners
        .map(|owner| PollFd::new(owner.stream.get_ref().as_fd(), PollFlags::POLLIN))
        .collect();
    // Whatever it says, they are looked at again.
    let _ = poll(&mut wanted, PAUSE.as_millis() as u16);
}

/// Nobody listens: what that means.
fn absent(socket: &Path, error: CallError) -> CallError {
    match (error, owner::holder(socket)) {
        (CallError::Nobody, Holder::Waiting { pid, restarts }) => {
            CallError::Waiting { pid, restarts }
        }
        (CallError::Nobody, Holder::Busy) => CallError::Busy,
        (error, _) => error,
    }
}

/// Wakes a process that waits to go on after a restart by itself: a caller is a person who asks,
/// and for whom every other wait is cut short as well. Once for each caller, so that callers are
/// no way round the wait for one that fails at once.
#[derive(Default)]
pub struct Alarm(Option<u32>);

impl Alarm {
    /// True if there is hope: it was woken, now or a moment ago.
    pub fn wakes(&mut self, pid: u32, restarts: u32) -> bool {
        match self.0 {
            Some(before) => before == restarts,
            None => {
                self.0 = Some(restarts);
                send(pid, Signal::SIGUSR1)
            }
        }
    }
}

/// Ends a process that waits to go on after a restart by itself; false if it has not ended in time.
pub fn end_waiting(socket: &Path, pid: u32) -> bool {
    // It does not come back: the signal stays until it looks, whatever it does meanwhile.
    let sent = send(pid, Signal::SIGTERM);
    let ended = || (owner::holder(socket) == Holder::Nobody).then_some(());
    sent && patiently(ended).is_some()
}

fn send(pid: u32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid as i32), signal).is_ok()
}

fn strange() -> CallError {
    CallError::Failed(
        "the tunnel's process gave an answer that makes no sense: another version?".into(),
    )
}

/// Tries until it gives something, for a bounded time.
pub fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Some(value) => return Some(value),
            None if Instant::now() >= end => return None,
            None => std::thread::sleep(PAUSE),
        }
    }
}
