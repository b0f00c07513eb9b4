//! What a start needs of this machine, and the same read again for `SIGHUP` and for callers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use log::warn;
use reachback_core::config::{self, Config};
use reachback_core::keyword::OnReload;
use reachback_ssh::userkey::UserKey;
use reachback_tunnel::Proxy;

use crate::cli::{self, Command, Settings};
use crate::exit::Exit;
use crate::hostkey::{HostKeys, RunPins};
use crate::instance::orders::Place;
use crate::instance::served::Reread;
use crate::keys;
use crate::logging;
use crate::plan::plan;
use crate::privilege;
use crate::proxy;

/// What is needed of this machine, checked.
pub struct Local {
    /// Checked.
    pub settings: Settings,
    /// Its keys.
    pub keys: Vec<UserKey>,
    /// The proxy on its way.
    pub proxy: Option<Proxy>,
    /// Its host keys.
    pub known: HostKeys,
}

impl Local {
    /// Looks at the files as the user that the settings name, which this process is from here on.
    /// `options` as in [`settings_again`].
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn found(
        settings: Settings,
        options: &[String],
        run_pins: &RunPins,
    ) -> Result<Local, Exit> {
        let again = || settings_again(options);
        privilege::checked(settings, again, |settings| Local::check(settings, run_pins))
    }

    /// Looks at the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(settings: Settings, run_pins: &RunPins) -> Result<Local, Exit> {
        Ok(Local {
            keys: keys::load_all(&settings.identity_files())?,
            proxy: proxy::of(&settings.config)?,
            known: HostKeys::open(&settings.known_hosts_files(), settings.accept_new, run_pins)?,
            settings,
        })
    }
}

/// The settings, from what callers asked for, the arguments of this process, and the configuration as
/// it is now.
///
/// # Errors
/// Those of [`cli::parse`].
pub fn settings_again(options: &[String]) -> Result<Settings, Exit> {
    let arguments = std::env::args_os().skip(1).collect();
    settings_in(cli::parse_after(options, arguments)?)
}

/// The settings of the tunnel that a command line asks for.
///
/// # Errors
/// [`crate::exit::USAGE`] where it asks for none, and those of [`cli::parse`].
pub fn settings_in(command: Command) -> Result<Settings, Exit> {
    match command {
        Command::Run(settings) => Ok(*settings),
        Command::Invoke(invocation) => match invocation.destination() {
            Ok(destination) => invocation.settings(destination),
            Err(_) => Err(Exit::usage("argument does not match user@domain")),
        },
        _ => Err(Exit::usage("these arguments start no tunnel")),
    }
}

/// Does something where the process was started, so that relative names mean what they meant there.
/// A daemon itself stays in `/`.
pub fn at_start<T>(directory: &Path, work: impl FnOnce() -> T) -> T {
    let here = std::env::current_dir();
    let _ = std::env::set_current_dir(directory);
    let result = work();
    if let Ok(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    result
}

/// What a reload compares with: what this process was started with.
pub struct Started {
    /// The configuration; of 17 kB, and the same as the present one until that is read again.
    pub config: Rc<Config>,
    /// Where relative names in the arguments start.
    pub directory: PathBuf,
    /// What the tunnel is called.
    pub place: Place,
    /// Keys that no file takes.
    pub run_pins: RunPins,
}

impl Started {
    /// The configuration read again for `SIGHUP`: everything local is checked as at the start.
    /// `options` as in [`settings_again`].
    ///
    /// # Errors
    /// What is wrong.
    pub fn reread(&self, options: &[String]) -> Result<Reread, Exit> {
        let Local {
            settings,
            keys,
            proxy,
            known,
        } = at_start(&self.directory, || {
            settings_again(options).and_then(|settings| Local::check(settings, &self.run_pins))
        })?;
        let place = settings.place();
        if place != self.place {
            return Ok(Reread::Moved(place.name));
        }
        log::set_max_level(logging::filter(settings.log_level()));
        logging::say(&settings.notes);
        let kept: Vec<&str> = config::changes(&self.config, &settings.config)
            .filter(|keyword| keyword.on_reload == OnReload::NextStart)
            .map(|keyword| keyword.name)
            .collect();
        if !kept.is_empty() {
            let names = kept.join(" and ");
            warn!("{names} changed: the new value takes effect at the next start");
        }
        let (plan, trust) = plan(&settings, keys, proxy, known);
        Ok(Reread::Plan(
            Box::new(plan),
            trust,
            Rc::new(settings.config),
        ))
    }
}
