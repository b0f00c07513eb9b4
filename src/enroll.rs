//! `reachback enroll`: makes a server accept the key of this controller.
//!
//! It is the one place where a password is ever used, and it ends before a tunnel begins.

mod line;
mod person;
mod talk;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use log::LevelFilter;
use reachback_core::dial::AddressFamily;
use reachback_ssh::Program;
use reachback_ssh::algorithms::Offer;
use reachback_ssh::certificate::CERTIFIED;
use reachback_ssh::hostkey::{blob_to_base64, fingerprint};
use reachback_ssh::interactive::InteractiveClient;
use reachback_ssh::userkey::UserKey;
use reachback_tunnel::{Proxy, Server, Source, Way};

use line::Outcome;
use person::Person;
use talk::Talk;

use crate::commands::print;
use crate::exit::{self, Exit};
use crate::hostkey::{HostKeys, Known, Pinned, RunPins};
use crate::logging::{self, Target, escaped};
use crate::once::{self, Broken, Connection, Heard, Route};
use crate::sys::random::{self, KernelRandom};
use crate::sys::terminal::Terminal;
use crate::sys::{clock, wipe};
use crate::sys::{file, inherit};
use crate::trust::Trust;
use crate::{cli, keys};

/// What the command printed that is looked at, bytes; no more is kept.
const PRINTED_BYTES: usize = 4096;

/// What to do.
#[derive(Debug)]
pub struct Enrollment {
    /// Whom to log in to, and as whom.
    pub server: Server,
    /// `Proxy`.
    pub proxy: Option<Proxy>,
    /// `HostKeyAlias`.
    pub alias: Option<String>,
    /// Private key files; the default ones where none is named.
    pub identity_files: Vec<PathBuf>,
    /// The pinned host keys.
    pub known_hosts_files: Vec<PathBuf>,
    /// `-y`: an unknown host key is pinned without a question.
    pub accept_new: bool,
    /// What stands in front of the line, with a space behind it; or nothing.
    pub options: String,
    /// `--password-fd`: where answers are read, a line for each.
    pub password_fd: Option<i32>,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `BindAddress` and its like.
    pub source: Source,
    /// `ConnectTimeout`.
    pub timeout: Duration,
    /// The algorithms to offer.
    pub offer: Offer,
    /// What a person should know about the configuration.
    pub notes: Vec<cli::Note>,
}

/// Why it came to nothing.
enum Failure {
    /// No connection.
    Unreachable(String),
    /// A connection, and no login or no command.
    Failed(String),
    /// Logged in, but nothing can be run there.
    NoShell(String),
    /// Nothing of the network.
    Local(Exit),
}

/// Enrolls the first key. Gives the exit status; what happened is printed.
///
/// # Errors
/// Those of [`keys::load_all`], [`HostKeys::open`] and [`print()`].
pub fn run(enrollment: &Enrollment) -> Result<u8, Exit> {
    logging::init(Target::Stderr, LevelFilter::Warn);
    logging::say(&enrollment.notes);
    let mut person = who(enrollment.password_fd)?;
    let keys = keys::load_all(&enrollment.identity_files)?;
    let (files, pins) = (&enrollment.known_hosts_files, RunPins::default());
    let known = || HostKeys::open(files, true, &pins);
    known()?;
    let Some(key) = keys.into_iter().next() else {
        return Err(Exit::usage("no identity: name a key file with -i"));
    };
    let whole = line::plain(&keys::authorized_keys_line(&key));
    let whole = format!("{}{whole}", enrollment.options);
    print(&format!("key {} {}\n", key.key_type(), key.fingerprint()))?;
    let attempt = Attempt {
        enrollment,
        keys: [key].into(),
        line: &whole,
        known: &known,
    };
    // What a password leaves behind is wiped.
    let result = wipe::what_is_freed_by(|| attempt.enroll(&mut person));
    let Server { user, host, port } = &enrollment.server;
    let say = |line: String| {
        let _ = std::io::stdout().flush();
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    match result {
        Ok(()) => Ok(0),
        Err(Failure::Local(exit)) => Err(exit),
        Err(Failure::Unreachable(why)) => {
            say(format!("[✗] Cannot reach {host} port {port}... {why}"));
            Ok(exit::UNAVAILABLE)
        }
        Err(Failure::Failed(why)) => {
            say(format!("[✗] SSH connection failed... {why}"));
            Ok(exit::NO_PERMISSION)
        }
        Err(Failure::NoShell(why)) => {
            say(format!("[✗] SSH connection failed... {why}"));
            print(&format!(
                "add this line to the authorized_keys of {user} on the server by other means:\n\
                 {whole}\n"
            ))?;
            Ok(exit::UNAVAILABLE)
        }
    }
}

/// Who answers.
fn who(password_fd: Option<i32>) -> Result<Person, Exit> {
    if let Some(fd) = password_fd {
        let file = inherit::read_end(fd);
        let file: File = file.map_err(|error| {
            let why = file::reason(&error);
            Exit::usage(format!(
                "bad --password-fd: {fd}: {why}; open it in the shell, as in 3<file"
            ))
        })?;
        return Ok(Person::Lines(file));
    }
    Ok(Terminal::open().map_or(Person::Nobody, Person::Terminal))
}

/// One enrollment.
struct Attempt<'a> {
    enrollment: &'a Enrollment,
    keys: Rc<[UserKey]>,
    line: &'a str,
    known: &'a dyn Fn() -> Result<HostKeys, Exit>,
}

impl Attempt<'_> {
    fn enroll(&self, person: &mut Person) -> Result<(), Failure> {
        let (mut connection, mut talk) = self.connect()?;
        tell("[✓] Server reachable...").map_err(Failure::Failed)?;
        let (mut asked, mut with_key) = (false, false);
        let logged_in = connection.converse(&mut talk, |talk, heard| {
            match heard {
                Heard::Identified(software) => self.suits(&software)?,
                Heard::HostKey(key_type, blob) => {
                    self.judge(key_type, &blob, person)?;
                    talk.client.accept_host_key()?;
                }
                Heard::Banner(text) => tell(&format!("the server says: {text}"))?,
                Heard::Ask(prompts) => {
                    asked = true;
                    let Server { user, host, .. } = &self.enrollment.server;
                    talk.answer(person.answer(&prompts, &format!("{user}@{host}"))?);
                }
                Heard::Authenticated(key) => {
                    with_key = key.is_some();
                    return Ok(true);
                }
                _ => {}
            }
            Ok(false)
        });
        logged_in.map_err(failed)?;
        if with_key {
            connection.end(&mut talk);
            return tell("the server accepts this key already; nothing was changed")
                .map_err(Failure::Failed);
        }
        if !asked {
            connection.end(&mut talk);
            let why = "the server lets everybody in, without a key or a password";
            return Err(Failure::Failed(why.to_owned()));
        }
        let outcome = self.install(&mut connection, &mut talk)?;
        connection.end(&mut talk);
        match outcome {
            Outcome::Added(file) => tell(&format!("added to {} on the server", escaped(file))),
            Outcome::There(file) => tell(&format!(
                "a line with this key is in {} on the server, and stays as it is",
                escaped(file)
            )),
            Outcome::Failed(why) => return Err(Failure::NoShell(escaped(why).to_string())),
            Outcome::NotRun(said) => {
                let said = match said.is_empty() {
                    true => String::new(),
                    false => format!("; it printed: {}", escaped(said)),
                };
                let why = format!("the server runs another program than a shell{said}");
                return Err(Failure::NoShell(why));
            }
        }
        .map_err(Failure::Failed)?;
        self.prove()?;
        tell("[✓] Key uploaded successfully!").map_err(Failure::Failed)
    }

    fn connect(&self) -> Result<(Connection, Talk), Failure> {
        if !random::is_ready() {
            let why = "the kernel has no randomness yet: try again in a minute";
            return Err(Failure::Local(Exit::new(exit::TEMPORARY, why)));
        }
        let enrollment = self.enrollment;
        let route = Route {
            way: Way {
                server: &enrollment.server,
                proxy: enrollment.proxy.as_ref(),
                family: enrollment.family,
                source: &enrollment.source,
            },
            timeout: enrollment.timeout,
        };
        let trust = self.trust().map_err(Failure::Local)?;
        let Server { user, host, port } = &enrollment.server;
        let pinned = trust.pinned_types(host, *port);
        let mut pinned = pinned.map_err(|ended| Failure::Failed(ended.reason))?;
        // A person is asked for a key.
        pinned.retain(|name| name != CERTIFIED);
        let connection = Connection::open(&route, trust).map_err(Failure::Unreachable)?;
        let keys = Rc::clone(&self.keys);
        let config = once::config(user, keys, &enrollment.offer, &pinned);
        let rng = Box::new(KernelRandom::new());
        let client = InteractiveClient::new(config, rng, clock::now().0);
        let client = client.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok((connection, Talk::new(client)))
    }

    fn trust(&self) -> Result<Trust, Exit> {
        let alias = self.enrollment.alias.clone();
        Ok(Trust {
            known: (self.known)()?,
            alias: alias.map(|alias| (self.enrollment.server.host.clone(), alias)),
            follows: false,
            accept_new: false,
        })
    }

    /// Dropbear reads no line that has `permitlisten`.
    fn suits(&self, software: &str) -> Result<(), String> {
        if self.enrollment.options.is_empty() || !software.starts_with("dropbear") {
            return Ok(());
        }
        Err("the server is Dropbear, which takes no line with permitlisten: call without --restrict".to_owned())
    }

    /// Says whose key it is, and asks where nothing is known.
    fn judge(&self, key_type: &str, blob: &[u8], person: &mut Person) -> Result<(), String> {
        let trust = self.trust().map_err(|exit| exit.message)?;
        let Server { host, port, .. } = &self.enrollment.server;
        let base64 = blob_to_base64(blob);
        let (name, number) = trust.name(host, *port);
        let known = trust.known.check(name, number, key_type, &base64);
        let shown = format!("{key_type} {}", fingerprint(blob));
        if known.map_err(|unusable| unusable.to_string())? != Known::Nothing {
            trust
                .judge(host, *port, key_type, blob)
                .map_err(|ended| ended.reason)?;
            return tell(&format!("host key {shown}: known"));
        }
        tell(&format!("host key {shown}: unknown"))?;
        if !self.enrollment.accept_new && !person.confirms()? {
            return Err(format!(
                "the host key {shown} is unknown: compare it with `ssh-keygen -lf` on the server, \
                 then call again with -y"
            ));
        }
        let pinned = trust.known.pin(name, number, key_type, &base64);
        match pinned.map_err(|unusable| unusable.to_string())? {
            Pinned::In(file) => tell(&format!("pinned in {}", file.display())),
            Pinned::ForThisRun(why) => tell(&format!("not pinned: {why}")),
            Pinned::Meanwhile(Known::Pinned) => Ok(()),
            Pinned::Meanwhile(_) => Err("known_hosts has another key meanwhile".to_owned()),
        }
    }

    /// Runs the command that adds the line.
    fn install(&self, connection: &mut Connection, talk: &mut Talk) -> Result<Outcome, Failure> {
        let key = blob_to_base64(self.keys[0].public_blob());
        let command = line::command(self.line, &key);
        talk.client
            .open_session_channel()
            .map_err(|error| failed(error.into()))?;
        let mut printed = Vec::new();
        let outcome = connection.converse(talk, |talk, heard| {
            match heard {
                Heard::Opened(channel) => {
                    let program = Program::Exec(&command);
                    talk.client.request_program(channel, program)?;
                    talk.client.channel_eof(channel)?;
                }
                Heard::NotOpened(_, why) => return Err(why.into()),
                Heard::Printed(channel, bytes) => {
                    let room = PRINTED_BYTES - printed.len();
                    printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    talk.client.channel_taken(channel, bytes.len())?;
                }
                Heard::Closed => return Ok(true),
                _ => {}
            }
            Ok(false)
        });
        let failed = |why| Failure::NoShell(format!("the server runs no command: {why}"));
        outcome.map_err(failed)?;
        Ok(line::outcome(&printed))
    }

    /// Logs in with the key alone.
    fn prove(&self) -> Result<(), Failure> {
        let (mut connection, mut talk) = self.connect()?;
        let proven = connection.converse(&mut talk, |talk, heard| {
            match heard {
            Heard::HostKey(key_type, blob) => {
                let trust = self.trust().map_err(|exit| exit.message)?;
                let Server { host, port, .. } = &self.enrollment.server;
                let judged = trust.judge(host, *port, key_type, &blob);
                judged.map_err(|ended| ended.reason)?;
                talk.client.accept_host_key()?;
                Ok(false)
            }
            Heard::Authenticated(Some(_)) => Ok(true),
            Heard::Authenticated(None) | Heard::Ask(_) => Err(Broken::Enough(
                "the line was added, but the server does not accept the key: look at the owner and \
                 mode of the home directory, and at AuthorizedKeysFile and the log of sshd"
                    .to_owned(),
            )),
            _ => Ok(false),
        }
        });
        proven.map_err(failed)?;
        connection.end(&mut talk);
        Ok(())
    }
}

fn failed(broken: Broken) -> Failure {
    Failure::Failed(broken.to_string())
}

fn tell(line: &str) -> Result<(), String> {
    print(&format!("{line}\n")).map_err(|exit| exit.message)
}
