//! Identity files: Dropbear's, OpenSSH's and PEM private keys.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reachback_core::dropbear_key::{self, DropbearKey};
use reachback_core::forward::{ForwardSpec, Listen};
use reachback_core::verify::places;
use reachback_ssh::userkey::UserKey;
use zeroize::Zeroizing;

use crate::exit::{self, Exit};
use crate::sys::{file, host, wipe};

/// Largest identity file read, bytes. An RSA key of 8192 bits in PEM has about 6400.
const KEY_FILE_BYTES: usize = 64 * 1024;

/// Tried in this order when no identity file is named: dbclient(1)'s and then ssh(1)'s.
const DEFAULT_NAMES: [&str; 4] = ["id_dropbear", "id_rsa", "id_ecdsa", "id_ed25519"];

/// The private keys of these files, in their order. Without files, those of the default files
/// in `~/.ssh` that exist and can be used; a default that cannot is only warned about while
/// another one can.
///
/// # Errors
/// For a named file, those of [`load`]; one of several that is missing is warned about. Without any identity, [`exit::USAGE`].
pub fn load_all(paths: &[PathBuf]) -> Result<Vec<UserKey>, Exit> {
    let keys = load_with_files(paths)?;
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// The same, each with its file.
///
/// # Errors
/// Those of [`load_all`].
pub fn load_with_files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, UserKey)>, Exit> {
    if !paths.is_empty() {
        return load_named(paths);
    }
    let (mut keys, mut first_failure) = (Vec::new(), None);
    for (path, loaded) in defaults() {
        match loaded {
            Ok(key) => keys.push((path, key)),
            Err(failure) => {
                log::warn!("{failure}");
                first_failure.get_or_insert(failure);
            }
        }
    }
    if keys.is_empty() {
        return Err(first_failure.unwrap_or_else(|| {
            Exit::usage(format!(
                "no identity: {}: none of {} is there; name a key file with -i",
                host::home_directory().join(".ssh").display(),
                DEFAULT_NAMES.join(", ")
            ))
        }));
    }
    Ok(keys)
}

/// The keys of named files. As with ssh, one that is not there is only warned about while another
/// one is.
fn load_named(paths: &[PathBuf]) -> Result<Vec<(PathBuf, UserKey)>, Exit> {
    let (mut keys, mut missing) = (Vec::new(), None);
    for path in paths {
        match load(path) {
            Ok(key) => keys.push((path.clone(), key)),
            Err(failure) if failure.code == exit::NO_INPUT && paths.len() > 1 => {
                log::warn!("{failure}");
                missing.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    match missing {
        Some(failure) if keys.is_empty() => Err(failure),
        _ => Ok(keys),
    }
}

/// The default files that exist, and their keys.
pub fn defaults() -> impl Iterator<Item = (PathBuf, Result<UserKey, Exit>)> {
    let directory = host::home_directory().join(".ssh");
    let files = DEFAULT_NAMES.map(|name| directory.join(name));
    let files = files.into_iter().filter(|path| path.exists());
    files.map(|path| {
        let key = load(&path);
        (path, key)
    })
}

/// The private key of one file. A file that others may read is warned about and used, as
/// Dropbear does: the controllers' files are so.
///
/// # Errors
/// [`exit::NO_INPUT`] for a file that is missing or not regular, [`exit::NO_PERMISSION`] for
/// one that may not be read, [`exit::DATA`] for one that holds no usable private key.
pub fn load(path: &Path) -> Result<UserKey, Exit> {
    wipe::what_is_freed_by(|| load_wiped(path))
}

fn load_wiped(path: &Path) -> Result<UserKey, Exit> {
    let (bytes, mode) = read(path, "key", KEY_FILE_BYTES, "name another with -i")?;
    let key = decode(&bytes).map_err(|reason| {
        Exit::new(
            exit::DATA,
            format!("cannot use the key: {}: {reason}", path.display()),
        )
    })?;
    // Only now: it would be the wrong advice for a public key, or for no key at all.
    warn_of_readers("key file", path, mode);
    Ok(key)
}

/// Warns about a secret whose file others may read.
pub fn warn_of_readers(what: &str, path: &Path, mode: u32) {
    if mode & 0o077 != 0 {
        log::warn!(
            "{what} {}: others may read it (mode {:04o}); chmod 600 it",
            path.display(),
            mode & 0o7777
        );
    }
}

/// The bytes and the mode of a file with a secret, `most` at most; `advice` where it is not there.
///
/// # Errors
/// [`exit::NO_INPUT`] for a file that is missing or not regular, [`exit::NO_PERMISSION`] for one that
/// may not be read, [`exit::DATA`] for one that is too large.
pub fn read(
    path: &Path,
    what: &str,
    most: usize,
    advice: &str,
) -> Result<(Zeroizing<Vec<u8>>, u32), Exit> {
    let opened = file::open_regular(path).and_then(|opened| {
        let mode = opened.metadata()?.permissions().mode();
        Ok((file::read_open(opened, most)?, mode))
    });
    opened.map_err(|error| unreadable(path, what, advice, &error))
}

fn unreadable(path: &Path, what: &str, advice: &str, error: &io::Error) -> Exit {
    let (code, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied => (exit::NO_PERMISSION, "check its owner and mode"),
        io::ErrorKind::FileTooLarge => (exit::DATA, "this is another file"),
        _ => (exit::NO_INPUT, advice),
    };
    let (shown, reason) = (path.display(), file::reason(error));
    let message = format!("cannot read the {what}: {shown}: {reason}; {advice}");
    Exit::new(code, message)
}

fn decode(bytes: &[u8]) -> Result<UserKey, String> {
    if dropbear_key::looks_like(bytes) {
        let parts = DropbearKey::decode(bytes).map_err(|error| error.to_string())?;
        let key = match parts {
            DropbearKey::Rsa { e, n, d, p, q } => UserKey::rsa(n, e, d, p, q),
            DropbearKey::Ed25519 { seed, public } => UserKey::ed25519(seed, public),
            DropbearKey::Ecdsa { curve, point, d } => UserKey::ecdsa(curve, d, point),
        };
        return key.map_err(|error| error.to_string());
    }
    UserKey::from_file(bytes).map_err(|error| error.to_string())
}

/// The authorized_keys line of a key (sshd(8)): type, base64, comment. A key without comment
/// gets `user@host` of this machine, as dropbearkey(1) writes it.
pub fn authorized_keys_line(key: &UserKey) -> String {
    let blob = reachback_ssh::hostkey::blob_to_base64(key.public_blob());
    let comment = match key.comment() {
        "" => host::user_at_host(),
        comment => crate::logging::escaped(comment).to_string(),
    };
    format!("{} {blob} {comment}", key.key_type())
}

/// The options of an authorized_keys line (sshd(8), from OpenSSH 7.8 on) that leave a key nothing
/// but these forwards, and connections to their own listeners, which `VerifyForward` makes; with a
/// space behind them. `restrict` alone would permit commands: none is ever run by this program.
///
/// # Errors
/// [`crate::exit::USAGE`] without a forward, and for a Unix socket: sshd permits those to every
/// key that may forward at all.
pub fn restrictions(forwards: &[ForwardSpec]) -> Result<String, Exit> {
    let mut options = String::from("restrict,command=\"/bin/false\",port-forwarding");
    let mut permit = |what: &str, host: &str, port: &str| {
        let host = match host.contains(':') {
            true => format!("[{host}]:"),
            false if host.is_empty() => String::new(),
            false => format!("{host}:"),
        };
        options.push_str(&format!(",permit{what}=\"{host}{port}\""));
    };
    for spec in forwards {
        let Listen::Tcp { bind, port } = &spec.listen else {
            return Err(Exit::usage(format!(
                "--restrict: {spec}: authorized_keys restricts ports, not the server's sockets"
            )));
        };
        // A port of the server's choice cannot be named for the way back: port 1, tcpmux, stands
        // for none, as without permitopen every place would be permitted.
        let (listen, open) = match port {
            0 => ("*".to_owned(), "1".to_owned()),
            port => (port.to_string(), port.to_string()),
        };
        // sshd compares the pattern as it is written with the request in lower case.
        permit("listen", &bind.wire().to_ascii_lowercase(), &listen);
        for place in places(bind) {
            permit("open", place, &open);
        }
    }
    if forwards.is_empty() {
        return Err(Exit::usage(
            "--restrict: no forward: name them with -R, or a destination of the configuration",
        ));
    }
    options.push(' ');
    Ok(options)
}

/// `path` made absolute, so that it means the same after the daemon changed its directory.
pub fn absolute(path: &str) -> PathBuf {
    let path = host::expand_tilde(path);
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
