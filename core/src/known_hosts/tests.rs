#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::string::{String as StdString, ToString};
use std::{format, vec};

/// A stand-in for HMAC-SHA1: the hash of `name` under `salt` is `salt/name`.
struct Joined;

impl HashedName for Joined {
    fn matches(&self, salt_b64: &str, hash_b64: &str, name: &str) -> bool {
        hash_b64 == format!("{salt_b64}/{name}")
    }
}

const ED: &str = "ssh-ed25519";
const RSA: &str = "ssh-rsa";

fn look(text: &str, host: &str, port: u16, key: (&str, &str)) -> Verdict {
    lookup(text, host, port, key.0, key.1, &Joined)
}

#[test]
fn the_pinned_key_matches_and_any_other_has_changed_whatever_its_type() {
    let file = "# pins\n\nserver ssh-ed25519 AAAA comment\n";
    assert_eq!(look(file, "server", 22, (ED, "AAAA")), Verdict::Match);
    assert_eq!(
        look(file, "server", 22, (ED, "BBBB")),
        Verdict::Changed { line: 3 }
    );
    assert_eq!(
        look(file, "server", 22, (RSA, "CCCC")),
        Verdict::Changed { line: 3 }
    );
    assert_eq!(look(file, "other", 22, (ED, "AAAA")), Verdict::Unknown);
    assert_eq!(look("", "server", 22, (ED, "AAAA")), Verdict::Unknown);
}

#[test]
fn one_of_several_pinned_keys_is_enough_in_any_order() {
    let file = "server ssh-rsa RRRR\nserver ssh-ed25519 AAAA\nserver ssh-rsa SSSS\n";
    for key in [(RSA, "RRRR"), (ED, "AAAA"), (RSA, "SSSS")] {
        assert_eq!(look(file, "server", 22, key), Verdict::Match);
    }
    assert_eq!(
        look(file, "server", 22, (ED, "ZZZZ")),
        Verdict::Changed { line: 1 }
    );
}

#[test]
fn another_port_is_another_server() {
    let file = "[server]:2222 ssh-ed25519 AAAA\n";
    assert_eq!(look(file, "server", 2222, (ED, "AAAA")), Verdict::Match);
    assert_eq!(
        look(file, "server", 2222, (ED, "BBBB")),
        Verdict::Changed { line: 1 }
    );
    assert_eq!(look(file, "server", 22, (ED, "AAAA")), Verdict::Unknown);
    assert_eq!(look(file, "server", 2223, (ED, "AAAA")), Verdict::Unknown);
}

#[test]
fn a_plain_entry_counts_at_another_port_only_for_the_very_same_key() {
    let file = "server ssh-ed25519 AAAA\n@revoked server ssh-rsa RRRR\n";
    assert_eq!(look(file, "server", 2222, (ED, "AAAA")), Verdict::Match);
    assert_eq!(look(file, "server", 2222, (ED, "BBBB")), Verdict::Unknown);
    assert_eq!(look(file, "server", 2222, (RSA, "RRRR")), Verdict::Revoked);
    let both = "server ssh-ed25519 AAAA\n[server]:2222 ssh-ed25519 BBBB\n";
    assert_eq!(
        look(both, "server", 2222, (ED, "AAAA")),
        Verdict::Changed { line: 2 }
    );
}

#[test]
fn revocation_wins_wherever_it_stands() {
    let pin = "server ssh-ed25519 AAAA\n";
    let revoked = "@revoked * ssh-ed25519 AAAA\n";
    for file in [
        format!("{pin}{revoked}"),
        format!("{revoked}{pin}"),
        revoked.to_string(),
    ] {
        assert_eq!(look(&file, "server", 22, (ED, "AAAA")), Verdict::Revoked);
    }
    assert_eq!(
        look(revoked, "server", 22, (ED, "BBBB")),
        Verdict::Unknown,
        "a revoked key is no pin"
    );
}

#[test]
fn lists_wildcards_and_negation_are_those_of_sshd() {
    let file = "alpha,10.0.0.*,!10.0.0.9,[beta]:* ssh-ed25519 AAAA\n";
    for (host, port) in [("alpha", 22), ("ALPHA", 22), ("10.0.0.1", 22), ("beta", 7)] {
        assert_eq!(
            look(file, host, port, (ED, "AAAA")),
            Verdict::Match,
            "{host}"
        );
    }
    for (host, port) in [("10.0.0.9", 22), ("gamma", 22), ("beta", 22), ("alph", 22)] {
        assert_eq!(
            look(file, host, port, (ED, "AAAA")),
            Verdict::Unknown,
            "{host}"
        );
    }
}

#[test]
fn hashed_names_are_compared_in_lower_case_with_their_port() {
    let file = "|1|salt|salt/server ssh-ed25519 AAAA\n|1|s|s/[server]:2222 ssh-rsa BBBB\n";
    assert_eq!(look(file, "Server", 22, (ED, "AAAA")), Verdict::Match);
    assert_eq!(look(file, "server", 2222, (RSA, "BBBB")), Verdict::Match);
    assert_eq!(look(file, "else", 22, (ED, "AAAA")), Verdict::Unknown);
    assert_eq!(
        look("|1|nothing ssh-ed25519 AAAA", "server", 22, (ED, "AAAA")),
        Verdict::Unknown
    );
}

#[test]
fn authorities_and_malformed_lines_pin_nothing_and_the_latter_are_counted() {
    let file = "@cert-authority * ssh-ed25519 AAAA\n\
                server\n\
                server ssh-ed25519\n\
                server 1024 35 1234567\n\
                @unknown server ssh-ed25519 AAAA\n\
                server ssh-ed25519 AA*A\n";
    assert_eq!(look(file, "server", 22, (ED, "BBBB")), Verdict::Unknown);
    assert_eq!(
        malformed(file),
        Some(Malformed {
            count: 5,
            first_line: 2
        })
    );
    let long = format!("server ssh-ed25519 {}\n", "A".repeat(MAX_LINE));
    assert_eq!(
        malformed(&long),
        Some(Malformed {
            count: 1,
            first_line: 1
        })
    );
    assert_eq!(malformed("\n # comment\nserver ssh-rsa AAAA\n"), None);
}

#[test]
fn pinned_types_are_named_once_in_the_order_of_the_file() {
    let file = "server ssh-rsa RRRR\n@revoked server ssh-dss D\nserver ssh-ed25519 A\nserver ssh-rsa S\n[server]:2 x-y Z\n";
    let types = |host, port| pinned_types(file, host, port, &Joined).to_vec();
    assert_eq!(types("server", 22), vec![RSA, ED]);
    assert_eq!(types("server", 2), vec!["x-y"]);
    assert_eq!(
        types("server", 3),
        vec![RSA, ED],
        "a plain entry may count there"
    );
    assert_eq!(
        types("other", 22),
        StdString::new().split_whitespace().collect::<vec::Vec<_>>()
    );
}

#[test]
fn entries_are_written_as_openssh_writes_them() {
    let mut out = StdString::new();
    write_entry(&mut out, "Server", 22, ED, "AAAA").unwrap();
    write_entry(&mut out, "2001:db8::1", 2222, RSA, "BBBB").unwrap();
    assert_eq!(
        out,
        "server ssh-ed25519 AAAA\n[2001:db8::1]:2222 ssh-rsa BBBB\n"
    );
}

proptest! {
    #[test]
    fn a_written_entry_is_found_again(
        host in "[A-Za-z0-9.:-]{1,255}", port in 1u16.., key in "[A-Za-z0-9+/]{4,80}"
    ) {
        let mut file = StdString::from("# pins\n");
        write_entry(&mut file, &host, port, ED, &key).unwrap();
        prop_assert_eq!(malformed(&file), None);
        prop_assert_eq!(look(&file, &host, port, (ED, &key)), Verdict::Match);
        prop_assert_eq!(look(&file, &host, port, (RSA, &key)), Verdict::Changed { line: 2 });
    }

    #[test]
    fn no_text_makes_the_matcher_panic(
        text in "\\PC{0,60}", lines in "([@|1!*?, a\\[\\]:-]{0,12}\n){0,5}", host in "\\PC{0,300}"
    ) {
        for text in [&text, &lines] {
            let _ = look(text, &host, 2222, (ED, "AAAA"));
            let _ = pinned_types(text, &host, 22, &Joined);
            let _ = malformed(text);
        }
    }
}
