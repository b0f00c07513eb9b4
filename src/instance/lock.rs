//! The one process that holds a tunnel: a lock and a socket for each destination, in a directory
//! of this user.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::{Backlog, listen as listen_again};
use nix::unistd::geteuid;
use reachback_core::destination::Destination;
use ring::digest::{SHA256, digest};

use crate::exit::{self, Exit};
use crate::sys::file;

mod others;
#[cfg(test)]
mod tests;
mod vanished;

pub use others::{hidden, others};
pub use vanished::Lookout;

/// Where root's tunnels are, and those of a user to whom an administrator gave the directory.
const SYSTEM: &str = "/run/reachback";
/// Longest file name of a destination, bytes, without its ending; longer ones are hashed.
const MAX_NAME: usize = 48;
/// Longest path of a Unix socket, bytes (unix(7): 108 with its end).
const MAX_SOCKET_PATH: usize = 107;
/// Most entries of a directory that are looked at.
const MOST_ENTRIES: usize = 1024;
/// Longest word for a server, bytes, as host names are.
const MAX_CALLED: usize = 255;
const SOCKET: &str = "sock";
const LOCK: &str = "lock";

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

/// Gives the directory from one user to another (each a user and a group), if it is the first one's;
/// root's is made if it is not there, and goes with the files in it. What another user has put into
/// his own is left as it is.
///
/// # Errors
/// [`exit::NO_PERMISSION`] when it cannot be made or given.
pub fn give(directory: &Path, from: (u32, u32), to: (u32, u32)) -> Result<(), Exit> {
    let what = "cannot give the runtime directory to another user";
    let failed = |error: io::Error| refused(what, directory, &file::reason(&error));
    if from.0 == 0 && fs::symlink_metadata(directory).is_err() {
        prepare(directory)?;
    }
    if !fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir() && found.uid() == from.0) {
        return Ok(());
    }
    if from.0 == 0 {
        for entry in fs::read_dir(directory).map_err(failed)?.flatten() {
            lchown(entry.path(), Some(to.0), Some(to.1)).map_err(failed)?;
        }
    }
    lchown(directory, Some(to.0), Some(to.1)).map_err(failed)
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

/// Whether this is the directory of the system's tunnels.
pub fn is_system(directory: &Path) -> bool {
    directory == Path::new(SYSTEM)
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

/// The sockets in the directory, whoever listens there or not, and those whose lock alone is there, in
/// the order of their names.
/// None when there is no directory. What this program does not call a file is left out: names are
/// shown, and root looks into directories that others fill.
pub fn sockets(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = entries(directory)
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == SOCKET || ending == LOCK)
        })
        .filter(|path| path.file_stem().is_some_and(is_name))
        .map(|path| path.with_extension(SOCKET))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// What is in a directory; of one that others have filled, a part.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let entries = entries.take(MOST_ENTRIES).flatten();
    entries.map(|entry| entry.path())
}

/// The name of the tunnel that was called for by this word, where none has the name that the
/// configuration makes of it now: it has changed, and `SIGHUP` has not come yet.
pub fn find(directory: &Path, name: String, called: &str) -> String {
    if fs::symlink_metadata(socket(directory, &name)).is_ok() {
        return name;
    }
    let found = sockets(directory);
    let found = found
        .into_iter()
        .find(|one| is_called(one, called) && is_held(one));
    let stem = found.and_then(|socket| Some(socket.file_stem()?.to_str()?.to_owned()));
    stem.unwrap_or(name)
}

/// Whether the tunnel of a socket was called for by this word.
pub fn is_called(socket: &Path, called: &str) -> bool {
    written(socket).is_some_and(|text| text.lines().next().unwrap_or_default() == called)
}

/// The process that its owner said to be, if it said so.
pub fn holder(socket: &Path) -> Option<u32> {
    written(socket)?.lines().nth(1)?.parse().ok()
}

/// What the owner wrote into the lock: the word that it was called for by, and its process.
fn written(socket: &Path) -> Option<String> {
    let bytes = file::read_bounded(&socket.with_extension(LOCK), MAX_CALLED + 12).ok()?;
    String::from_utf8(bytes.to_vec()).ok()
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

/// The lock of a destination and its listening socket. A forked child has them as well, and the lock
/// is free when the last of them has ended; the files go with [`Ownership::release`].
#[derive(Debug)]
pub struct Ownership {
    /// Not unlocked when dropped: the caller of a daemon shares the lock with it (flock(2)).
    lock: ManuallyDrop<Flock<File>>,
    socket_path: PathBuf,
    listener: UnixListener,
}

/// What the program before handed over with execve(2): the lock and the socket that listens.
#[derive(Debug)]
pub struct Inherited {
    /// Locked.
    pub lock: File,
    /// Callers may be waiting in its queue.
    pub listener: UnixListener,
}

impl Inherited {
    /// Both, to be handed over once more.
    pub fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.lock.as_fd(), self.listener.as_fd()]
    }

    /// Removes the files, as [`Ownership::release`].
    pub fn release(self) {
        let Ok(address) = self.listener.local_addr() else {
            return;
        };
        if let Some(socket_path) = address.as_pathname() {
            remove(socket_path, &self.lock);
        }
    }
}

/// Removes the files of an owner that has this lock, if they are its own still.
fn remove(socket_path: &Path, lock: &File) {
    let lock_path = socket_path.with_extension(LOCK);
    if is_at(lock, &lock_path).unwrap_or(false) {
        let _ = fs::remove_file(socket_path);
        // Last, and while it is locked: who finds the lock gone finds no socket either.
        let _ = fs::remove_file(lock_path);
    }
}

/// Whether a file that is open is the one at this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (file.metadata()?, fs::symlink_metadata(path));
    Ok(there.is_ok_and(|there| there.ino() == open.ino() && there.dev() == open.dev()))
}

/// Tries to become the owner of a destination, or goes on being it. Files that a killed owner left
/// are taken over. `called` is what the caller named the server ([`find`]).
///
/// # Errors
/// Those of [`prepare`]; [`exit::NO_PERMISSION`] when the lock or the socket cannot be made, and
/// [`exit::USAGE`] when the directory's name is too long for a socket.
pub fn claim(
    directory: &Path,
    name: &str,
    called: &str,
    inherited: Option<Inherited>,
) -> Result<Claim, Exit> {
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
    let (before, listener) = match inherited {
        Some(Inherited { lock, listener }) => (Some(lock), Some(listener)),
        None => (None, None),
    };
    let lock = match lock(&lock_path, before) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(Claim::Taken),
        Err(error) => return Err(failed("cannot lock", &lock_path, error)),
    };
    if listener.is_none() && somebody_listens(&socket_path) {
        // The owner is there, and its lock was taken away: it will make it anew.
        let _ = fs::remove_file(&lock_path);
        return Ok(Claim::Taken);
    }
    // Whoever asks for the tunnel by this word finds it, whatever the configuration makes of it by then.
    let _ = lock.set_len(0);
    let _ = lock.write_all_at(called.as_bytes(), 0);
    let listener = match listener.filter(|_| fs::symlink_metadata(&socket_path).is_ok()) {
        Some(listener) => Ok(listener),
        // Whoever left this is gone: the lock says so.
        None => match fs::remove_file(&socket_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => listen(&socket_path),
        },
    };
    let listener = listener.map_err(|error| failed("cannot listen on", &socket_path, error))?;
    Ok(Claim::Owner(Ownership {
        lock: ManuallyDrop::new(lock),
        socket_path,
        listener,
    }))
}

fn somebody_listens(path: &Path) -> bool {
    match mio::net::UnixStream::connect(path) {
        Ok(_) => true,
        // A full queue.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The lock, or none when another process has it. A file that its owner removed between our
/// opening and locking it is not the lock any more. `inherited` is the lock that the program before
/// had, if it is still the one.
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
        // It may have been another user's directory, and it will be written to.
        if file.metadata()?.nlink() > 1 {
            return Err(io::Error::other(
                "it has a second name (link(2)): remove it",
            ));
        }
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        if is_at(&lock, path)? {
            return Ok(Some(lock));
        }
    }
}

/// Whether a process holds the lock that belongs to a socket.
pub fn is_held(socket: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(socket.with_extension(LOCK));
    // Shared: two who look do not take each other for the holder.
    let tried = opened.map(|lock| Flock::lock(lock, FlockArg::LockSharedNonblock));
    matches!(tried, Ok(Err((_, nix::Error::EWOULDBLOCK))))
}

impl Ownership {
    /// The listening socket, non-blocking, for the loop.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Both, to be handed over with execve(2).
    pub fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.lock.as_fd(), self.listener.as_fd()]
    }

    /// Callers learn from the kernel that this process is the one to signal, even if nobody answers
    /// them (unix(7), `SO_PEERCRED`), and from the lock, even if there is no socket.
    ///
    /// # Errors
    /// listen(2)'s.
    pub fn listen(&self) -> nix::Result<()> {
        if let Ok(found) = self.lock.metadata() {
            let line = format!("\n{}\n", std::process::id());
            let _ = self.lock.write_all_at(line.as_bytes(), found.len());
        }
        listen_again(&self.listener, Backlog::MAXALLOWABLE)
    }

    /// Removes the files. To be called by the process that stays to the end, and by no other.
    pub fn release(self) {
        remove(&self.socket_path, &self.lock);
        drop(ManuallyDrop::into_inner(self.lock));
    }
}
