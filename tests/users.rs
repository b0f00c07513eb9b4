//! `status` on a machine with several users: root sees every tunnel and believes nobody; a user is
//! told of those that he may not ask.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use support::client::{Call, Ended, Reachback};
use support::rig::Site;
use support::targets::Target;
use support::{free_port, is_root, on_host, skip, text, user};

/// Where root's tunnels are.
const SYSTEM: &str = "/run/reachback";

/// A user without a name, and a directory that is taken away in the end.
struct User {
    id: u32,
    directory: PathBuf,
}

impl User {
    fn new(number: u32) -> User {
        // Tests of several runs share the machine.
        let id = 3_000_000 + std::process::id() * 8 + number;
        let directory = PathBuf::from(format!("/tmp/reachback-{id}"));
        User { id, directory }
    }

    /// What runs a program as this user.
    fn words(&self) -> Vec<String> {
        let id = self.id.to_string();
        let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        words.map(str::to_owned).to_vec()
    }

    fn make_directory(&self, mode: u32) {
        let made = DirBuilder::new().mode(0o700).create(&self.directory);
        made.unwrap();
        fs::set_permissions(&self.directory, Permissions::from_mode(mode)).unwrap();
        chown(&self.directory, Some(self.id), Some(self.id)).unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A call with the runtime directory that the program chooses by itself.
fn plain<'a>(call: Call<'a>) -> Call<'a> {
    let call = call.env("REACHBACK_RUNTIME_DIR", "");
    call.env("XDG_RUNTIME_DIR", "")
}

fn as_user<'a>(call: Call<'a>, user: &User) -> Call<'a> {
    let words = user.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    plain(call.under(&words).env("HOME", "/nowhere"))
}

/// Whether another user can run the program here.
fn have_users(site: &Site, user: &User) -> bool {
    let version = as_user(Call::new(&site.scene).args(&["--version"]), user);
    is_root() && on_host() && version.run().code == 0
}

/// A tunnel of this user, who may read what it needs.
fn tunnel(site: &Site, owner: &User, target: &Target, port: u16) -> Reachback {
    let open = Permissions::from_mode(0o711);
    fs::set_permissions(site.scene.path(""), open.clone()).unwrap();
    fs::set_permissions(site.scene.path("home"), open).unwrap();
    chown(&site.key.private, Some(owner.id), Some(owner.id)).unwrap();
    let call = Call::new(&site.scene)
        .args(&["-N", "-y"])
        .identity(&site.key)
        .forward(port, target.address);
    let client = as_user(call, owner).start(user(), site.server.port);
    client.wait_up(port);
    client
}

fn status(call: Call<'_>) -> Ended {
    call.run()
}

#[test]
fn root_sees_the_tunnel_of_a_user_and_whose_it_is_and_asks_nobody_else() {
    let (site, owner) = (Site::up(), User::new(0));
    if !have_users(&site, &owner) {
        return skip("another user needs root, and has to reach the program");
    }
    let (target, port) = (Target::echo(), free_port());
    let client = tunnel(&site, &owner, &target, port);
    // Others put their sockets where a tunnel's would be. Nothing is connected to them.
    let (loose, fake, linked) = (User::new(1), User::new(2), User::new(3));
    loose.make_directory(0o777);
    let mut strangers = vec![listener(&loose.directory, loose.id)];
    DirBuilder::new()
        .mode(0o700)
        .create(&fake.directory)
        .unwrap();
    chown(&fake.directory, Some(loose.id), Some(loose.id)).unwrap();
    strangers.push(listener(&fake.directory, fake.id));
    linked.make_directory(0o700);
    let roots = site.scene.path("roots");
    fs::create_dir(&roots).unwrap();
    strangers.push(listener(&roots, 0));
    symlink(
        roots.join("x@y:22.sock"),
        linked.directory.join("x@y:22.sock"),
    )
    .unwrap();
    // It is the user's by its name, but root listens there.
    let borrowed = User::new(4);
    borrowed.make_directory(0o700);
    let at_borrowed = listener(&borrowed.directory, borrowed.id);

    let seen = status(plain(Call::new(&site.scene).args(&["status"])));
    let page = seen.stdout.join("\n");
    let first = format!(
        "{}@127.0.0.1 port {} of {}: up for ",
        user(),
        site.server.port,
        owner.id
    );
    assert!(page.contains(&first), "no {first:?} in\n{page}");
    assert!(page.contains("the target was not asked"), "{page}");
    assert_eq!(
        target.hits(),
        0,
        "root connects to nothing that a user names"
    );
    let document = status(plain(Call::new(&site.scene).args(&["status", "--json"])));
    let document = document.stdout.join("\n");
    assert!(
        document.contains(&format!("\"run_by\":\"{}\"", owner.id)),
        "{document}"
    );
    for stranger in [&loose, &fake, &linked] {
        let directory = text(&stranger.directory);
        assert!(
            !page.contains(&format!(" of {}", stranger.id)),
            "{directory}: {page}"
        );
    }
    for listener in strangers {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it was connected to");
    }
    let refused = format!("x@y:22 of {}: no answer", borrowed.id);
    assert!(page.contains(&refused), "{page}");
    drop(at_borrowed);
    assert_eq!(client.stop(), 0);
}

/// Listens at a name that a tunnel could have, for a user.
fn listener(directory: &Path, owner: u32) -> UnixListener {
    let path = directory.join("x@y:22.sock");
    let listener = UnixListener::bind(&path).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
    listener
}

#[test]
fn a_user_is_told_that_root_has_a_tunnel_which_he_cannot_ask() {
    let (site, other) = (Site::up(), User::new(5));
    if !have_users(&site, &other) {
        return skip("another user needs root, and has to reach the program");
    }
    let was_there = Path::new(SYSTEM).exists();
    let (target, port) = (Target::echo(), free_port());
    let call = site.call().forward(port, target.address);
    let client = plain(call).start(user(), site.server.port);
    client.wait_up(port);
    let name = format!("{}@127.0.0.1:{}", user(), site.server.port);
    let told = status(as_user(Call::new(&site.scene).args(&["status"]), &other));
    assert_eq!(told.code, 2, "{told:?}");
    assert_eq!(told.stdout[0], "no tunnel of this user is running");
    let line = &told.stdout[1];
    assert!(
        line.starts_with("not shown: ")
            && line.contains(&name)
            && line.ends_with("root's, ask as root"),
        "{told:?}"
    );
    let named = as_user(Call::new(&site.scene).args(&["status", &name]), &other);
    assert!(status(named).stdout[1].contains(&name));
    assert_eq!(client.stop(), 0);
    let told = status(as_user(Call::new(&site.scene).args(&["status"]), &other));
    assert!(!told.stdout.join("\n").contains(&name), "{told:?}");
    if !was_there {
        let _ = fs::remove_dir(SYSTEM);
    }
}
