//! The caller's side of the control socket. A caller has nothing else to do, so it waits.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use reachback_core::control::{MAX_LINE, Refusal, Request, Snapshot, VERSION, Verdict};

use crate::sys::file;

/// How long an owner may take for an answer. Its loop serves the socket in every turn, so this
/// is far beyond what a healthy one needs.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to try again while the owner is busy, starts or ends.
const PATIENCE: Duration = Duration::from_secs(10);
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
    /// It refused; in its words.
    Refused(Refusal, String),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no tunnel is running"),
            Self::Busy => f.write_str("the tunnel's process is busy with other callers"),
            Self::Gone => f.write_str("the tunnel ended"),
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
            io::ErrorKind::TimedOut => {
                CallError::Failed("the tunnel's process does not answer".into())
            }
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
    /// Connects and says hello.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect(socket: &Path) -> Result<Owner, CallError> {
        let stream = UnixStream::connect(socket)?;
        let uid = geteuid();
        match getsockopt(&stream, sockopt::PeerCredentials) {
            // Root looks at everybody's tunnels.
            Ok(peer) if peer.uid() == uid.as_raw() || peer.uid() == 0 || uid.is_root() => {}
            _ => {
                return Err(CallError::Failed(
                    "the control socket is another user's".into(),
                ));
            }
        }
        stream.set_write_timeout(Some(ANSWER))?;
        let mut owner = Owner {
            stream: BufReader::new(stream),
            pid: 0,
        };
        match owner.ask(&Request::Hello(VERSION))? {
            Verdict::Hello { pid, .. } => owner.pid = pid,
            _ => return Err(strange()),
        }
        Ok(owner)
    }

    /// The same, again and again while the owner is busy.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect_patiently(socket: &Path) -> Result<Owner, CallError> {
        patiently(|| match Owner::connect(socket) {
            Err(CallError::Busy) => None,
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

    /// The status.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn status(&mut self) -> Result<Box<Snapshot>, CallError> {
        self.send(&Request::Status, ANSWER)?;
        let mut snapshot = Box::<Snapshot>::default();
        loop {
            let line = self.line()?;
            let last = snapshot.handle_line(&line).map_err(|_| strange())?;
            if last {
                return Ok(snapshot);
            }
        }
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
        bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| strange()),
            None => Err(CallError::Gone),
            Some(_) if line.len() < MAX_LINE => Err(CallError::Gone),
            Some(_) => Err(strange()),
        }
    }
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
