//! The keywords of ssh_config(5) that change what is offered.

use reachback_ssh::algorithms::{List, ListError, Offer, PublicKeyAlgorithm, write_kexinit};
use reachback_ssh::wire::Reader;

/// What a list of host key algorithms becomes.
fn host_keys(value: &str) -> (Vec<&'static str>, Vec<String>) {
    let mut offer = Offer::default();
    let unknown = offer.set(List::HostKey, value).unwrap();
    let names = offer.host_keys.iter().map(|a| a.name()).collect();
    (names, unknown)
}

const DEFAULT: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

#[test]
fn names_replace_the_default_in_their_own_order() {
    let (names, unknown) = host_keys("rsa-sha2-256,ssh-ed25519,rsa-sha2-256");
    assert_eq!(names, ["rsa-sha2-256", "ssh-ed25519"]);
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn a_plus_appends_a_minus_removes_and_a_caret_puts_first() {
    let (added, _) = host_keys("+ssh-rsa,ssh-ed25519");
    assert_eq!(added[..5], DEFAULT);
    assert_eq!(added[5..], ["ssh-rsa"]);
    let (left, _) = host_keys("-ecdsa-*,ssh-rsa");
    assert_eq!(left, ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]);
    let (first, _) = host_keys("^rsa-sha2-256,ssh-rsa");
    assert_eq!(first[..3], ["rsa-sha2-256", "ssh-rsa", "ssh-ed25519"]);
    assert_eq!(first.len(), 6);
}

#[test]
fn a_name_may_be_a_pattern() {
    assert_eq!(host_keys("*").0.len(), 6);
    assert_eq!(host_keys("rsa-sha2-???").0, DEFAULT[3..]);
    assert_eq!(host_keys("*nistp*4").0, ["ecdsa-sha2-nistp384"]);
    assert_eq!(host_keys("*-sha2-*nistp2*6*").0, ["ecdsa-sha2-nistp256"]);
    let mut offer = Offer::default();
    offer.set(List::Cipher, "-*gcm@openssh.com").unwrap();
    assert!(offer.ciphers.iter().all(|c| !c.name().contains("gcm")));
}

#[test]
fn what_is_not_supported_is_told_and_passed_over() {
    let (names, unknown) = host_keys("ssh-dss,ssh-ed25519,x509*,sk-ssh-ed25519@openssh.com");
    assert_eq!(names, ["ssh-ed25519"]);
    assert_eq!(unknown, ["ssh-dss", "sk-ssh-ed25519@openssh.com"]);
    let (names, unknown) = host_keys("+ssh-dss");
    assert_eq!(names, DEFAULT);
    assert_eq!(unknown, ["ssh-dss"]);
}

#[test]
fn a_list_that_leaves_nothing_is_an_error_and_changes_nothing() {
    for (value, error) in [
        ("", ListError::Empty),
        ("+", ListError::Empty),
        (",,", ListError::Empty),
        ("!ssh-rsa", ListError::Negated),
        ("-*", ListError::NothingLeft),
        ("ssh-dss", ListError::NothingLeft),
        ("no-such-*", ListError::NothingLeft),
    ] {
        let mut offer = Offer::default();
        offer.set(List::HostKey, "rsa-sha2-512").unwrap();
        assert_eq!(offer.set(List::HostKey, value), Err(error), "{value:?}");
        assert_eq!(offer.host_keys, [PublicKeyAlgorithm::RsaSha512]);
    }
}

#[test]
fn a_change_starts_from_the_default_whatever_was_set_before() {
    let mut offer = Offer::default();
    offer.set(List::Kex, "ecdh-sha2-nistp256").unwrap();
    offer.set(List::Kex, "-ecdh-*").unwrap();
    assert!(offer.kex.len() > 1);
}

#[test]
fn sha_1_is_there_for_host_keys_alone_and_never_by_default() {
    for list in List::ALL {
        let names = list.names();
        assert!(!names[..list.defaults()].contains(&"ssh-rsa"));
        assert_eq!(names.contains(&"ssh-rsa"), list == List::HostKey);
    }
    let mut offer = Offer::default();
    assert_eq!(offer.set(List::UserKey, "+ssh-rsa").unwrap(), ["ssh-rsa"]);
}

#[test]
fn every_list_is_what_the_proposal_carries() {
    let mut offer = Offer::default();
    for list in List::ALL {
        let last = *list.names().last().unwrap();
        assert_eq!(offer.set(list, last).unwrap(), [""; 0]);
    }
    let mut payload = Vec::new();
    write_kexinit(&offer, [0; 16], false, &mut payload);
    let mut reader = Reader::new(&payload[17..]);
    let mut next = || reader.name_list().unwrap().to_owned();
    let proposed: [String; 6] = std::array::from_fn(|_| next());
    let last = |list: List| *list.names().last().unwrap();
    let expected = [
        List::Kex,
        List::HostKey,
        List::Cipher,
        List::Cipher,
        List::Mac,
        List::Mac,
    ];
    assert_eq!(proposed, expected.map(last));
}
