//! What happened to a tunnel lately: a ring of the last events.

use core::fmt::{self, Write};

use heapless::{Deque, String};

use crate::time::Instant;

/// Events kept; the oldest goes first.
pub const EVENTS: usize = 32;
/// Longest text of an event, bytes; what is longer is cut off between words.
pub const TEXT: usize = 120;

/// What kind of thing happened. The names are part of the status formats.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The owner began.
    Started,
    /// A server was reached.
    Connected,
    /// Every forward is confirmed.
    Up,
    /// The server listens for a forward.
    ForwardConfirmed,
    /// The server refused a forward.
    ForwardRefused,
    /// A forward was added by a caller or the configuration.
    ForwardAdded,
    /// A forward was taken away.
    ForwardRemoved,
    /// An attempt ended without a login.
    Failed,
    /// A connection was lost.
    Lost,
    /// A connection was ended by this side.
    Left,
    /// Someone asked for a new connection.
    Reconnect,
    /// The end was asked for or has come by itself.
    Ending,
}

/// Every kind with its name.
const NAMES: [(Kind, &str); 12] = [
    (Kind::Started, "started"),
    (Kind::Connected, "connected"),
    (Kind::Up, "up"),
    (Kind::ForwardConfirmed, "forward-confirmed"),
    (Kind::ForwardRefused, "forward-refused"),
    (Kind::ForwardAdded, "forward-added"),
    (Kind::ForwardRemoved, "forward-removed"),
    (Kind::Failed, "failed"),
    (Kind::Lost, "lost"),
    (Kind::Left, "left"),
    (Kind::Reconnect, "reconnect"),
    (Kind::Ending, "ending"),
];

impl Kind {
    /// The kind's name: lower case, words joined with `-`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Kind> {
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|&(kind, _)| kind)
    }
}

/// One event, or several that were equal and followed each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it happened (last), on the monotonic clock.
    pub at: Instant,
    /// The same on the wall clock as it stood then: seconds since 1970.
    pub wall_s: u64,
    /// How many times in a row; at least 1.
    pub times: u32,
    /// What kind of thing.
    pub kind: Kind,
    /// Details in words, one line.
    pub text: String<TEXT>,
}

/// The last [`EVENTS`] events, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Deque<Event, EVENTS>,
}

impl History {
    /// Nothing happened yet.
    pub fn new() -> History {
        History::default()
    }

    /// Notes an event. One like the newest only counts it up, so that a server that is away for
    /// hours does not push out what happened before.
    pub fn note(&mut self, now: Instant, wall_s: u64, kind: Kind, text: impl fmt::Display) {
        let text = words(text);
        if let Some(last) = self.events.back_mut()
            && last.kind == kind
            && last.text == text
        {
            last.times = last.times.saturating_add(1);
            (last.at, last.wall_s) = (now, wall_s);
            return;
        }
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(Event {
            at: now,
            wall_s,
            times: 1,
            kind,
            text,
        });
    }

    /// The events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// As [`line()`], cut between words, with three dots where it is: half a fingerprint or address would
/// be taken for a whole one.
pub fn words<const N: usize>(text: impl fmt::Display) -> String<N> {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    let _ = write!(count, "{text}");
    let mut cut = line::<N>(&text);
    if count.0 > N {
        let room = cut.char_indices().take_while(|(at, _)| at + 4 <= N);
        let end = room.filter(|(_, c)| *c == ' ').last();
        cut.truncate(end.map_or(0, |(at, _)| at));
        let _ = cut.push_str(" ...");
    }
    cut
}

/// A text cut to `N` bytes, control characters replaced by `?`: something that fits on a line.
pub fn line<const N: usize>(text: impl fmt::Display) -> String<N> {
    struct Cut<const N: usize>(String<N>);
    impl<const N: usize> Write for Cut<N> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                let c = if c.is_control() { '?' } else { c };
                self.0.push(c).map_err(|_| fmt::Error)?;
            }
            Ok(())
        }
    }
    let mut cut = Cut(String::new());
    // An error says that it is full.
    let _ = write!(cut, "{text}");
    cut.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_ring_keeps_the_last_32() {
        let mut history = History::new();
        for n in 0..100_u64 {
            history.note(Instant(n), 1000 + n, Kind::Lost, n);
        }
        let kept: std::vec::Vec<_> = history.events().map(|event| event.at.0).collect();
        assert_eq!(kept, (68..100).collect::<std::vec::Vec<_>>());
        assert_eq!(history.events().last().unwrap().wall_s, 1099);
    }

    #[test]
    fn equal_events_in_a_row_are_one_that_is_counted() {
        let mut history = History::new();
        history.note(Instant(1), 1, Kind::Started, "");
        for n in 2..50 {
            history.note(Instant(n), n, Kind::Lost, "no address can be reached");
        }
        history.note(Instant(50), 50, Kind::Connected, "192.0.2.1");
        let seen: std::vec::Vec<_> = history.events().map(|e| (e.times, e.at.0)).collect();
        assert_eq!(seen, [(1, 1), (48, 49), (1, 50)]);
    }

    #[test]
    fn a_text_is_one_line_and_cut_between_characters() {
        let long = line::<10>("a\nb\u{1b}cdefgé\u{1F600}xyz");
        assert_eq!(long, "a?b?cdefg");
        assert_eq!(line::<4>("ok"), "ok");
    }

    #[test]
    fn words_are_whole_or_left_out() {
        assert_eq!(words::<16>("of SHA256:abcdef"), "of SHA256:abcdef");
        assert_eq!(words::<15>("of SHA256:abcdef"), "of ...");
        assert_eq!(words::<8>("abcdefghi"), " ...");
        assert_eq!(words::<9>("ab cd efg hi"), "ab cd ...");
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for (kind, name) in NAMES {
            assert_eq!(kind.name(), name);
            assert_eq!(Kind::parse(name), Some(kind));
        }
        assert_eq!(Kind::parse("nothing"), None);
    }
}
