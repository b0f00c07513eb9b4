//! Who this process is, and what of root's powers it keeps (capabilities(7)).

use std::ffi::{CString, OsString};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, initgroups, setegid, seteuid, setresgid, setresuid};

/// Reading and writing other users' files, and their Unix sockets; for root only.
const CAP_DAC_OVERRIDE: u32 = 1;
/// `BindInterface`, before Linux 5.7.
const CAP_NET_RAW: u32 = 13;
/// linux/capability.h: the version with 64 capabilities.
const VERSION: u32 = 0x2008_0522;
const CAP_AMBIENT_RAISE: libc::c_int = 2;

/// Keeps what is in memory from core dumps and from other processes of the same user (prctl(2),
/// `PR_SET_DUMPABLE`), and new files from other users.
pub fn keep_to_itself() {
    let _ = nix::sys::prctl::set_dumpable(false);
    umask(Mode::from_bits_truncate(0o077));
}

/// How soon the kernel ends a process when memory runs out (proc(5)): from -1000, never, to 1000.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Of the supervisor: who is spared brings the rest back.
const SPARED: i32 = -900;

/// Asks the kernel to end other processes first. That is for root.
pub fn be_spared() {
    let _ = std::fs::write(OOM_SCORE, SPARED.to_string());
}

/// Asks to be ended before the supervisor, whose score this process has so far.
pub fn go_before_the_supervisor() {
    let score = std::fs::read_to_string(OOM_SCORE).ok();
    if let Some(score) = score.and_then(|text| text.trim().parse::<i32>().ok()) {
        let _ = std::fs::write(OOM_SCORE, (score + 100).min(1000).to_string());
    }
}

/// Runs `work` as another user, and comes back, but for that user's further groups, which give root
/// nothing. The work must not start a process.
///
/// # Errors
/// seteuid(2)'s and the like, for who is not root.
pub fn try_as<T>(user: &User, work: impl FnOnce() -> T) -> nix::Result<T> {
    let home = std::env::var_os("HOME");
    set_home(Some(user.dir.clone().into()));
    let become_user = || {
        let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
        initgroups(&name, user.gid)?;
        setegid(user.gid)?;
        seteuid(user.uid)
    };
    let result = become_user().map(|()| work());
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    set_home(home);
    result
}

/// Becomes another user for good, also over execve(2). `raw` keeps the capability that
/// `BindInterface` may need.
///
/// # Errors
/// As [`try_as`].
pub fn become_for_good(user: &User, raw: bool) -> nix::Result<()> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    initgroups(&name, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    nix::sys::prctl::set_keepcaps(raw)?;
    setresuid(user.uid, user.uid, user.uid)?;
    set_home(Some(user.dir.clone().into()));
    if raw {
        let bit = 1 << CAP_NET_RAW;
        set_capabilities(bit, bit)?;
        // SAFETY: the call takes numbers only. Ambient since Linux 4.3; before, it ends at execve(2).
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) };
    }
    Ok(())
}

fn set_home(home: Option<OsString>) {
    match home {
        // SAFETY: the process has one thread.
        Some(home) => unsafe { std::env::set_var("HOME", home) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var("HOME") },
    }
}

/// Gives up every capability but the two that a tunnel may need, and with execve(2) too; no program
/// that is executed gains any.
///
/// # Errors
/// capset(2)'s and prctl(2)'s.
pub fn give_up_powers() -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    let kept = 1 << CAP_DAC_OVERRIDE | 1 << CAP_NET_RAW;
    for capability in (0..64).filter(|number| *number != CAP_DAC_OVERRIDE && *number != CAP_NET_RAW)
    {
        // SAFETY: the call takes numbers only. Who is not root may not, and has none to give up.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    let [permitted, inheritable] = capabilities()?;
    set_capabilities(permitted & kept, inheritable & kept)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// Of 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Header {
    /// Of this process.
    fn own() -> Self {
        Header {
            version: VERSION,
            pid: 0,
        }
    }
}

/// The first 32 capabilities, permitted and inheritable.
fn capabilities() -> nix::Result<[u32; 2]> {
    let (mut header, mut sets) = (Header::own(), [Set::default(); 2]);
    // SAFETY: the version says that the call writes two sets.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    Errno::result(got)?;
    Ok([sets[0].permitted, sets[0].inheritable])
}

/// All others are given up.
fn set_capabilities(permitted: u32, inheritable: u32) -> nix::Result<()> {
    let first = Set {
        effective: permitted,
        permitted,
        inheritable,
    };
    let (mut header, sets) = (Header::own(), [first, Set::default()]);
    // SAFETY: the version says that the call reads two sets.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    Errno::result(set).map(drop)
}
