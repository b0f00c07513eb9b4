//! The `log` facade's other end: standard error or syslog.
//!
//! Lines of the target [`NOTICE`] at level info have syslog's severity notice. Control
//! characters in a message are escaped, so that nobody far away can write log lines.

mod log_file;
mod syslog_socket;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use log::{Level, LevelFilter, Metadata, Record};
use reachback_core::keyword::LogLevel;
use reachback_core::time::Instant;

pub use reachback_core::escape::escaped;
use syslog_socket::SyslogSocket;

use crate::cli::Note;
use crate::sys::clock;

/// Target for lines that matter more than info and are no warning:
/// `log::info!(target: logging::NOTICE, ...)`.
pub const NOTICE: &str = "notice";

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, one line each: `reachback: message`.
    Stderr,
    /// The datagram socket of syslogd at this path.
    Syslog(PathBuf),
    /// This file, absolute.
    File(PathBuf),
}

impl Target {
    /// Syslog at `$REACHBACK_SYSLOG`, else at `/dev/log`.
    pub fn syslog() -> Self {
        let path = std::env::var_os("REACHBACK_SYSLOG")
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/dev/log".into());
        // The daemon's working directory is another one than the caller's.
        Target::Syslog(std::path::absolute(&path).unwrap_or_else(|_| path.into()))
    }

    /// Syslog in the background or when standard error is closed, standard error otherwise.
    ///
    /// The standard library opens closed descriptors on `/dev/null` before `main`, so that
    /// is what a closed one looks like.
    pub fn choose(background: bool) -> Self {
        if background || stderr_is_null() {
            Target::syslog()
        } else {
            Target::Stderr
        }
    }
}

/// Whether standard error takes a line, after so many milliseconds at most: a terminal that was
/// stopped, or a pipe that nobody reads, must not stop the tunnel, nor keep the program from
/// ending. Lines it does not take are lost.
pub fn stderr_takes(patience: u16) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;
    let stderr = std::io::stderr();
    let mut wanted = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wanted, patience).is_ok_and(|ready| ready > 0)
}

/// Whether standard error is closed, or leads to /dev/null or what stands in for it.
pub fn stderr_is_null() -> bool {
    use nix::sys::stat::{SFlag, fstat, stat};
    let Ok(stderr) = fstat(std::io::stderr()) else {
        return true;
    };
    let is_directory = SFlag::from_bits_truncate(stderr.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    let null = stat("/dev/null").is_ok_and(|null| stderr.st_rdev == null.st_rdev);
    is_directory || null && stderr.st_rdev != 0
}

/// Which lines pass for ssh_config(5)'s `LogLevel`. Its QUIET and FATAL differ only in
/// lines that end the program; those go to standard error and are no log lines here.
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Quiet | LogLevel::Fatal => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Info | LogLevel::Verbose => LevelFilter::Info,
        LogLevel::Debug1 => LevelFilter::Debug,
        LogLevel::Debug2 | LogLevel::Debug3 => LevelFilter::Trace,
    }
}

enum Sink {
    Closed,
    Stderr,
    Syslog(SyslogSocket),
    File(PathBuf),
}

struct Logger {
    // Never contended: the program has one thread. A lock that is taken means a line
    // logged while logging, which is dropped.
    sink: Mutex<Sink>,
}

static LOGGER: Logger = Logger {
    sink: Mutex::new(Sink::Closed),
};

/// Sends log lines of at most `level` to `target` from now on. May be called again, and has
/// to be after a fork: the process number in each syslog line is taken here. Lines that
/// still wait for syslogd are moved to the new target if that is syslog too.
pub fn init(target: Target, level: LevelFilter) {
    // Fails from the second call on, when the logger is set already.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
    if let Ok(mut sink) = LOGGER.sink.try_lock() {
        *sink = match (target, std::mem::replace(&mut *sink, Sink::Closed)) {
            (Target::Stderr, _) => Sink::Stderr,
            (Target::File(path), _) => Sink::File(path),
            (Target::Syslog(path), Sink::Syslog(old)) => Sink::Syslog(old.reopened(path)),
            (Target::Syslog(path), _) => Sink::Syslog(SyslogSocket::new(path)),
        };
    }
}

/// Whether lines go anywhere.
pub fn is_open() -> bool {
    let sink = LOGGER.sink.try_lock();
    sink.is_ok_and(|sink| !matches!(*sink, Sink::Closed))
}

/// Sends no lines anywhere, until [`init`].
pub fn close() {
    if let Ok(mut sink) = LOGGER.sink.try_lock() {
        *sink = Sink::Closed;
    }
}

/// Logs what a person should know about a start that is none the worse for it. Warnings come
/// with `-q` as well: they name what the line asks for in vain.
pub fn say(notes: &[Note]) {
    let level = log::max_level();
    log::set_max_level(level.max(LevelFilter::Warn));
    for note in notes {
        let level = if note.is_warning {
            Level::Warn
        } else {
            Level::Info
        };
        log::log!(level, "{}", note.text);
    }
    log::set_max_level(level);
}

/// Sends what waits for a syslogd that was missing or full, if it is back. Cheap when nothing
/// waits; to be called about once a second while [`flush_wanted`].
pub fn flush_due(now: Instant) {
    if let Ok(mut sink) = LOGGER.sink.try_lock()
        && let Sink::Syslog(socket) = &mut *sink
    {
        socket.flush(now);
    }
}

/// Whether lines wait for syslogd.
pub fn flush_wanted() -> bool {
    LOGGER
        .sink
        .try_lock()
        .is_ok_and(|sink| matches!(&*sink, Sink::Syslog(socket) if socket.waiting()))
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries' own lines are for their authors.
        metadata.level() <= log::max_level()
            && (metadata.target() == NOTICE
                || metadata.target().starts_with("reachback")
                || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Ok(mut sink) = self.sink.try_lock() else {
            return;
        };
        match &mut *sink {
            Sink::Closed => {}
            Sink::File(path) => log_file::append(path, record.args()),
            Sink::Stderr => {
                let line = format!("reachback: {}\n", escaped(record.args()));
                // One write, so that lines of several processes stay whole. A terminal that
                // went away is no reason to end.
                if stderr_takes(0) {
                    let _ = std::io::stderr().write_all(line.as_bytes());
                }
            }
            Sink::Syslog(socket) => {
                let notice = record.target() == NOTICE;
                socket.send(record.level(), notice, record.args(), clock::now());
            }
        }
    }

    fn flush(&self) {
        flush_due(clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_of_ssh_config_let_through_what_their_names_say() {
        assert_eq!(filter(LogLevel::Quiet), LevelFilter::Off);
        assert_eq!(filter(LogLevel::Error), LevelFilter::Error);
        assert_eq!(filter(LogLevel::Info), LevelFilter::Info);
        assert_eq!(filter(LogLevel::Debug1), LevelFilter::Debug);
        assert_eq!(filter(LogLevel::Debug3), LevelFilter::Trace);
    }
}
