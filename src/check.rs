//! `reachback check`: what a start would look at, without starting anything.

use std::io::Write;

use log::LevelFilter;

use crate::cli::{Checked, Local};
use crate::exit::Exit;
use crate::hostkey::{HostKeys, RunPins};
use crate::keys;
use crate::logging::{self, Target};
use crate::privilege;
use crate::proxy;

/// Looks at every tunnel that the configuration makes; a line for each that is in order on
/// standard output, one for each that is not on standard error.
///
/// # Errors
/// That of the first tunnel that would not start, as a line that counts them.
pub fn run(checked: Vec<Checked>) -> Result<(), Exit> {
    // Key files that others may read are warned about.
    logging::init(Target::Stderr, LevelFilter::Warn);
    let (mut code, mut wrong) = (0, 0);
    for Checked { what, found } in &checked {
        match found.as_ref().map_err(Exit::clone).and_then(look) {
            Ok(()) => crate::commands::print(&format!("{what}: in order\n"))?,
            Err(exit) => {
                let _ = writeln!(std::io::stderr(), "{what}: {exit}");
                wrong += 1;
                if code == 0 {
                    code = exit.code;
                }
            }
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Exit::new(
            code,
            format!("{wrong} of {} not in order", checked.len()),
        )),
    }
}

fn look(local: &Option<Local>) -> Result<(), Exit> {
    let Some(local) = local else {
        return Ok(());
    };
    let look = || {
        keys::load_all(&local.identity_files)?;
        proxy::of(&local.config).map(drop)
    };
    look()?;
    if let Some(name) = &local.run_as_user {
        privilege::check(name, look)?;
    }
    logging::say(&local.notes);
    let files = &local.known_hosts_files;
    let known = HostKeys::open(files, local.accept_new, &RunPins::default())?;
    if let Some(reason) = known.unwritable().filter(|_| local.accept_new) {
        log::warn!("new host keys will be kept in memory until the process ends: {reason}");
    }
    Ok(())
}
