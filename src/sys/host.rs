//! Who and where this process is.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// The user's home directory: `$HOME` when it is set and not empty, else passwd(5)'s, else `/`,
/// as login(1) does. It need not exist.
pub fn home_directory() -> PathBuf {
    if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        return PathBuf::from(home);
    }
    let user = User::from_uid(Uid::effective()).ok().flatten();
    user.map_or_else(|| PathBuf::from("/"), |user| user.dir)
}

/// The machine's name as gethostname(2) gives it, `localhost` when it has none.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .map(OsString::into_string)
        .and_then(Result::ok)
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Number of the user of this process.
pub fn user_id() -> u32 {
    Uid::effective().as_raw()
}

/// Name of the user of this process; the number of one without name.
pub fn user_name() -> String {
    name_of(user_id())
}

/// Name of a user; the number of one without name.
pub fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// `user@host` of this process, for comments.
pub fn user_at_host() -> String {
    format!("{}@{}", user_name(), host_name())
}

/// `path` with a leading `~/` replaced by the home directory, and `~user/` by that user's, as
/// ssh_config(5) does; that of nobody stays.
pub fn expand_tilde(path: &str) -> PathBuf {
    let home = |user: &str| match user {
        "" => Some(home_directory()),
        user => User::from_name(user).ok().flatten().map(|user| user.dir),
    };
    let parts = path.strip_prefix('~').and_then(|rest| rest.split_once('/'));
    let expanded = parts.and_then(|(user, rest)| Some(home(user)?.join(rest)));
    expanded.unwrap_or_else(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_and_slash_is_the_home_directory() {
        assert_eq!(expand_tilde("/etc/~/x"), PathBuf::from("/etc/~/x"));
        assert_eq!(
            expand_tilde("~no-such-user/x"),
            PathBuf::from("~no-such-user/x")
        );
        assert_eq!(expand_tilde("~root/.ssh/x"), PathBuf::from("/root/.ssh/x"));
        assert_eq!(expand_tilde("~/x"), home_directory().join("x"));
    }
}
