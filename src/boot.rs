//! `reachback boot`: a process for every tunnel that is to be up from boot on.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::exit::{self, Exit};

/// The tunnels to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Boot {
    /// The `Host` names with `StartAtBoot yes`.
    pub names: Vec<String>,
    /// The flags of this call, which each of the tunnels gets as well.
    pub flags: Vec<OsString>,
}

/// Starts them one after the other with `-f`, each in a process of its own, so that one that
/// does not start keeps no other from it. Starting waits for no network, unless the caller says
/// `--wait`.
///
/// # Errors
/// The exit status of the first that did not start, as a line that counts them. If all did and
/// some were waited for in vain, [`exit::TEMPORARY`]: those go on trying.
pub fn run(boot: &Boot) -> Result<(), Exit> {
    let (mut code, mut failed, mut waiting) = (exit::TEMPORARY, 0, 0);
    for name in &boot.names {
        let (status, why) = match start(name, &boot.flags) {
            Ok(0) => continue,
            Ok(exit::TEMPORARY) => {
                waiting += 1;
                tell(name, "started, not confirmed");
                continue;
            }
            Ok(status) => (status, format!("exit status {status}")),
            Err(error) => (exit::OS, error.to_string()),
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
    let all = boot.names.len();
    Err(Exit::new(
        code,
        format!("boot: {count} of {all} not {what}"),
    ))
}

fn tell(name: &str, what: &str) {
    let _ = writeln!(std::io::stderr(), "reachback: boot: {name}: {what}");
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
