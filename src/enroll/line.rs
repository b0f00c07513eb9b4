//! The line of authorized_keys, and how it gets there.

/// What the command on the server says when it is done: behind this, [`ADDED`], [`THERE`] or why not.
const SAYS: &str = "reachback: ";
const ADDED: &str = "added";
const THERE: &str = "there";

/// Run by sh, POSIX's or BusyBox's, with the line as `$1` and its key in base64 as `$2`. It is one
/// line without single quotes, backslashes and exclamation marks, so that every login shell, csh's
/// family among them, hands it on as it is. Dropbear of OpenWrt reads the keys of root elsewhere.
const SCRIPT: &str = concat!(
    "umask 077; d=$HOME/.ssh; ",
    "if [ -f /etc/openwrt_release ] && [ -d /etc/dropbear ] && [ \"$(id -u)\" = 0 ]; then d=/etc/dropbear; fi; ",
    "f=$d/authorized_keys; fail() { echo \"reachback: cannot write $f\"; exit 1; }; ",
    "mkdir -p \"$d\" && touch \"$f\" || fail; ",
    "if grep -v \"^[[:space:]]*#\" \"$f\" | grep -qF -e \"$2\"; then echo \"reachback: there $f\"; exit 0; fi; ",
    "if [ -s \"$f\" ] && [ -n \"$(tail -c 1 \"$f\")\" ]; then echo >>\"$f\" || fail; fi; ",
    "echo \"$1\" >>\"$f\" && grep -qF -e \"$2\" \"$f\" || fail; ",
    "chmod go-w \"$d\" \"$f\"; ",
    "if command -v restorecon >/dev/null 2>&1; then restorecon -F \"$d\" \"$f\" >/dev/null 2>&1; fi; ",
    "echo \"reachback: added $f\"",
);

/// What the command did.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The line was added to this file.
    Added(String),
    /// A line with the key was in this file, and stays as it was.
    There(String),
    /// The command says why not.
    Failed(String),
    /// Something else than the command ran, and printed this.
    NotRun(String),
}

/// `line` with a comment that every shell and editor takes as it is.
pub fn plain(line: &str) -> String {
    let plain = |c: char| match c {
        '\'' | '\\' | '!' | '`' | '$' => '_',
        c if c.is_ascii_graphic() || c == ' ' => c,
        _ => '_',
    };
    line.chars().map(plain).collect()
}

/// The command that adds a [`plain`] line; `key` is its key in base64.
pub fn command(line: &str, key: &str) -> String {
    format!("exec sh -c '{SCRIPT}' sh '{line}' '{key}'")
}

/// What became of it, by what was printed.
pub fn outcome(printed: &[u8]) -> Outcome {
    let printed = String::from_utf8_lossy(printed);
    let said = printed.lines().find_map(|line| line.strip_prefix(SAYS));
    match said.map(|said| said.split_once(' ').unwrap_or((said, ""))) {
        Some((ADDED, file)) => Outcome::Added(file.to_owned()),
        Some((THERE, file)) => Outcome::There(file.to_owned()),
        Some(_) => Outcome::Failed(said.unwrap_or_default().to_owned()),
        None => Outcome::NotRun(printed.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;

    /// Runs the command for this line as a login shell does, in a home directory.
    fn run(shell: &[&str], home: &Path, line: &str) -> Outcome {
        let key = line
            .split(' ')
            .find(|word| word.starts_with("AAAA"))
            .unwrap();
        let out = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &command(line, key)])
            .env("HOME", home)
            .output()
            .unwrap();
        outcome(&out.stdout)
    }

    #[test]
    fn the_line_is_added_once_by_every_shell_and_a_last_line_without_end_stays_whole() {
        let mut shells = vec![vec!["sh"], vec!["bash"]];
        let busybox = ["busybox", "/bin/busybox"].into_iter().find(|program| {
            let found = Command::new(program).arg("true").status();
            found.is_ok_and(|status| status.success())
        });
        shells.extend(busybox.map(|busybox| vec![busybox, "sh"]));
        let restricted = "restrict,command=\"/bin/false\",permitlisten=\"localhost:1111\" \
                          ssh-ed25519 AAAAC3x/+= me@ctl";
        for shell in &shells {
            let home = tempfile::tempdir().unwrap();
            let file = home.path().join(".ssh/authorized_keys");
            let path = file.to_str().unwrap().to_owned();
            assert_eq!(
                run(shell, home.path(), restricted),
                Outcome::Added(path.clone())
            );
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                format!("{restricted}\n")
            );
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
            // The same key with another comment and without options.
            let again = "ssh-ed25519 AAAAC3x/+= other";
            assert_eq!(run(shell, home.path(), again), Outcome::There(path.clone()));

            fs::write(&file, "# AAAAB3\nssh-rsa AAAAold").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
            let other = "ssh-rsa AAAAB3 x";
            assert_eq!(run(shell, home.path(), other), Outcome::Added(path));
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(
                text,
                format!("# AAAAB3\nssh-rsa AAAAold\n{other}\n"),
                "{shell:?}"
            );
            assert_eq!(
                mode(&file),
                0o644,
                "sshd takes no file that others may write"
            );
        }
    }

    #[test]
    fn a_home_that_cannot_be_written_is_said_and_a_shell_that_is_none_too() {
        let found = run(&["sh"], Path::new("/proc/no-such"), "ssh-rsa AAAAB3 x");
        let file = "/proc/no-such/.ssh/authorized_keys";
        assert_eq!(found, Outcome::Failed(format!("cannot write {file}")));
        let text = "This account is currently not available.";
        assert_eq!(outcome(text.as_bytes()), Outcome::NotRun(text.to_owned()));
        // What is printed before and behind is no matter.
        let around = outcome(b"Welcome!\nreachback: added /h/f\nbye\n");
        assert_eq!(around, Outcome::Added("/h/f".to_owned()));
    }

    #[test]
    fn no_comment_leaves_the_quotes_of_the_command() {
        let hostile = plain("ssh-rsa AAAA it's; $(reboot) `x` \\ !! \u{202e}\n");
        assert_eq!(hostile, "ssh-rsa AAAA it_s; _(reboot) _x_ _ __ __");
        assert!(!SCRIPT.contains(['\'', '\\', '!', '\n']));
    }
}
