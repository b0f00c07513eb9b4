#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

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
    match claim(directory, "u@h:22").unwrap() {
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
fn who_has_the_lock_is_seen_without_taking_it() {
    let (_scratch, directory) = scratch();
    let socket = socket(&directory, "u@h:22");
    assert_eq!(holder(&socket), Holder::Nobody);
    let first = owner(&directory).unwrap();
    assert_eq!(holder(&socket), Holder::Busy);
    let waits = |pid: u32| fs::write(&first.lock_path, format!("{pid} 3")).unwrap();
    let mut other = sleeper(Stdio::from(first.lock.try_clone().unwrap()));
    let pid = other.id();
    waits(pid);
    assert_eq!(holder(&socket), Holder::Waiting { pid, restarts: 3 });
    end(&mut other);
    drop(ManuallyDrop::into_inner(first.lock));
    assert_eq!(holder(&socket), Holder::Nobody);
    let _second = owner(&directory).unwrap();
    assert_eq!(holder(&socket), Holder::Busy, "what was said is gone");
}

#[test]
fn a_number_that_is_not_the_holders_is_not_taken_for_one_that_waits() {
    let (_scratch, directory) = scratch();
    let socket = socket(&directory, "u@h:22");
    let first = owner(&directory).unwrap();
    // Whoever has the number of one that was killed.
    let mut stranger = sleeper(Stdio::null());
    let long = "1".repeat(TEXT);
    let numbers = [stranger.id(), 0, u32::MAX, u32::MAX - 1, std::process::id()];
    let texts = numbers.map(|pid| format!("{pid} 3"));
    for text in texts
        .iter()
        .map(String::as_str)
        .chain(["", "7", " ", &long])
    {
        fs::write(&first.lock_path, text).unwrap();
        assert_eq!(holder(&socket), Holder::Busy, "{text:?}");
    }
    end(&mut stranger);
}

/// More than there can be in a lock's file.
const TEXT: usize = 100;

/// A process that does nothing, with this open.
fn sleeper(open: Stdio) -> Child {
    Command::new("sleep").arg("60").stdin(open).spawn().unwrap()
}

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
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
fn orders_outlive_a_restart_of_the_owner_and_nothing_else() {
    let (_scratch, directory) = scratch();
    let first = owner(&directory).unwrap();
    first.keep_orders("cancel 1:h:2\n").unwrap();
    drop(ManuallyDrop::into_inner(first.lock));
    let again = owner(&directory).unwrap();
    assert_eq!(again.orders(true), "cancel 1:h:2\n");
    assert_eq!(again.orders(false), "");
    assert_eq!(again.orders(true), "");
    again.keep_orders("forward 1:h:2\n").unwrap();
    again.keep_orders("").unwrap();
    assert_eq!(again.orders(true), "");
    again.release();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
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
    assert!(claim(&directory, "u@h:22").is_err());
    assert!(!elsewhere.exists());
}

#[test]
fn a_directory_whose_name_is_too_long_for_a_socket_is_a_usage_error() {
    let (scratch, _) = scratch();
    let deep = scratch.path().join("d".repeat(100));
    let refused = claim(&deep, "u@h:22").unwrap_err();
    assert_eq!(refused.code, exit::USAGE);
}
