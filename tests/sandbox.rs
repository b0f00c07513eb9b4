//! What a tunnel's processes may: as whom they run, and what the kernel lets the worker do.
//!
//! Every other test of a tunnel belongs here as well: a debug build ends at a system call that the
//! worker's filter does not list.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use support::client::{Call, Reachback};
use support::crash::Bed;
use support::rig::Site;
use support::targets::{self, Target};
use support::{free_port, is_root, on_host, patience, skip, text, user, wait_until};

/// CAP_DAC_OVERRIDE and CAP_NET_RAW.
const KEPT_OF_ROOT: &str = "0000000000002002";
const CAP_SYS_RESOURCE: u32 = 24;
const NOBODY: u32 = 65_534;

/// A line of /proc/PID/status.
fn status(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// A program that runs another one as on a kernel without Landlock: the call for it is answered as
/// one that does not exist. The filter is for the machines that tests run on.
const WITHOUT_LANDLOCK: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *rule) for rule in rules))
program = struct.pack('HxxxxxxP', len(rules), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_worker_writes_executes_and_opens_nothing_that_a_tunnel_does_not_need() {
    if !on_host() {
        return skip("the runner does not emulate the sandbox");
    }
    let bed = Bed::up("outside", &[]);
    bed.fail();
    let said = bed.client.wait_for("outside: write: *");
    let denied = "write: Permission denied; execute: Permission denied; \
                  packet socket: Operation not permitted";
    assert!(said.ends_with(denied), "{said}");
    assert!(!bed.scene.path("home/outside").exists());
    let said = bed.client.wait_for("outside: pin: *");
    let refused = "nowhere, write, known_hosts, the configuration does not let it be pinned";
    assert!(said.ends_with(refused), "{said}");
    assert!(!bed.scene.known_hosts_text().contains("elsewhere"));
}

#[test]
fn each_restart_lies_at_other_addresses() {
    if !on_host() {
        return skip("the runner lays the program out");
    }
    let bed = Bed::up("none", &[]);
    let lies_at = || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", bed.client.worker())).unwrap();
        maps.split('-').next().unwrap().to_owned()
    };
    let before = lies_at();
    let mark = bed.client.log().mark();
    bed.crash(nix::sys::signal::Signal::SIGSEGV);
    bed.client.wait_up_after(mark, bed.port);
    assert_ne!(lies_at(), before);
}

#[test]
fn a_call_that_only_an_attacker_makes_ends_the_worker_and_the_tunnel_comes_back() {
    if !on_host() {
        return skip("the runner does not emulate the sandbox");
    }
    let mut bed = Bed::up("forbidden", &[]);
    let mark = bed.client.log().mark();
    bed.fail();
    bed.assert_back(mark, "signal SIGSYS");
}

#[test]
fn sandbox_no_takes_nothing_away() {
    if !on_host() {
        return skip("the runner does not emulate the sandbox");
    }
    let mut bed = Bed::with("outside", &[], &["Sandbox=no"]);
    bed.fail();
    // It became /bin/true.
    assert_eq!(bed.client.process.wait(patience()), 0);
    assert!(bed.scene.path("home/outside").exists());
}

#[test]
fn a_kernel_that_lacks_a_part_is_no_reason_not_to_start_unless_the_sandbox_has_to_be() {
    if !on_host() {
        return skip("the runner does not emulate the sandbox");
    }
    let Site { scene, key, server } = Site::up();
    let (target, port) = (Target::http("alive"), free_port());
    let call = |option: &str| {
        Call::trusting(&scene, &key)
            .under(&["python3", "-c", WITHOUT_LANDLOCK])
            .option(option)
            .forward(port, target.address)
    };
    let client = call("Sandbox=try").start(user(), server.port);
    client.wait_for("sandbox without Landlock: Function not implemented");
    client.wait_up(port);
    assert_eq!(status(client.worker(), "Seccomp"), "2");
    assert_eq!(client.stop(), 0);
    let destination = format!("{}@127.0.0.1:{}", user(), server.port);
    let refused = call("Sandbox=yes").args(&[&destination]).run();
    assert_eq!(refused.code, 71, "{refused:?}");
    let said =
        "reachback: Sandbox yes: this kernel does not do it: Landlock: Function not implemented";
    assert!(
        refused.stderr.iter().any(|line| line == said),
        "{refused:?}"
    );
}

#[test]
fn the_worker_has_neither_powers_nor_a_way_to_more_and_neither_process_leaves_traces() {
    if !on_host() {
        return skip("the runner does not emulate the sandbox");
    }
    let bed = Bed::up("none", &[]);
    let (supervisor, worker) = (bed.client.process.pid(), bed.client.worker());
    assert_eq!(status(worker, "NoNewPrivs"), "1");
    assert_eq!(status(worker, "Seccomp"), "2");
    for pid in [supervisor, worker] {
        assert_eq!(status(pid, "Umask"), "0077");
    }
    if !is_root() {
        return skip("the rest is about root");
    }
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(worker, set), KEPT_OF_ROOT, "{set}");
    }
    assert_eq!(status(worker, "CapInh"), "0000000000000000");
    let score = |pid| -> i32 {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    assert_eq!(score(worker), score(supervisor) + 100);
    let powers = u64::from_str_radix(&status(supervisor, "CapEff"), 16).unwrap();
    if powers >> CAP_SYS_RESOURCE & 1 == 0 {
        return skip("the kernel spares for CAP_SYS_RESOURCE only");
    }
    assert_eq!(score(supervisor), -900);
}

#[test]
fn no_process_of_the_same_user_and_no_core_dump_has_the_memory_of_a_tunnel() {
    if !on_host() || !is_root() {
        return skip("another user needs root");
    }
    let bed = Bed::of(Some(NOBODY), "none", &[], &[]);
    for pid in [bed.client.process.pid(), bed.client.worker()] {
        assert_eq!(status(pid, "Uid").split_whitespace().next(), Some("65534"));
        let memory = fs::metadata(format!("/proc/{pid}/mem")).unwrap();
        assert_eq!(
            memory.uid(),
            0,
            "not dumpable: its files in /proc are root's (proc(5))"
        );
    }
}

/// A tunnel that root starts and that is to run as nobody; the key is nobody's if `readable`.
struct Dropped {
    site: Site,
    target: Target,
    port: u16,
}

impl Dropped {
    fn new(readable: bool) -> Self {
        let site = Site::up();
        let open = fs::Permissions::from_mode(0o711);
        fs::set_permissions(site.scene.path(""), open.clone()).unwrap();
        fs::set_permissions(site.scene.path("home"), open).unwrap();
        fs::create_dir(site.scene.path("hosts")).unwrap();
        let mut given = vec![site.scene.path("hosts")];
        if readable {
            given.push(site.key.private.clone());
        }
        for path in given {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Dropped {
            site,
            target: Target::http("alive"),
            port: free_port(),
        }
    }

    fn call(&self) -> Call<'_> {
        let hosts = self.site.scene.path("hosts/known_hosts");
        self.site
            .call()
            .option("RunAsUser=nobody")
            .option(&format!("UserKnownHostsFile={}", text(&hosts)))
            .forward(self.port, self.target.address)
    }

    fn start(&self) -> Reachback {
        let client = self.call().start(user(), self.site.server.port);
        client.wait_up(self.port);
        client
    }
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

#[test]
fn root_becomes_the_user_that_the_configuration_names_and_everything_goes_on_as_such() {
    if !on_host() || !is_root() {
        return skip("another user needs root");
    }
    let dropped = Dropped::new(true);
    let scene = &dropped.site.scene;
    // A directory from before, with something in it.
    fs::create_dir(scene.path("run")).unwrap();
    fs::set_permissions(scene.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(scene.path("run/left.lock"), "").unwrap();
    let client = dropped.start();
    for pid in [client.process.pid(), client.worker()] {
        for ids in ["Uid", "Gid"] {
            assert_eq!(status(pid, ids), "65534\t65534\t65534\t65534");
        }
        assert_eq!(status(pid, "Groups"), "65534");
        assert_eq!(status(pid, "CapPrm"), "0000000000000000");
    }
    for path in ["run", "run/left.lock", "hosts/known_hosts"] {
        assert_eq!(owner(&scene.path(path)), NOBODY, "{path}");
    }
    // A fault, a reload and root's own orders find it as before.
    let mark = client.log().mark();
    let worker = nix::unistd::Pid::from_raw(client.worker());
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGSEGV).unwrap();
    client.wait_after(mark, "restarted after: signal SIGSEGV*");
    client.wait_up_after(mark, dropped.port);
    assert_eq!(targets::fetch(dropped.port), "alive");
    let reloaded = Call::new(scene).args(&["reload"]).run();
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    client.wait_after(mark, "configuration read again");
    assert_eq!(Call::new(scene).args(&["status"]).run().code, 0);
    assert_eq!(Call::new(scene).args(&["stop"]).run().code, 0);
    assert!(!client.log().contains("going on as root"));
}

#[test]
fn a_key_that_the_user_cannot_read_loses_no_access_and_is_said_with_what_mends_it() {
    if !on_host() || !is_root() {
        return skip("another user needs root");
    }
    let dropped = Dropped::new(false);
    let client = dropped.start();
    let key = &dropped.site.key.private;
    let said = client.wait_for("RunAsUser nobody: not possible, going on as root: *");
    assert!(said.contains(&text(key)), "{said}");
    assert_eq!(status(client.worker(), "CapPrm"), KEPT_OF_ROOT);
    assert_eq!(client.stop(), 0);
    let destination = dropped.site.destination();
    let refused = dropped
        .call()
        .option("Sandbox=yes")
        .args(&[&destination])
        .run();
    assert_eq!(refused.code, 77, "{refused:?}");
    // The command that mends it, and the way back: the directory goes along.
    for (user, powers) in [(NOBODY, "0000000000000000"), (0, KEPT_OF_ROOT)] {
        for path in [key, &dropped.site.scene.path("hosts/known_hosts")] {
            chown(path, Some(user), None).unwrap();
        }
        let client = dropped.start();
        assert_eq!(status(client.worker(), "CapPrm"), powers);
        assert_eq!(owner(&dropped.site.scene.path("run")), user);
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn the_capability_for_an_interface_outlives_the_change_of_user_and_a_fault() {
    if !on_host() || !is_root() {
        return skip("another user needs root");
    }
    let dropped = Dropped::new(true);
    let call = dropped.call().option("BindInterface=lo");
    let client = call.start(user(), dropped.site.server.port);
    client.wait_up(dropped.port);
    let raw = "0000000000002000";
    assert_eq!(status(client.worker(), "CapEff"), raw);
    let mark = client.log().mark();
    let worker = nix::unistd::Pid::from_raw(client.worker());
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGSEGV).unwrap();
    client.wait_up_after(mark, dropped.port);
    assert_eq!(status(client.worker(), "CapEff"), raw);
    assert_eq!(client.stop(), 0);
}

/// The filter's list, without the calls that are refused.
fn listed() -> Vec<String> {
    let text = include_str!("../src/sys/syscalls.rs");
    let (before, rest) = text.split_once("const NEVER").unwrap();
    let (_, after) = rest.split_once("];").unwrap();
    let words = [before, after].join(" ");
    let words = words.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .map(|word| word.strip_prefix("SYS_").unwrap_or(word).to_lowercase())
        .collect()
}

#[test]
fn tables_of_addresses_are_read_only_in_a_static_program_too() {
    if on_host() {
        return skip("the dynamic linker sees to it");
    }
    let Site { scene, key, server } = Site::up();
    let (target, port) = (Target::http("alive"), free_port());
    let call = Call::trusting(&scene, &key).forward(port, target.address);
    let client = call.start(user(), server.port);
    client.wait_up(port);
    let maps = fs::read_to_string(format!("/proc/{}/maps", client.worker())).unwrap();
    let program = text(&support::client::program());
    let of_program = maps.lines().filter(|line| line.ends_with(&program));
    let writable = of_program.filter(|line| line.split(' ').nth(1).unwrap().contains('w'));
    let bytes: u64 = writable
        .map(|line| {
            let range = line.split(' ').next().unwrap();
            let (begin, end) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            number(end) - number(begin)
        })
        .sum();
    assert!((1..=4096).contains(&bytes), "{maps}");
}

/// qemu-user does not emulate the filter, but says what is called.
#[test]
fn every_system_call_of_an_arm_binary_is_listed() {
    if support::runner()
        .last()
        .is_none_or(|last| !last.starts_with("qemu-"))
    {
        return skip("it is about the ARM binaries under qemu-user");
    }
    let Site { scene, key, server } = Site::up();
    let (target, port) = (Target::http("alive"), free_port());
    let trace = scene.path("trace");
    let mut words = support::runner();
    // To standard error: any other file is closed with those that the caller left open.
    words.push("-strace".to_owned());
    words.push(text(&support::client::program()));
    let mut command = std::process::Command::new(&words[0]);
    support::client::environment(&mut command, &scene);
    command
        .args(&words[1..])
        .args([
            "-N",
            "-y",
            "-v",
            "-i",
            &key.file(),
            "-o",
            "VerifyForward=yes",
        ])
        .args(["-o", &format!("LogFile={}", text(&scene.path("log")))])
        .args(["-o", &format!("StateFile={}", text(&scene.path("state")))])
        .args(["-R", &format!("{port}:{}", target.address)])
        .arg(format!("{}@localhost:{}", user(), server.port));
    let said = fs::File::create(&trace).unwrap();
    let mut tunnel = support::process::Process::start_saying_to(&mut command, said);
    let log = || fs::read_to_string(scene.path("log")).unwrap_or_default();
    let wait = |line: &str| wait_until(line, patience(), || log().contains(line));
    wait("tunnel up");
    assert_eq!(targets::fetch(port), "alive");
    for order in ["reload", "status", "reconnect"] {
        assert_eq!(Call::new(&scene).args(&[order]).run().code, 0, "{order}");
    }
    wait("configuration read again");
    wait("reconnection asked for");
    tunnel.terminate();
    assert_eq!(tunnel.wait(patience()), 0);
    let (listed, text) = (listed(), fs::read_to_string(&trace).unwrap());
    let calls = text.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.split_once('(')?.0;
        (!call.contains(' ')).then(|| call.to_owned())
    });
    let mut calls: Vec<String> = calls.collect();
    calls.sort();
    calls.dedup();
    assert!(calls.len() > 30, "{calls:?}");
    calls.retain(|call| !listed.contains(call));
    assert!(calls.is_empty(), "not listed: {calls:?}");
}
