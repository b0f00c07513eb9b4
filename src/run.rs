//! From settings to a running tunnel: everything local is checked first, then the background,
//! then the loop.

use std::hash::{BuildHasher, Hasher, RandomState};

use log::{error, info, warn};
use mio::Poll;
use reachback_core::config::{self, Config};
use reachback_core::keyword::OnReload;
use reachback_core::watchdog::ExitReason;
use reachback_tunnel::{Plan, Tunnel};

use crate::app::{self, App};
use crate::call::{self, Outcome};
use crate::cli::{self, Command, Invocation, Settings};
use crate::exit::{self, Exit};
use crate::hostkey::{HostKeys, RunPins};
use crate::keys;
use crate::logging::{self, Target, escaped};
use crate::net::outside::Net;
use crate::net::remember::Remembered;
use crate::owner::Ownership;
use crate::plan::plan;
use crate::served::Served;
use crate::sys::clock;
use crate::sys::daemon::{self, Side};
use crate::sys::selfdog::{self, Restart, Wake};
use crate::trust::Trust;

/// Keeps a tunnel up until it is asked to end.
///
/// # Errors
/// What is wrong locally: keys, known hosts, or what the kernel refuses. Never the network.
pub fn run(settings: Settings) -> Result<(), Exit> {
    selfdog::prepare(None);
    start(settings, false).map(|_| ())
}

/// Goes on after a restart of the process by itself: where it was, in the background or not.
/// In the background nobody would start it again, so what is wrong locally is logged and tried
/// again.
///
/// # Errors
/// In the foreground, those of [`cli::parse`] and [`run`].
pub fn resume(restart: &Restart) -> Result<(), Exit> {
    let target = Target::choose(false);
    let background = target != Target::Stderr;
    logging::init(target, logging::filter(Default::default()));
    let (count, reason) = (restart.count, &restart.reason);
    let plural = if count == 1 { "" } else { "s" };
    warn!("restarted after: {reason} ({count} restart{plural})");
    match selfdog::hold(restart) {
        Wake::Due => {}
        Wake::Called => info!("asked for: going on at once"),
        Wake::Ended => {
            info!("ended");
            return Ok(());
        }
    }
    selfdog::prepare(Some(restart));
    // A fault on the way up is one more in the row.
    let _ = selfdog::guard();
    let ended = settings_again().and_then(|settings| start(settings, true));
    if let Err(exit) = &ended
        && background
        && exit.code != exit::UNAVAILABLE
    {
        error!("not started: {}", exit.line());
        selfdog::restart_because("it could not be started");
    }
    ended.map(|_| ())
}

/// The settings, from the arguments of this process and the configuration as it is now.
fn settings_again() -> Result<Settings, Exit> {
    match cli::parse(std::env::args_os().skip(1))? {
        Command::Run(settings) => Ok(*settings),
        Command::Invoke(invocation) => match invocation.destination() {
            Ok(destination) => invocation.settings(destination),
            Err(_) => Err(Exit::usage("argument does not match user@domain")),
        },
        _ => Err(Exit::usage("these arguments start no tunnel")),
    }
}

/// The configuration read again for `SIGHUP`: everything local is checked as at the start.
/// `started` is the one that this process was started with.
fn reread(started: &Config, run_pins: &RunPins) -> Result<(Plan, Trust), Exit> {
    // Relative names mean what they meant at the start; the daemon itself stays in `/`.
    let here = std::env::current_dir();
    let _ = std::env::set_current_dir(selfdog::directory());
    let plan = settings_again().and_then(|settings| {
        let keys = keys::load_all(&settings.identity_files())?;
        let known = known_hosts(&settings, run_pins)?;
        log::set_max_level(logging::filter(settings.log_level()));
        logging::say(&settings.notes);
        let kept: Vec<&str> = config::changes(started, &settings.config)
            .filter(|keyword| keyword.on_reload == OnReload::NextStart)
            .map(|keyword| keyword.name)
            .collect();
        if !kept.is_empty() {
            let names = kept.join(" and ");
            warn!("{names} changed: the new value takes effect at the next start");
        }
        Ok(plan(&settings, keys, known))
    });
    if let Ok(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    plan
}

fn known_hosts(settings: &Settings, run_pins: &RunPins) -> Result<HostKeys, Exit> {
    HostKeys::open(&settings.known_hosts_files(), settings.accept_new, run_pins)
}

/// What a custom script asks for: its three lines of the log, and [`run`] in the background.
///
/// # Errors
/// [`exit::USAGE`] for an argument that is not one destination, and those of [`run`].
pub fn invoke(invocation: Invocation) -> Result<(), Exit> {
    selfdog::prepare(None);
    logging::init(Target::syslog(), logging::filter(invocation.log_level()));
    let parameter = invocation.parameter();
    info!(
        "Ebee custom script invoked with parameter {}",
        escaped(&parameter)
    );
    if invocation.is_off() {
        let (forwards, directory) = invocation.own_forwards()?;
        call::withdraw(&directory, &forwards)?;
        info!("Ebee custom script invocation completed");
        return Ok(());
    }
    let destination = match invocation.destination() {
        Ok(destination) => destination,
        Err(why) => {
            info!("Ebee custom script not invoked: Argument does not match user@domain");
            return Err(Exit::usage(format!(
                "argument does not match user@domain: '{}': {why}",
                escaped(&parameter)
            )));
        }
    };
    match invocation
        .settings(destination)
        .and_then(|settings| start(settings, false))
    {
        Ok(Ran::Caller) => {
            info!("Ebee custom script invocation completed");
            Ok(())
        }
        Ok(Ran::ToTheEnd) => Ok(()),
        Err(exit) => {
            error!("not started: {}", exit.line());
            Err(exit.said())
        }
    }
}

/// Which process came back.
enum Ran {
    /// The caller of a tunnel that runs in the background.
    Caller,
    /// The one that held the tunnel; it has ended.
    ToTheEnd,
}

/// `resumed`: this process is in the background already, if that is where it belongs.
fn start(settings: Settings, resumed: bool) -> Result<Ran, Exit> {
    let level = logging::filter(settings.log_level());
    let target = Target::choose(settings.background);
    // Warnings about key files are for the person who starts it.
    if !settings.background {
        logging::init(target.clone(), level);
        logging::say(&settings.notes);
    } else if !resumed && !logging::is_open() && Target::choose(false) == Target::Stderr {
        logging::init(Target::Stderr, level);
        logging::say(&settings.notes);
        logging::close();
    }
    let keys = keys::load_all(&settings.identity_files())?;
    let run_pins = RunPins::default();
    let known = known_hosts(&settings, &run_pins)?;
    let place = settings.place();
    let forwards = settings.config.forwards();
    let ownership = match call::claim(&place, forwards)? {
        Outcome::Owner(ownership) => ownership,
        Outcome::HandedOver(owner) => {
            return match settings.wait {
                Some(limit) => call::await_forwards(owner, limit).map(|()| Ran::Caller),
                None => Ok(Ran::Caller),
            };
        }
    };
    if settings.background && resumed {
        let _ = std::env::set_current_dir("/");
    }
    let announcement = if settings.background && !resumed {
        match daemon::detach()? {
            Side::Caller => {
                if let Some(limit) = settings.wait {
                    call::await_started(&place, limit)?;
                }
                return Ok(Ran::Caller);
            }
            Side::Daemon(announcement) => Some(announcement),
        }
    } else {
        None
    };
    logging::init(target, level);
    if settings.background {
        logging::say(&settings.notes);
    }
    match app(settings, keys, (known, run_pins), ownership, resumed) {
        Ok(app) => {
            if let Some(announcement) = announcement {
                announcement.ready();
            }
            match app.run()? {
                ExitReason::Stopped => Ok(Ran::ToTheEnd),
                ExitReason::ForwardRefused => Err(Exit::new(
                    exit::UNAVAILABLE,
                    "the server refused a forward, and ExitOnForwardFailure is set",
                )
                .said()),
            }
        }
        Err(exit) => {
            if let Some(announcement) = announcement {
                announcement.failed(&exit);
                return Err(exit.said());
            }
            Err(exit)
        }
    }
}

fn app(
    settings: Settings,
    keys: Vec<reachback_ssh::userkey::UserKey>,
    (known, run_pins): (HostKeys, RunPins),
    ownership: Ownership,
    resumed: bool,
) -> Result<App, Exit> {
    let orders = ownership.orders(resumed);
    let now = clock::now();
    // Jitter is no secret, and the caller must not wait for the kernel's pool at boot: std's own
    // seed does not block.
    let seed = RandomState::new().build_hasher().finish();
    let remembered = Remembered::open(settings.config.state_file().map(keys::absolute));
    let started = Box::new(settings.config.clone());
    let (plan, trust) = plan(&settings, keys, known);
    let poll = Poll::new().map_err(|error| Exit::os("cannot wait for events", error))?;
    let net = Net::new(poll.registry(), remembered, trust)
        .map_err(|error| Exit::os("cannot wait for events", error))?;
    let mut tunnel = Tunnel::new(plan, seed, app::TUNNEL_TOKENS, &net, now);
    if resumed {
        tunnel.go_on(&orders, selfdog::since(), &net, now);
    }
    let reread = Box::new(move || reread(&started, &run_pins));
    App::new(poll, Served { tunnel, net }, ownership, reread)
}
