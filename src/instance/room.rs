//! How many tunnels there may be at once: who calls for one more than `MaxTunnels` finds a place that
//! nobody uses, or none. A program that calls for one server after the other does not fill the memory.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use reachback_core::control::{Request, Snapshot};
use reachback_core::forward::ForwardSpec;
use reachback_core::watchdog::DRAIN;

use super::client::{CallError, Owner, patiently};
use super::lock;
use super::orders::{Place, names};
use super::supervisor;
use super::withdraw::{snapshot, withdraw_from};
use crate::exit::{self, Exit};
use crate::sys::file;

/// While somebody has it, nobody else finds a place in this directory: those that are called for at the
/// same instant are counted one after the other.
#[derive(Debug)]
pub struct Room {
    /// Unlocked when dropped.
    _directory: Flock<File>,
    /// Which tunnel was ended for it, fit for a log.
    pub gave_way: Option<String>,
}

/// Finds a place for a tunnel among at most `most`. None if the tunnel runs already. To be dropped before
/// this process forks: the place is taken once the tunnel has its lock.
///
/// # Errors
/// [`exit::UNAVAILABLE`] when they are all taken, and those of [`lock::prepare`].
pub fn find(place: &Place, most: usize) -> Result<Option<Room>, Exit> {
    lock::prepare(&place.directory)?;
    let directory = patiently(|| only_one(&place.directory)).map_err(|error| {
        let shown = place.directory.display();
        Exit::new(exit::UNAVAILABLE, format!("cannot lock: {shown}: {error}"))
    })?;
    if lock::is_held(&place.socket()) {
        return Ok(None);
    }
    let others = || {
        names(&place.directory)
            .into_iter()
            .filter(|name| lock::is_held(&lock::socket(&place.directory, name)))
    };
    if others().count() < most {
        return Ok(Some(Room {
            _directory: directory,
            gave_way: None,
        }));
    }
    let mut idle: Vec<(Place, Box<Snapshot>)> = others()
        .map(|name| Place {
            name,
            ..place.clone()
        })
        .filter_map(|other| never_up(&other).map(|snapshot| (other, snapshot)))
        .collect();
    idle.sort_by_key(|(_, snapshot)| snapshot.started);
    for (other, snapshot) in idle {
        let specs: Vec<ForwardSpec> = snapshot.forwards.iter().map(|f| f.spec.clone()).collect();
        if ends_without(&other, &specs) {
            let (other, new) = (other.name, &place.name);
            return Ok(Some(Room {
                _directory: directory,
                gave_way: Some(format!(
                    "{other} gave way to {new}: MaxTunnels is {most}, and it never came up"
                )),
            }));
        }
    }
    Err(Exit::new(
        exit::UNAVAILABLE,
        format!(
            "no place for another tunnel: {}: MaxTunnels is {most}: see reachback status; \
             reachback stop user@host ends one",
            place.name
        ),
    ))
}

fn only_one(directory: &Path) -> Result<Flock<File>, CallError> {
    let failed = |error: io::Error| CallError::Failed(file::reason(&error));
    let file = File::open(directory).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => CallError::Busy,
        error => failed(error.into()),
    })
}

/// How a tunnel is that never logged in and that the service did not begin.
fn never_up(place: &Place) -> Option<Box<Snapshot>> {
    let told = Owner::connect(&place.socket()).and_then(|mut owner| owner.order(&Request::Check));
    if told.ok()? == supervisor::OF_SERVICE {
        return None;
    }
    snapshot(place).ok().filter(|found| found.logins == 0)
}

/// Takes these forwards away as a script may, which ends a tunnel that has no others.
fn ends_without(place: &Place, specs: &[ForwardSpec]) -> bool {
    let Ok(owner) = Owner::connect(&place.socket()) else {
        return !lock::is_held(&place.socket());
    };
    withdraw_from(place, specs).is_ok() && owner.await_end(DRAIN * 3)
}
