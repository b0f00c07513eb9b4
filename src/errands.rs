//! What the supervisor does for its worker: to look whether the installed program could start, and to
//! pin host keys and take pins away. The worker says what for; whether and where is for the configuration to say.

use std::path::Path;
use std::time::Duration;

use reachback_ssh::hostkey::{base64_to_blob, key_type as key_type_of};

use crate::exit::Exit;
use crate::hostkey::{Change, HostKeys, is_busy, not_pinned};
use crate::instance::served;
use crate::plan::{servers, trust};
use crate::renew;
use crate::reread::{at_start, settings_again};
use crate::sys::errand;
use crate::sys::file::reason;
use crate::trust::Trust;

/// The answer to what may not be.
const NOT_LET: &str = "the configuration does not let it be pinned";
/// The errand to look.
const LOOK: &str = "look";
/// The errand to pin, with host, port, type and base64.
const PIN: &str = "pin";
/// The errand to change a pin of a server that is known, with host, port and change.
const AMEND: &str = "amend";
/// How often a file that is being written is tried, and how long after.
const TRIES: u32 = 10;
const BUSY: Duration = Duration::from_millis(50);

/// Has the supervisor look whether the installed program could start this tunnel.
///
/// # Errors
/// In a line, why not.
pub fn look() -> Result<(), String> {
    match errand::ask(LOOK) {
        Some(Ok(answer)) if answer.is_empty() => Ok(()),
        Some(Ok(why)) => Err(why),
        Some(Err(error)) => Err(format!(
            "the supervisor does not answer: {}",
            reason(&error)
        )),
        None => Err("this process has no supervisor".to_owned()),
    }
}

/// Has the supervisor pin a host key; its answer, or none in a process that may do it itself.
pub fn pin(host: &str, port: u16, key_type: &str, base64: &str) -> Option<std::io::Result<String>> {
    errand::ask(&format!("{PIN} {host} {port} {key_type} {base64}"))
}

/// Has the supervisor change a pin, as [`pin`].
pub fn amend(host: &str, port: u16, change: &Change) -> Option<std::io::Result<String>> {
    errand::ask(&format!("{AMEND} {host} {port} {change}"))
}

/// Runs an errand; the answer. `orders` is what callers ordered, as the worker wrote it.
pub fn perform(errand: &str, program: &Path, directory: &Path, orders: &str) -> String {
    let words: Vec<&str> = errand.split(' ').collect();
    match words.as_slice() {
        [LOOK] => renew::check(program, directory).err().unwrap_or_default(),
        [PIN, host, port, key_type, base64] => {
            let port = port.parse().unwrap_or_default();
            let pinned = at_start(directory, || {
                pin_here(host, port, (key_type, base64), orders)
            });
            pinned.unwrap_or_else(|exit| not_pinned(&exit.line()))
        }
        [AMEND, host, port, change] => {
            let port = port.parse().unwrap_or_default();
            let amended = at_start(directory, || amend_here(host, port, change, orders));
            amended.unwrap_or_else(|exit| not_pinned(&exit.line()))
        }
        _ => String::new(),
    }
}

/// A server's key is pinned only if the configuration names the server, and lets its key be
/// accepted; callers have a say in the latter only (`-y`).
fn pin_here(
    host: &str,
    port: u16,
    (key_type, base64): (&str, &str),
    orders: &str,
) -> Result<String, Exit> {
    let blob = base64_to_blob(base64).unwrap_or_default();
    let known = trusted(host, port, orders, |trust| {
        trust.accept_new && key_type_of(&blob).ok() == Some(key_type)
    })?;
    Ok(match known {
        Some(known) => known.pin_for_another(host, port, key_type, base64),
        None => not_pinned(&NOT_LET),
    })
}

/// A pin follows what the server announced only if the configuration names the server and says so.
fn amend_here(host: &str, port: u16, change: &str, orders: &str) -> Result<String, Exit> {
    let known = trusted(host, port, orders, |trust| trust.follows)?;
    let (Some(known), Some(change)) = (known, Change::parse(change)) else {
        return Ok(not_pinned(&NOT_LET));
    };
    for _ in 1..TRIES {
        match known.amend_for_another(host, port, &change) {
            busy if is_busy(&busy) => std::thread::sleep(BUSY),
            answer => return Ok(answer),
        }
    }
    Ok(known.amend_for_another(host, port, &change))
}

/// The known hosts, if the configuration names this server and `lets` it.
fn trusted(
    host: &str,
    port: u16,
    orders: &str,
    lets: impl FnOnce(&Trust) -> bool,
) -> Result<Option<HostKeys>, Exit> {
    let mut options = served::options(orders);
    options.retain(|option| option.starts_with("StrictHostKeyChecking "));
    let settings = settings_again(&options)?;
    let trust = trust(&settings, HostKeys::of(&settings.known_hosts_files()));
    let named =
        servers(&settings).any(|server| trust.name(&server.host, server.port) == (host, port));
    Ok((named && lets(&trust)).then_some(trust.known))
}
