//! The one process that holds a tunnel: a lock and a socket for each destination, in a directory
//! of this user.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;
use reachback_core::destination::Destination;
use ring::digest::{SHA256, digest};

use crate::exit::{self, Exit};
use crate::sys::{file, selfdog};

mod holder;
#[cfg(test)]
mod tests;
pub use holder::{Holder, holder};

/// Where root's tunnels are, and those of a user to whom an administrator gave the directory.
const SYSTEM: &str = "/run/reachback";
/// Longest file name of a destination, bytes, without its ending; longer ones are hashed.
const MAX_NAME: usize = 48;
/// Longest path of a Unix socket, bytes (unix(7): 108 with its end).
const MAX_SOCKET_PATH: usize = 107;
const SOCKET: &str = "sock";
const LOCK: &str = "lock";
const ORDERS: &str = "orders";
/// Largest file of orders, bytes: 32 lines of the control protocol.
const ORDERS_BYTES: usize = 32 * 1024;

/// The directory of the locks and sockets of this user.
///
/// The configured one (`RuntimeDirectory`), else `$REACHBACK_RUNTIME_DIR`, else `/run/reachback`
/// for root and for the user who owns it, else `reachback` in `$XDG_RUNTIME_DIR`, else
/// `/tmp/reachback-UID`.
pub fn directory(configured: Option<&Path>) -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = configured {
        return path.to_owned();
    }
    if let Some(path) = variable("REACHBACK_RUNTIME_DIR") {
        // The daemon's working directory is another one than the caller's.
        return std::path::absolute(&path).unwrap_or_else(|_| path.into());
    }
    let uid = geteuid();
    let given = || fs::symlink_metadata(SYSTEM).is_ok_and(|found| found.uid() == uid.as_raw());
    if uid.is_root() || given() {
        return SYSTEM.into();
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(path) => Path::new(&path).join("reachback"),
        None => format!("/tmp/reachback-{uid}").into(),
    }
}

/// Makes the directory if it is not there, and checks that nobody else can put anything into it.
///
/// # Errors
/// [`exit::NO_PERMISSION`] when it cannot be made, is a symbolic link, belongs to somebody else,
/// or others may write to it.
pub fn prepare(directory: &Path) -> Result<(), Exit> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let what = "cannot make the runtime directory";
            return Err(refused(what, directory, &file::reason(&error)));
        }
    }
    check(directory)
}

/// Checks the directory before tunnels are looked for in it. Root looks at everybody's, and there
/// are none in one that is not there.
///
/// # Errors
/// Those of [`prepare`].
pub fn check_for_look(directory: &Path) -> Result<(), Exit> {
    let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    if geteuid().is_root() || fs::symlink_metadata(directory).is_err_and(missing) {
        return Ok(());
    }
    check(directory)
}

fn check(directory: &Path) -> Result<(), Exit> {
    let unusable = |why: &str| refused("cannot use the runtime directory", directory, why);
    // Not followed: a link could lead to a place that somebody else fills.
    let found = fs::symlink_metadata(directory).map_err(|error| unusable(&file::reason(&error)))?;
    if !found.is_dir() {
        return Err(unusable("not a directory, or a symbolic link"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(unusable("it belongs to another user"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(unusable("others may write to it: make it mode 0700"));
    }
    Ok(())
}

fn refused(what: &str, directory: &Path, why: &str) -> Exit {
    let shown = directory.display();
    Exit::new(
        exit::NO_PERMISSION,
        format!("{what}: {shown}: {why}; name another with -o RuntimeDirectory=..."),
    )
}

/// The name of a destination's files: `user@host:port` in lower-case letters for the host, or,
/// when that is long, its beginning and 16 hexadecimal digits of its SHA-256.
pub fn name(destination: &Destination, port: u16) -> String {
    let host = destination.host.to_ascii_lowercase();
    let user = destination.user.as_str();
    let name = if host.contains(':') {
        format!("{user}@[{host}]:{port}")
    } else {
        format!("{user}@{host}:{port}")
    };
    if name.len() <= MAX_NAME {
        return name;
    }
    let hash = digest(&SHA256, name.as_bytes());
    let hash: String = hash.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // All of it is ASCII.
    format!("{}~{hash}", &name[..MAX_NAME - 17])
}

/// The socket of a destination.
pub fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.{SOCKET}"))
}

/// The sockets in the directory, whoever listens there or not, in the order of their names.
/// None when there is no directory. What this program does not call a file is left out: names are
/// shown, and root looks into directories that others fill.
pub fn sockets(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == SOCKET))
        .filter(|path| path.file_stem().is_some_and(is_name))
        .collect();
    paths.sort();
    paths
}

/// Whether [`name`] can have made this.
fn is_name(stem: &OsStr) -> bool {
    stem.len() <= MAX_NAME && stem.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// What came of an attempt to become the owner.
#[derive(Debug)]
pub enum Claim {
    /// This process is it now.
    Owner(Ownership),
    /// Another process is.
    Taken,
}

/// The lock of a destination and its listening socket. The lock goes with the process, so a
/// forked child keeps it; the files go with [`Ownership::release`].
#[derive(Debug)]
pub struct Ownership {
    /// Not unlocked when dropped: the caller of a daemon shares the lock with it (flock(2)).
    lock: ManuallyDrop<Flock<File>>,
    lock_path: PathBuf,
    socket_path: PathBuf,
    orders_path: PathBuf,
    listener: UnixListener,
}

/// Tries to become the owner of a destination. Files that a killed owner left are taken over.
///
/// # Errors
/// Those of [`prepare`]; [`exit::NO_PERMISSION`] when the lock or the socket cannot be made, and
/// [`exit::USAGE`] when the directory's name is too long for a socket.
pub fn claim(directory: &Path, name: &str) -> Result<Claim, Exit> {
    prepare(directory)?;
    let lock_path = directory.join(format!("{name}.{LOCK}"));
    let socket_path = socket(directory, name);
    if socket_path.as_os_str().len() > MAX_SOCKET_PATH {
        let (shown, most) = (directory.display(), MAX_SOCKET_PATH - MAX_NAME - 6);
        return Err(Exit::usage(format!(
            "runtime directory too long: {shown}: at most {most} bytes, because of the sockets in it"
        )));
    }
    let failed = |what: &str, path: &Path, error: io::Error| {
        let (shown, reason) = (path.display(), file::reason(&error));
        Exit::new(exit::NO_PERMISSION, format!("{what}: {shown}: {reason}"))
    };
    let lock = match lock(&lock_path, selfdog::take_lock()) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(Claim::Taken),
        Err(error) => return Err(failed("cannot lock", &lock_path, error)),
    };
    // What was said there does not hold for this process.
    let _ = lock.set_len(0);
    // Whoever left this is gone: the lock says so.
    let made = match fs::remove_file(&socket_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => listen(&socket_path),
    };
    let listener = made.map_err(|error| failed("cannot listen on", &socket_path, error))?;
    selfdog::keep_lock(&lock);
    Ok(Claim::Owner(Ownership {
        lock: ManuallyDrop::new(lock),
        lock_path,
        socket_path,
        orders_path: directory.join(format!("{name}.{ORDERS}")),
        listener,
    }))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The lock, or none when another process has it. A file that its owner removed between our
/// opening and locking it is not the lock any more. `inherited` is the lock that this process
/// had before it restarted itself, if it is still the one.
fn lock(path: &Path, mut inherited: Option<File>) -> io::Result<Option<Flock<File>>> {
    loop {
        let file = match inherited.take() {
            Some(file) => file,
            None => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
                .open(path)?,
        };
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        let locked = lock.metadata()?;
        let same = |found: fs::Metadata| found.ino() == locked.ino() && found.dev() == locked.dev();
        if fs::symlink_metadata(path).is_ok_and(same) {
            return Ok(Some(lock));
        }
    }
}

impl Ownership {
    /// The listening socket, non-blocking, for the loop.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Keeps what callers ordered, in a file beside the lock; nothing is kept without orders.
    ///
    /// # Errors
    /// Those of the file's operations.
    pub fn keep_orders(&self, orders: &str) -> io::Result<()> {
        if orders.is_empty() {
            return match fs::remove_file(&self.orders_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let new = self.orders_path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(orders.as_bytes())?;
        fs::rename(&new, &self.orders_path)
    }

    /// What was kept by this process before it restarted itself. Of another owner that was
    /// killed, nothing is taken over.
    pub fn orders(&self, resumed: bool) -> String {
        if !resumed {
            let _ = fs::remove_file(&self.orders_path);
            return String::new();
        }
        match file::read_bounded(&self.orders_path, ORDERS_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Removes the files. To be called by the process that ends the tunnel, and by no other.
    pub fn release(self) {
        let _ = fs::remove_file(&self.socket_path);
        let _ = fs::remove_file(&self.orders_path);
        // Last, and while it is locked: who finds the lock gone finds no socket either.
        let _ = fs::remove_file(&self.lock_path);
        selfdog::forget_lock();
        drop(ManuallyDrop::into_inner(self.lock));
    }
}
