//! `reachback status`: what each tunnel is doing, for people or for programs.

mod json;
mod page;
mod target;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reachback_core::control::{Link, Snapshot};
use reachback_core::forwards::ForwardState;

use crate::commands;
use crate::control::client::{CallError, Owner};
use crate::exit::{self, Exit};
use crate::owner;

/// Pause between two looks of `--watch`.
const REFRESH: Duration = Duration::from_secs(1);

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
}

/// One tunnel as it was found, with what a look at its targets showed.
struct Tunnel {
    snapshot: Box<Snapshot>,
    /// For each forward.
    targets: Vec<target::Answer>,
}

/// Shows the status, and gives the exit status that goes with it.
///
/// # Errors
/// [`exit::UNAVAILABLE`] when an owner does not answer, [`exit::OS`] when standard output takes
/// nothing.
pub fn run(view: &View) -> Result<u8, Exit> {
    let terminal = std::io::stdout().is_terminal();
    loop {
        let tunnels = look(view)?;
        let text = match (view.json, &view.destination) {
            (true, _) => json::document(&tunnels),
            (false, destination) if tunnels.is_empty() => match destination {
                Some((_, name)) => format!("{name}: no tunnel is running\n"),
                None => "no tunnel is running\n".to_owned(),
            },
            (false, _) => {
                let pages: Vec<String> = tunnels.iter().map(page::page).collect();
                pages.join("\n")
            }
        };
        if view.watch && terminal && !view.json {
            // ECMA-48: cursor home, erase to the end of the display.
            commands::print(&format!("\x1b[H\x1b[J{text}"))?;
        } else {
            commands::print(&text)?;
        }
        if !view.watch {
            return Ok(tunnels.iter().map(Tunnel::code).max().unwrap_or(DOWN));
        }
        let _ = std::io::stdout().flush();
        std::thread::sleep(REFRESH);
    }
}

fn look(view: &View) -> Result<Vec<Tunnel>, Exit> {
    let sockets = match &view.destination {
        Some((name, _)) => vec![owner::socket(&view.directory, name)],
        None => owner::sockets(&view.directory),
    };
    let mut tunnels = Vec::new();
    for socket in sockets {
        match ask(&socket) {
            Ok(snapshot) => tunnels.push(Tunnel::new(snapshot)),
            Err(CallError::Nobody | CallError::Gone) => {}
            Err(error) => {
                let shown = socket.display();
                return Err(Exit::new(
                    exit::UNAVAILABLE,
                    format!("no status: {shown}: {error}"),
                ));
            }
        }
    }
    Ok(tunnels)
}

fn ask(socket: &Path) -> Result<Box<Snapshot>, CallError> {
    Owner::connect_patiently(socket)?.status()
}

impl Tunnel {
    fn new(snapshot: Box<Snapshot>) -> Tunnel {
        let forwards = snapshot.forwards.iter();
        let targets = forwards.map(|f| target::look(&f.spec)).collect();
        Tunnel { snapshot, targets }
    }

    fn confirmed(&self) -> usize {
        let is = |state| matches!(state, ForwardState::Confirmed { .. });
        let forwards = self.snapshot.forwards.iter();
        forwards.filter(|forward| is(forward.state)).count()
    }

    fn code(&self) -> u8 {
        match self.snapshot.link {
            Link::Up(_) if self.confirmed() == self.snapshot.forwards.len() => UP,
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
