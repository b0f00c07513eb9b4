//! The patterns of ssh_config(5) and known_hosts: `*`, `?` and a leading `!`.

use core::ops::Deref;

/// Whether a file is called so: `*` and `?` for characters, case counts.
pub fn file_matches(pattern: &str, name: &str) -> bool {
    matches_by(pattern, name, |a, b| a == b)
}

/// Whether `text` matches `pattern`, without regard to ASCII case.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    matches_by(pattern, text, |a, b| a.eq_ignore_ascii_case(&b))
}

/// Takes at most `pattern.len() * text.len()` steps and no stack.
fn matches_by(pattern: &str, text: &str, same: impl Fn(u8, u8) -> bool) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut pi, mut ti) = (0, 0);
    // Where to go back to: the byte after the last `*`, and the text it was tried at.
    let mut retry: Option<(usize, usize)> = None;
    while ti < t.len() {
        if pi < p.len() && p[pi] == b'*' {
            pi += 1;
            retry = Some((pi, ti));
        } else if pi < p.len() && (p[pi] == b'?' || same(p[pi], t[ti])) {
            pi += 1;
            ti += 1;
        } else if let Some((after_star, from)) = retry {
            pi = after_star;
            ti = from + 1;
            retry = Some((pi, ti));
        } else {
            return false;
        }
    }
    p[pi..].iter().all(|&b| b == b'*')
}

/// Whether `text` is in a list of patterns: at least one matches and no negated one does.
pub(crate) fn list_matches(
    patterns: impl Iterator<Item = impl Deref<Target = str>>,
    text: &str,
) -> bool {
    let mut found = false;
    for pattern in patterns {
        let pattern = &*pattern;
        if let Some(negated) = pattern.strip_prefix('!') {
            if matches(negated, text) {
                return false;
            }
        } else {
            found |= matches(pattern, text);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_ssh_config() {
        assert!(matches("*", ""));
        assert!(matches("*.example.com", "a.b.EXAMPLE.com"));
        assert!(matches("10.0.?.*", "10.0.2.15"));
        assert!(matches("a*b*c", "aXbbYc"));
        assert!(!matches("a*b*c", "aXbbY"));
        assert!(!matches("?", ""));
        assert!(!matches("a", "ab"));
        assert!(file_matches("*.conf", "a.conf") && !file_matches("*.conf", "a.CONF"));
    }

    #[test]
    fn a_negated_match_wins_wherever_it_stands() {
        let list = |text| list_matches(["*.lan", "!bad.lan"].into_iter(), text);
        assert!(list("good.lan"));
        assert!(!list("bad.lan"));
        assert!(!list_matches(["!bad.lan"].into_iter(), "good.lan"));
    }

    proptest::proptest! {
        #[test]
        fn matching_agrees_with_a_regular_expression(
            pattern in "[ab*?]{0,8}", text in "[ab]{0,10}"
        ) {
            let expression = pattern.replace('*', ".*").replace('?', ".");
            let oracle = regex::Regex::new(&std::format!("^{expression}$")).unwrap();
            proptest::prop_assert_eq!(matches(&pattern, &text), oracle.is_match(&text));
        }
    }
}
