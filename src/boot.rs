//! `reachback boot`: a process for every tunnel that is to be up from boot on.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::commands;
use crate::exit::{self, Exit};
use crate::logging::escaped;
use crate::sys::file::reason;

/// The tunnels to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Boot {
    /// The `Host` names with `StartAtBoot yes`.
    pub names: Vec<String>,
    /// Such names that no destination can have, and that nobody may take for one: blanks in
    /// them would make two of it for a shell, `@` and `:` another user or port.
    pub unfit: Vec<String>,
    /// Print the names only.
    pub list: bool,
    /// The flags of this call, which each of the tunnels gets as well.
    pub flags: Vec<OsString>,
}

/// Starts them one after the other with `-f`, each in a process of its own, so that one that
/// does not start keeps no other from it. Starting waits for no network, unless the caller says
/// `--wait`.
///
/// # Errors
/// [`exit::CONFIG`] if there are unfit names, each told of in a line; else the exit status of
/// the first that did not start; with a line that counts them. If all did and
/// some were waited for in vain, [`exit::TEMPORARY`]: those go on trying.
pub fn run(boot: &Boot) -> Result<(), Exit> {
    let (mut code, mut failed, mut waiting) = (exit::TEMPORARY, 0, 0);
    for name in &boot.unfit {
        code = exit::CONFIG;
        failed += 1;
        tell(
            name,
            "bad Host name for StartAtBoot: it is neither a host name nor an address",
        );
    }
    for name in &boot.names {
        if boot.list {
            commands::print(&format!("{name}\n"))?;
            continue;
        }
        let (status, why) = match start(name, &boot.flags) {
            Ok(0) => continue,
            Ok(exit::TEMPORARY) => {
                waiting += 1;
                tell(name, "started, not confirmed");
                continue;
            }
            Ok(status) => (status, format!("exit status {status}")),
            Err(error) => (exit::OS, reason(&error)),
        };
        code = if failed == 0 { status } else { code };
        failed += 1;
        tell(name, &format!("not started: {why}"));
    }
    let (count, what) = match (failed, waiting) {
        (0, 0) => return Ok(()),
        (0, _) => (waiting, "confirmed"),
        _ => (failed, "started"),
    };
    let all = boot.names.len() + boot.unfit.len();
    Err(Exit::new(
        code,
        format!("boot: {count} of {all} not {what}"),
    ))
}

fn tell(name: &str, what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "reachback: boot: {}: {what}",
        escaped(name)
    );
}

fn start(name: &str, flags: &[OsString]) -> std::io::Result<u8> {
    let called = std::env::args_os().next().unwrap_or_default();
    // This very file, even if it was replaced by a newer one meanwhile.
    let status = Command::new("/proc/self/exe")
        .arg0(called)
        // Whatever the block says of its forwards.
        .args(["-f", "--wait=0"])
        .args(flags)
        .args(["--", name])
        .stdin(Stdio::null())
        .status()?;
    // A signal ended it: no status of its own.
    Ok(status.code().map_or(exit::OS, |code| code as u8))
}
