#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt;

use super::*;

fn destination(text: &str) -> Destination {
    Destination::parse(text).unwrap()
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let directory = scratch.path().join("run");
    (scratch, directory)
}

fn owner(directory: &Path) -> Option<Ownership> {
    match claim(directory, "u@h:22", "hub", None).unwrap() {
        Claim::Owner(owner) => Some(owner),
        Claim::Taken => None,
    }
}

#[test]
fn the_name_is_the_destination_in_one_spelling() {
    assert_eq!(
        name(&destination("me@Hub.Example"), 22),
        "me@hub.example:22"
    );
    assert_eq!(name(&destination("me@[::1]:2222"), 2222), "me@[::1]:2222");
    let long = format!("me@{}.example", "a".repeat(60));
    let first = name(&destination(&long), 22);
    assert_eq!(first.len(), MAX_NAME);
    assert!(first.starts_with("me@aaaa"));
    assert_ne!(first, name(&destination(&long), 23));
}

#[test]
fn there_is_one_owner_until_it_lets_go_and_its_files_go_with_it() {
    let (_scratch, directory) = scratch();
    let first = owner(&directory).unwrap();
    assert!(owner(&directory).is_none());
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(sockets(&directory).len(), 1);
    first.release();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    assert!(owner(&directory).is_some());
}

#[test]
fn files_that_a_killed_owner_left_are_taken_over() {
    let (_scratch, directory) = scratch();
    // What the kernel does at the end of a process.
    drop(ManuallyDrop::into_inner(owner(&directory).unwrap().lock));
    assert_eq!(sockets(&directory).len(), 1);
    assert!(owner(&directory).is_some());
}

#[test]
fn that_the_lock_is_held_is_seen_without_taking_it() {
    let (_scratch, directory) = scratch();
    let socket = socket(&directory, "u@h:22");
    assert!(!is_held(&socket));
    let first = owner(&directory).unwrap();
    assert!(is_held(&socket));
    drop(ManuallyDrop::into_inner(first.lock));
    assert!(!is_held(&socket));
}

#[test]
fn what_was_handed_over_is_the_same_lock_and_the_same_queue_of_callers() {
    let (_scratch, directory) = scratch();
    let socket = socket(&directory, "u@h:22");
    let first = owner(&directory).unwrap();
    let caller = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let inherited = Inherited {
        lock: first.lock.try_clone().unwrap(),
        listener: first.listener().unwrap(),
    };
    let second = match claim(&directory, "u@h:22", "hub", Some(inherited)).unwrap() {
        Claim::Owner(second) => second,
        Claim::Taken => panic!("it was let go"),
    };
    second.listener().unwrap().accept().unwrap();
    drop(caller);
    second.release();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_tunnel_is_found_by_the_word_it_was_called_for_with() {
    let (_scratch, directory) = scratch();
    let first = owner(&directory).unwrap();
    let find = |called| find(&directory, "u@changed:22".to_owned(), called);
    assert_eq!(find("hub"), "u@h:22");
    assert_eq!(find("hu"), "u@changed:22");
    drop(ManuallyDrop::into_inner(first.lock));
    assert_eq!(find("hub"), "u@changed:22", "nobody has it");
}

#[test]
fn files_of_another_owner_are_not_removed() {
    let (_scratch, directory) = scratch();
    let first = owner(&directory).unwrap();
    for entry in fs::read_dir(&directory).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let _second = owner(&directory).unwrap();
    first.release();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
}

#[test]
fn only_names_that_this_program_gives_are_found() {
    let (_scratch, directory) = scratch();
    prepare(&directory).unwrap();
    let long = format!("me@{}.example", "a".repeat(60));
    let own = ["me@hub.example", "me@[::1]:2222", &long];
    let own = own.map(|text| name(&destination(text), 22));
    let strange = [
        "\u{1b}[31mred",
        "b\nme@hub:22: up for 3 d",
        "me@hub\u{202e}:22",
        &"a".repeat(MAX_NAME + 1),
    ];
    for name in own.iter().map(String::as_str).chain(strange) {
        fs::write(socket(&directory, name), "").unwrap();
    }
    let mut expected = own.map(|name| socket(&directory, &name)).to_vec();
    expected.sort();
    assert_eq!(sockets(&directory), expected);
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let (scratch, directory) = scratch();
    fs::create_dir(&directory).unwrap();
    for (mode, usable) in [(0o777, false), (0o770, false), (0o755, true), (0o700, true)] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(prepare(&directory).is_ok(), usable, "{mode:o}");
        let after = fs::metadata(&directory).unwrap().mode() & 0o777;
        assert_eq!(
            after, mode,
            "a directory of others' making is left as it is"
        );
    }
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    let refused = prepare(&link).unwrap_err();
    assert_eq!(refused.code, exit::NO_PERMISSION);
    assert!(refused.message.contains("symbolic link"), "{refused}");
}

#[test]
fn a_link_in_the_place_of_the_lock_is_not_followed() {
    let (scratch, directory) = scratch();
    prepare(&directory).unwrap();
    let elsewhere = scratch.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, directory.join("u@h:22.lock")).unwrap();
    assert!(claim(&directory, "u@h:22", "hub", None).is_err());
    assert!(!elsewhere.exists());
}

#[test]
fn a_directory_whose_name_is_too_long_for_a_socket_is_a_usage_error() {
    let (scratch, _) = scratch();
    let deep = scratch.path().join("d".repeat(100));
    let refused = claim(&deep, "u@h:22", "hub", None).unwrap_err();
    assert_eq!(refused.code, exit::USAGE);
}
