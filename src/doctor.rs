//! `reachback doctor`: every step from the key to the target, in order, and what to do where one fails.
//!
//! It writes nothing, pins nothing and has no password. A tunnel that runs is asked for what it holds,
//! and is left alone.
//!
//! For its size, all texts are formats of [`Report`] with no string in between, and the steps are not
//! inlined: one large frame costs more than calls.

mod forwards;
mod local;
mod processes;
mod report;
mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::LevelFilter;
use reachback_core::cause::Cause;
use reachback_core::control::{Link, Snapshot};
use reachback_core::forward::ForwardSpec;

pub use processes::{arguments, is_tunnel};
use report::Report;

use crate::cli::Settings;
use crate::exit::{self, Exit};
use crate::instance::client::{self, CallError, Owner};
use crate::instance::lock;
use crate::keys;
use crate::logging::{self, Target};
use crate::proxy;
use crate::status::{self, Answer};
use crate::sys::clock;

/// After how long nothing new is begun: what is under way then takes 2 s more at most.
const LIMIT: Duration = Duration::from_secs(28);
/// How long look-up and connection may each take, at most.
const STEP: Duration = Duration::from_secs(8);
/// What is kept of [`LIMIT`] for what comes behind the login.
const REST: Duration = Duration::from_secs(5);
/// How long the process of a running tunnel may take to answer.
const OWNER: Duration = Duration::from_secs(2);
/// Exit status: the tunnel would be up, and something besides is not in order.
const BESIDES: u8 = 1;

/// What to look at.
#[derive(Debug)]
pub struct Visit {
    /// The destination, in the caller's words.
    pub what: String,
    /// The process whose arguments they are.
    pub process: Option<u32>,
    /// What holds for it, or what is wrong with that.
    pub settings: Result<Box<Settings>, Exit>,
    /// For programs.
    pub json: bool,
}

/// Goes through all steps; the exit status is that of the first one that fails, [`BESIDES`] or one of
/// [`crate::exit`].
///
/// # Errors
/// When standard output takes nothing.
pub fn run(visit: &Visit) -> Result<u8, Exit> {
    logging::init(Target::Stderr, LevelFilter::Error);
    let mut report = Report::new(&visit.what, visit.json);
    match &visit.settings {
        Ok(settings) => look(settings, visit.process, &mut report),
        Err(exit) => {
            report.skip(format_args!("key"), "");
            report.begin(format_args!("configuration"));
            report.exit(exit);
        }
    }
    report.end()
}

fn look(settings: &Settings, called: Option<u32>, report: &mut Report) {
    let end = clock::now() + LIMIT;
    let host = settings.destination.host.as_str();
    let owner = ask(&socket(settings));
    let running = owner.as_ref().ok().map(Box::as_ref);
    // Those of a running tunnel are of every caller.
    let forwards: Vec<&ForwardSpec> = match running {
        Some(snapshot) => snapshot.forwards.iter().map(|f| &f.spec).collect(),
        None => settings.config.forwards().iter().collect(),
    };
    let keys = keys::load_with_files(&settings.identity_files());
    local::key(keys.as_deref(), report);
    report.begin(format_args!("configuration"));
    let (user, port, count) = (&settings.destination.user, settings.port(), forwards.len());
    let text = format_args!("{user}@{host} port {port}, forwards: {count}");
    let proxy = proxy::of(&settings.config);
    match (&proxy, called) {
        (Err(exit), _) => report.exit(exit),
        (_, Some(pid)) => report.right(format_args!("{text}, as process {pid} was called")),
        (_, None) => report.right(text),
    }
    let held = running.filter(|snapshot| holds(snapshot));
    let tools = keys.and_then(|keys| Ok((keys, proxy?)));
    let pinned = server::look(settings, tools.ok(), held, &forwards, end, report);
    for spec in &forwards {
        target(spec, end, report);
    }
    local::clock(report);
    local::room(settings, pinned, report);
    report.begin(format_args!("process"));
    process(settings, &owner, report);
}

/// The socket of a tunnel by its name, or by the word for its server where that is a name of the
/// configuration's and no host's: the configuration may have changed since.
pub fn socket(settings: &Settings) -> PathBuf {
    let place = settings.place();
    let name = match place.called == settings.destination.host.as_str() {
        true => place.name,
        false => lock::find(&place.directory, place.name, &place.called),
    };
    lock::socket(&place.directory, &name)
}

/// Whether a tunnel holds its listeners, or may ask for them at any moment.
fn holds(snapshot: &Snapshot) -> bool {
    !matches!(snapshot.link, Link::Waiting(_))
}

/// Asks the process that holds the tunnel how it is.
#[inline(never)]
fn ask(socket: &Path) -> Result<Box<Snapshot>, CallError> {
    let end = Instant::now() + OWNER;
    let mut owner = Owner::open(socket)?;
    owner.ask_status()?;
    loop {
        if let Some(said) = owner.status() {
            return said;
        }
        if Instant::now() >= end {
            return Err(CallError::Silent(owner.pid));
        }
        client::await_any([&owner].into_iter());
    }
}

#[inline(never)]
fn target(spec: &ForwardSpec, end: reachback_core::time::Instant, report: &mut Report) {
    let name = format_args!("target {}", spec.target);
    if clock::now() >= end {
        return report.skip(name, ": no time is left");
    }
    report.begin(name);
    match status::look_at(spec) {
        Answer::Answers => report.right(format_args!("answers")),
        Answer::NotAsked => report.right(format_args!("was not asked: it has a name")),
        Answer::Silent(why) => report.fail_for(
            BESIDES,
            format_args!("does not answer: {why}"),
            Cause::TargetDown,
        ),
    }
}

/// Who holds this tunnel, and who else seems to.
#[inline(never)]
fn process(settings: &Settings, owner: &Result<Box<Snapshot>, CallError>, report: &mut Report) {
    let (own, pid, waits) = match owner {
        Ok(snapshot) => (
            status::short(snapshot, None),
            snapshot.pid,
            !holds(snapshot),
        ),
        Err(CallError::Nobody) => (CallError::Nobody.to_string(), 0, false),
        Err(error) => return report.exit(&Exit::new(exit::UNAVAILABLE, error.to_string())),
    };
    match processes::other(settings, pid) {
        Some((pid, user, line)) => report.fail(
            BESIDES,
            format_args!("{own}; besides: process {pid} of {user}: {line}"),
            format_args!("end it if it should not be there: kill {pid}"),
        ),
        None if waits => report.fail(
            BESIDES,
            format_args!("{own}"),
            format_args!("reachback reconnect has it try at once"),
        ),
        None => report.right(format_args!("{own}")),
    }
}
