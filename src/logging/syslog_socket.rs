//! RFC 3164 lines to the local syslogd, without ever waiting for it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use log::Level;
use reachback_core::calendar::{LogTime, Utc};
use reachback_core::time::Instant;
use syslog::{Facility, LogFormat, Severity};

use super::escaped;
use crate::sys::clock;

/// Longest line sent (RFC 3164 section 4.1); longer ones are cut.
const LINE_BYTES: usize = 1024;
/// Lines kept while syslogd is missing or full.
const KEPT_LINES: usize = 32;
/// Bytes of all kept lines.
const KEPT_BYTES: usize = 8 * 1024;
/// Shortest time between two attempts to reach a syslogd that is away.
const RETRY: Duration = Duration::from_secs(1);

/// One line under construction: [`Write`] for the formatter, cut at [`LINE_BYTES`].
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES - self.0.len();
        let mut fits = bytes.len().min(room);
        // Not in the middle of a character of UTF-8.
        while fits < bytes.len() && fits > 0 && bytes[fits] & 0xc0 == 0x80 {
            fits -= 1;
        }
        self.0.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            // Nothing after a cut may follow.
            self.0.resize(LINE_BYTES, b' ');
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines as syslogd reads them at its socket (RFC 3164 without the host name, which is
/// syslogd's to add).
///
/// The crate's own formatter brings 40 kB of date formatting, pads days with zeros, and panics
/// on a clock it cannot format.
struct Rfc3164 {
    pid: u32,
}

impl<T: fmt::Display> LogFormat<T> for Rfc3164 {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, message: T) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        let (time, pid) = (LogTime(Utc::from_unix_s(clock::wall_s())), self.pid);
        write!(out, "<{priority}>{time} reachback[{pid}]: {message}").map_err(syslog::Error::Write)
    }
}

/// A connection to syslogd that may be away, full or restarted at any time. Lines wait in a
/// small ring meanwhile and are sent in order; what did not fit is counted and said.
pub struct SyslogSocket {
    path: PathBuf,
    format: Rfc3164,
    socket: Option<UnixDatagram>,
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
    lost: u32,
    retry_at: Instant,
}

impl SyslogSocket {
    /// Lines to the socket at `path` with this process's number. Nothing is opened yet.
    pub fn new(path: PathBuf) -> Self {
        SyslogSocket {
            path,
            format: Rfc3164 {
                pid: std::process::id(),
            },
            socket: None,
            kept: VecDeque::new(),
            kept_bytes: 0,
            lost: 0,
            retry_at: Instant(0),
        }
    }

    /// The same with a new path and the present process's number; what waits is kept.
    pub fn reopened(self, path: PathBuf) -> Self {
        SyslogSocket {
            kept: self.kept,
            kept_bytes: self.kept_bytes,
            lost: self.lost,
            ..SyslogSocket::new(path)
        }
    }

    /// Whether lines wait.
    pub fn waiting(&self) -> bool {
        !self.kept.is_empty() || self.lost > 0
    }

    /// Sends one line now, or keeps it, or counts it as lost. The time in it is now's.
    pub fn send(&mut self, level: Level, notice: bool, message: &fmt::Arguments<'_>, now: Instant) {
        let Some(line) = self.format(level, notice, message) else {
            return;
        };
        if self.waiting() {
            self.flush(now);
        }
        if !self.waiting() && self.deliver(&line, now) {
            return;
        }
        // What was kept first explains what came later, so the newest is what is lost.
        if self.lost == 0
            && self.kept.len() < KEPT_LINES
            && self.kept_bytes + line.len() <= KEPT_BYTES
        {
            self.kept_bytes += line.len();
            self.kept.push_back(line);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Sends what waits, as far as syslogd takes it. Does nothing within [`RETRY`] of the
    /// last failure.
    pub fn flush(&mut self, now: Instant) {
        while let Some(line) = self.kept.pop_front() {
            if !self.deliver(&line, now) {
                self.kept.push_front(line);
                return;
            }
            self.kept_bytes -= line.len();
        }
        if self.lost > 0 {
            let count = self.lost;
            let report = self.format(Level::Warn, false, &format_args!("{count} messages lost"));
            if report.is_some_and(|line| self.deliver(&line, now)) {
                self.lost = 0;
            }
        }
    }

    fn format(&self, level: Level, notice: bool, message: &fmt::Arguments<'_>) -> Option<Vec<u8>> {
        let mut line = Line(Vec::with_capacity(160));
        let message = escaped(message);
        let severity = match level {
            Level::Error => Severity::LOG_ERR,
            Level::Warn => Severity::LOG_WARNING,
            Level::Info if notice => Severity::LOG_NOTICE,
            Level::Info => Severity::LOG_INFO,
            Level::Debug | Level::Trace => Severity::LOG_DEBUG,
        };
        self.format.format(&mut line, severity, message).ok()?;
        Some(line.0)
    }

    /// Hands one line to the kernel; false when it did not take it.
    fn deliver(&mut self, line: &[u8], now: Instant) -> bool {
        if now < self.retry_at {
            return false;
        }
        // A restarted syslogd leaves a dead connection behind (ECONNREFUSED, ENOTCONN): the
        // second turn makes a new one. Full (EAGAIN) is not tried twice.
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = self.connect().ok();
            }
            let Some(socket) = &self.socket else { break };
            match socket.send(line) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.socket = None,
            }
        }
        self.retry_at = now + RETRY;
        false
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

#[cfg(test)]
#[path = "syslog_socket_tests.rs"]
mod tests;
