//! An account with a password of its own, for servers that run in a mount namespace with another
//! passwd(5) and shadow(5) over the system's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Scene, is_root, output, text};

/// The account root, as a server in the namespace sees it.
pub struct Account {
    /// Its passwd and shadow.
    files: [PathBuf; 2],
    /// Its home directory.
    pub home: PathBuf,
}

impl Account {
    /// With this password and login shell; an error says why there can be none.
    pub fn new(scene: &Scene, password: &str, shell: &str) -> Result<Account, String> {
        if !is_root() {
            return Err("only root may put another passwd in place".to_owned());
        }
        let home = scene.path("account");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let hash = output("openssl", &["passwd", "-6", password]);
        let with = |file: &str, line: String| {
            let own = fs::read_to_string(file).unwrap();
            let others = own.lines().filter(|line| !line.starts_with("root:"));
            let lines = std::iter::once(line.as_str()).chain(others);
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        let passwd = format!("root:x:0:0:root:{}:{shell}", text(&home));
        let passwd = scene.file("passwd", with("/etc/passwd", passwd));
        let shadow = format!("root:{hash}:20000:0:99999:7:::");
        let shadow = scene.file("shadow", with("/etc/shadow", shadow));
        let account = Account {
            files: [passwd, shadow],
            home,
        };
        match account.wrap(&Command::new("true")).output() {
            Ok(probe) if probe.status.success() => Ok(account),
            Ok(probe) => Err(String::from_utf8_lossy(&probe.stderr).into_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    }

    /// The command where the account is so.
    pub fn wrap(&self, command: &Command) -> Command {
        let [passwd, shadow] = &self.files;
        let script = "mount --bind \"$0\" /etc/passwd && mount --bind \"$1\" /etc/shadow && \
                      shift && exec \"$@\"";
        let mut wrapped = Command::new("unshare");
        wrapped
            .args(["-m", "sh", "-c", script])
            .args([passwd, shadow])
            .arg(command.get_program())
            .args(command.get_args());
        wrapped
    }

    /// Its authorized_keys; empty without.
    pub fn authorized_keys(&self) -> String {
        fs::read_to_string(self.home.join(".ssh/authorized_keys")).unwrap_or_default()
    }
}
