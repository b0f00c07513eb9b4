//! `reachback status`: what each tunnel is doing, for people or for programs.

mod json;
mod page;
mod target;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use reachback_core::control::{Link, Snapshot};
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::ForwardState;

pub use json::Object;
pub use page::{amount, cause, short};
pub use target::{Answer, look as look_at};

use crate::commands;
use crate::exit::{self, Exit};
use crate::instance::client::{self, CallError, Owner, PATIENCE};
use crate::instance::lock;
use crate::sys::{host, terminal};

/// Pause between two looks of `--watch`.
const REFRESH_MS: u16 = 1_000;

/// Tunnels that are named of those that this user may not ask.
const HIDDEN: usize = 4;

/// Exit status: every tunnel that was asked about is up with all its forwards.
pub const UP: u8 = 0;
/// A tunnel is connecting, or some of its forwards are not confirmed.
pub const PARTLY: u8 = 1;
/// A tunnel waits for its next attempt or ends, or there is none.
pub const DOWN: u8 = 2;

/// What to show and how.
#[derive(Clone, Debug)]
pub struct View {
    /// Directory of the control sockets.
    pub directory: PathBuf,
    /// File name of the one destination asked about, and the destination in words; all if none.
    pub destination: Option<(String, String)>,
    /// For programs.
    pub json: bool,
    /// Again and again.
    pub watch: bool,
    /// A line for each tunnel.
    pub short: bool,
}

/// One tunnel as it was found, with what a look at its targets showed.
struct Tunnel {
    snapshot: Box<Snapshot>,
    /// The user whose it is, if not this one.
    of: Option<String>,
    /// For each forward.
    targets: Vec<target::Answer>,
}

/// A tunnel whose process did not say how it is.
struct Unanswered {
    /// `user@host:port`, or the shortened name of its files, and whose it is, if not this user's.
    name: String,
    /// For how long it was asked.
    waited: Duration,
    why: CallError,
}

/// What a look showed, each in the order of the tunnels' names.
#[derive(Default)]
struct Found {
    tunnels: Vec<Tunnel>,
    unanswered: Vec<Unanswered>,
}

/// Shows the status, and gives the exit status that goes with it: [`exit::UNAVAILABLE`] when an
/// owner does not answer.
///
/// # Errors
/// [`exit::OS`] when standard output takes nothing, and those of [`lock::check_for_look`].
pub fn run(view: &View) -> Result<u8, Exit> {
    lock::check_for_look(&view.directory)?;
    loop {
        let name = view.destination.as_ref().map(|(name, _)| name.as_str());
        let found = look(&view.directory, name);
        let screen = terminal::size().filter(|_| std::io::stdout().is_terminal() && !view.json);
        let columns = screen.map_or(page::WIDTH, |(columns, _)| columns);
        let mut text = match view.json {
            true => json::document(&found),
            false => text(view, &found, columns),
        };
        if let Some((_, rows)) = screen.filter(|_| view.watch) {
            if found.count() > 1 && page::rows(&text, columns) >= rows {
                // Every answer before the details of the first.
                text = found.short().join("\n") + "\n\n" + &text;
            }
            // ECMA-48: cursor home, erase to the end of the display.
            text = "\x1b[H\x1b[J".to_owned() + page::fit(&text, columns, rows);
        }
        commands::print(&text)?;
        if !view.watch {
            return Ok(found.code());
        }
        if screen.is_none() && !view.json {
            commands::print("\n")?;
        }
        // Until then, or until nobody is there to look.
        let stdout = std::io::stdout();
        let mut gone = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let _ = poll(&mut gone, REFRESH_MS);
    }
}

/// What there is to read, for lines of so many columns.
fn text(view: &View, found: &Found, columns: usize) -> String {
    let mut text = match view.short {
        true => found.short().join("\n"),
        false => found.pages(columns).join("\n"),
    };
    let hidden = lock::hidden().filter(|_| !lock::is_system(&view.directory) && !is_root());
    let hidden = hidden.filter(|(_, names)| match &view.destination {
        Some((name, _)) => names.contains(name),
        None => true,
    });
    if text.is_empty() {
        text = match (&view.destination, &hidden) {
            (Some((_, name)), _) => format!("{name}: no tunnel is running"),
            (None, None) => "no tunnel is running".to_owned(),
            (None, Some(_)) => "no tunnel of this user is running".to_owned(),
        };
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if let Some((owner, names)) = hidden {
        let owner = host::name_of(owner);
        let shown = names[..names.len().min(HIDDEN)].join(", ");
        text.push_str(&format!("not shown: {shown}: {owner}'s, ask as {owner}\n"));
    }
    text
}

/// One line for each tunnel.
///
/// # Errors
/// Those of [`lock::check_for_look`].
pub fn lines(directory: &Path) -> Result<Vec<String>, Exit> {
    lock::check_for_look(directory)?;
    let found = look(directory, None);
    let lines = found.short();
    Ok(match lines.is_empty() {
        true => vec!["no tunnel is running".to_owned()],
        false => lines,
    })
}

fn is_root() -> bool {
    host::user_id() == 0
}

/// Asks every owner at once, so that one which does not answer costs no other its place, and
/// waits [`PATIENCE`] in all.
fn look(directory: &Path, name: Option<&str>) -> Found {
    let own = |socket| Asked::new(socket, None);
    let mut asked: Vec<Asked> = match name {
        Some(name) => vec![own(lock::socket(directory, name))],
        None => lock::sockets(directory).into_iter().map(own).collect(),
    };
    if name.is_none() && lock::is_system(directory) && is_root() {
        let others = lock::others().into_iter();
        asked.extend(others.map(|(user, socket)| Asked::new(socket, Some(user))));
    }
    let start = Instant::now();
    loop {
        let waited = start.elapsed();
        asked.iter_mut().for_each(|one| one.advance(waited));
        if asked.iter().all(|one| one.outcome.is_some()) {
            break;
        }
        client::await_any(asked.iter().filter_map(|one| one.owner.as_ref()));
    }
    let mut found = Found::default();
    for one in asked {
        match one.outcome {
            Some((Ok(snapshot), _)) => found.tunnels.push(Tunnel::new(snapshot, one.of)),
            Some((Err(CallError::Nobody), _)) | None => {}
            Some((Err(why), waited)) => {
                let name = one.socket.file_stem().unwrap_or_default();
                let name = match one.of {
                    Some(user) => format!("{} of {}", name.display(), host::name_of(user)),
                    None => name.display().to_string(),
                };
                found.unanswered.push(Unanswered { name, waited, why });
            }
        }
    }
    found
}

/// One owner that is being asked.
struct Asked {
    socket: PathBuf,
    /// The user whose it is, if not this one's.
    of: Option<u32>,
    /// The connection while it is waited for.
    owner: Option<Owner>,
    /// With how long it took.
    outcome: Option<(Result<Box<Snapshot>, CallError>, Duration)>,
}

impl Asked {
    fn new(socket: PathBuf, of: Option<u32>) -> Asked {
        Asked {
            socket,
            of,
            owner: None,
            outcome: None,
        }
    }

    fn open(&self) -> Result<Owner, CallError> {
        match self.of {
            Some(user) => Owner::open_of(&self.socket, user),
            None => Owner::open(&self.socket),
        }
    }

    /// Goes on as far as it goes without waiting.
    fn advance(&mut self, waited: Duration) {
        if self.outcome.is_some() {
            return;
        }
        let left = PATIENCE.saturating_sub(waited);
        let outcome = match self.owner.take() {
            None => match self.open() {
                Ok(mut owner) => {
                    let asked = owner.ask_status();
                    self.owner = Some(owner);
                    asked.err().map(Err)
                }
                Err(error) => Some(Err(error)),
            },
            Some(mut owner) => match owner.status() {
                None if left.is_zero() => Some(Err(CallError::Silent(owner.pid))),
                None => {
                    self.owner = Some(owner);
                    None
                }
                said => said,
            },
        };
        self.outcome = match outcome {
            // It starts, serves as many as it can or met a fault: it is asked again.
            Some(Err(CallError::Busy | CallError::Gone)) => {
                self.owner = None;
                let late = left.is_zero();
                late.then_some((Err(CallError::Busy), waited))
            }
            outcome => outcome.map(|outcome| (outcome, waited)),
        };
    }
}

fn confirmed(snapshot: &Snapshot) -> usize {
    let is = |state| matches!(state, ForwardState::Confirmed { .. });
    let forwards = snapshot.forwards.iter();
    forwards.filter(|forward| is(forward.state)).count()
}

impl Found {
    fn count(&self) -> usize {
        self.tunnels.len() + self.unanswered.len()
    }

    fn pages(&self, columns: usize) -> Vec<String> {
        let tunnels = self.tunnels.iter().map(|one| page::page(one, columns));
        let unanswered = self.unanswered.iter().map(page::unanswered);
        tunnels.chain(unanswered).collect()
    }

    /// A line for each tunnel.
    fn short(&self) -> Vec<String> {
        let tunnels = self
            .tunnels
            .iter()
            .map(|tunnel| page::short(&tunnel.snapshot, tunnel.of.as_deref()));
        let unanswered = self.unanswered.iter().map(|one| {
            let page = page::unanswered(one);
            page.lines().next().unwrap_or_default().to_owned()
        });
        tunnels.chain(unanswered).collect()
    }

    fn code(&self) -> u8 {
        let unanswered = self.unanswered.iter().map(|one| match one.why {
            // That is an answer, if not in its own words.
            CallError::Restarting(_) => DOWN,
            _ => exit::UNAVAILABLE,
        });
        let codes = self.tunnels.iter().map(Tunnel::code).chain(unanswered);
        codes.max().unwrap_or(DOWN)
    }
}

impl Tunnel {
    fn new(snapshot: Box<Snapshot>, of: Option<u32>) -> Tunnel {
        let look = |spec: &ForwardSpec| match of {
            None => target::look(spec),
            // What another user names is not connected to with this one's powers.
            Some(_) => target::Answer::NotAsked,
        };
        let targets = snapshot.forwards.iter().map(|f| look(&f.spec)).collect();
        let of = of.map(host::name_of);
        Tunnel {
            snapshot,
            of,
            targets,
        }
    }

    fn code(&self) -> u8 {
        match self.snapshot.link {
            Link::Up(_) if confirmed(&self.snapshot) == self.snapshot.forwards.len() => UP,
            Link::Up(_) | Link::Connecting(_) => PARTLY,
            Link::Waiting(_) | Link::Ending => DOWN,
        }
    }

    /// The state's name in the JSON document.
    fn state(&self) -> &'static str {
        match (&self.snapshot.link, self.code()) {
            (Link::Up(_), UP) => "up",
            (Link::Up(_), _) => "partly-up",
            (Link::Connecting(_), _) => "connecting",
            (Link::Waiting(_), _) => "waiting",
            (Link::Ending, _) => "ending",
        }
    }
}
