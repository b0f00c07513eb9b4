//! Exit codes and the one line that goes with a failed start.

use std::fmt;

use crate::sys::file::reason;

/// Bad command line: arguments, destination, `-R`, `-o` (sysexits(3) `EX_USAGE`).
pub const USAGE: u8 = 64;
/// A file that was read but does not make sense (`EX_DATAERR`).
pub const DATA: u8 = 65;
/// A file that is missing or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// Something this program needs is not available (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The kernel refused something it normally grants: fork, signalfd, epoll (`EX_OSERR`).
pub const OS: u8 = 71;
/// Not done yet, and it goes on trying: forwards that were waited for (`EX_TEMPFAIL`).
pub const TEMPORARY: u8 = 75;
/// A file exists but may not be read or written (`EX_NOPERM`).
pub const NO_PERMISSION: u8 = 77;
/// The configuration file is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Why the program does not start: a sysexits(3) code and one line for the person who started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status of the process.
    pub code: u8,
    /// `<what failed>: <on what>: <what to do>`, without the program's name. For a configuration
    /// file, two lines follow that show the place.
    pub message: String,
    /// The log has it.
    pub is_said: bool,
}

impl Exit {
    /// An exit with this code and line.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Exit {
            code,
            message: message.into(),
            is_said: false,
        }
    }

    /// The same, once the log has it.
    pub fn said(self) -> Self {
        Exit {
            is_said: true,
            ..self
        }
    }

    /// The first line of the message: a log has one line for each thing that happens.
    pub fn line(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// A command line that cannot be followed.
    pub fn usage(message: impl Into<String>) -> Self {
        Exit::new(USAGE, message)
    }

    /// A system call that failed; `what` says what it was for.
    pub fn os(what: &str, error: impl fmt::Display) -> Self {
        Exit::new(OS, format!("{what}: {}", reason(&error)))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}
