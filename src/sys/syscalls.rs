//! The system calls that a worker may make, as a program for the kernel's packet filter
//! (seccomp(2)). What is not listed is answered as if the kernel were older and did not have it, so
//! that a call which was forgotten here fails in an ordinary way; a debug build ends instead, so
//! that every test of a tunnel is a test of the list. What only an attacker calls ends the process.
//!
//! The list is also what a start needs: a worker whose supervisor was killed executes the program
//! again, and the filter stays.

use nix::libc::*;

/// What libc does not name (arch/arm/tools/syscall.tbl; the last is ARM's own, at a start).
#[cfg(target_arch = "arm")]
const RSEQ: u32 = 398;
#[cfg(target_arch = "arm")]
const CLOCK_GETTIME64: u32 = 403;
#[cfg(target_arch = "arm")]
const CLOCK_NANOSLEEP_TIME64: u32 = 407;
#[cfg(target_arch = "arm")]
const TIMERFD_SETTIME64: u32 = 411;
#[cfg(target_arch = "arm")]
const PPOLL_TIME64: u32 = 414;
#[cfg(target_arch = "arm")]
const FUTEX_TIME64: u32 = 422;
#[cfg(target_arch = "arm")]
const SET_TLS: u32 = 0xf_0005;

#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;
#[cfg(target_arch = "arm")]
const MACHINE: u32 = 0x4000_0028;

/// For a call that is not listed.
const UNLISTED: u32 = if cfg!(any(debug_assertions, feature = "test-faults")) {
    SECCOMP_RET_KILL_PROCESS
} else {
    SECCOMP_RET_ERRNO | ENOSYS as u32
};
/// For a call whose arguments are refused.
const REFUSED: u32 = SECCOMP_RET_ERRNO | EPERM as u32;

/// `SYS_name` of the kernel's table, for each name.
macro_rules! numbers {
    ($($name:ident)*) => { &[$($name as u16),*] };
}

/// Calls that no part of the program makes, and that reach other processes, the kernel's own
/// memory, or another view of the system.
const NEVER: &[u16] = numbers![
    SYS_acct SYS_add_key SYS_bpf SYS_chroot SYS_delete_module SYS_finit_module SYS_init_module
    SYS_io_uring_setup SYS_kexec_load SYS_keyctl SYS_mount SYS_open_by_handle_at
    SYS_perf_event_open SYS_pivot_root SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace
    SYS_reboot SYS_request_key SYS_setns SYS_swapon SYS_umount2 SYS_unshare SYS_userfaultfd
];

/// Calls that data takes; they come first, since the kernel goes through the program for each call.
const OFTEN: &[u16] = numbers![
    SYS_recvfrom SYS_sendto SYS_epoll_pwait SYS_read SYS_write SYS_readv SYS_writev
    SYS_timerfd_settime SYS_clock_gettime
];

/// Calls on every machine.
const EVERYWHERE: &[u16] = numbers![
    // Memory.
    SYS_brk SYS_madvise SYS_mremap SYS_munmap
    // Files.
    SYS_chdir SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_faccessat SYS_faccessat2 SYS_fcntl
    SYS_flock SYS_fstat SYS_fsync SYS_ftruncate SYS_getcwd SYS_getdents64 SYS_lseek
    SYS_memfd_create SYS_mkdirat SYS_openat SYS_pipe2 SYS_pread64 SYS_pwrite64
    SYS_readlinkat SYS_renameat SYS_renameat2 SYS_statx SYS_umask SYS_unlinkat
    // Sockets.
    SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt
    SYS_listen SYS_recvmsg SYS_sendmsg SYS_setsockopt SYS_shutdown
    SYS_socketpair
    // Waiting and time.
    SYS_clock_nanosleep SYS_epoll_create1 SYS_epoll_ctl
    SYS_eventfd2 SYS_futex SYS_gettimeofday SYS_nanosleep SYS_ppoll SYS_restart_syscall
    SYS_sched_yield SYS_timerfd_create
    // Signals.
    SYS_kill SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_signalfd4
    SYS_tgkill SYS_tkill
    // This process and its worker.
    SYS_capget SYS_capset SYS_execve SYS_exit SYS_exit_group SYS_getegid SYS_geteuid SYS_getgid
    SYS_getpid SYS_getppid SYS_getrandom SYS_gettid SYS_getuid SYS_landlock_add_rule
    SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_prctl SYS_prlimit64
    SYS_sched_getaffinity SYS_seccomp SYS_set_robust_list SYS_set_tid_address SYS_uname SYS_wait4
    SYS_waitid
];

/// The older forms of some, where the machine is as old.
#[cfg(not(target_arch = "aarch64"))]
const OLDER: &[u16] = numbers![
    SYS_access SYS_dup2 SYS_epoll_wait SYS_fork SYS_lstat SYS_mkdir SYS_open SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_stat SYS_unlink SYS_vfork
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[u16] = &[];

/// The rest of each machine.
#[cfg(target_arch = "x86_64")]
const HERE: &[u16] = numbers![SYS_arch_prctl SYS_newfstatat SYS_rseq];
#[cfg(target_arch = "aarch64")]
const HERE: &[u16] = numbers![SYS_newfstatat SYS_rseq];
#[cfg(target_arch = "arm")]
const HERE: &[u16] = numbers![
    SYS__llseek SYS_fcntl64 SYS_fstat64 SYS_fstatat64 SYS_ftruncate64 SYS_getegid32 SYS_geteuid32
    SYS_getgid32 SYS_getuid32 SYS_lstat64 SYS_sigreturn SYS_stat64 SYS_ugetrlimit
    CLOCK_GETTIME64 CLOCK_NANOSLEEP_TIME64 FUTEX_TIME64 PPOLL_TIME64 RSEQ TIMERFD_SETTIME64
];

/// Offset of an argument's lower half in `struct seccomp_data`; every machine here is little-endian.
const fn argument(index: u32) -> sock_filter {
    load(16 + 8 * index)
}

const fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

const fn give(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, action, 0, 0)
}

/// Skips so many instructions if the value is this one, and so many if it is not.
const fn is(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
}

/// The same, if the value has one of these bits.
const fn has(bits: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JSET | BPF_K, bits, then, otherwise)
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

/// Sockets of the kinds that a tunnel needs, and no raw ones.
const SOCKET: &[sock_filter] = &[
    argument(0),
    is(AF_UNIX as u32, 6, 0),
    is(AF_NETLINK as u32, 5, 0),
    is(AF_INET as u32, 1, 0),
    is(AF_INET6 as u32, 0, 4),
    argument(1),
    instruction(BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0),
    is(SOCK_RAW as u32, 1, 0),
    give(SECCOMP_RET_ALLOW),
    give(REFUSED),
];

/// New processes, but no new namespace.
const CLONE: &[sock_filter] = &[
    argument(0),
    has(0x7e02_0000, 0, 1),
    give(REFUSED),
    give(SECCOMP_RET_ALLOW),
];

/// Memory that is never executable, in a program that has no dynamic linker.
const MEMORY: &[sock_filter] = &[
    argument(2),
    has(
        if cfg!(target_feature = "crt-static") {
            PROT_EXEC as u32
        } else {
            0
        },
        0,
        1,
    ),
    give(REFUSED),
    give(SECCOMP_RET_ALLOW),
];

/// What sockets and terminals are asked for; no TIOCSTI, which types into somebody's shell.
const IOCTL: &[sock_filter] = &[
    argument(1),
    is(FIONBIO as u32, 6, 0),
    is(TIOCOUTQ as u32, 5, 0),
    is(TCGETS as u32, 4, 0),
    is(TIOCGWINSZ as u32, 3, 0),
    is(FIOCLEX as u32, 2, 0),
    is(FIONREAD as u32, 1, 0),
    give(REFUSED),
    give(SECCOMP_RET_ALLOW),
];

#[cfg(target_arch = "arm")]
const MMAP: u32 = SYS_mmap2 as u32;
#[cfg(not(target_arch = "arm"))]
const MMAP: u32 = SYS_mmap as u32;

/// Calls that depend on their arguments.
const CHECKED: [(u32, &[sock_filter]); 5] = [
    (SYS_socket as u32, SOCKET),
    (SYS_clone as u32, CLONE),
    (MMAP, MEMORY),
    (SYS_mprotect as u32, MEMORY),
    (SYS_ioctl as u32, IOCTL),
];

/// The filter.
pub fn program() -> Vec<sock_filter> {
    // Offsets 4 and 0: the machine, and the number of the call.
    let mut program = vec![
        load(4),
        is(MACHINE, 1, 0),
        give(SECCOMP_RET_KILL_PROCESS),
        load(0),
    ];
    let give_for = |program: &mut Vec<sock_filter>, numbers: &[u16], action| {
        for number in numbers {
            program.extend([is((*number).into(), 0, 1), give(action)]);
        }
    };
    give_for(&mut program, OFTEN, SECCOMP_RET_ALLOW);
    give_for(&mut program, HERE, SECCOMP_RET_ALLOW);
    for (number, check) in CHECKED {
        program.push(is(number, 0, check.len() as u8));
        program.extend_from_slice(check);
    }
    #[cfg(target_arch = "arm")]
    program.extend([is(SET_TLS, 0, 1), give(SECCOMP_RET_ALLOW)]);
    give_for(&mut program, EVERYWHERE, SECCOMP_RET_ALLOW);
    give_for(&mut program, OLDER, SECCOMP_RET_ALLOW);
    give_for(&mut program, NEVER, SECCOMP_RET_KILL_PROCESS);
    program.push(give(UNLISTED));
    program
}
