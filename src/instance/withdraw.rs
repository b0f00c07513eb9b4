//! What the values `off`, `stop` and `reconnect` of a custom script do.

use std::path::Path;
use std::time::Duration;

use log::{info, warn};
use reachback_core::control::{Refusal, Request, Snapshot};
use reachback_core::destination::Destination;
use reachback_core::forward::ForwardSpec;

use super::client::{CallError, Owner, patiently};
use super::lock;
use super::orders::{Place, names, unavailable};
use crate::exit::Exit;

/// The forwards that a script names.
pub enum Named {
    /// Whatever the server.
    Alike(Vec<ForwardSpec>),
    /// They have tokens of the server in them.
    ByServer(Box<ByServer>),
}

/// Replaces the tokens for one server.
type ByServer = dyn Fn(&Destination) -> Result<Vec<ForwardSpec>, Exit>;

/// What the value `off` or `stop` of a custom script asks for: its forwards are taken away
/// wherever they are, and each connection with the last of them. The log says what was done.
///
/// # Errors
/// [`crate::exit::UNAVAILABLE`] when an owner does not do it, and those of [`Named::ByServer`] and
/// [`lock::check_for_look`].
pub fn withdraw(directory: &Path, forwards: &Named) -> Result<(), Exit> {
    let found = each(directory, forwards, &withdraw_from)?;
    if !found {
        info!("nothing to take away: no tunnel has this forward");
    }
    Ok(())
}

/// What the value `reconnect` asks for: each tunnel that has one of the forwards connects anew.
///
/// # Errors
/// As [`withdraw`].
pub fn reconnect(directory: &Path, forwards: &Named) -> Result<(), Exit> {
    let found = each(directory, forwards, &reconnect_one)?;
    if !found {
        info!("nothing to connect anew: no tunnel has this forward");
    }
    Ok(())
}

/// What is done at one tunnel; true if it has one of the forwards.
type Act = dyn Fn(&Place, &[ForwardSpec]) -> Result<bool, Exit>;

/// True if one of the tunnels had one of the forwards.
fn each(directory: &Path, forwards: &Named, act: &Act) -> Result<bool, Exit> {
    lock::check_for_look(directory)?;
    let mut found = false;
    let mut failed = None;
    for name in names(directory) {
        let place = Place {
            directory: directory.to_owned(),
            name,
            called: String::new(),
        };
        let told = match forwards {
            Named::Alike(specs) => act(&place, specs),
            Named::ByServer(specs) => match server(&place) {
                Ok(server) => specs(&server).and_then(|specs| act(&place, &specs)),
                Err(CallError::Nobody) => Ok(false),
                Err(error) => Err(unavailable(&place, &error)),
            },
        };
        match told {
            Ok(any) => found |= any,
            Err(exit) => {
                warn!("{}", exit.line());
                failed = Some(exit);
            }
        }
    }
    match failed {
        Some(exit) => Err(exit),
        None => Ok(found),
    }
}

fn reconnect_one(place: &Place, forwards: &[ForwardSpec]) -> Result<bool, Exit> {
    let told = snapshot(place).and_then(|found| {
        let has = found
            .forwards
            .iter()
            .any(|own| forwards.contains(&own.spec));
        if has {
            let done = Owner::connect(&place.socket())?.order(&Request::Reconnect)?;
            info!("{}: {done}", place.name);
        }
        Ok(has)
    });
    match told {
        Err(CallError::Nobody) => Ok(false),
        told => told.map_err(|error| unavailable(place, &error)),
    }
}

/// True if it had one of them.
pub(super) fn withdraw_from(place: &Place, forwards: &[ForwardSpec]) -> Result<bool, Exit> {
    let mut found = false;
    for spec in forwards {
        let ask = || Owner::connect(&place.socket())?.order(&Request::Withdraw(spec.clone()));
        match patiently(ask) {
            Ok(done) => {
                found = true;
                info!("{}: {spec}: {done}", place.name);
            }
            Err(CallError::Refused(Refusal::Absent, _)) => {}
            // It ended with the last one, or long ago.
            Err(CallError::Nobody) => break,
            Err(error) => return Err(unavailable(place, &error)),
        }
    }
    Ok(found)
}

/// How a tunnel is.
///
/// # Errors
/// See [`CallError`].
pub(super) fn snapshot(place: &Place) -> Result<Box<Snapshot>, CallError> {
    // Whatever the answer: one that waits after a fault goes on for the question.
    let there = || match Owner::connect(&place.socket())?.order(&Request::Wait(Duration::ZERO)) {
        Ok(_) | Err(CallError::Refused(..)) => Ok(()),
        Err(error) => Err(error),
    };
    patiently(there)?;
    let mut owner = Owner::open(&place.socket())?;
    owner.ask_status()?;
    let said = patiently(|| owner.status().unwrap_or(Err(CallError::Busy)));
    said.map_err(|error| match error {
        CallError::Busy => CallError::Silent(owner.pid),
        error => error,
    })
}

/// The server that a tunnel was called for.
fn server(place: &Place) -> Result<Destination, CallError> {
    let Snapshot {
        user, host, port, ..
    } = *snapshot(place)?;
    let text = match host.contains(':') {
        true => format!("{user}@[{host}]:{port}"),
        false => format!("{user}@{host}:{port}"),
    };
    Destination::parse(&text).map_err(|error| CallError::Failed(error.to_string()))
}
