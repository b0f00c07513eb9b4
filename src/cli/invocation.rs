//! What a custom script asks for.

use std::path::PathBuf;

use reachback_core::config::{Config, StrictHostKeyChecking};
use reachback_core::destination::{Destination, DestinationError};
use reachback_core::forward::ForwardSpec;
use reachback_core::keyword::LogLevel;

use super::{Options, Settings, local, orders, really, settings};
use crate::exit::Exit;
use crate::instance::withdraw::Named;

/// What stands in the place of a script's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Take the script's forwards away.
    Off,
    /// A line of the log for each tunnel.
    Status,
    /// Connect those tunnels anew that have the script's forwards.
    Reconnect,
}

const WORDS: [(&str, Word); 4] = [
    ("off", Word::Off),
    ("stop", Word::Off),
    ("status", Word::Status),
    ("reconnect", Word::Reconnect),
];

/// What a custom script passed on. Its argument comes from OCPP, and so from anywhere.
#[derive(Debug)]
pub struct Invocation {
    pub(super) words: Vec<String>,
    pub(super) options: Options,
}

impl Invocation {
    /// The parameter for the log: the script's words with a space between them.
    pub fn parameter(&self) -> String {
        self.words.join(" ")
    }

    /// The one word, without the blanks around it, which the old scripts did not see.
    fn word(&self) -> Option<&str> {
        match self.words.as_slice() {
            [word] => Some(word.trim_matches([' ', '\t'])),
            _ => None,
        }
    }

    /// The destination.
    ///
    /// # Errors
    /// There is not exactly one word, or it is none in the strict grammar of the scripts
    /// ([`Destination::parse_script`]): the rule that it breaks.
    pub fn destination(&self) -> Result<Destination, DestinationError> {
        match self.word() {
            Some(word) => Destination::parse_script(word),
            None if self.words.is_empty() => Err(DestinationError::NoUser),
            None => Err(DestinationError::ScriptBlank),
        }
    }

    /// The settings for a destination that [`Invocation::destination`] gave. Always in the
    /// background.
    ///
    /// # Errors
    /// As [`parse`](super::parse), about the configuration file and the forwards.
    pub fn settings(self, destination: Destination) -> Result<Settings, Exit> {
        let mut options = self.options;
        options.background = true;
        let given = destination.host.to_string();
        let trusted = options.config.take_trust();
        let mut read = options.read_all(&given, Some(&destination.user))?;
        let is_open = read.config.give_trust(&mut options.config, trusted);
        let checking = read.config.strict_host_key_checking();
        if options.accept_new > 0 && !is_open && checking == StrictHostKeyChecking::Yes {
            options.note(
                true,
                "-y: not done: the configuration file says StrictHostKeyChecking yes",
            );
        }
        let mut destination = really(destination, &given, &read.config)?;
        if let Some(user) = local::script_user(&read.config, &destination, &given)? {
            destination.user = user;
        }
        let Destination { user, host, .. } = &destination;
        if read.config.allows(user, host, &given).is_none() && destination.is_near() {
            let why = "a loopback, link-local, multicast or broadcast address, and no \
                       AllowDestinations names it";
            return Err(not_allowed(&destination, why));
        }
        let own = options.config.forwards().len();
        read.config.lead_script_forwards(own);
        local::expand(&mut read.config, &destination, &given)?;
        settings(options, destination, given, read)
    }

    /// What the argument asks for if it is no destination, in any case of its letters.
    pub fn order(&self) -> Option<Word> {
        let word = self.word()?;
        let known = WORDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        known.map(|(_, order)| *order)
    }

    /// The forwards that the script names, and the directory of the control sockets.
    ///
    /// # Errors
    /// As [`parse`](super::parse), about the configuration file.
    pub fn own_forwards(self) -> Result<(Named, PathBuf), Exit> {
        let options = self.options;
        let config = options.read_config("")?;
        let directory = orders::directory(&config);
        let led = |options: &Options, config: &Config| -> Vec<ForwardSpec> {
            let asked = options.config.forwards().iter();
            asked.map(|spec| config.of_script(spec)).collect()
        };
        let named = match local::expand_forwards(&led(&options, &config), &config, None) {
            // A block of the file may lead them elsewhere for one server.
            Ok(own) if options.config_file().is_none() => Named::Alike(own),
            // `off` names no server, but each tunnel has one.
            _ => Named::ByServer(Box::new(move |server| {
                let config = options.read_config(&server.host)?;
                let own = led(&options, &config);
                if own.iter().any(|spec| spec.uses_token('n')) {
                    return Err(Exit::new(
                        crate::exit::CONFIG,
                        "off: %n in a forward: no tunnel keeps what its server was called; \
                         use %h there, and end this one with reachback stop",
                    ));
                }
                local::expand_forwards(&own, &config, Some((server, &server.host)))
            })),
        };
        Ok((named, directory))
    }

    /// How much to log of what the invocation itself has to say, before the configuration
    /// file is read: always at least info, for these lines are what an operator looks for.
    pub fn log_level(&self) -> LogLevel {
        match self.options.verbosity {
            0 => LogLevel::Info,
            _ => LogLevel::Debug1,
        }
    }
}

pub(super) fn not_allowed(destination: &Destination, why: &str) -> Exit {
    Exit::new(
        crate::exit::NO_PERMISSION,
        format!("not allowed: {destination}: {why}"),
    )
}
