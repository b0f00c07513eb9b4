//! The command line: flags as in ssh(1) and dbclient(1), subcommands, and the configuration
//! file that goes with them.

mod algorithms;
mod doctor;
mod enroll;
pub mod file;
mod flags;
mod help;
mod invocation;
mod local;
#[cfg(test)]
mod manual;
mod meant;
mod options;
mod orders;
mod program;
mod pubkey;
#[cfg(test)]
mod tests;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use reachback_core::config::{Config, Path, StrictHostKeyChecking};
use reachback_core::destination::{Destination, DestinationError};
use reachback_core::forward::ForwardSpec;
use reachback_core::keyword::{KEYWORDS, LogLevel, Setting};
use reachback_ssh::algorithms::Offer;

use file::Read;
pub use flags::version;
pub use help::help;
pub use invocation::{Invocation, Word};
pub use options::{Note, Options};
pub use program::Program;
pub use tools::{Checked, Local};

use crate::boot::Boot;
use crate::doctor::Visit;
use crate::enroll::Enrollment;
use crate::exit::Exit;
use crate::hostkey;
use crate::instance::lock;
use crate::instance::orders::{Order, Place, What};
use crate::instance::supervisor;
use crate::keys;
use crate::logging::Target;
use crate::status::View;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Keep a tunnel up.
    Run(Box<Settings>),
    /// What a custom script asks for: check its argument, then keep a tunnel up.
    Invoke(Box<Invocation>),
    /// Print the authorized_keys lines of these private keys, or of the default ones.
    Pubkey {
        /// Private key files.
        identity_files: Vec<PathBuf>,
        /// What stands in front of each line, with a space behind it; or nothing.
        options: String,
    },
    /// Look at every step of a tunnel.
    Doctor(Box<Visit>),
    /// Make a server accept the key.
    Enroll(Box<Enrollment>),
    /// Show what tunnels are doing.
    Status(View),
    /// Ask a running tunnel for something.
    Order(Order),
    /// Print this text.
    Print(String),
    /// Look at what a start would look at.
    Check(Vec<Checked>),
    /// List pinned host keys, or forget one.
    KnownHosts(hostkey::Order),
    /// Start what is to be up from boot on.
    Boot(Boot),
    /// Print [`help()`].
    Help,
    /// Print [`version`].
    Version,
}

/// One tunnel to keep up: command line and configuration file together.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub destination: Destination,
    /// The word for it on the command line, such as the name of a `Host` block.
    pub called: String,
    /// Every keyword's value; the command line's goes before the file's.
    pub config: Config,
    /// The forwards among them that are the operator's: the file's, and in a service the command line's.
    pub configured: Vec<ForwardSpec>,
    /// `-f`: go to the background once everything local was checked.
    pub background: bool,
    /// How long to wait for the forwards to be confirmed.
    pub wait: Option<Duration>,
    /// How many `-v`.
    pub verbosity: u8,
    /// `-q`.
    pub quiet: bool,
    /// `-y` or `StrictHostKeyChecking accept-new`: pin an unknown host key.
    pub accept_new: bool,
    /// The algorithms to offer.
    pub offer: Offer,
    /// What the person who starts it should know.
    pub notes: Vec<Note>,
    /// What the command line sets beyond destination and forwards, in the form of `-o`.
    pub options: Vec<String>,
}

impl Settings {
    /// The server's port: the destination's, else `-p` or `Port`, else 22.
    pub fn port(&self) -> u16 {
        self.destination.port.unwrap_or_else(|| self.config.port())
    }

    /// The identity files named, absolute, `~` expanded; empty when none is.
    pub fn identity_files(&self) -> Vec<PathBuf> {
        identity_files(&self.config)
    }

    /// The known_hosts files, absolute; none for keys that are kept in memory only.
    pub fn known_hosts_files(&self) -> Vec<PathBuf> {
        known_hosts_files(&self.config)
    }

    /// The forwards that are the caller's alone.
    pub fn asked(&self) -> Vec<ForwardSpec> {
        let mut all = self.config.forwards().to_vec();
        all.retain(|spec| !self.configured.contains(spec));
        all
    }

    /// Where the owner of this destination is to be found.
    pub fn place(&self) -> Place {
        Place {
            directory: orders::directory(&self.config),
            name: lock::name(&self.destination, self.port()),
            called: self.called.clone(),
        }
    }

    /// Where the log goes: `LogFile`, else syslog or standard error.
    pub fn log_target(&self) -> Target {
        match self.config.log_file() {
            Some(file) => Target::File(keys::absolute(file)),
            None => Target::choose(self.background),
        }
    }

    /// How much to log: `-q`, else `-v`, else `LogLevel`.
    pub fn log_level(&self) -> LogLevel {
        match (self.quiet, self.verbosity) {
            (true, _) => LogLevel::Quiet,
            (_, 0) => self.config.log_level(),
            (_, 1) => LogLevel::Debug1,
            (_, 2) => LogLevel::Debug2,
            _ => LogLevel::Debug3,
        }
    }
}

fn known_hosts_files(config: &Config) -> Vec<PathBuf> {
    let files = config.known_hosts_files().0;
    files.iter().map(|file| keys::absolute(file)).collect()
}

fn identity_files(config: &Config) -> Vec<PathBuf> {
    let files = config.identity_files().iter();
    // As in ssh, `none` stands for no file.
    let files = files.filter(|file| !file.eq_ignore_ascii_case("none"));
    files.map(|file| keys::absolute(file)).collect()
}

fn settings(
    options: Options,
    destination: Destination,
    called: String,
    read: Read,
) -> Result<Settings, Exit> {
    let settings = settings_without_forward(options, destination, called, read)?;
    if settings.config.forwards().is_empty() {
        return Err(Exit::usage(format!(
            "nothing to forward: {}: name a forward with -R [bind:]port:host:hostport",
            settings.destination
        )));
    }
    Ok(settings)
}

fn settings_without_forward(
    options: Options,
    destination: Destination,
    called: String,
    read: Read,
) -> Result<Settings, Exit> {
    let Read {
        mut config,
        forwards,
        mut notes,
        ..
    } = read;
    if options.is_autossh && config.exit_on_forward_failure() {
        config.keep_asking();
        notes.push(Note {
            is_warning: false,
            text:
                "ExitOnForwardFailure yes: autossh would start ssh again; instead, a forward that \
                   is refused is asked for again"
                    .to_owned(),
        });
    }
    if config.allows(&destination.user, &destination.host, &called) == Some(false) {
        return Err(invocation::not_allowed(
            &destination,
            "AllowDestinations does not name it",
        ));
    }
    let configured = match supervisor::is_of_service() {
        true => config.forwards().to_vec(),
        false => local::expand_forwards(&forwards, &config, Some((&destination, called.as_str())))?,
    };
    let offer = algorithms::offer(&config, &mut notes)?;
    apart(config.forwards(), options.config.forwards())?;
    let accept_new = config.strict_host_key_checking() == StrictHostKeyChecking::AcceptNew;
    // A tunnel that takes them over runs elsewhere.
    config.rename_files(&|name| Path::try_from(keys::absolute(name).to_str()?).ok());
    Ok(Settings {
        options: asked(&options.config, &config),
        destination,
        called,
        config,
        configured,
        background: options.background,
        wait: options.wait,
        verbosity: options.verbosity,
        quiet: options.quiet,
        accept_new,
        offer,
        notes: [options.notes, notes].concat(),
    })
}

/// Whether each forward has a listener of its own; `given` are those of the command line.
fn apart(forwards: &[ForwardSpec], given: &[ForwardSpec]) -> Result<(), Exit> {
    let mut rest = forwards;
    while let [one, others @ ..] = rest {
        rest = others;
        let Some(other) = others.iter().find(|other| one.clashes(other)) else {
            continue;
        };
        let code = match given {
            [] => crate::exit::CONFIG,
            _ => crate::exit::USAGE,
        };
        let place = one.listen.on(one.listen.port());
        return Err(Exit::new(
            code,
            format!(
                "two forwards for server {place}: {one} and {other}: give each one of its own, or \
                 leave one out"
            ),
        ));
    }
    Ok(())
}

/// What the command line itself sets, as it holds; destination and forwards apart.
fn asked(given: &Config, config: &Config) -> Vec<String> {
    use Setting::{AllowDestinations, Hostname, Port, RemoteForward, RuntimeDirectory, User};
    let place = [
        AllowDestinations,
        Hostname,
        Port,
        RemoteForward,
        RuntimeDirectory,
        User,
    ];
    let asked = KEYWORDS
        .iter()
        .filter(|keyword| given.is_set(keyword) && !place.contains(&keyword.setting));
    let lines: String = asked
        .map(|keyword| config.lines(keyword).to_string())
        .collect();
    lines.lines().map(str::to_owned).collect()
}

/// As [`parse`], with options of callers, in the form of `-o`, before everything else.
///
/// # Errors
/// As [`parse`].
pub fn parse_after(options: &[String], mut arguments: Vec<OsString>) -> Result<Command, Exit> {
    let is_subcommand = arguments.first().is_some_and(|first| first == "invoke");
    let at = usize::from(is_subcommand);
    let flags = options
        .iter()
        .flat_map(|option| ["-o".into(), option.into()]);
    arguments.splice(at..at, flags);
    parse(arguments)
}

/// Reads the command line, the program's name not among `arguments`, and the configuration
/// file it names. Nothing is started.
///
/// # Errors
/// [`crate::exit::USAGE`] for the command line; [`crate::exit::NO_INPUT`],
/// [`crate::exit::NO_PERMISSION`] and [`crate::exit::CONFIG`] for the configuration file.
pub fn parse(mut arguments: Vec<OsString>) -> Result<Command, Exit> {
    let program = Program::this();
    let named = |word: &OsString| flags::SUBCOMMANDS.iter().find(|known| word == known.name);
    let found = arguments.first().and_then(named);
    let found = found.filter(|_| program == Program::Reachback);
    let subcommand = found.map(|found| found.name);
    if subcommand.is_some() {
        arguments.remove(0);
    }
    let (options, words) = Options::parse(program, arguments.iter().cloned())?;
    if options.help {
        return Ok(found.map_or(Command::Help, |found| Command::Print(help::of(found))));
    }
    if options.version {
        return Ok(Command::Version);
    }
    if let Some(what) = &options.query {
        return algorithms::list(what).map(Command::Print);
    }
    if subcommand.is_none()
        && program == Program::Reachback
        && let Some(command) = meant::command(&options, &words)?
    {
        return Ok(command);
    }
    orders::check(&options, subcommand)?;
    match subcommand {
        Some("status") => orders::status(&options, &words),
        Some("stop") => orders::order(&options, &words, What::Stop),
        Some("reconnect") => orders::order(&options, &words, What::Reconnect),
        Some("reload") => orders::order(&options, &words, What::Reload),
        Some("renew") => orders::order(&options, &words, What::Renew),
        Some("invoke") => Ok(Command::Invoke(Box::new(Invocation { words, options }))),
        Some("doctor") => doctor::doctor(options, &words),
        Some("enroll") => enroll::enroll(&options, &words),
        Some("config") => tools::config(&options, &words),
        Some("check") => tools::check(options, &words),
        Some("known-hosts") => tools::known_hosts(&options, &words),
        Some("boot") => tools::boot(&options, &words, arguments),
        Some(_) => pubkey::pubkey(&options, &words),
        None => run(options, &words),
    }
}

fn run(options: Options, words: &[String]) -> Result<Command, Exit> {
    if let Some(what) = options.order {
        return orders::order(&options, words, what);
    }
    let mut settings = tunnel_settings(options, words)?;
    if settings.background && settings.config.exit_on_forward_failure() {
        settings.wait.get_or_insert(options::DEFAULT_WAIT);
    }
    settings.wait = settings.wait.filter(|limit| !limit.is_zero());
    Ok(Command::Run(Box::new(settings)))
}

fn tunnel_settings(options: Options, words: &[String]) -> Result<Settings, Exit> {
    let (destination, called, read) = prepared(&options, words)?;
    settings(options, destination, called, read)
}

/// As [`destination`], with the tokens in the configuration replaced.
fn prepared(options: &Options, words: &[String]) -> Result<(Destination, String, Read), Exit> {
    let (destination, given, mut read) = destination(options, words)?;
    local::expand(&mut read.config, &destination, &given)?;
    Ok((destination, given, read))
}

/// The one destination, its host as it was given, and the configuration that holds for it.
fn destination(options: &Options, words: &[String]) -> Result<(Destination, String, Read), Exit> {
    let Some((text, command)) = words.split_first() else {
        return Err(Exit::usage(
            "no destination: give user@host[:port]; see reachback --help",
        ));
    };
    // `-N` says that it is not to be run; a second destination is none.
    let is_run = !options.no_command || command.iter().any(|word| word.contains('@'));
    let command = crate::logging::escaped(command.join(" ")).to_string();
    if !command.is_empty() && is_run {
        return Err(Exit::usage(format!(
            "unexpected argument: {command}: one destination and no remote command; \
             forwards are all that is done"
        )));
    }
    let bad = |error: DestinationError| {
        let shown = crate::logging::escaped(text);
        Exit::usage(format!("bad destination: {shown}: {error}"))
    };
    // The file may name the user, and which of its blocks hold depends on the host: so the
    // host is read first, with a user that stands in.
    let host = Destination::parse_with_default(text, Some("user"))
        .map_err(bad)?
        .host;
    let mut read = options.read_all(&host, Destination::user_in(text))?;
    let local = crate::sys::host::user_name();
    let named = read.config.user();
    let stand_in = named.map_or(local.as_str(), |_| "user");
    let destination = Destination::parse_with_default(text, Some(stand_in)).map_err(bad)?;
    let mut destination = really(destination, &host, &read.config)?;
    if let Some(template) = named.filter(|_| Destination::user_in(text).is_none()) {
        destination.user = local::login("User", template, &read.config, &destination, &host)?;
    }
    if !command.is_empty() {
        let text = format!("remote command {command}: not run, as -N says");
        let is_warning = true;
        read.notes.push(Note { is_warning, text });
    }
    Ok((destination, host.to_string(), read))
}

/// The destination with its real host, where `Hostname` says that the one given is a name of a
/// `Host` block.
fn really(mut destination: Destination, given: &str, config: &Config) -> Result<Destination, Exit> {
    if let Some(host) = config.hostname(given) {
        destination.host = host.map_err(|error| {
            let message = format!("bad configuration: Hostname of {given}: {error}");
            Exit::new(crate::exit::CONFIG, message)
        })?;
    }
    Ok(destination)
}
