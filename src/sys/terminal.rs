//! The controlling terminal: questions on it, and answers that need not be seen.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use nix::libc;
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// A terminal on which a person can be asked.
pub struct Terminal(File);

impl Terminal {
    /// The controlling terminal, whatever standard input and output are; none in the background.
    pub fn open() -> Option<Terminal> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        tty.ok().map(Terminal)
    }

    /// Writes a question and reads a line of at most `limit` bytes, without its end. Without `echo`
    /// what is typed is not shown.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] for Ctrl-C, [`io::ErrorKind::UnexpectedEof`] for Ctrl-D,
    /// [`io::ErrorKind::FileTooLarge`] for a longer line, and the kernel's.
    pub fn ask(
        &mut self,
        question: &str,
        echo: bool,
        limit: usize,
    ) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.write_all(question.as_bytes())?;
        if echo {
            return line(&mut self.0, limit);
        }
        let hidden = Hidden::new(&self.0)?;
        let answer = line(&mut &self.0, limit);
        drop(hidden);
        // The line end was not shown either.
        self.0.write_all(b"\n")?;
        if answer.as_ref().is_ok_and(|answer| answer.contains(&INTR)) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        answer
    }
}

/// Columns and rows of the terminal that standard output is (ioctl_tty(2), `TIOCGWINSZ`).
pub fn size() -> Option<(usize, usize)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes a winsize, or fails.
    let got = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (got == 0 && columns > 0 && rows > 0).then_some((columns, rows))
}

/// Ctrl-C as a byte.
const INTR: u8 = 3;

/// What is typed is not shown while this lives. Nor do keys send signals: one that ended the program
/// would leave the terminal so.
struct Hidden<'a> {
    tty: &'a File,
    before: Termios,
}

impl Hidden<'_> {
    fn new(tty: &File) -> io::Result<Hidden<'_>> {
        let before = tcgetattr(tty)?;
        let mut hidden = before.clone();
        hidden
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ISIG);
        // Ctrl-C ends the line, as a byte of it.
        hidden.control_chars[SpecialCharacterIndices::VEOL as usize] = INTR;
        tcsetattr(tty, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Hidden { tty, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}

/// One line of at most `limit` bytes, byte by byte: what follows it is left for others.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] without a line, [`io::ErrorKind::FileTooLarge`] for a longer
/// one, and the kernel's.
pub fn line(from: &mut impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // As large as it gets, so that no copy of a part stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    let mut byte = Zeroizing::new([0]);
    loop {
        match from.read(&mut *byte) {
            Ok(0) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == limit => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if byte[0] == INTR {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends_and_leaves_the_next_one() {
        let mut text = &b"one\r\n\ntwo"[..];
        for expected in [&b"one"[..], b"", b"two"] {
            assert_eq!(&line(&mut text, 8).unwrap()[..], expected);
        }
        let end = line(&mut text, 8).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        let long = line(&mut &b"123456789\n"[..], 8).unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::FileTooLarge);
    }
}
