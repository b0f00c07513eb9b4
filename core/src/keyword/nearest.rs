//! The word that a misspelt one was meant to be.

use super::{KEYWORDS, STRUCTURE};

/// Longest name that [`nearest_of`] looks at.
const MAX_NAME: usize = 40;

/// The keyword that was probably meant by `name`.
pub fn nearest(name: &str) -> Option<&'static str> {
    nearest_of(name, KEYWORDS.iter().map(|k| k.name).chain(STRUCTURE))
}

/// That of the `known` words that was probably meant by `name`: at most a third of its letters differ.
pub fn nearest_of<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.filter_map(|known| Some((distance(name, known)?, known)));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.len().div_ceil(3).min(4)).then_some(known)
}

/// Letters to insert, remove or replace (Levenshtein), case apart. None for long names.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > MAX_NAME || b.len() > MAX_NAME {
        return None;
    }
    let mut row = [0; MAX_NAME + 1];
    for (index, cell) in row.iter_mut().enumerate() {
        *cell = index;
    }
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    Some(row[b.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_keyword_finds_the_one_that_was_meant() {
        for (name, meant) in [
            ("Prot", "Port"),
            ("hostnme", "Hostname"),
            ("Inlcude", "Include"),
            ("IdentiyFile", "IdentityFile"),
            ("ServerAliveIntervall", "ServerAliveInterval"),
            ("RemoteForwards", "RemoteForward"),
            ("KnownHostsFile", "UserKnownHostsFile"),
        ] {
            assert_eq!(nearest(name), Some(meant), "{name}");
        }
        for name in ["ProxyCommand", "x", "", "Compression", &"x".repeat(60)] {
            assert_eq!(nearest(name), None, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_distance_is_symmetric_and_nothing_to_itself(a in "[a-c]{0,8}", b in "[a-c]{0,8}") {
            proptest::prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            proptest::prop_assert_eq!(distance(&a, &b) == Some(0), a == b);
        }
    }
}
