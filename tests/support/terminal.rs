//! A program on a terminal of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::pty;

use super::{patience, wait_until};

/// The program, and what its terminal shows.
pub struct Terminal {
    /// The terminal's other end.
    pub keyboard: File,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    child: Child,
}

impl Terminal {
    /// Starts a command with the terminal as its session's own (setsid(1)).
    pub fn start(command: &Command) -> Terminal {
        let master = pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        pty::grantpt(&master).unwrap();
        pty::unlockpt(&master).unwrap();
        let name = pty::ptsname_r(&master).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .unwrap();
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            session.env(name, value.unwrap_or_default());
        }
        if let Some(directory) = command.get_current_dir() {
            session.current_dir(directory);
        }
        let child = session
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .spawn()
            .unwrap();
        let keyboard = File::from(OwnedFd::from(master));
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, sink) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                sink.lock().unwrap().push_str(&text);
            }
        });
        Terminal {
            keyboard,
            shown,
            reader,
            child,
        }
    }

    /// Waits until it shows this.
    pub fn wait_for(&self, text: &str) {
        wait_until(text, patience(), || {
            self.shown.lock().unwrap().contains(text)
        });
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end: exit status, and all that was shown. What it left behind must have let go of
    /// the terminal.
    pub fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        wait_until("nobody has the terminal", patience(), || {
            self.reader.is_finished()
        });
        let shown = self.shown.lock().unwrap().clone();
        (code, shown)
    }
}
