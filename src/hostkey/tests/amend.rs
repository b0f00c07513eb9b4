//! Pins that follow what a server announces.

use super::*;
use std::os::unix::fs::symlink;

fn blobs(keys: &[&str]) -> Vec<Vec<u8>> {
    keys.iter()
        .map(|key| base64_to_blob(key).unwrap())
        .collect()
}

/// What changes for `hub` after a login with the first of these keys, which are announced.
fn changes(keys: &HostKeys, announced: &[&str]) -> Option<Changes> {
    let announced = blobs(announced);
    keys.changes(("hub", 22), &announced[0], &announced)
        .unwrap()
}

/// Makes all of them.
fn amend(keys: &HostKeys, announced: &[&str]) {
    let found = changes(keys, announced).unwrap();
    let new = found
        .new
        .iter()
        .map(|&at| Change::Add(announced[at].to_owned()));
    for change in new.chain(found.gone.iter().cloned().map(Change::Remove)) {
        keys.amend(("hub", 22), &found, &change).unwrap();
    }
}

#[test]
fn every_other_byte_of_the_file_its_mode_and_a_link_to_it_stay() {
    let scratch = Scratch::new("follow");
    let (path, link) = (scratch.0.join("real"), scratch.0.join("known_hosts"));
    symlink(&path, &link).unwrap();
    let other = format!("# caf\u{e9}\r\n\r\n@revoked * {TYPE} cut\n  bus {TYPE} {KEY} a comment\n");
    let latin1 = [other.as_bytes(), b"# \xe9\n"].concat();
    let with = |lines: &str| [&latin1[..], lines.as_bytes()].concat();
    std::fs::write(&path, with(&format!("hub {TYPE} {KEY}\n# end"))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let keys = open(&link);
    amend(&keys, &[KEY, OTHER]);
    let beside = format!("hub {TYPE} {KEY}\n# end\nhub {TYPE} {OTHER}\n");
    assert_eq!(std::fs::read(&path).unwrap(), with(&beside));
    amend(&keys, &[OTHER]);
    let after = format!("# end\nhub {TYPE} {OTHER}\n");
    assert_eq!(std::fs::read(&path).unwrap(), with(&after));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let nothing = changes(&keys, &[OTHER]).unwrap();
    assert_eq!((nothing.new.len(), nothing.gone.len()), (0, 0));
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 2);
}

#[test]
fn in_memory_pins_follow_too_and_in_the_file_once_it_takes_them() {
    let scratch = Scratch::new("follow-memory");
    let path = scratch.0.join("not/yet/known_hosts");
    let keys = open(&path);
    assert!(changes(&keys, &[KEY]).is_none(), "nothing is pinned");
    keys.pin("hub", 22, TYPE, KEY).unwrap();
    amend(&keys, &[KEY, OTHER]);
    let known = |key| keys.check("hub", 22, TYPE, key).unwrap();
    assert_eq!(known(OTHER), Known::PinnedForThisRun);

    // There is room by now: the key of the login is written, and what is announced then follows it.
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    keys.pin("hub", 22, TYPE, KEY).unwrap();
    amend(&keys, &[KEY, OTHER]);
    assert_eq!((known(KEY), known(OTHER)), (Known::Pinned, Known::Pinned));
    amend(&keys, &[OTHER]);
    assert!(matches!(known(KEY), Known::Other(_)));
}

#[test]
fn another_process_adds_no_pin_for_a_server_that_has_none_and_says_when_the_file_is_in_use() {
    let scratch = Scratch::new("follow-errand");
    let path = scratch.0.join("known_hosts");
    let text = format!("bus {TYPE} {KEY}\nhub {TYPE} {KEY}\n");
    std::fs::write(&path, &text).unwrap();
    let keys = open(&path);
    let add = Change::parse(&Change::Add(OTHER.to_owned()).to_string()).unwrap();
    let answer = keys.amend_for_another("nobody", 22, &add);
    assert!(answer.starts_with("unusable\nwrite\n"), "{answer}");
    let nonsense = Change::Add("AAAA".to_owned());
    assert!(
        keys.amend_for_another("hub", 22, &nonsense)
            .starts_with("unusable")
    );
    assert!(Change::parse("*AAAA").is_none() && Change::parse("").is_none());

    let held = std::fs::File::open(&path).unwrap();
    let held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).unwrap();
    for change in [&add, &Change::Remove(KEY.to_owned())] {
        assert!(is_busy(&keys.amend_for_another("hub", 22, change)));
    }
    drop(held);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let answer = keys.amend_for_another("hub", 22, &add);
    assert_eq!(answer, format!("in\n{}", path.display()));
    // Twice is once.
    keys.amend_for_another("hub", 22, &add);
    let added = format!("{text}hub {TYPE} {OTHER}\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), added);
}

#[test]
fn a_file_never_grows_beyond_what_is_read() {
    let scratch = Scratch::new("follow-large");
    let path = scratch.0.join("known_hosts");
    let mut text = format!("hub {TYPE} {KEY}\n#");
    text.push_str(&"x".repeat(KNOWN_HOSTS_BYTES - text.len() - 20));
    std::fs::write(&path, &text).unwrap();
    let keys = open(&path);
    let answer = keys.amend_for_another("hub", 22, &Change::Add(OTHER.to_owned()));
    assert!(answer.starts_with("unusable\nwrite\n"), "{answer}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Pinned);
}
