//! From settings to a running tunnel: everything local is checked first, then the background,
//! then the loop.

use std::time::Duration;

use log::{error, info};
use reachback_core::watchdog::{ExitReason, Policy};
use reachback_ssh::Rekey;

use crate::app::{self, App};
use crate::cli::{Invocation, Settings};
use crate::exit::{self, Exit};
use crate::hostkey::HostKeys;
use crate::keys;
use crate::logging::{self, Target, escaped};
use crate::sys::daemon::{self, Side};
use crate::sys::{clock, random::KernelRandom};
use crate::trust::Trust;
use crate::tunnel::{self, Tunnel};

/// Keeps a tunnel up until it is asked to end.
///
/// # Errors
/// What is wrong locally: keys, known hosts, or what the kernel refuses. Never the network.
pub fn run(settings: Settings) -> Result<(), Exit> {
    start(settings).map(|_| ())
}

/// What a custom script asks for: its three lines of the log, and [`run`] in the background.
///
/// # Errors
/// [`exit::USAGE`] for an argument that is not one destination, and those of [`run`].
pub fn invoke(invocation: Invocation) -> Result<(), Exit> {
    logging::init(Target::syslog(), logging::filter(invocation.log_level()));
    let parameter = invocation.parameter();
    info!(
        "Ebee custom script invoked with parameter {}",
        escaped(&parameter)
    );
    let Some(destination) = invocation.destination() else {
        info!("Ebee custom script not invoked: Argument does not match user@domain");
        return Err(Exit::usage(format!(
            "argument does not match user@domain: '{}'",
            escaped(&parameter)
        )));
    };
    match invocation.settings(destination).and_then(start) {
        Ok(Ran::Caller) => {
            info!("Ebee custom script invocation completed");
            Ok(())
        }
        Ok(Ran::ToTheEnd) => Ok(()),
        Err(exit) => {
            error!("not started: {exit}");
            Err(exit)
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

fn start(settings: Settings) -> Result<Ran, Exit> {
    let level = logging::filter(settings.log_level());
    let target = Target::choose(settings.background);
    // Warnings about key files are for the person who starts it.
    if !settings.background {
        logging::init(target.clone(), level);
    }
    let keys = keys::load_all(&settings.identity_files())?;
    let known = HostKeys::open(&settings.known_hosts_file())?;
    let announcement = if settings.background {
        match daemon::detach()? {
            Side::Caller => return Ok(Ran::Caller),
            Side::Daemon(announcement) => Some(announcement),
        }
    } else {
        None
    };
    logging::init(target, level);
    match app(settings, keys, known) {
        Ok(app) => {
            if let Some(announcement) = announcement {
                announcement.ready();
            }
            match app.run()? {
                ExitReason::Stopped => Ok(Ran::ToTheEnd),
                ExitReason::ForwardRefused => Err(Exit::new(
                    exit::UNAVAILABLE,
                    "the server refused a forward, and ExitOnForwardFailure is set",
                )),
            }
        }
        Err(exit) => {
            if let Some(announcement) = announcement {
                announcement.failed(&exit);
            }
            Err(exit)
        }
    }
}

fn app(
    settings: Settings,
    keys: Vec<reachback_ssh::userkey::UserKey>,
    known: HostKeys,
) -> Result<App, Exit> {
    let now = clock::now();
    let seed = KernelRandom::new()
        .u64()
        .map_err(|error| Exit::os("no random bytes from the kernel", error))?;
    let port = settings.port();
    let config = &settings.config;
    let limit = config.rekey_limit();
    let policy = Policy::from(config);
    let trust = Trust {
        known,
        host: settings.destination.host.as_str().to_owned(),
        port,
        accept_new: settings.accept_new,
    };
    let made = tunnel::Settings {
        user: settings.destination.user.as_str().to_owned(),
        host: trust.host.clone(),
        port,
        forwards: config.forwards().to_vec(),
        keys: keys.into(),
        family: config.address_family(),
        rekey: Rekey {
            bytes: limit.bytes,
            interval_ms: limit.time.map_or(u64::MAX, |time| time.as_millis() as u64),
        },
        user_timeout: user_timeout(&policy),
    };
    App::new(Tunnel::new(
        made,
        trust,
        policy,
        seed,
        app::TUNNEL_TOKENS,
        now,
    ))
}

/// The kernel's own limit on unacknowledged data, behind the watchdog's: it only acts where the
/// watchdog cannot. Zero, like `ServerAliveInterval 0`, leaves the kernel's default.
fn user_timeout(policy: &Policy) -> Duration {
    policy.alive_interval * 2
}
