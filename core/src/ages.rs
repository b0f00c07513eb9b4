//! Whether connections end again and again at the same age: then something on the path has a
//! limit, and no network fault is to be looked for.

use core::time::Duration;

use heapless::Vec;

/// Losses in a row that have to be alike.
pub const ALIKE: usize = 3;
/// Younger connections say nothing: they may have ended for any reason.
pub const YOUNGEST: Duration = Duration::from_secs(2);
/// How much the ages may differ: this, or a twentieth of the age.
pub const SPREAD: Duration = Duration::from_secs(1);

/// The ages at which the last connections were lost.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    last: Vec<Duration, ALIKE>,
    told: bool,
}

impl Ages {
    /// A connection that was logged in for `age` was lost. Gives the age at which connections are
    /// lost, if the last [`ALIKE`] agree on one and that was not given yet.
    pub fn handle_lost(&mut self, age: Duration) -> Option<Duration> {
        if self.last.is_full() {
            self.last.remove(0);
        }
        // There is room now.
        let _ = self.last.push(age);
        let (least, most) = (self.last.iter().min()?, self.last.iter().max()?);
        let alike =
            self.last.is_full() && *least >= YOUNGEST && *most - *least <= SPREAD.max(*least / 20);
        let news = alike && !self.told;
        self.told = alike;
        news.then_some(*least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given after each of these ages in milliseconds.
    fn told<const N: usize>(ages_ms: [u64; N]) -> [bool; N] {
        let mut ages = Ages::default();
        ages_ms.map(|ms| ages.handle_lost(Duration::from_millis(ms)).is_some())
    }

    #[test]
    fn three_losses_at_one_age_are_told_once_until_another_age_breaks_the_row() {
        assert_eq!(told([10_000, 10_900, 10_200]), [false, false, true]);
        assert_eq!(told([10_000; 6]), [false, false, true, false, false, false]);
        let broken = told([10_000, 10_000, 10_000, 60_000, 10_000, 10_000, 10_000]);
        assert_eq!(broken, [false, false, true, false, false, false, true]);
    }

    #[test]
    fn what_differs_by_more_than_a_second_and_a_twentieth_is_chance() {
        assert_eq!(told([10_000, 11_001, 10_000]), [false; 3]);
        assert_eq!(told([600_000, 629_000, 610_000]), [false, false, true]);
        assert_eq!(told([600_000, 631_000, 610_000]), [false; 3]);
    }

    #[test]
    fn connections_that_end_at_once_say_nothing() {
        assert_eq!(told([1_999; 4]), [false; 4]);
        assert_eq!(told([2_000; 3]), [false, false, true]);
    }
}
