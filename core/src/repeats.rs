//! Which lines of a log that others can cause are said: the first of a kind, then a count a
//! minute for as long as more come.
//!
//! Whoever reaches a port of the server can make as many connections as the link carries. Each
//! that fails is worth a line once; a line for each would push everything else out of the log.

use core::time::Duration;

use heapless::Vec;

use crate::time::Instant;

/// How long equal lines are counted before the count is said.
pub const SPAN: Duration = Duration::from_secs(60);

/// Lines of at most `N` kinds at once, each kind named by a `K`. What finds no row is not said;
/// a row becomes free a [`SPAN`] after the last line of its kind at the latest.
#[derive(Clone, Debug)]
pub struct Repeats<K, const N: usize> {
    rows: Vec<Row<K>, N>,
    /// Noted since [`Repeats::take_noted`].
    noted: u32,
}

#[derive(Clone, Debug)]
struct Row<K> {
    kind: K,
    /// The last line or count was said then.
    since: Instant,
    unsaid: u32,
}

impl<K> Row<K> {
    fn ends(&self) -> Instant {
        self.since + SPAN
    }
}

impl<K: Clone + PartialEq, const N: usize> Repeats<K, N> {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self {
            rows: Vec::new(),
            noted: 0,
        }
    }

    /// One more of this kind at `now`: true if a line is to be said for it. What is not said is
    /// in the next count.
    pub fn note(&mut self, kind: K, now: Instant) -> bool {
        self.noted = self.noted.saturating_add(1);
        self.rows.retain(|row| row.unsaid > 0 || now < row.ends());
        if let Some(row) = self.rows.iter_mut().find(|row| row.kind == kind) {
            row.unsaid = row.unsaid.saturating_add(1);
            return false;
        }
        let row = Row {
            kind,
            since: now,
            unsaid: 0,
        };
        self.rows.push(row).is_ok()
    }

    /// How many were noted since the last call, said or not.
    pub fn take_noted(&mut self) -> u32 {
        core::mem::take(&mut self.noted)
    }

    /// When a count is to be said.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let counted = self.rows.iter().filter(|row| row.unsaid > 0);
        counted.map(Row::ends).min()
    }

    /// The next count that is to be said at `now`: a kind, and how many of it were not said.
    pub fn poll_count(&mut self, now: Instant) -> Option<(K, u32)> {
        let mut rows = self.rows.iter_mut();
        let row = rows.find(|row| row.unsaid > 0 && now >= row.ends())?;
        row.since = now;
        Some((row.kind.clone(), core::mem::take(&mut row.unsaid)))
    }
}

impl<K: Clone + PartialEq, const N: usize> Default for Repeats<K, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// So many milliseconds after the beginning.
    fn at(ms: u64) -> Instant {
        Instant(1_000_000 + ms)
    }

    #[test]
    fn the_first_is_said_and_then_a_count_each_minute_while_more_come() {
        let mut repeats = Repeats::<char, 4>::new();
        assert!(repeats.note('a', at(0)));
        assert_eq!(repeats.poll_timeout(), None, "one alone wakes nobody");
        for n in 1..=500_000 {
            assert!(!repeats.note('a', at(n % 5000)));
        }
        assert_eq!(repeats.poll_timeout(), Some(at(60_000)));
        assert_eq!(repeats.poll_count(at(59_999)), None);
        assert_eq!(repeats.poll_count(at(60_000)), Some(('a', 500_000)));
        assert_eq!(repeats.poll_count(at(60_000)), None);

        assert_eq!(repeats.take_noted(), 500_001);
        assert!(!repeats.note('a', at(119_999)));
        assert_eq!((repeats.take_noted(), repeats.take_noted()), (1, 0));
        assert_eq!(repeats.poll_count(at(120_000)), Some(('a', 1)));
        assert_eq!(repeats.poll_timeout(), None);
        assert!(
            repeats.note('a', at(180_000)),
            "after a quiet minute, a line again"
        );
    }

    #[test]
    fn kinds_are_counted_apart_and_one_that_finds_no_row_is_not_said() {
        let mut repeats = Repeats::<char, 2>::new();
        assert!(repeats.note('a', at(0)));
        assert!(repeats.note('b', at(1)));
        assert!(!repeats.note('c', at(2)));
        assert!(!repeats.note('b', at(3)));
        assert_eq!(repeats.poll_count(at(60_001)), Some(('b', 1)));
        assert!(repeats.note('c', at(60_002)), "the row of a is free");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_more_than_two_lines_a_minute_are_said_for_a_kind(
            gaps in proptest::collection::vec(0u64..30_000, 1..300)
        ) {
            let mut repeats = Repeats::<(), 1>::new();
            let (mut now, mut lines, mut said) = (0, 0, 0);
            for gap in &gaps {
                now += gap;
                while let Some(((), count)) = repeats.poll_count(at(now)) {
                    lines += 1;
                    said += count as usize;
                }
                if repeats.note((), at(now)) {
                    lines += 1;
                    said += 1;
                }
            }
            said += repeats.poll_count(at(now + 60_000)).map_or(0, |((), count)| count as usize);
            prop_assert_eq!(said, gaps.len());
            prop_assert!(lines <= 2 * (now / 60_000 + 1));
        }
    }
}
