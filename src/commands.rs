//! Subcommands that start no tunnel.

use std::io::Write;
use std::path::PathBuf;

use crate::exit::Exit;
use crate::keys;

/// Prints the authorized_keys line of each private key, with `options` in front; its fingerprint goes
/// to standard error, so that the line alone can be redirected.
///
/// # Errors
/// Those of [`keys::load_all`] and [`print()`].
pub fn pubkey(identity_files: &[PathBuf], options: &str) -> Result<(), Exit> {
    for key in keys::load_all(identity_files)? {
        let line = keys::authorized_keys_line(&key);
        print(&format!("{options}{line}\n"))?;
        let _ = writeln!(
            std::io::stderr(),
            "{} {}",
            key.key_type(),
            key.fingerprint()
        );
    }
    Ok(())
}

/// Prints a text that was asked for.
///
/// # Errors
/// [`crate::exit::OS`] when standard output takes nothing.
pub fn print(text: &str) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Exit::os("cannot print", error))
}
