#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::PermissionsExt;

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

const TYPE: &str = "ssh-ed25519";
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIP8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[test]
fn a_missing_file_is_empty_and_a_pinned_key_is_known_from_then_on() {
    let scratch = Scratch::new("pin");
    let path = scratch.0.join("ssh/known_hosts");
    let keys = HostKeys::open(&path).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Verdict::Unknown);
    keys.pin("hub", 22, TYPE, KEY).unwrap();
    keys.pin("hub", 2222, TYPE, OTHER).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Verdict::Match);
    assert_eq!(
        keys.check("hub", 2222, TYPE, OTHER).unwrap(),
        Verdict::Match
    );
    let changed = keys.check("hub", 22, TYPE, OTHER).unwrap();
    assert!(matches!(changed, Verdict::Changed { .. }));
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
    let keys = HostKeys::open(&path).unwrap();
    keys.pin("two", 22, TYPE, OTHER).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("one {TYPE} {KEY}\ntwo {TYPE} {OTHER}\n"));
    assert_eq!(keys.check("one", 22, TYPE, KEY).unwrap(), Verdict::Match);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_never_empty() {
    let scratch = Scratch::new("unreadable");
    let exit = HostKeys::open(&scratch.0).unwrap_err();
    assert_eq!(exit.code, exit::NO_INPUT);
    let path = scratch.0.join("known_hosts");
    let keys = HostKeys::open(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(keys.check("hub", 22, TYPE, KEY).is_err());
    assert!(keys.pinned_types("hub", 22).is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, vec![b'#'; KNOWN_HOSTS_BYTES + 1]).unwrap();
    assert_eq!(HostKeys::open(&path).unwrap_err().code, exit::DATA);
}

#[test]
fn another_program_may_write_the_file_meanwhile() {
    let scratch = Scratch::new("meanwhile");
    let path = scratch.0.join("known_hosts");
    let keys = HostKeys::open(&path).unwrap();
    std::fs::write(&path, format!("# caf\u{e9}\n@revoked hub {TYPE} {KEY}\n")).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Verdict::Revoked);
    let mut latin1 = b"# caf\xe9\n".to_vec();
    latin1.extend_from_slice(format!("hub {TYPE} {KEY}\n").as_bytes());
    std::fs::write(&path, latin1).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Verdict::Match);
}

#[test]
fn a_hashed_name_is_found() {
    let scratch = Scratch::new("hashed");
    let path = scratch.0.join("known_hosts");
    // Made with: ssh-keygen -H -f known_hosts, from the line "hub ssh-ed25519 ...".
    let salt = "NTylyAwTDx5l1+PWLTzuLiHQTm8=";
    let hash = "NuTRF+zECYgOI57t2TXN0EEjWTI=";
    std::fs::write(&path, format!("|1|{salt}|{hash} {TYPE} {KEY}\n")).unwrap();
    let keys = HostKeys::open(&path).unwrap();
    assert_eq!(keys.check("hub", 22, TYPE, KEY).unwrap(), Verdict::Match);
    assert_eq!(keys.check("hug", 22, TYPE, KEY).unwrap(), Verdict::Unknown);
}
