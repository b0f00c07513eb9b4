//! Two network namespaces with a cable between them: a controller and the internet.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sched::{CloneFlags, setns};

use super::process::Process;
use super::{is_root, on_host, output, patience, skip};

/// The controller's interface.
pub const NEAR: &str = "near";
/// The other end of the cable.
pub const FAR: &str = "far";
/// The controller's address on the cable.
pub const OWN: &str = "10.77.0.2";
/// The router's address on the cable.
pub const ROUTER: &str = "10.77.0.1";
/// The server's address, reached by the default route.
pub const SERVER: &str = "10.88.0.1";

/// A network namespace; it and its interfaces go on drop.
pub struct Netns {
    name: String,
}

impl Netns {
    fn new(tag: &str) -> Self {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rb-{}-{number}-{tag}", std::process::id());
        output("ip", &["netns", "add", &name]);
        let netns = Self { name };
        netns.ip("link set lo up");
        netns
    }

    /// Runs ip(8) in it.
    pub fn ip(&self, args: &str) {
        let words: Vec<&str> = ["-n", &self.name]
            .into_iter()
            .chain(args.split(' '))
            .collect();
        output("ip", &words);
    }

    /// The hardware address of an interface.
    pub fn link_address(&self, interface: &str) -> String {
        let args = ["-n", &self.name, "-o", "link", "show", interface];
        let line = output("ip", &args);
        let (_, rest) = line.split_once("link/ether ").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    }

    /// Runs `command` in it, with what [`Netns::etc`] gave it.
    pub fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("ip");
        wrapped.args(["netns", "exec", &self.name]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        wrapped
    }

    /// Sets a value below /proc/sys/net, where the kernel has it.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = PathBuf::from("/proc/sys/net").join(name);
        self.inside(|| {
            if path.exists() {
                fs::write(&path, value).unwrap();
            }
        });
    }

    /// Runs `act` in a thread that lives in it. Sockets made there stay there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    /// Gives the programs in it this file in /etc (ip-netns(8)).
    pub fn etc(&self, file: &str, text: &str) {
        fs::create_dir_all(self.etc_directory()).unwrap();
        fs::write(self.etc_directory().join(file), text).unwrap();
    }

    fn etc_directory(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
        let _ = fs::remove_dir_all(self.etc_directory());
    }
}

/// A controller and the internet, where the server is.
pub struct Net {
    /// Has [`NEAR`] with [`OWN`] and a default route.
    pub controller: Netns,
    /// Has [`FAR`] with [`ROUTER`], and [`SERVER`].
    pub internet: Netns,
}

impl Net {
    /// Both, with the cable plugged in; `None`, with a word about it, where that is not
    /// permitted.
    pub fn new() -> Option<Self> {
        static PERMITTED: OnceLock<Result<(), String>> = OnceLock::new();
        if let Err(reason) = PERMITTED.get_or_init(permitted) {
            skip(reason);
            return None;
        }
        let net = Self {
            controller: Netns::new("c"),
            internet: Netns::new("i"),
        };
        net.plug(NEAR, FAR);
        net.internet.ip(&format!("address add {SERVER}/32 dev lo"));
        net.address();
        Some(net)
    }

    /// Gives both ends of the cable their addresses, and the controller its default route.
    fn address(&self) {
        self.internet
            .ip(&format!("address add {ROUTER}/24 dev {FAR}"));
        self.controller
            .ip(&format!("address add {OWN}/24 dev {NEAR}"));
        self.route();
    }

    /// Puts another link in the cable's place, with the same names and addresses: `program`
    /// makes the interfaces, given the name of the server's namespace as its last argument.
    pub fn replace_cable(&self, program: &Command) -> Process {
        self.controller.ip(&format!("link del {NEAR}"));
        let mut command = self.controller.wrap(program);
        let link = Process::start(command.arg(&self.internet.name));
        link.stdout.wait_for("ready", patience());
        self.address();
        link
    }

    /// Adds a cable between two new interfaces, both up.
    pub fn plug(&self, near: &str, far: &str) {
        let internet = &self.internet.name;
        self.controller.ip(&format!(
            "link add {near} type veth peer name {far} netns {internet}"
        ));
        self.internet.ip(&format!("link set {far} up"));
        self.controller.ip(&format!("link set {near} up"));
    }

    /// Gives the controller its default route, as a DHCP client does.
    pub fn route(&self) {
        self.controller
            .ip(&format!("route add default via {ROUTER}"));
    }
}

fn permitted() -> Result<(), String> {
    if !on_host() {
        return Err("its times are those of the host".to_owned());
    }
    if !is_root() {
        return Err("network namespaces take root here".to_owned());
    }
    let name = format!("rb-{}-probe", std::process::id());
    let add = Command::new("ip").args(["netns", "add", &name]).output();
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    match add {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(format!(
            "ip netns add: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )),
        Err(error) => Err(format!("ip: {error}")),
    }
}
