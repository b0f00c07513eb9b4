//! The caller's side of the control socket. A caller has nothing else to do, so it waits.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use reachback_core::control::{MAX_LINE, Refusal, Reply, Request, Snapshot, VERSION};

use crate::instance::lock;
use crate::sys::file;

/// How long an owner may take for an answer. Its loop serves the socket in every turn, so this
/// is far beyond what a healthy one needs.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to try again while the owner is busy, starts or ends.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Longest status, bytes: some four times what there can be to say.
const STATUS_BYTES: usize = 64 * 1024;
/// Pause between two tries: there is nothing to wait on for a process that is not there yet.
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest wait for a socket; the kernel takes 0 for one without end.
const TICK: Duration = Duration::from_millis(1);

/// Why an owner could not be asked.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens.
    Nobody,
    /// It serves as many clients as it can, starts or ends.
    Busy,
    /// A process, with this number, holds the tunnel, and its socket is not there.
    Hidden(u32),
    /// It went away before it answered.
    Gone,
    /// It waits before it goes on after a fault; its process number.
    Restarting(u32),
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
            Self::Busy => f.write_str("a process holds the tunnel and takes no callers for now"),
            Self::Hidden(pid) => write!(
                f,
                "process {pid} holds the tunnel, and its control socket was removed: it makes it anew \
                 when no connection is in use; kill {pid} ends it"
            ),
            Self::Gone => f.write_str("the tunnel ended"),
            Self::Restarting(pid) => write!(
                f,
                "process {pid} restarts itself after a fault and is not back yet; \
                 the system log says why; reachback stop ends it"
            ),
            Self::Silent(pid) => write!(
                f,
                "process {pid} holds the tunnel and does not answer; \
                 try kill -CONT {pid}, else kill -9 {pid}"
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
    stream: UnixStream,
    /// Until when the answer may take, in however many pieces it comes.
    until: Instant,
    /// What it has said and nobody has taken yet.
    said: Vec<u8>,
    /// Its socket.
    pub socket: PathBuf,
    /// Its process number.
    pub pid: u32,
}

impl Owner {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn open(socket: &Path) -> Result<Owner, CallError> {
        let uid = geteuid();
        // Root looks at everybody's tunnels.
        let is_fit = |peer| peer == uid.as_raw() || peer == 0 || uid.is_root();
        Owner::open_if(socket, is_fit).map_err(|error| absent(socket, error))
    }

    /// The same, to a process of this user only.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn open_of(socket: &Path, user: u32) -> Result<Owner, CallError> {
        Owner::open_if(socket, |peer| peer == user)
    }

    fn open_if(socket: &Path, is_fit: impl Fn(u32) -> bool) -> Result<Owner, CallError> {
        // Non-blocking: the full queue of a process that hangs would hold us up (unix(7)).
        let stream = UnixStream::from(mio::net::UnixStream::connect(socket)?);
        stream.set_nonblocking(false)?;
        let pid = match getsockopt(&stream, sockopt::PeerCredentials) {
            Ok(peer) if is_fit(peer.uid()) => peer.pid() as u32,
            _ => {
                return Err(CallError::Failed(
                    "the control socket is another user's".into(),
                ));
            }
        };
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Owner {
            stream,
            until: Instant::now(),
            said: Vec::new(),
            socket: socket.to_owned(),
            pid,
        })
    }

    /// Connects and says hello.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect(socket: &Path) -> Result<Owner, CallError> {
        let mut owner = Owner::open(socket)?;
        owner.send(&Request::Hello(VERSION), ANSWER)?;
        let line = owner.line()?;
        owner.pid = owner.greeted(&line)?;
        Ok(owner)
    }

    /// The same, again and again while the owner is busy, starts or ends.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn connect_patiently(socket: &Path) -> Result<Owner, CallError> {
        patiently(|| Owner::connect(socket))
    }

    /// Asks, and gives the reply that is no refusal.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, CallError> {
        let limit = match request {
            Request::Wait(limit) => *limit + ANSWER,
            // It has another program look first.
            Request::Renew => ANSWER * 2,
            _ => ANSWER,
        };
        self.send(request, limit)?;
        let line = self.line()?;
        self.reply(&line)
    }

    /// As [`Owner::ask`]; the words of what was done.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn order(&mut self, request: &Request) -> Result<String, CallError> {
        match self.ask(request)? {
            Reply::Done(text) => Ok(text.as_str().to_owned()),
            _ => Err(strange()),
        }
    }

    /// Says hello and asks for the status, and does not wait; [`Owner::status`] takes the answer.
    /// Nothing else can be asked of it.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn ask_status(&mut self) -> Result<(), CallError> {
        self.send(&Request::Hello(VERSION), ANSWER)?;
        self.send(&Request::Status, ANSWER)?;
        Ok(self.stream.set_nonblocking(true)?)
    }

    /// The status that was asked for, or none while not all of it is here: it does not wait.
    pub fn status(&mut self) -> Option<Result<Box<Snapshot>, CallError>> {
        let ended = loop {
            match self.read() {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                _ => break true,
            }
            if self.said.len() > STATUS_BYTES {
                return Some(Err(strange()));
            }
        };
        let refused = self.said.starts_with(b"no ") && self.said.ends_with(b"\n");
        let whole = ended || refused || self.said.ends_with(b"\nend\n");
        whole.then(|| self.snapshot())
    }

    /// The answers to hello and `status`.
    fn snapshot(&mut self) -> Result<Box<Snapshot>, CallError> {
        let line = self.line()?;
        self.greeted(&line)?;
        let mut snapshot = Box::<Snapshot>::default();
        loop {
            let line = self.line()?;
            if line.starts_with("no ") {
                self.reply(&line)?;
            }
            if snapshot.handle_line(&line).map_err(|_| strange())? {
                return Ok(snapshot);
            }
        }
    }

    /// Waits until the owner has closed the connection; false if it has not after `limit`.
    pub fn await_close(&mut self, limit: Duration) -> bool {
        self.until = Instant::now() + limit;
        loop {
            self.said.clear();
            match self.read().map_err(|error| error.kind()) {
                Ok(0) | Err(io::ErrorKind::ConnectionReset) => return true,
                Ok(_) | Err(io::ErrorKind::Interrupted) if Instant::now() < self.until => {}
                _ => return false,
            }
        }
    }

    /// Waits until the owner has ended; false if it has not after `limit`.
    pub fn await_end(mut self, limit: Duration) -> bool {
        if !self.await_close(limit) {
            return false;
        }
        // The worker has; its supervisor takes the files away and ends as well.
        while lock::is_held(&self.socket) {
            if Instant::now() >= self.until {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// The reply that is no refusal.
    fn reply(&self, line: &str) -> Result<Reply, CallError> {
        match Reply::parse(line).ok_or_else(strange)? {
            Reply::Refused(Refusal::Busy, _) => Err(CallError::Busy),
            Reply::Refused(Refusal::Restarting, _) => Err(CallError::Restarting(self.pid)),
            Reply::Refused(refusal, text) => {
                Err(CallError::Refused(refusal, text.as_str().to_owned()))
            }
            reply => Ok(reply),
        }
    }

    /// The process number in the answer to hello.
    fn greeted(&self, line: &str) -> Result<u32, CallError> {
        match self.reply(line)? {
            Reply::Hello { pid, .. } => Ok(pid),
            _ => Err(strange()),
        }
    }

    fn send(&mut self, request: &Request, limit: Duration) -> Result<(), CallError> {
        self.until = Instant::now() + limit;
        self.stream
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

    /// Its next line, without the newline.
    fn line(&mut self) -> Result<String, CallError> {
        loop {
            if let Some(end) = self.said.iter().position(|&byte| byte == b'\n') {
                let rest = self.said.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.said, rest);
                line.pop();
                return String::from_utf8(line).map_err(|_| strange());
            }
            if self.said.len() > MAX_LINE {
                return Err(strange());
            }
            match self.read() {
                Ok(0) => return Err(CallError::Gone),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Err(CallError::Silent(self.pid)),
                    // It was stopped and goes on (signal(7)).
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Takes in what it says, as soon as there is something; 0 at its end. After the time for the
    /// answer, what is there is taken all the same: it may be this process that was stopped.
    fn read(&mut self) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(TICK)))?;
        let mut part = [0; 4096];
        let length = self.stream.read(&mut part)?;
        self.said.extend_from_slice(&part[..length]);
        Ok(length)
    }
}

/// Waits until one of them has said something, or for a moment.
pub fn await_any<'a>(owners: impl Iterator<Item = &'a Owner>) {
    let mut wanted: Vec<PollFd> = owners
        .map(|owner| PollFd::new(owner.stream.as_fd(), PollFlags::POLLIN))
        .collect();
    // Whatever it says, they are looked at again.
    let _ = poll(&mut wanted, PAUSE.as_millis() as u16);
}

/// Nobody listens: what that means.
fn absent(socket: &Path, error: CallError) -> CallError {
    match error {
        CallError::Nobody if lock::is_held(socket) => match lock::holder(socket) {
            Some(pid) if std::fs::symlink_metadata(socket).is_err() => CallError::Hidden(pid),
            _ => CallError::Busy,
        },
        error => error,
    }
}

fn strange() -> CallError {
    CallError::Failed(
        "the tunnel's process gave an answer that makes no sense: another version?".into(),
    )
}

/// Asks again and again while the owner is busy, starts, ends or has failed, for a bounded time. A
/// caller's order ends its wait after a fault.
///
/// # Errors
/// See [`CallError`].
pub fn patiently<T>(mut attempt: impl FnMut() -> Result<T, CallError>) -> Result<T, CallError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(
                CallError::Busy | CallError::Hidden(_) | CallError::Gone | CallError::Restarting(_),
            ) if Instant::now() < end => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}
