#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::PermissionsExt;

mod amend;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("reachback-hosts-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn try_open(path: &Path, accept_new: bool) -> Result<HostKeys, Exit> {
    HostKeys::open(&[path.to_owned()], accept_new, &RunPins::default())
}

fn open(path: &Path) -> HostKeys {
    try_open(path, true).unwrap()
}

const TYPE: &str = "ssh-ed25519";
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIP8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[test]
fn a_missing_file_is_empty_and_a_pinned_key_is_known_from_then_on() {
    let scratch = Scratch::new("pin");
    let path = scratch.0.join("ssh/known_hosts");
    let keys = open(&path);
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Nothing);
    keys.pin("hub", 22, TYPE, KEY).unwrap();
    keys.pin("hub", 2222, TYPE, OTHER).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Pinned);
    assert_eq!(keys.check("hub", 2222, TYPE, OTHER).unwrap(), Known::Pinned);
    let changed = keys.check("hub", 22, TYPE, OTHER).unwrap();
    assert!(matches!(changed, Known::Other(_)));
    assert_eq!(keys.pinned_types("hub", 22).unwrap(), [TYPE]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn an_entry_after_a_last_line_without_line_feed_starts_a_line() {
    let scratch = Scratch::new("line");
    let path = scratch.0.join("known_hosts");
    std::fs::write(&path, format!("one {TYPE} {KEY}")).unwrap();
    let keys = open(&path);
    keys.pin("two", 22, TYPE, OTHER).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("one {TYPE} {KEY}\ntwo {TYPE} {OTHER}\n"));
    assert_eq!(keys.check("one", 22, TYPE, KEY).unwrap(), Known::Pinned);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_never_empty() {
    let scratch = Scratch::new("unreadable");
    let exit = try_open(&scratch.0, true).unwrap_err();
    assert_eq!(exit.code, exit::NO_INPUT);
    let path = scratch.0.join("known_hosts");
    let keys = open(&path);
    std::fs::create_dir(&path).unwrap();
    assert!(keys.check("hub", 22, TYPE, KEY).is_err());
    assert!(keys.pinned_types("hub", 22).is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, vec![b'#'; KNOWN_HOSTS_BYTES + 1]).unwrap();
    assert_eq!(try_open(&path, true).unwrap_err().code, exit::DATA);
}

#[test]
fn another_program_may_write_the_file_meanwhile() {
    let scratch = Scratch::new("meanwhile");
    let path = scratch.0.join("known_hosts");
    let keys = open(&path);
    std::fs::write(&path, format!("# caf\u{e9}\n@revoked hub {TYPE} {KEY}\n")).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Revoked);
    let mut latin1 = b"# caf\xe9\n".to_vec();
    latin1.extend_from_slice(format!("hub {TYPE} {KEY}\n").as_bytes());
    std::fs::write(&path, latin1).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Pinned);
}

#[test]
fn a_hashed_name_is_found() {
    let scratch = Scratch::new("hashed");
    let path = scratch.0.join("known_hosts");
    // Made with: ssh-keygen -H -f known_hosts, from the line "hub ssh-ed25519 ...".
    let salt = "NTylyAwTDx5l1+PWLTzuLiHQTm8=";
    let hash = "NuTRF+zECYgOI57t2TXN0EEjWTI=";
    std::fs::write(&path, format!("|1|{salt}|{hash} {TYPE} {KEY}\n")).unwrap();
    let keys = open(&path);
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Pinned);
    assert_eq!(keys.check("hug", 22, TYPE, KEY).unwrap(), Known::Nothing);
}

#[test]
fn of_several_files_all_are_read_and_the_first_that_takes_a_line_gets_it() {
    let scratch = Scratch::new("several");
    let [nowhere, first, second] =
        ["missing/directory/known_hosts", "first", "second"].map(|name| scratch.0.join(name));
    std::fs::write(&first, format!("# one\none {TYPE} {KEY}")).unwrap();
    std::fs::write(&second, format!("# two\n\ntwo {TYPE} {KEY}\n")).unwrap();
    let files = [nowhere, first.clone(), second.clone()];
    let keys = HostKeys::open(&files, true, &RunPins::default()).unwrap();
    for (host, path, line) in [("one", &first, 2), ("two", &second, 3)] {
        assert_eq!(keys.check(host, 22, TYPE, KEY).unwrap(), Known::Pinned);
        let place = format!("{} line {line}", path.display());
        assert_eq!(
            keys.check(host, 22, TYPE, OTHER).unwrap(),
            Known::Other(place)
        );
    }
    let pinned = keys.pin("three", 22, TYPE, OTHER).unwrap();
    assert!(matches!(pinned, Pinned::In(path) if path == first));
    assert_eq!(keys.check("three", 22, TYPE, OTHER).unwrap(), Known::Pinned);
}

#[test]
fn without_a_file_keys_are_pinned_in_memory_through_a_reload_of_the_configuration() {
    let run = RunPins::default();
    let keys = HostKeys::open(&[], true, &run).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Nothing);
    let pinned = keys.pin("hub", 22, TYPE, KEY).unwrap();
    assert!(
        matches!(pinned, Pinned::ForThisRun(reason) if reason == "there is no known_hosts file")
    );
    let again = HostKeys::open(&[], true, &run).unwrap();
    assert_eq!(
        again.check("hub", 22, TYPE, KEY).unwrap(),
        Known::PinnedForThisRun
    );
    assert!(matches!(
        again.check("hub", 22, TYPE, OTHER).unwrap(),
        Known::Other(_)
    ));
    assert_eq!(again.pinned_types("hub", 22).unwrap(), [TYPE]);
}

#[test]
fn memory_takes_so_many_pins_and_no_more() {
    let keys = HostKeys::open(&[], true, &RunPins::default()).unwrap();
    let taken = (0..).take_while(|n| keys.pin(&format!("h{n}"), 22, TYPE, KEY).is_ok());
    assert!((100..250).contains(&taken.count()));
    assert_eq!(
        keys.check("h0", 22, TYPE, KEY).unwrap(),
        Known::PinnedForThisRun
    );
}

#[test]
fn a_key_in_memory_moves_to_the_file_once_there_is_a_place_for_it() {
    let scratch = Scratch::new("moves");
    let path = scratch.0.join("not/yet/known_hosts");
    let keys = open(&path);
    assert!(keys.unwritable().is_some());
    for _ in 0..2 {
        assert!(matches!(
            keys.pin("hub", 22, TYPE, KEY).unwrap(),
            Pinned::ForThisRun(_)
        ));
        assert_eq!(
            keys.check("hub", 22, TYPE, KEY).unwrap(),
            Known::PinnedForThisRun
        );
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(matches!(
        keys.pin("hub", 22, TYPE, KEY).unwrap(),
        Pinned::In(_)
    ));
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Known::Pinned);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("hub {TYPE} {KEY}\n"));
    assert!(keys.run.0.borrow().is_empty());
}

#[test]
fn what_a_file_says_counts_before_memory() {
    let scratch = Scratch::new("before");
    let path = scratch.0.join("not/yet/known_hosts");
    let keys = open(&path);
    keys.pin("hub", 22, TYPE, KEY).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("hub {TYPE} {OTHER}\n")).unwrap();
    assert!(matches!(
        keys.check("hub", 22, TYPE, KEY).unwrap(),
        Known::Other(_)
    ));
    assert_eq!(keys.check("hub", 22, TYPE, OTHER).unwrap(), Known::Pinned);
}

#[test]
fn of_two_processes_one_sees_what_the_other_pinned_and_a_lock_is_not_waited_for() {
    let scratch = Scratch::new("two");
    let path = scratch.0.join("known_hosts");
    let (one, two) = (open(&path), open(&path));
    assert_eq!(two.check("hub", 22, TYPE, OTHER).unwrap(), Known::Nothing);
    one.pin("hub", 22, TYPE, KEY).unwrap();
    let late = two.pin("hub", 22, TYPE, OTHER).unwrap();
    assert!(
        matches!(late, Pinned::Meanwhile(Known::Other(_))),
        "{late:?}"
    );
    let held = std::fs::File::open(&path).unwrap();
    let held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let busy = two.pin("bus", 22, TYPE, OTHER).unwrap_err();
    assert!(busy.to_string().contains("lock"), "{busy}");
    drop(held);
    assert!(matches!(
        two.pin("bus", 22, TYPE, OTHER).unwrap(),
        Pinned::In(_)
    ));
}

#[test]
fn where_nothing_can_be_trusted_ever_the_start_fails_and_a_missing_file_alone_is_no_reason() {
    let scratch = Scratch::new("strict");
    for files in [vec![], vec![scratch.0.join("a/b/known_hosts")]] {
        let exit = HostKeys::open(&files, false, &RunPins::default()).unwrap_err();
        assert_eq!(exit.code, exit::NO_INPUT);
        assert!(
            exit.message.contains("StrictHostKeyChecking is yes"),
            "{exit}"
        );
    }
    assert!(try_open(&scratch.0.join("known_hosts"), false).is_ok());
    assert!(try_open(&scratch.0.join(".ssh/known_hosts"), false).is_ok());
}
