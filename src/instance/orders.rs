//! What a caller asks of the process that holds a tunnel: to take its forwards over, and the
//! orders of the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;
use reachback_core::control::{BadRequest, Refusal, Request};
use reachback_core::forward::ForwardSpec;
use reachback_core::watchdog::DRAIN;

use crate::cli::Note;
use crate::commands;
use crate::exit::{self, Exit};
use crate::instance::client::{CallError, Owner, patiently};
use crate::instance::lock::{self, Claim, Inherited, Ownership};
use crate::instance::supervisor;
use crate::sys::signals;

/// Where the tunnel of a destination is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Directory of the locks and sockets.
    pub directory: PathBuf,
    /// File name of the destination ([`lock::name`]).
    pub name: String,
    /// The word for the server that the tunnel was called for with; empty where that is not known.
    pub called: String,
}

impl Place {
    pub(super) fn socket(&self) -> PathBuf {
        lock::socket(&self.directory, &self.name)
    }
}

/// What became of a call for a tunnel.
pub enum Outcome {
    /// There was no owner; this process is it now.
    Owner(Ownership),
    /// The owner took the forwards.
    HandedOver(HandedOver),
}

/// A call that an owner took.
pub struct HandedOver {
    /// The owner.
    pub owner: Owner,
    /// What it does not take over.
    pub refused: Vec<Note>,
}

/// Becomes the owner of a destination, or goes on being it, or hands the forwards and what else is
/// `asked` for to the process that is.
///
/// # Errors
/// Those of [`lock::claim`]; [`exit::UNAVAILABLE`] when the owner does not take them.
pub fn claim(
    place: &Place,
    forwards: &[ForwardSpec],
    asked: &[String],
    mut inherited: Option<Inherited>,
) -> Result<Outcome, Exit> {
    let claimed = patiently(|| {
        match lock::claim(
            &place.directory,
            &place.name,
            &place.called,
            inherited.take(),
        ) {
            Err(exit) => Ok(Err(exit)),
            Ok(Claim::Owner(ownership)) => Ok(Ok(Outcome::Owner(ownership))),
            Ok(Claim::Taken) => match hand_over(place, forwards, asked) {
                Ok(handed) => Ok(Ok(Outcome::HandedOver(handed))),
                // It starts or ends: look again.
                Err(CallError::Nobody | CallError::Refused(Refusal::Ended, _)) => {
                    Err(CallError::Busy)
                }
                Err(error) => Err(error),
            },
        }
    });
    claimed.unwrap_or_else(|error| match error {
        CallError::Busy | CallError::Gone => Err(Exit::new(
            exit::UNAVAILABLE,
            format!(
                "cannot hand over: {}: another process holds the tunnel and does not take calls",
                place.name
            ),
        )),
        error => Err(unavailable(place, &error)),
    })
}

/// Hands forwards and options over if a process holds the tunnel and takes them at once; else [`claim`]
/// waits for it.
///
/// # Errors
/// Those of [`claim`].
pub fn hand_over_early(
    place: &Place,
    forwards: &[ForwardSpec],
    asked: &[String],
) -> Result<Option<HandedOver>, Exit> {
    lock::check_for_look(&place.directory)?;
    match hand_over(place, forwards, asked) {
        Ok(handed) => Ok(Some(handed)),
        Err(
            CallError::Nobody
            | CallError::Busy
            | CallError::Hidden(_)
            | CallError::Gone
            | CallError::Restarting(_)
            | CallError::Refused(Refusal::Ended, _),
        ) => Ok(None),
        Err(error) => Err(unavailable(place, &error)),
    }
}

fn hand_over(
    place: &Place,
    forwards: &[ForwardSpec],
    asked: &[String],
) -> Result<HandedOver, CallError> {
    let mut owner = Owner::connect(&place.socket())?;
    let pid = owner.pid;
    let mut refused = Vec::new();
    let mut ask = |request: Result<Request, BadRequest>, what: &str| {
        let asked = match request {
            Ok(request) => owner.order(&request),
            Err(error) => Err(CallError::Refused(Refusal::Bad, error.to_string())),
        };
        match asked {
            // A program of before knows no calls.
            Err(CallError::Refused(Refusal::Bad, _)) if what.is_empty() => Ok(()),
            Err(CallError::Refused(reason, why)) if reason != Refusal::Ended => {
                let text = format!("process {pid} does not take over{what}: {why}");
                let is_warning = true;
                refused.push(Note { is_warning, text });
                Ok(())
            }
            asked => asked.map(drop),
        }
    };
    for option in asked {
        let request = Request::parse(&format!("option {option}"));
        ask(request, &format!(": {option}"))?;
    }
    ask(Ok(Request::Call), "")?;
    // The service, once more for the same: that is no order.
    if supervisor::is_of_service()
        && lock::is_called(&place.socket(), &place.called)
        && owner.order(&Request::Check)? == supervisor::OF_SERVICE
    {
        return Ok(HandedOver { owner, refused });
    }
    let mut unfit = None;
    for spec in forwards {
        let told = owner.order(&match supervisor::is_of_service() {
            true => Request::ForwardService(spec.clone()),
            false => Request::Forward(spec.clone()),
        });
        // It keeps no other from being handed over.
        let done = match told {
            Err(refused @ CallError::Refused(Refusal::Unfit, _)) => {
                unfit.get_or_insert(refused);
                continue;
            }
            told => told?,
        };
        info!("handed to process {pid}, which holds the tunnel: forward {spec}: {done}");
    }
    unfit.map_or(Ok(()), Err)?;
    Ok(HandedOver { owner, refused })
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

pub(super) fn unavailable(place: &Place, error: &CallError) -> Exit {
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
    /// `reload`.
    Reload,
    /// `renew`.
    Renew,
    /// `stop --service`.
    StopService,
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

/// Carries an order out, and says on standard output what was done.
///
/// # Errors
/// [`exit::UNAVAILABLE`] when there is no such tunnel or it does not do it, [`exit::USAGE`] when
/// it is not clear which tunnel is meant, and those of [`lock::check_for_look`].
pub fn order(order: &Order) -> Result<(), Exit> {
    lock::check_for_look(&order.directory)?;
    let mut names = match &order.name {
        Some(name) => vec![name.clone()],
        None => names(&order.directory),
    };
    let place = |name: &String| Place {
        directory: order.directory.clone(),
        name: name.clone(),
        called: String::new(),
    };
    if order.name.is_none() && !order.all {
        // One that does not answer is there all the same.
        let nobody = |name: &String| Owner::open(&place(name).socket()).err();
        names.retain(|name| !matches!(nobody(name), Some(CallError::Nobody)));
        if names.len() > 1 {
            let names = names.join(", ");
            return Err(Exit::usage(format!(
                "which tunnel: {names}: name one, or --all with stop, reload and renew"
            )));
        }
        if names.is_empty() {
            return Err(Exit::new(exit::UNAVAILABLE, "no tunnel is running"));
        }
    }
    if order.what == What::Renew {
        // The caller may have come through one of them.
        signals::outlive_terminal();
    }
    let mut failed = String::new();
    for place in names.iter().map(place) {
        match tell(order, &place) {
            Ok(line) => {
                let printed = commands::print(&match order.what {
                    // ssh's words, and ssh says nothing for the other two.
                    What::Check | What::Forward | What::Cancel => line,
                    _ => format!("{}: {line}", place.name),
                });
                if order.what != What::Renew {
                    printed?;
                }
            }
            Err(CallError::Refused(Refusal::Absent, _)) if order.what == What::StopService => {}
            Err(CallError::Nobody) if order.all => {}
            // One that does not do it keeps no other from being told.
            Err(error) if order.all => {
                let separator = if failed.is_empty() { "" } else { "\n" };
                failed.push_str(&format!("{separator}{}: {error}", place.name));
            }
            Err(error) => return Err(unavailable(&place, &error)),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Exit::new(exit::UNAVAILABLE, failed)),
    }
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    lock::sockets(directory)
        .into_iter()
        .filter_map(stem)
        .collect()
}

/// Carries an order out at one tunnel. One that waits after a fault goes on for it, but not to be
/// looked at, and to end it need not.
fn tell(order: &Order, place: &Place) -> Result<String, CallError> {
    let mut again = false;
    patiently(|| {
        let told = perform(order, Owner::connect(&place.socket())?, again);
        // It met a fault: what comes back has not heard it, or not all of it.
        again |= matches!(told, Err(CallError::Gone));
        match told {
            Err(error @ CallError::Restarting(_)) if order.what == What::Check => {
                Err(CallError::Failed(error.to_string()))
            }
            told => told,
        }
    })
}

fn ended(it_has: bool) -> Result<String, CallError> {
    match it_has {
        true => Ok("ended\n".to_owned()),
        false => Err(CallError::Failed(
            "it was asked to end and has not yet".into(),
        )),
    }
}

fn perform(order: &Order, mut owner: Owner, again: bool) -> Result<String, CallError> {
    match order.what {
        What::Check => {
            owner.order(&Request::Check)?;
            Ok(format!("Master running (pid={})\n", owner.pid))
        }
        What::Forward | What::Cancel => {
            for spec in &order.forwards {
                let told = owner.order(&match order.what {
                    What::Forward => Request::Forward(spec.clone()),
                    _ => Request::Cancel(spec.clone()),
                });
                match told {
                    // It was taken away before the fault, and that outlives it.
                    Err(CallError::Refused(Refusal::Absent, _)) if again => {}
                    told => {
                        told?;
                    }
                }
            }
            Ok(String::new())
        }
        What::Reconnect | What::Reload => {
            let done = owner.order(&match order.what {
                What::Reload => Request::Reload,
                _ => Request::Reconnect,
            })?;
            Ok(format!("{done}\n"))
        }
        What::Stop | What::StopService => {
            owner.order(&match order.what {
                What::StopService => Request::StopService,
                _ => Request::Stop,
            })?;
            ended(owner.await_end(DRAIN * 3))
        }
        What::Renew => {
            owner.order(&Request::Renew)?;
            let back = owner
                .await_close(DRAIN * 3)
                .then(|| Owner::connect_patiently(&owner.socket));
            match back {
                Some(Ok(_)) => Ok("renewed\n".to_owned()),
                _ => Err(CallError::Failed(
                    "it is not back yet; see the system log".into(),
                )),
            }
        }
    }
}
