//! What a caller asks of the process that holds a tunnel: to take its forwards over, and the
//! orders of the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use reachback_core::control::{Refusal, Request};
use reachback_core::forward::ForwardSpec;
use reachback_core::watchdog::DRAIN;

use crate::control::client::{CallError, Owner, patiently};
use crate::exit::{self, Exit};
use crate::owner::{self, Claim, Ownership};

/// Where the tunnel of a destination is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Directory of the locks and sockets.
    pub directory: PathBuf,
    /// File name of the destination ([`owner::name`]).
    pub name: String,
}

impl Place {
    fn socket(&self) -> PathBuf {
        owner::socket(&self.directory, &self.name)
    }
}

/// What became of a call for a tunnel.
pub enum Outcome {
    /// There was no owner; this process is it now.
    Owner(Ownership),
    /// The owner took the forwards.
    HandedOver(Owner),
}

/// Becomes the owner of a destination, or hands the forwards to the process that is.
///
/// # Errors
/// Those of [`owner::claim`]; [`exit::UNAVAILABLE`] when the owner does not take them.
pub fn claim(place: &Place, forwards: &[ForwardSpec]) -> Result<Outcome, Exit> {
    let attempt = || match owner::claim(&place.directory, &place.name) {
        Err(exit) => Some(Err(exit)),
        Ok(Claim::Owner(ownership)) => Some(Ok(Outcome::Owner(ownership))),
        Ok(Claim::Taken) => match hand_over(place, forwards) {
            Ok(owner) => Some(Ok(Outcome::HandedOver(owner))),
            // It starts, ends or is busy: look again.
            Err(CallError::Nobody | CallError::Busy | CallError::Gone) => None,
            Err(CallError::Refused(Refusal::Ended, _)) => None,
            Err(error) => Some(Err(unavailable(place, &error))),
        },
    };
    patiently(attempt).unwrap_or_else(|| {
        Err(Exit::new(
            exit::UNAVAILABLE,
            format!(
                "cannot hand over: {}: another process holds the tunnel and does not take calls",
                place.name
            ),
        ))
    })
}

fn hand_over(place: &Place, forwards: &[ForwardSpec]) -> Result<Owner, CallError> {
    let mut owner = Owner::connect(&place.socket())?;
    let pid = owner.pid;
    for spec in forwards {
        let done = owner.order(&Request::Forward(spec.clone()))?;
        info!("handed to process {pid}, which holds the tunnel: forward {spec}: {done}");
    }
    Ok(owner)
}

/// Waits until the forwards that were handed over are confirmed.
///
/// # Errors
/// [`exit::TEMPORARY`] when they are not and the tunnel goes on trying, [`exit::UNAVAILABLE`]
/// when it ended.
pub fn await_forwards(mut owner: Owner, limit: Duration) -> Result<(), Exit> {
    match owner.order(&Request::Wait(limit)) {
        Ok(_) => Ok(()),
        Err(CallError::Refused(Refusal::NotYet, why)) => Err(Exit::new(
            exit::TEMPORARY,
            format!("not confirmed: {why}: it goes on trying; see reachback status"),
        )),
        Err(error) => Err(Exit::new(
            exit::UNAVAILABLE,
            format!("not confirmed: {error}: see the system log"),
        )),
    }
}

/// The same for forwards that the owner has from its start.
///
/// # Errors
/// As [`await_forwards`].
pub fn await_started(place: &Place, limit: Duration) -> Result<(), Exit> {
    match Owner::connect_patiently(&place.socket()) {
        Ok(owner) => await_forwards(owner, limit),
        Err(error) => Err(unavailable(place, &error)),
    }
}

fn unavailable(place: &Place, error: &CallError) -> Exit {
    Exit::new(exit::UNAVAILABLE, format!("{}: {error}", place.name))
}

/// What an order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `-O check`.
    Check,
    /// `-O forward`.
    Forward,
    /// `-O cancel`.
    Cancel,
    /// `-O exit` and `stop`.
    Stop,
    /// `reconnect`.
    Reconnect,
}

/// An order for running tunnels.
#[derive(Clone, Debug)]
pub struct Order {
    /// What to do.
    pub what: What,
    /// Directory of the control sockets.
    pub directory: PathBuf,
    /// File name of the destination; none for the only one, or for all.
    pub name: Option<String>,
    /// `--all`.
    pub all: bool,
    /// For `-O forward` and `-O cancel`.
    pub forwards: Vec<ForwardSpec>,
}

/// Carries an order out; gives what to tell the person who gave it.
///
/// # Errors
/// [`exit::UNAVAILABLE`] when there is no such tunnel or it does not do it, [`exit::USAGE`] when
/// it is not clear which tunnel is meant.
pub fn order(order: &Order) -> Result<String, Exit> {
    let names = match &order.name {
        Some(name) => vec![name.clone()],
        None => names(&order.directory),
    };
    let mut told = String::new();
    let mut live = Vec::new();
    let mut failure = None;
    for name in names {
        let place = Place {
            directory: order.directory.clone(),
            name,
        };
        match Owner::connect_patiently(&place.socket()) {
            Ok(owner) => live.push((place, owner)),
            Err(CallError::Nobody) if order.name.is_none() => {}
            // One that does not answer keeps no other from being told.
            Err(error) if order.all => {
                failure.get_or_insert(unavailable(&place, &error));
            }
            Err(error) => return Err(unavailable(&place, &error)),
        }
    }
    if live.len() > 1 && !order.all {
        let names: Vec<&str> = live.iter().map(|(place, _)| place.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Exit::usage(format!(
            "which tunnel: {names}: name one, or --all with stop"
        )));
    }
    if live.is_empty() && !order.all {
        return Err(Exit::new(exit::UNAVAILABLE, "no tunnel is running"));
    }
    for (place, owner) in live {
        let line = match perform(order, owner) {
            Ok(line) => line,
            Err(error) if order.all => {
                failure.get_or_insert(unavailable(&place, &error));
                continue;
            }
            Err(error) => return Err(unavailable(&place, &error)),
        };
        match order.what {
            // ssh's words, and ssh says nothing for the other two.
            What::Check => told.push_str(&line),
            What::Forward | What::Cancel => {}
            What::Stop | What::Reconnect => told.push_str(&format!("{}: {line}", place.name)),
        }
    }
    failure.map_or(Ok(told), Err)
}

fn names(directory: &Path) -> Vec<String> {
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    owner::sockets(directory)
        .into_iter()
        .filter_map(stem)
        .collect()
}

fn perform(order: &Order, mut owner: Owner) -> Result<String, CallError> {
    match order.what {
        What::Check => Ok(format!("Master running (pid={})\n", owner.pid)),
        What::Forward | What::Cancel => {
            for spec in &order.forwards {
                owner.order(&match order.what {
                    What::Forward => Request::Forward(spec.clone()),
                    _ => Request::Cancel(spec.clone()),
                })?;
            }
            Ok(String::new())
        }
        What::Reconnect => {
            let done = owner.order(&Request::Reconnect)?;
            Ok(format!("{done}\n"))
        }
        What::Stop => {
            owner.order(&Request::Stop)?;
            match owner.await_end(DRAIN * 3) {
                true => Ok("ended\n".to_owned()),
                false => Err(CallError::Failed(
                    "it was asked to end and has not yet".into(),
                )),
            }
        }
    }
}

/// What the value `off` or `stop` of a custom script asks for: its forwards are taken away
/// wherever they are, and each connection with the last of them. The log says what was done.
///
/// # Errors
/// [`exit::UNAVAILABLE`] when an owner does not do it.
pub fn withdraw(directory: &Path, forwards: &[ForwardSpec]) -> Result<(), Exit> {
    let mut found = false;
    let mut failed = None;
    for name in names(directory) {
        let place = Place {
            directory: directory.to_owned(),
            name,
        };
        let mut owner = match Owner::connect_patiently(&place.socket()) {
            Ok(owner) => owner,
            Err(CallError::Nobody | CallError::Gone) => continue,
            Err(error) => {
                warn!("{}: {error}", place.name);
                failed = Some(unavailable(&place, &error));
                continue;
            }
        };
        for spec in forwards {
            match owner.order(&Request::Withdraw(spec.clone())) {
                Ok(done) => {
                    found = true;
                    info!("{}: {spec}: {done}", place.name);
                }
                Err(CallError::Refused(Refusal::Absent, _)) => {}
                // It ended with the last one.
                Err(CallError::Gone) => break,
                Err(error) => failed = Some(unavailable(&place, &error)),
            }
        }
    }
    if !found {
        info!("nothing to take away: no tunnel has this forward");
    }
    failed.map_or(Ok(()), Err)
}
