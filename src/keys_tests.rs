#![allow(clippy::unwrap_used)]
use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/ssh/tests/data")).join(name)
}

/// Type and base64 of the public half that the tool which made the key wrote beside it.
fn public_half(name: &str) -> String {
    let text = std::fs::read_to_string(data(&format!("{name}.pub"))).unwrap();
    let line = text.lines().find(|line| line.contains("AAAA")).unwrap();
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn keys_of_every_tool_give_the_public_line_that_the_tool_gives() {
    for (file, public) in [
        ("test_dropbear_rsa2048", "test_dropbear_rsa2048"),
        ("test_dropbear_ed25519", "test_dropbear_ed25519"),
        ("test_dropbear_ecdsa256", "test_dropbear_ecdsa256"),
        ("test_dropbear_ecdsa384", "test_dropbear_ecdsa384"),
        ("test_rsa", "test_rsa"),
        ("test_rsa_PEM", "test_rsa"),
        ("test_rsa_PKCS8", "test_rsa"),
        ("test_ed25519", "test_ed25519"),
        ("test_ecdsa256", "test_ecdsa256"),
        ("test_ecdsa256_PEM", "test_ecdsa256"),
    ] {
        let key = load(&data(file)).unwrap_or_else(|exit| panic!("{file}: {exit}"));
        let line = authorized_keys_line(&key);
        assert!(
            line.starts_with(&format!("{} ", public_half(public))),
            "{file}: {line}"
        );
    }
}

#[test]
fn a_comment_is_kept_and_a_missing_one_is_this_user_and_host() {
    let with = authorized_keys_line(&load(&data("test_ed25519")).unwrap());
    assert!(with.ends_with(" TEST-KEY-never-use"), "{with}");
    let without = authorized_keys_line(&load(&data("test_dropbear_ed25519")).unwrap());
    assert!(
        without.ends_with(&format!(" {}", host::user_at_host())),
        "{without}"
    );
}

#[test]
fn each_unusable_file_has_its_code_and_is_named_in_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let large = vec![b'x'; KEY_FILE_BYTES + 1];
    // Dropbear's form: the name of the type as an SSH string, then the parts.
    let dss = b"\0\0\0\x07ssh-dss\0\0\0\x01\x01";
    for (path, code) in [
        (scratch.path().join("missing"), exit::NO_INPUT),
        (scratch.path().to_owned(), exit::NO_INPUT),
        (written("large", &large), exit::DATA),
        (written("empty", b""), exit::DATA),
        (written("rubbish", b"hello\n"), exit::DATA),
        (written("binary", &[0xff; 100]), exit::DATA),
        (written("dss", dss), exit::DATA),
        (data("test_ed25519.pub"), exit::DATA),
        (data("test_ed25519_passphrase"), exit::DATA),
        (data("test_rsa_PEM_passphrase"), exit::DATA),
        (data("test_rsa1024"), exit::DATA),
        (data("test_ecdsa521"), exit::DATA),
    ] {
        let exit = load(&path).unwrap_err();
        assert_eq!(exit.code, code, "{exit}");
        assert!(exit.message.contains(path.to_str().unwrap()), "{exit}");
        assert!(!exit.message.contains(char::is_control), "{exit}");
        println!("{exit}");
    }
    let dss = load(&scratch.path().join("dss")).unwrap_err();
    assert!(dss.message.contains("ssh-dss"), "{dss}");
}

#[test]
fn a_file_that_may_not_be_read_has_the_permission_code() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    assert_eq!(
        unreadable(Path::new("/k"), "key", "", &error).code,
        exit::NO_PERMISSION
    );
}

#[test]
fn several_files_give_their_keys_in_order_one_may_be_missing_and_none_be_bad() {
    let keys = load_all(&[data("test_rsa"), data("test_ed25519")]).unwrap();
    let types: Vec<&str> = keys.iter().map(UserKey::key_type).collect();
    assert_eq!(types, ["ssh-rsa", "ssh-ed25519"]);
    let missing = data("nonexistent");
    let keys = load_all(&[missing.clone(), data("test_rsa")]).unwrap();
    assert_eq!(keys.len(), 1);
    let refused = load_all(&[missing.clone(), missing]).unwrap_err();
    assert_eq!(refused.code, exit::NO_INPUT);
    let bad = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    assert!(load_all(&[data("test_rsa"), bad]).is_err());
}
