//! What the two processes of a tunnel do once everything is ready, for as long as it lives: the start goes
//! deep into the stack, so it returns first, and what it used is given back.

use reachback_core::watchdog::ExitReason;

use crate::app::{App, Ended};
use crate::exit::{self, Exit};
use crate::instance::lock::Ownership;
use crate::instance::supervisor::Supervisor;
use crate::sys::pages;
use crate::sys::worker::{self, Worker};

/// One of the two processes, ready.
pub enum Holder {
    /// The one that stays.
    Supervisor {
        supervisor: Supervisor,
        ownership: Ownership,
        worker: Worker,
        /// It is tried again to start a worker that could not be started.
        persistent: bool,
    },
    /// The one that holds the tunnel.
    Worker {
        supervisor: Supervisor,
        ownership: Ownership,
        /// Not moved: it is large.
        app: Box<App>,
        background: bool,
    },
}

impl Holder {
    /// Holds the tunnel to its end; the exit status.
    ///
    /// # Errors
    /// Those of [`Supervisor::watch`], [`App::run`] and [`Supervisor::restart`], and
    /// [`exit::UNAVAILABLE`] for a refused forward under `ExitOnForwardFailure`.
    pub fn hold(self) -> Result<u8, Exit> {
        pages::give_back_stack();
        match self {
            Holder::Supervisor {
                supervisor,
                ownership,
                worker,
                persistent,
            } => supervisor.watch(worker, ownership, persistent),
            Holder::Worker {
                mut supervisor,
                ownership,
                mut app,
                background,
            } => {
                let ended = app.run(supervisor.memory());
                if matches!(ended, Ok(Ended::Orphaned)) && background {
                    let files = Some(ownership.files());
                    return Err(supervisor.restart("its supervisor was killed", files));
                }
                if worker::is_orphaned() {
                    ownership.release();
                }
                status(ended?)
            }
        }
    }
}

fn status(ended: Ended) -> Result<u8, Exit> {
    match ended {
        Ended::Tunnel(ExitReason::Stopped) | Ended::Orphaned => Ok(0),
        Ended::Tunnel(ExitReason::ForwardRefused) => Err(Exit::new(
            exit::UNAVAILABLE,
            "the server refused a forward, and ExitOnForwardFailure is set",
        )
        .said()),
        Ended::Again(why) => Ok(why),
    }
}
