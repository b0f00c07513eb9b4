//! From settings to a running tunnel: everything local is checked first, then the background,
//! then the worker and its loop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use log::{error, info, warn};
use mio::Poll;
use reachback_tunnel::Tunnel;

use crate::app::{self, App};
use crate::cli::{self, Settings};
use crate::exit::Exit;
use crate::hold::Holder;
use crate::hostkey::RunPins;
use crate::instance::kept::Kept;
use crate::instance::lock::{Inherited, Ownership};
use crate::instance::orders::{self, HandedOver, Outcome, Place};
use crate::instance::room;
use crate::instance::served::{self, Served};
use crate::instance::supervisor::{self, Before, Held, Supervisor};
use crate::keys;
use crate::logging::{self, Target};
use crate::net::outside::Net;
use crate::net::remember::Remembered;
use crate::plan::plan;
use crate::privilege;
use crate::reread::{Local, Started, settings_again};
use crate::sys::clock;
use crate::sys::daemon::{self, Side as Detached};
use crate::sys::wipe;
use crate::sys::worker::{self, Side, Turns};

/// The process that holds the tunnel takes the forwards; where there is none, this one becomes it.
///
/// # Errors
/// What is wrong locally: keys, known hosts, what the kernel refuses, or a process that holds the
/// tunnel and takes no forwards. Never the network.
pub fn begin(settings: Settings) -> Result<Ran, Exit> {
    say_to_caller(&settings);
    // First: the keys, which are expensive to read, are of no use for that.
    let forwards = settings.config.forwards();
    if let Some(handed) = orders::hand_over_early(&settings.place(), forwards, &settings.options)? {
        return handed_over(handed, &settings);
    }
    let run_pins = RunPins::default();
    let local = Local::found(settings, &[], &run_pins)?;
    start(local, run_pins, Supervisor::new()?, None)
}

fn handed_over(handed: HandedOver, settings: &Settings) -> Result<Ran, Exit> {
    if !logging::is_open() {
        logging::init(Target::choose(false), logging::filter(settings.log_level()));
    }
    logging::say(&handed.refused);
    match settings.wait {
        Some(limit) => orders::await_forwards(handed.owner, limit).map(|()| Ran::Caller),
        None => Ok(Ran::HandedOver(handed)),
    }
}

/// Warnings about key files and the configuration are for the person who starts it.
fn say_to_caller(settings: &Settings) {
    let level = logging::filter(settings.log_level());
    if !settings.background {
        logging::init(Target::choose(false), level);
        logging::say(&settings.notes);
    } else if !logging::is_open() && Target::choose(false) == Target::Stderr {
        logging::init(Target::Stderr, level);
        logging::say(&settings.notes);
        logging::close();
    }
}

/// Goes on where the program before was, in the background or not. In the background nobody would
/// start it again, so what is wrong locally is logged and tried again.
///
/// # Errors
/// In the foreground, those of [`cli::parse`] and [`begin`].
pub fn resume(mut before: Before) -> Result<Ran, Exit> {
    let target = Target::choose(false);
    let background = target != Target::Stderr;
    logging::init(target, logging::filter(Default::default()));
    if before.faults > 0 {
        let (faults, reason) = (before.faults, &before.reason);
        let plural = if faults == 1 { "" } else { "s" };
        warn!("restarted after: {reason} ({faults} restart{plural})");
        match before.hold() {
            Held::Due => {}
            Held::Called => info!("asked for: going on at once"),
            Held::Ended => {
                before.release();
                info!("ended");
                return Ok(Ran::Caller);
            }
        }
    } else {
        info!(
            "going on as reachback {}: {}",
            cli::version(),
            before.reason
        );
    }
    let inherited = before.inherited.take();
    let mut supervisor = Supervisor::after(before);
    let failed = |exit: Exit, supervisor: &Supervisor, inherited: Option<&Inherited>| {
        if !background {
            return exit;
        }
        error!("not started: {}", exit.line());
        supervisor.restart(supervisor::NOT_STARTED, inherited.map(Inherited::files))
    };
    let run_pins = RunPins::default();
    let options = served::options(&supervisor.memory().written().orders);
    let found =
        settings_again(&options).and_then(|settings| Local::found(settings, &options, &run_pins));
    match found {
        Ok(local) => start(local, run_pins, supervisor, inherited),
        Err(exit) => Err(failed(exit, &supervisor, inherited.as_ref())),
    }
}

/// Looks whether this tunnel could be started, and starts nothing.
///
/// # Errors
/// Those of [`begin`].
pub fn look() -> Result<(), Exit> {
    Local::check(settings_again(&[])?, &RunPins::default()).map(drop)
}

/// Which process came back.
pub enum Ran {
    /// A caller: there is nothing to hold in this process.
    Caller,
    /// The caller of one that ran already.
    HandedOver(HandedOver),
    /// One of the two that hold the tunnel.
    Holder(Holder),
}

/// `inherited`: this process goes on, and is in the background already, if that is where it belongs.
fn start(
    local: Local,
    run_pins: RunPins,
    mut supervisor: Supervisor,
    inherited: Option<Inherited>,
) -> Result<Ran, Exit> {
    let settings = &local.settings;
    let resumed = supervisor.is_resumed();
    let (background, wait) = (settings.background, settings.wait);
    let (target, level) = (settings.log_target(), logging::filter(settings.log_level()));
    let place = settings.place();
    let mut forwards = settings.config.forwards().to_vec();
    forwards.extend(supervisor.memory().written().handed());
    let most = settings.config.max_tunnels() as usize;
    let room = match resumed {
        true => None,
        false => room::find(&place, most)?,
    };
    let ownership = match orders::claim(&place, &forwards, &settings.options, inherited)? {
        Outcome::Owner(ownership) => ownership,
        Outcome::HandedOver(handed) => return handed_over(handed, settings),
    };
    // Before there are two processes that have it.
    let gave_way = room.and_then(|room| room.gave_way);
    let announcement = match (background, resumed) {
        (true, false) => match daemon::detach()? {
            Detached::Caller => {
                if let Some(limit) = wait {
                    orders::await_started(&place, limit)?;
                }
                return Ok(Ran::Caller);
            }
            Detached::Daemon(announcement) => Some(announcement),
        },
        (true, true) => {
            let _ = std::env::set_current_dir("/");
            None
        }
        (false, _) => None,
    };
    logging::init(target, level);
    if background {
        logging::say(&settings.notes);
    }
    if let Some(text) = gave_way {
        info!("{text}");
    }
    let split = ownership
        .listen()
        .map_err(|error| Exit::os("cannot listen for callers", error.desc()))
        .and_then(|()| worker::split());
    let turns = match split {
        Ok(Side::Worker(turns)) => turns,
        Ok(Side::Supervisor(worker)) => {
            // The worker has them, and announces itself.
            drop(announcement);
            wipe::what_is_freed_by(|| drop(local));
            return Ok(Ran::Holder(Holder::Supervisor {
                supervisor,
                ownership,
                worker,
                persistent: resumed && background,
            }));
        }
        Err(exit) => {
            if let Some(announcement) = announcement {
                announcement.failed(&exit);
                return Err(exit.said());
            }
            return Err(exit);
        }
    };
    match (
        app(local, run_pins, place, &ownership, &mut supervisor, turns),
        announcement,
    ) {
        (Ok(app), announcement) => {
            if let Some(announcement) = announcement {
                announcement.ready();
            }
            Ok(Ran::Holder(Holder::Worker {
                supervisor,
                ownership,
                app: Box::new(app),
                background,
            }))
        }
        (Err(exit), announcement) => {
            if worker::is_orphaned() {
                ownership.release();
            }
            match announcement {
                Some(announcement) => {
                    announcement.failed(&exit);
                    Err(exit.said())
                }
                None => Err(exit),
            }
        }
    }
}

fn app(
    local: Local,
    run_pins: RunPins,
    place: Place,
    ownership: &Ownership,
    supervisor: &mut Supervisor,
    turns: Turns,
) -> Result<App, Exit> {
    let Local {
        settings,
        keys,
        proxy,
        known,
    } = local;
    privilege::confine(&settings, &place.directory)?;
    let now = clock::now();
    // Jitter is no secret, and the caller must not wait for the kernel's pool at boot: std's own
    // seed does not block.
    let seed = RandomState::new().build_hasher().finish();
    let remembered = Remembered::open(settings.config.state_file().map(keys::absolute));
    let asked = settings.asked();
    let (plan, trust) = plan(&settings, keys, proxy, known);
    let config = Rc::new(settings.config);
    let started = Box::new(Started {
        config: Rc::clone(&config),
        directory: supervisor.directory().to_owned(),
        place,
        run_pins,
    });
    let poll = Poll::new().map_err(|error| Exit::os("cannot wait for events", error))?;
    let net = Net::new(poll.registry(), remembered, trust)
        .map_err(|error| Exit::os("cannot wait for events", error))?;
    let mut tunnel = Tunnel::new(plan, seed, app::TUNNEL_TOKENS, &net, now);
    let Kept { orders, since, .. } = supervisor.memory().written();
    let options = served::options(orders);
    // Of what was asked for then, that holds which was not taken away since.
    match since {
        Some(since) => tunnel.go_on(orders, *since, &net, now),
        None => tunnel.begin_with(&asked, now),
    }
    let served = Served {
        tunnel,
        net,
        again: None,
        config,
        options,
        options_changed: false,
        reader: Box::new(move |options| started.reread(options)),
    };
    App::new(poll, served, ownership, turns)
}
