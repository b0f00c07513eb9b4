//! The programs that keep a tunnel up: ours, and the two that people use today.

use std::process::Command;
use std::time::Duration;

use crate::support::process::{self, Process};
use crate::support::{client, text};
use crate::world::{PORT, World, signal, version};

/// Which program.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Program {
    /// The program under test.
    Reachback,
    /// Dropbear's client in a shell loop.
    Dbclient,
    /// autossh with OpenSSH's client.
    Autossh,
    /// OpenSSH's client alone, which ends with its connection.
    Ssh,
}

impl Program {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reachback => "reachback",
            Self::Dbclient => "dbclient",
            Self::Autossh => "autossh",
            Self::Ssh => "ssh",
        }
    }

    /// What was run, for the record.
    pub fn version(self) -> String {
        match self {
            Self::Reachback => version(&text(&client::program()), "--version"),
            Self::Dbclient => version("dbclient", "-V"),
            Self::Autossh => format!("{}, {}", version("autossh", "-V"), version("ssh", "-V")),
            Self::Ssh => version("ssh", "-V"),
        }
    }
}

/// How long a client waits for what. All programs get the same.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Silence before the first probe: `ServerAliveInterval`, `-K`.
    pub interval: Duration,
    /// Unanswered probes: `ServerAliveCountMax`; Dropbear's is 3 and fixed.
    pub count: u32,
    /// `ConnectTimeout`; Dropbear has none.
    pub connect: Duration,
    /// The pause of the shell loop.
    pub pause: Duration,
}

/// One twentieth of the defaults: 3 s instead of 60 s.
pub const SHORT: Timing = Timing {
    interval: Duration::from_secs(3),
    count: 3,
    connect: Duration::from_secs(5),
    pause: Duration::from_secs(3),
};

/// The defaults, and the documented loop.
pub const DEFAULTS: Timing = Timing {
    interval: Duration::from_secs(60),
    count: 3,
    connect: Duration::from_secs(30),
    pause: Duration::from_secs(60),
};

/// A running program; it dies on drop.
pub struct Subject {
    /// The process, or the one that restarts it.
    pub process: Process,
}

impl Subject {
    /// Starts it towards the server of `world`.
    pub fn start(world: &World, program: Program, timing: Timing) -> Self {
        let mut command = match program {
            Program::Reachback => reachback(world, timing),
            Program::Dbclient => dbclient(world, timing),
            Program::Autossh => autossh(world, timing),
            Program::Ssh => ssh(world, timing),
        };
        client::environment(&mut command, &world.scene);
        let process = Process::start(&mut world.net.controller.wrap(&command));
        Self { process }
    }

    /// It and what it started.
    pub fn pids(&self) -> Vec<i32> {
        let mut pids = process::descendants(self.process.pid());
        pids.push(self.process.pid());
        pids
    }

    /// Asks the program under test to connect anew, now.
    pub fn reconnect(&self) {
        signal("USR1", self.process.pid());
    }
}

fn destination(world: &World) -> String {
    format!("root@{}", world.host())
}

fn forward(world: &World) -> String {
    format!("{PORT}:127.0.0.1:{}", world.target.address.port())
}

fn reachback(world: &World, timing: Timing) -> Command {
    let mut command = client::command(&world.scene);
    command.args(["-N", "-y", "-i", &world.key.file()]);
    command.args(["-p", &world.port().to_string(), "-R", &forward(world)]);
    for option in alive_options(timing) {
        command.args(["-o", &option]);
    }
    command.arg(destination(world));
    command
}

fn alive_options(timing: Timing) -> [String; 3] {
    [
        format!("ServerAliveInterval={}", timing.interval.as_secs()),
        format!("ServerAliveCountMax={}", timing.count),
        format!("ConnectTimeout={}", timing.connect.as_secs()),
    ]
}

/// The documented loop. `ExitOnForwardFailure` is added: without it dbclient holds a
/// connection without a forward for good.
fn dbclient(world: &World, timing: Timing) -> Command {
    let script = format!(
        "while :; do dbclient -y -N -K {} -o ExitOnForwardFailure=yes -i {} -p {} -R {} {}; \
         sleep {}; done",
        timing.interval.as_secs(),
        world.dropbear_key.file(),
        world.port(),
        forward(world),
        destination(world),
        timing.pause.as_secs(),
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    command
}

fn ssh_arguments(world: &World, timing: Timing) -> Vec<String> {
    let mut arguments = vec!["-F".to_owned(), "none".to_owned(), "-N".to_owned()];
    let mut options = vec![
        "ExitOnForwardFailure=yes".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "BatchMode=yes".to_owned(),
        format!("UserKnownHostsFile={}", text(&world.scene.known_hosts())),
    ];
    options.extend(alive_options(timing));
    for option in options {
        arguments.extend(["-o".to_owned(), option]);
    }
    arguments.extend(["-i".to_owned(), world.key.file()]);
    arguments.extend(["-p".to_owned(), world.port().to_string()]);
    arguments.extend(["-R".to_owned(), forward(world), destination(world)]);
    arguments
}

fn ssh(world: &World, timing: Timing) -> Command {
    let mut command = Command::new("ssh");
    command.args(ssh_arguments(world, timing));
    command
}

/// As its manual advises: no monitoring port, ssh's own keepalive; GATETIME 0 lets it go on
/// when the first connection fails.
fn autossh(world: &World, timing: Timing) -> Command {
    let mut command = Command::new("autossh");
    command.env("AUTOSSH_GATETIME", "0");
    command.args(["-M", "0"]).args(ssh_arguments(world, timing));
    command
}
