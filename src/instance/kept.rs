//! What outlives a fault of the worker, and the program itself: a few lines in memory that the
//! supervisor and its worker share (memfd_create(2)) and that is handed over with execve(2).

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use reachback_core::control::Request;
use reachback_core::forward::ForwardSpec;
use reachback_core::lifetime::Since;
use reachback_core::time::Instant;

/// Most that is read, bytes: 80 lines of the control protocol and the rest.
const BYTES: usize = 48 * 1024;

/// What is kept of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// From when the limits count; none before the tunnel was there.
    pub since: Option<Since>,
    /// It was asked to end: it must not come back.
    pub ending: bool,
    /// What callers ordered, as lines of the control protocol.
    pub orders: String,
}

impl Display for Kept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(Since { asked, idle }) = self.since {
            let idle = idle.map_or(0, |at| at.0);
            writeln!(f, "since {} {idle}", asked.0)?;
        }
        if self.ending {
            writeln!(f, "ending")?;
        }
        writeln!(f, "{}end", self.orders)
    }
}

impl Kept {
    /// The forwards that callers handed over.
    pub fn handed(&self) -> impl Iterator<Item = ForwardSpec> {
        self.orders
            .lines()
            .filter_map(|line| match Request::parse(line) {
                Ok(Request::Forward(spec) | Request::ForwardService(spec)) => Some(spec),
                _ => None,
            })
    }

    /// Reads what [`Display`] wrote; what follows `end` is of a longer text before.
    fn parse(text: &str) -> Kept {
        let mut kept = Kept::default();
        for line in text.lines().take_while(|line| *line != "end") {
            match line.split_once(' ').unwrap_or((line, "")) {
                // The first versions kept it here, where the worker may write.
                ("program", _) => {}
                ("since", numbers) => kept.since = since(numbers),
                ("ending", _) => kept.ending = true,
                _ => {
                    kept.orders.push_str(line);
                    kept.orders.push('\n');
                }
            }
        }
        kept
    }
}

fn since(numbers: &str) -> Option<Since> {
    let (asked, idle) = numbers.split_once(' ')?;
    let idle: u64 = idle.parse().ok()?;
    Some(Since {
        asked: Instant(asked.parse().ok()?),
        idle: (idle > 0).then_some(Instant(idle)),
    })
}

/// The memory that it is kept in.
#[derive(Debug)]
pub struct Memory {
    file: File,
    /// What this process last wrote there.
    written: Kept,
}

impl Memory {
    /// Memory for a tunnel that begins.
    ///
    /// # Errors
    /// memfd_create(2)'s.
    pub fn new() -> io::Result<Memory> {
        let file = memfd_create(c"reachback", MFdFlags::MFD_CLOEXEC)?;
        let memory = Memory {
            file: file.into(),
            written: Kept::default(),
        };
        memory.write()?;
        Ok(memory)
    }

    /// Memory that was handed over.
    pub fn inherited(file: File) -> Memory {
        let mut memory = Memory {
            file,
            written: Kept::default(),
        };
        memory.written = memory.read();
        memory
    }

    /// What is there now, whichever process wrote it.
    pub fn read(&self) -> Kept {
        let length = self.file.metadata().map_or(0, |found| found.len());
        let mut bytes = vec![0; BYTES.min(length as usize)];
        // Nothing shortens it.
        let _ = self.file.read_exact_at(&mut bytes, 0);
        let text = String::from_utf8_lossy(&bytes);
        Kept::parse(&text)
    }

    /// The same, as this process wrote it last.
    pub fn written(&self) -> &Kept {
        &self.written
    }

    /// Keeps this from now on, and the orders if they have changed. Costs nothing if it is what was
    /// kept before.
    ///
    /// # Errors
    /// pwrite(2)'s.
    pub fn keep(&mut self, since: Since, ending: bool, orders: Option<String>) -> io::Result<()> {
        let kept = &mut self.written;
        if (kept.since, kept.ending) == (Some(since), ending) && orders.is_none() {
            return Ok(());
        }
        (kept.since, kept.ending) = (Some(since), ending);
        if let Some(orders) = orders {
            kept.orders = orders;
        }
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        self.file
            .write_all_at(self.written.to_string().as_bytes(), 0)
    }

    /// The open file, to be handed over.
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn another_process_reads_what_was_kept_last() {
        let mut memory = Memory::new().unwrap();
        let other = Memory::inherited(memory.file().try_clone().unwrap());
        let mut kept = Kept::default();
        assert_eq!(other.read(), kept);
        for (idle, ending, orders) in [
            (None, false, "forward 1:h:2\ncancel 3:h:4\n"),
            (Some(Instant(7)), true, "cancel 3:h:4\n"),
            (None, false, ""),
        ] {
            let since = Since {
                asked: Instant(5_000_000_000),
                idle,
            };
            memory.keep(since, ending, Some(orders.to_owned())).unwrap();
            (kept.since, kept.ending) = (Some(since), ending);
            kept.orders = orders.to_owned();
            assert_eq!(other.read(), kept);
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let read = Kept::parse("program /x\nsince soon\nforward 1:h:2\n");
        assert_eq!(read.since, None);
        assert_eq!(read.orders, "forward 1:h:2\n");
        assert_eq!(Kept::parse(""), Kept::default());
    }
}
