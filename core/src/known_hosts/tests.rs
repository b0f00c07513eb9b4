#![allow(clippy::unwrap_used)]

use super::*;
use base64ct::Encoding;
use proptest::prelude::*;
use std::string::{String as StdString, ToString};
use std::{format, vec};

mod authorities;
mod rotation;

/// A stand-in for HMAC-SHA1: the hash of `name` under `salt` is `salt/name`.
struct Joined;

impl HashedName for Joined {
    fn matches(&self, salt_b64: &str, hash_b64: &str, name: &str) -> bool {
        hash_b64 == format!("{salt_b64}/{name}")
    }
}

const ED: &str = "ssh-ed25519";
const RSA: &str = "ssh-rsa";

/// Base64 of a public key of this type, made of the first letter of its name.
fn key(key_type: &str, name: &str) -> StdString {
    let letter = name.as_bytes()[0];
    let sizes: &[usize] = match key_type {
        RSA => &[3, 257],
        "ssh-dss" => &[129, 21, 128, 128],
        "ecdsa-sha2-nistp256" => &[8, 65],
        _ => &[32],
    };
    let fields = sizes.iter().map(|&size| vec![letter; size]);
    let mut blob = vec![];
    for field in core::iter::once(key_type.as_bytes().to_vec()).chain(fields) {
        blob.extend((field.len() as u32).to_be_bytes());
        blob.extend(field);
    }
    let mut text = vec![0; blob.len().div_ceil(3) * 4];
    Base64::encode(&blob, &mut text).unwrap().to_string()
}

/// The text with a whole key in the place of each short name behind a type.
fn file(text: &str) -> StdString {
    let mut before = "";
    let words = text.split_inclusive([' ', '\n']).map(|word| {
        let end = word.trim_end();
        let is_name = end.len() <= 4 && end.bytes().all(|b| b.is_ascii_uppercase());
        let word = if is_name && !end.is_empty() && before.contains('-') {
            word.replace(end, &key(before, end))
        } else {
            word.to_string()
        };
        before = end;
        word
    });
    words.collect()
}

/// What the text of [`file`] says about a key of this type and name.
fn look(text: &str, host: &str, port: u16, (key_type, name): (&str, &str)) -> HostKeyMatch {
    let (text, key) = (file(text), key(key_type, name));
    lookup(&text, host, port, key_type, &key, &Joined)
}

/// The same for a text with whole keys in it and the host `server`.
fn read(text: &str, (key_type, name): (&str, &str)) -> HostKeyMatch {
    lookup(text, "server", 22, key_type, &key(key_type, name), &Joined)
}

#[test]
fn the_pinned_key_matches_and_any_other_has_changed_whatever_its_type() {
    let file = "# pins\n\nserver ssh-ed25519 AAAA comment\n";
    assert_eq!(look(file, "server", 22, (ED, "AAAA")), HostKeyMatch::Match);
    assert_eq!(
        look(file, "server", 22, (ED, "BBBB")),
        HostKeyMatch::Changed { line: 3 }
    );
    assert_eq!(
        look(file, "server", 22, (RSA, "CCCC")),
        HostKeyMatch::Changed { line: 3 }
    );
    assert_eq!(look(file, "other", 22, (ED, "AAAA")), HostKeyMatch::Unknown);
    assert_eq!(look("", "server", 22, (ED, "AAAA")), HostKeyMatch::Unknown);
}

#[test]
fn one_of_several_pinned_keys_is_enough_in_any_order() {
    let file = "server ssh-rsa RRRR\nserver ssh-ed25519 AAAA\nserver ssh-rsa SSSS\n";
    for key in [(RSA, "RRRR"), (ED, "AAAA"), (RSA, "SSSS")] {
        assert_eq!(look(file, "server", 22, key), HostKeyMatch::Match);
    }
    assert_eq!(
        look(file, "server", 22, (ED, "ZZZZ")),
        HostKeyMatch::Changed { line: 1 }
    );
}

#[test]
fn another_port_is_another_server() {
    let file = "[server]:2222 ssh-ed25519 AAAA\n";
    assert_eq!(
        look(file, "server", 2222, (ED, "AAAA")),
        HostKeyMatch::Match
    );
    assert_eq!(
        look(file, "server", 2222, (ED, "BBBB")),
        HostKeyMatch::Changed { line: 1 }
    );
    assert_eq!(
        look(file, "server", 22, (ED, "AAAA")),
        HostKeyMatch::Unknown
    );
    assert_eq!(
        look(file, "server", 2223, (ED, "AAAA")),
        HostKeyMatch::Unknown
    );
}

#[test]
fn a_plain_entry_counts_at_another_port_only_for_the_very_same_key() {
    let file = "server ssh-ed25519 AAAA\n@revoked server ssh-rsa RRRR\n";
    assert_eq!(
        look(file, "server", 2222, (ED, "AAAA")),
        HostKeyMatch::Match
    );
    assert_eq!(
        look(file, "server", 2222, (ED, "BBBB")),
        HostKeyMatch::Unknown
    );
    assert_eq!(
        look(file, "server", 2222, (RSA, "RRRR")),
        HostKeyMatch::Revoked
    );
    let both = "server ssh-ed25519 AAAA\n[server]:2222 ssh-ed25519 BBBB\n";
    assert_eq!(
        look(both, "server", 2222, (ED, "AAAA")),
        HostKeyMatch::Changed { line: 2 }
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
        assert_eq!(
            look(&file, "server", 22, (ED, "AAAA")),
            HostKeyMatch::Revoked
        );
    }
    assert_eq!(
        look(revoked, "server", 22, (ED, "BBBB")),
        HostKeyMatch::Unknown,
        "a revoked key is no pin"
    );
}

#[test]
fn lists_wildcards_and_negation_are_those_of_sshd() {
    let file = "alpha,10.0.0.*,!10.0.0.9,[beta]:* ssh-ed25519 AAAA\n";
    for (host, port) in [("alpha", 22), ("ALPHA", 22), ("10.0.0.1", 22), ("beta", 7)] {
        assert_eq!(
            look(file, host, port, (ED, "AAAA")),
            HostKeyMatch::Match,
            "{host}"
        );
    }
    for (host, port) in [("10.0.0.9", 22), ("gamma", 22), ("beta", 22), ("alph", 22)] {
        assert_eq!(
            look(file, host, port, (ED, "AAAA")),
            HostKeyMatch::Unknown,
            "{host}"
        );
    }
}

#[test]
fn hashed_names_are_compared_in_lower_case_with_their_port() {
    let file = "|1|salt|salt/server ssh-ed25519 AAAA\n|1|s|s/[server]:2222 ssh-rsa BBBB\n";
    assert_eq!(look(file, "Server", 22, (ED, "AAAA")), HostKeyMatch::Match);
    assert_eq!(
        look(file, "server", 2222, (RSA, "BBBB")),
        HostKeyMatch::Match
    );
    assert_eq!(look(file, "else", 22, (ED, "AAAA")), HostKeyMatch::Unknown);
    assert_eq!(
        look("|1|nothing ssh-ed25519 AAAA", "server", 22, (ED, "AAAA")),
        HostKeyMatch::Unknown
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
    assert_eq!(
        look(file, "server", 22, (ED, "BBBB")),
        HostKeyMatch::Unknown
    );
    assert_eq!(
        malformed(&self::file(file)),
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
    assert_eq!(
        malformed(&self::file("\n # comment\nserver ssh-rsa AAAA\n")),
        None
    );
}

#[test]
fn pinned_types_are_named_once_in_the_order_of_the_file() {
    let file = "server ssh-rsa RRRR\n@revoked server ssh-dss D\nserver ssh-ed25519 A\nserver ssh-rsa S\n[server]:2 x-y Z\n";
    let file = self::file(file);
    let types = |host, port| pinned_types(&file, host, port, &Joined).to_vec();
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

#[test]
fn a_line_cut_short_anywhere_pins_nothing_and_says_nothing_about_another_key() {
    for key_type in [ED, RSA, "ecdsa-sha2-nistp256", "ssh-dss", "x-y@example.com"] {
        let whole = file(&format!("server {key_type} AAAA"));
        let begin = whole.rfind(' ').unwrap();
        for end in begin..whole.len() {
            let cut = &whole[..end];
            assert!(malformed(cut).is_some(), "{cut}");
            assert_eq!(read(cut, (key_type, "BBBB")), HostKeyMatch::Unknown);
            let healed = format!("{cut}\n{whole}\n");
            assert_eq!(read(&healed, (key_type, "AAAA")), HostKeyMatch::Match);
        }
        assert_eq!(malformed(&whole), None, "{whole}");
    }
}

#[test]
fn a_key_whose_inner_type_is_another_or_whose_lengths_do_not_close_is_malformed() {
    let ed = key(ED, "A");
    for line in [
        format!("server {RSA} {ed}"),
        format!("server ssh-ed25518 {ed}"),
        format!("server {ED} {ed}AAAA"),
        format!("server {ED} {ed}="),
        format!("server {ED} AAAA"),
        format!("server {ED} {}", ed.replace("AAAAC3", "AAAAD3")),
    ] {
        assert!(malformed(&line).is_some(), "{line}");
        assert_eq!(read(&line, (ED, "B")), HostKeyMatch::Unknown);
    }
}

proptest! {
    #[test]
    fn a_written_entry_is_found_again(
        host in "[A-Za-z0-9.:-]{1,255}", port in 1u16.., name in "[A-Za-z0-9+/]"
    ) {
        let mut file = StdString::from("# pins\n");
        write_entry(&mut file, &host, port, ED, &key(ED, &name)).unwrap();
        prop_assert_eq!(malformed(&file), None);
        prop_assert_eq!(look(&file, &host, port, (ED, &name)), HostKeyMatch::Match);
        prop_assert_eq!(look(&file, &host, port, (RSA, &name)), HostKeyMatch::Changed { line: 2 });
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
