//! known_hosts on a disk that is full, read-only, damaged or not there: the tunnel comes up where
//! a new key may be accepted, no key is ever lost or forged by it, and what was wrong is over
//! when its cause is.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::client::{Call, Reachback};
use support::keys::Kind;
use support::rig::Site;
use support::sshd;
use support::targets::{self, Target};
use support::{bound, free_port, is_root, on_host, output, skip, text, user, wait_until};

/// A site with a target.
struct Place {
    site: Site,
    target: Target,
    port: u16,
}

fn place() -> Place {
    Place {
        site: Site::up(),
        target: Target::http("page"),
        port: free_port(),
    }
}

impl Place {
    fn call(&self) -> Call<'_> {
        self.site.call().forward(self.port, self.target.address)
    }

    fn start(&self, file: &Path) -> Reachback {
        let option = format!("UserKnownHostsFile={}", text(file));
        self.call()
            .option(&option)
            .start(user(), self.site.server.port)
    }

    /// The line of the server's key.
    fn entry(&self) -> String {
        let words: Vec<&str> = self.site.server.host_key.public.split(' ').collect();
        let port = self.site.server.port;
        format!("[127.0.0.1]:{port} {} {}\n", words[0], words[1])
    }

    fn works(&self, client: &Reachback, mark: usize) {
        client.wait_up_after(mark, self.port);
        assert_eq!(targets::fetch(self.port), "page");
    }

    /// Asks for a new connection; the log's place before it.
    fn reconnect(&self, client: &Reachback) -> usize {
        let mark = client.log().mark();
        kill(Pid::from_raw(client.process.pid()), Signal::SIGUSR1).unwrap();
        mark
    }
}

/// A directory on a file system of its own, which this test's thread and the processes that it
/// starts see, and nobody else; it goes with them. None without the right to make one.
fn own_disk(place: &Place, options: &str) -> Option<PathBuf> {
    if !is_root() {
        skip("mounting a file system needs root");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    output("mount", &["--make-rprivate", "/"]);
    let disk = place.site.scene.path("disk");
    fs::create_dir(&disk).unwrap();
    let on = text(&disk);
    output("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &on]);
    Some(disk)
}

#[test]
fn a_line_that_was_cut_short_is_no_other_key() {
    let place = place();
    let file = place.site.scene.path("known_hosts");
    let entry = place.entry();
    let cut = &entry[..entry.len() - 20];
    fs::write(&file, cut).unwrap();
    let client = place.start(&file);
    client.wait_for("known hosts *: 1 lines are not in the format");
    place.works(&client, 0);
    let healed = format!("{cut}\n{entry}");
    assert_eq!(fs::read_to_string(&file).unwrap(), healed);
}

#[test]
fn on_a_full_disk_the_key_is_kept_in_memory_and_goes_to_the_file_when_there_is_room() {
    let place = place();
    let Some(disk) = own_disk(&place, "size=16k") else {
        return;
    };
    // Some bytes are left in the file's page: less than a line.
    let file = disk.join("known_hosts");
    let page = format!("#{}\n", "x".repeat(4096 - 22));
    fs::write(&file, &page).unwrap();
    let filler = disk.join("filler");
    let mut full = fs::File::create(&filler).unwrap();
    while full.write_all(&[0; 4096]).is_ok() {}

    let client = place.start(&file);
    let line = client.wait_for("host key * accepted and kept in memory*");
    assert!(line.contains("No space left on device"), "{line}");
    place.works(&client, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), page, "taken back");

    let mark = place.reconnect(&client);
    place.works(&client, mark);
    assert!(
        !client.log().all()[mark..]
            .iter()
            .any(|l| l.contains("kept in memory"))
    );

    drop(full);
    fs::remove_file(&filler).unwrap();
    let mark = place.reconnect(&client);
    client.wait_after(mark, "host key * accepted and pinned in *known_hosts");
    place.works(&client, mark);
    let pinned = format!("{page}{}", place.entry());
    assert_eq!(fs::read_to_string(&file).unwrap(), pinned);
}

#[test]
fn on_a_read_only_disk_and_without_a_directory_the_tunnel_comes_up_with_one_warning() {
    let place = place();
    let Some(disk) = own_disk(&place, "ro") else {
        return;
    };
    for (file, reason) in [
        (disk.join("known_hosts"), "Read-only file system"),
        (
            place.site.scene.path("not/there/known_hosts"),
            "No such file or directory",
        ),
    ] {
        let client = place.start(&file);
        let line = client.wait_for("host key * accepted and kept in memory*");
        assert!(line.contains(reason), "{line}");
        place.works(&client, 0);
        let mark = place.reconnect(&client);
        place.works(&client, mark);
        assert!(
            !client.log().all()[mark..]
                .iter()
                .any(|l| l.contains("kept in memory"))
        );
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn a_new_key_that_a_read_only_file_does_not_take_is_said_with_what_to_do_and_costs_no_connection() {
    let place = place();
    let Some(disk) = own_disk(&place, "size=16k") else {
        return;
    };
    let server = sshd::builder(&place.site.scene)
        .authorize(&place.site.key)
        .with_host_key(&place.site.server.host_key)
        .host_key(Kind::EcdsaP256)
        .host_key(Kind::EcdsaP384)
        .start();
    let (file, on) = (disk.join("known_hosts"), text(&disk));
    let [old, new] =
        [place.site.server.port, server.port].map(|port| format!("[127.0.0.1]:{port}"));
    fs::write(&file, place.entry().replace(&old, &new)).unwrap();
    output("mount", &["-o", "remount,ro", &on]);
    let option = format!("UserKnownHostsFile={}", text(&file));
    let client = place.call().option(&option).start(user(), server.port);
    let line = client.wait_for("host key ecdsa-sha2-nistp256 * is not pinned*");
    for said in ["Read-only file system", &text(&file), "reachback reconnect"] {
        assert!(line.contains(said), "{line}");
    }
    place.works(&client, 0);
    let said = client.log().all();
    let said = said.iter().filter(|line| line.contains("is not pinned"));
    assert_eq!(said.count(), 1);

    output("mount", &["-o", "remount,rw", &on]);
    let mark = place.reconnect(&client);
    client.wait_after(mark, "host key ecdsa-sha2-nistp256 * pinned in *");
    client.wait_after(mark, "host key ecdsa-sha2-nistp384 * pinned in *");
    place.works(&client, mark);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
    assert_eq!(client.stop(), 0);
}

#[test]
fn where_new_keys_are_not_accepted_and_none_can_be_there_the_start_fails_at_once() {
    let place = place();
    let home = place.site.scene.path("not/there");
    for background in [&[][..], &["-f"]] {
        let ended = Call::new(&place.site.scene)
            .args(background)
            .args(&["-N"])
            .identity(&place.site.key)
            .forward(place.port, place.target.address)
            .args(&[&place.site.destination()])
            .env("HOME", &home)
            .run();
        assert_eq!(ended.code, 66, "{ended:?}");
        assert!(
            ended.stderr[0].contains("StrictHostKeyChecking is yes"),
            "{ended:?}"
        );
        assert!(ended.stderr[0].contains("-y"), "{ended:?}");
    }
}

#[test]
fn check_says_that_new_keys_will_not_be_kept() {
    let place = place();
    let file = text(&place.site.scene.path("not/there/known_hosts"));
    let check = |more: &[&str]| {
        Call::new(&place.site.scene)
            .args(&["check"])
            .identity(&place.site.key)
            .option(&format!("UserKnownHostsFile={file}"))
            .forward(place.port, place.target.address)
            .args(more)
            .args(&[&place.site.destination()])
            .run()
    };
    let accepting = check(&["-o", "StrictHostKeyChecking=accept-new"]);
    assert_eq!(accepting.code, 0, "{accepting:?}");
    assert!(
        accepting.stderr[0].contains("kept in memory"),
        "{accepting:?}"
    );
    assert!(accepting.stderr[0].contains(&file), "{accepting:?}");
    let strict = check(&[]);
    assert_eq!(strict.code, 66, "{strict:?}");
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_costs_only_that_while() {
    let place = place();
    let file = place.site.scene.path("known_hosts");
    let client = place.start(&file);
    place.works(&client, 0);
    let good = fs::read_to_string(&file).unwrap();

    // Too large, then no file at all.
    for damage in [0, 1] {
        match damage {
            0 => fs::write(&file, "#".repeat(1024 * 1024 + 1)).unwrap(),
            _ => {
                fs::remove_file(&file).unwrap();
                fs::create_dir(&file).unwrap();
            }
        }
        let mark = place.reconnect(&client);
        client.wait_after(mark, "*cannot read the known hosts: *");
        wait_until(
            "it tries again soon",
            bound(Duration::from_secs(30)),
            || {
                let lines = client.log().all();
                let tries = lines[mark..]
                    .iter()
                    .filter(|l| l.contains("cannot read the known hosts"));
                tries.count() >= 2
            },
        );
        let reached = |line: &String| line.contains("connecting to");
        assert!(
            !client.log().all()[mark..].iter().any(reached),
            "the server is left alone"
        );
        match damage {
            0 => fs::write(&file, &good).unwrap(),
            _ => {
                fs::remove_dir(&file).unwrap();
                fs::write(&file, &good).unwrap();
            }
        }
        place.works(&client, client.log().mark());
        assert_eq!(fs::read_to_string(&file).unwrap(), good);
    }
    assert_eq!(client.stop(), 0);
}

/// As a service that no user's session began: without a home directory that exists, without one
/// at all, without a user in passwd(5).
#[test]
fn the_tunnel_comes_up_whatever_the_home_directory_is() {
    let place = place();
    let scene = &place.site.scene;
    let home = scene.path("not/there");
    let client = place
        .call()
        .env("HOME", &home)
        .start(user(), place.site.server.port);
    client.wait_for(&format!(
        "host key * accepted and kept in memory *{}/.ssh/known_hosts: No such file*",
        text(&home)
    ));
    place.works(&client, 0);
    assert_eq!(client.stop(), 0);

    const NOBODY: u32 = 54_321;
    let nobody = NOBODY.to_string();
    let setpriv = [
        "setpriv",
        "--reuid",
        &nobody,
        "--regid",
        &nobody,
        "--clear-groups",
    ];
    let version = Call::new(scene).under(&setpriv).args(&["--version"]);
    if !is_root() || !on_host() || version.run().code != 0 {
        return skip("another user needs root, and has to reach the program");
    }
    let run = scene.path("run-of-nobody");
    fs::create_dir(&run).unwrap();
    for path in [&run, &place.site.key.private] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let open = fs::Permissions::from_mode(0o711);
    fs::set_permissions(scene.path(""), open.clone()).unwrap();
    fs::set_permissions(scene.path("home"), open).unwrap();
    let client = place
        .call()
        .option(&format!("RuntimeDirectory={}", text(&run)))
        .under(&setpriv)
        .env("HOME", "")
        .start(user(), place.site.server.port);
    client.wait_for("host key * accepted and kept in memory * /.ssh/known_hosts: *");
    place.works(&client, 0);
    assert_eq!(client.stop(), 0);
}

#[test]
fn without_a_descriptor_for_the_file_it_waits_for_one_and_takes_no_key_for_new() {
    if !on_host() {
        return skip("an emulator has descriptors of its own");
    }
    let place = place();
    let file = place.site.scene.path("known_hosts");
    let client = place.start(&file);
    client.wait_up(place.port);
    let pid = client.worker();
    let limit = |most: u32| {
        let arguments = [format!("--pid={pid}"), format!("--nofile={most}:1024")];
        output("prlimit", &arguments.each_ref().map(String::as_str));
    };
    // The lowest number that is free: the next connection gets that of this one, and the file none.
    let free = (0..).find(|fd| !Path::new(&format!("/proc/{pid}/fd/{fd}")).exists());
    limit(free.unwrap());
    let mark = place.reconnect(&client);
    client.wait_after(mark, "*cannot read the known hosts: *Too many open files*");
    limit(1024);
    place.works(&client, mark);
    assert_eq!(fs::read_to_string(&file).unwrap(), place.entry());
    assert_eq!(client.stop(), 0);
}
