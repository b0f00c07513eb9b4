//! What the processes of a tunnel may: as whom they run, and what the kernel still lets the worker
//! do. The supervisor stays as it was started, or becomes the user of `RunAsUser` with its worker.

use std::path::{Path, PathBuf};

use log::{info, warn};
use nix::unistd::{User, geteuid};
use reachback_core::config::Sandbox;

use crate::cli::{Note, Settings};
use crate::exit::{self, Exit};
use crate::hostkey;
use crate::instance::lock;
use crate::keys;
use crate::logging;
use crate::sys::{file, sandbox, user};

/// Checks what is local as the user that the configuration names, and becomes this user if that
/// holds. If it does not, root goes on as root, which is said, unless the configuration wants it
/// otherwise (`Sandbox yes`): remote access is not lost for the mode of a file.
///
/// # Errors
/// What `check` finds, with whose rights it is to hold; [`exit::CONFIG`] for a user who does not exist.
pub fn checked<T>(
    mut settings: Settings,
    again: impl FnOnce() -> Result<Settings, Exit>,
    check: impl Fn(Settings) -> Result<T, Exit>,
) -> Result<T, Exit> {
    user::be_spared();
    let name = settings.config.run_as_user().map(str::to_owned);
    let Some(name) = name.filter(|_| geteuid().is_root()) else {
        return check(settings);
    };
    let user = found(&name)?;
    let refused = |error: nix::Error| refused(&name, error.desc());
    let directory = settings.place().directory;
    let is_raw = settings.config.bind_interface().is_some();
    let tried = user::try_as(&user, || {
        let settings = again()?;
        for path in written(&settings) {
            hostkey::writable(&path).map_err(|error| {
                let (shown, reason) = (path.display(), file::reason(&error));
                let message = format!("cannot write: {shown}: {reason}");
                Exit::new(exit::NO_PERMISSION, message)
            })?;
        }
        check(settings)
    });
    let (root, other) = ((0, 0), (user.uid.as_raw(), user.gid.as_raw()));
    match tried.map_err(refused)? {
        Ok(checked) => {
            lock::give(&directory, root, other)?;
            user::become_for_good(&user, is_raw).map_err(refused)?;
            Ok(checked)
        }
        Err(exit) if settings.config.sandbox() == Sandbox::Yes => Err(exit),
        Err(exit) => {
            let text = stays_root(&name, &exit);
            if logging::is_open() {
                warn!("{text}");
            } else {
                let is_warning = true;
                settings.notes.push(Note { is_warning, text });
            }
            lock::give(&directory, other, root)?;
            check(settings)
        }
    }
}

/// For `reachback check`: whether the user is there; what this user cannot read is warned about.
///
/// # Errors
/// [`exit::CONFIG`] for a user who does not exist.
pub fn check(name: &str, look: impl FnOnce() -> Result<(), Exit>) -> Result<(), Exit> {
    let user = found(name)?;
    if geteuid().is_root()
        && let Ok(Err(exit)) = user::try_as(&user, look)
    {
        warn!("{}", stays_root(name, &exit));
    }
    Ok(())
}

fn found(name: &str) -> Result<User, Exit> {
    let user = User::from_name(name).ok().flatten();
    user.ok_or_else(|| refused(name, "there is no such user; make it, or name another"))
}

fn refused(name: &str, why: &str) -> Exit {
    Exit::new(exit::CONFIG, format!("RunAsUser {name}: {why}"))
}

fn stays_root(name: &str, exit: &Exit) -> String {
    let why = exit.line();
    format!(
        "RunAsUser {name}: not possible, going on as root: {why}; \
         give {name} what it needs (chown), or leave RunAsUser out"
    )
}

/// Files that a tunnel writes and that others may have made.
fn written(settings: &Settings) -> Vec<PathBuf> {
    let config = &settings.config;
    let files = config.log_file().into_iter().chain(config.state_file());
    files.map(keys::absolute).collect()
}

/// Gives up, in the worker, what it does not need: powers of root, files to write, programs to
/// execute, and system calls.
///
/// # Errors
/// With `Sandbox yes`, [`exit::OS`] for what the kernel does not do.
pub fn confine(settings: &Settings, runtime_directory: &Path) -> Result<(), Exit> {
    user::go_before_the_supervisor();
    let wanted = settings.config.sandbox();
    if wanted == Sandbox::No {
        return Ok(());
    }
    let written = written(settings);
    let places = written.iter().map(|path| match path.metadata() {
        Ok(found) if !found.is_file() => path,
        _ => path.parent().unwrap_or(path),
    });
    let places = places.chain([runtime_directory]);
    let done = [
        ("capabilities", user::give_up_powers()),
        ("Landlock", sandbox::limit_files(places)),
        ("seccomp", sandbox::limit_system_calls()),
    ];
    for (what, done) in done {
        match done {
            Ok(()) => {}
            Err(error) if wanted == Sandbox::Yes => {
                let what = format!("Sandbox yes: this kernel does not do it: {what}");
                return Err(Exit::os(&what, error.desc()));
            }
            Err(error) => info!("sandbox without {what}: {}", error.desc()),
        }
    }
    Ok(())
}
