//! `reachback renew`: a running process becomes the program that is installed now.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use crate::logging::escaped;
use crate::sys::file::reason;

/// How long the look of the installed program may take. Nothing else is served meanwhile.
const LOOK: Duration = Duration::from_secs(10);
/// Most that is read of what it has to say, bytes.
const SAID: usize = 1024;

/// Makes a process look whether it could start, and do no more.
const VARIABLE: &str = "REACHBACK_LOOK";

/// Whether this process is to look only.
pub fn is_look() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Whether the program that is installed could start this process's tunnel: it looks with the arguments
/// of this process, from the directory in which it was started, as its user.
///
/// # Errors
/// In a line, why not.
pub fn check(program: &Path, directory: &Path) -> Result<(), String> {
    let shown = escaped(program.display()).to_string();
    let mut arguments = std::env::args_os();
    let look = Command::new(program)
        .arg0(arguments.next().unwrap_or_default())
        .args(arguments)
        .env(VARIABLE, "1")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut look = look.map_err(|error| format!("{shown} does not run: {}", reason(&error)))?;
    let said = listen(&mut look);
    // It has ended, or it is to.
    let late = said.is_none();
    if late {
        let _ = look.kill();
    }
    let status = look
        .wait()
        .map_err(|error| format!("{shown}: {}", reason(&error)))?;
    if late {
        return Err(format!("{shown} does not come to an end"));
    }
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let why = said.lines().next().unwrap_or("it says no reason");
    Err(format!("{shown} could not start it: {}", escaped(why)))
}

/// What it says until it ends; none if it goes on for too long.
fn listen(look: &mut Child) -> Option<Vec<u8>> {
    let until = Instant::now() + LOOK;
    let mut said = Vec::new();
    let stderr = look.stderr.as_mut()?;
    loop {
        let left = until.checked_duration_since(Instant::now())?;
        let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, left.as_millis() as u16).ok()?;
        if ready[0].any() == Some(true) {
            let mut part = [0; 256];
            match stderr.read(&mut part).ok()? {
                0 => return Some(said),
                _ if said.len() > SAID => {}
                length => said.extend_from_slice(&part[..length]),
            }
        }
    }
}
