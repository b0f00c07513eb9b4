//! Whether a stream has something to read, by an edge-triggered poll (epoll(7)).

use std::io;

use crate::outside::Ready;

/// What is known of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Readable {
    yes: bool,
    /// A read that gets less than it asked for has not taken everything: the end, or an error, may
    /// lie behind.
    to_the_end: bool,
}

impl Readable {
    /// Of a stream whose readiness was not followed until now.
    pub fn unknown() -> Readable {
        Readable {
            yes: true,
            to_the_end: true,
        }
    }

    /// Of a stream that was just made; the poll will tell.
    pub fn not_yet() -> Readable {
        Readable {
            yes: false,
            to_the_end: false,
        }
    }

    /// Whether a read may bring something.
    pub fn get(self) -> bool {
        self.yes
    }

    /// The poll has told something.
    pub fn note(&mut self, ready: Ready) {
        self.yes |= ready.readable;
        self.to_the_end |= ready.ended;
    }

    /// A read of `asked` bytes has ended so. Whatever comes after it, the poll tells.
    pub fn after(&mut self, outcome: &io::Result<usize>, asked: usize) {
        match outcome {
            Ok(n) if *n < asked && !self.to_the_end => self.yes = false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *self = Self::not_yet(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Token;

    fn told(ended: bool) -> Readable {
        let mut readable = Readable::not_yet();
        readable.note(Ready {
            token: Token(0),
            readable: true,
            writable: false,
            ended,
        });
        readable
    }

    #[test]
    fn a_read_that_was_not_filled_has_taken_everything() {
        let mut readable = told(false);
        readable.after(&Ok(10), 10);
        assert!(readable.get());
        readable.after(&Ok(9), 10);
        assert!(!readable.get());
    }

    #[test]
    fn where_the_end_or_an_error_waits_reading_goes_on() {
        for mut readable in [told(true), Readable::unknown()] {
            readable.after(&Ok(9), 10);
            assert!(readable.get());
            readable.after(&Err(io::ErrorKind::Interrupted.into()), 10);
            assert!(readable.get());
            readable.after(&Err(io::ErrorKind::WouldBlock.into()), 10);
            assert!(!readable.get());
        }
    }

    #[test]
    fn nothing_there_ends_it_until_the_poll_tells_more() {
        let mut readable = Readable::unknown();
        readable.after(&Err(io::ErrorKind::WouldBlock.into()), 10);
        readable.note(Ready {
            token: Token(0),
            readable: true,
            writable: false,
            ended: false,
        });
        assert!(readable.get());
        readable.after(&Ok(9), 10);
        assert!(!readable.get());
    }
}
