//! ssh_config(5) text to values.
//!
//! ssh's rule holds: the first value obtained for a keyword wins, so the command line is
//! applied before the file. `RemoteForward`, `IdentityFile` and `Fallback` add up. `Host` and
//! `Match` blocks and `Include` are for [`FileParser`]. A keyword of ssh without a setting here
//! has a row in [`keyword::FOREIGN`]; what a person should know about its value is a [`Notice`].

use core::net::IpAddr;
use core::time::Duration;

use heapless::{String, Vec};

use crate::destination::{Destination, DestinationError, Fallback, HostName, MAX_USER};
use crate::destinations::MAX_FALLBACKS;
use crate::dial::AddressFamily;
use crate::forward::{ForwardError, ForwardSpec, MAX_FORWARDS};
use crate::ipqos::IpQos;
use crate::keyword::table::keyword_table;
use crate::keyword::{self, Foreign, KEYWORDS, Keyword, LogLevel, Setting, Treatment};
use crate::pattern;
use crate::tokens::Tokens;

mod error;
mod file;
mod matching;
mod notice;
mod parse;
mod show;
mod slot;
mod trust;
mod value;
mod words;
pub use error::{ConfigError, ConfigErrorKind, Excerpt, Position};
pub use file::{FileParser, Found, MAX_INCLUDE_DEPTH, Scope};
pub use notice::Notice;
pub use show::may_be_secret;
use slot::Slot;
pub use trust::{Files, StrictHostKeyChecking, Trusted};
pub use words::Text;
use words::Words;

/// Most private key files.
pub const MAX_IDENTITY_FILES: usize = 4;

/// Most forwards of scripts that are led elsewhere.
pub const MAX_SCRIPT_FORWARDS: usize = 4;

/// A file name as it was written: `~` is not expanded here.
pub type Path = String<255>;

/// A list of algorithms as it was written.
pub type Algorithms = String<512>;

/// Name of a network interface (netdevice(7), `IFNAMSIZ`).
pub type InterfaceName = String<15>;

/// Whether the kernel is to limit what a tunnel may do (`Sandbox`).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Sandbox {
    /// It has to.
    Yes,
    /// As far as it can.
    #[default]
    Try,
    /// Not at all.
    No,
}

/// What to open beside the forwards, for servers that want it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum SessionChannel {
    /// Nothing.
    #[default]
    No,
    /// A session channel (RFC 4254, 6.1), on which nothing runs.
    Yes,
    /// A session channel with a shell (RFC 4254, 6.5) that gets no input.
    Shell,
}

/// When to ask for new session keys (RFC 4253, 9; RFC 4344, 3).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct RekeyLimit {
    /// After this many bytes in one direction.
    pub bytes: u64,
    /// After this time, if any.
    pub time: Option<Duration>,
}

macro_rules! slot {
    (list $type:ty, $most:expr) => { Vec<$type, $most> };
    (own $type:ty) => { $type };
    ($how:ident $type:ty) => { Option<$type> };
}

macro_rules! accessor {
    ($name:ident $field:ident $help:literal value $type:ty) => {
        #[doc = concat!($help, ".")]
        pub fn $field(&self) -> $type {
            value::held(&self.$field, Setting::$name.keyword()).unwrap_or_default()
        }
    };
    ($name:ident $field:ident $help:literal maybe $type:ty) => {
        #[doc = concat!($help, ".")]
        pub fn $field(&self) -> Option<$type> {
            self.$field
        }
    };
    ($name:ident $field:ident $help:literal text $type:ty) => {
        #[doc = concat!($help, ".")]
        pub fn $field(&self) -> Option<&str> {
            self.$field.as_deref()
        }
    };
    ($name:ident $field:ident $help:literal list $type:ty, $most:expr) => {
        #[doc = concat!($help, ". Each once, in the order in which they came.")]
        pub fn $field(&self) -> &[$type] {
            &self.$field
        }
    };
    ($name:ident $field:ident $help:literal own $type:ty) => {};
}

macro_rules! settings {
    ($(
        $name:ident, $field:ident: $how:ident[$($type:tt)*],
        $kind:expr, $default:literal, $unit:literal, $on_reload:ident, $help:literal;
    )*) => {
        /// The settings. For each keyword the value obtained first holds, or the default.
        #[derive(Clone, Debug, Default)]
        pub struct Config {
            $($field: slot!($how $($type)*),)*
            /// The foreign keywords that were obtained; a bit each.
            foreign_seen: u128,
        }

        /// What the keywords hold. Times are whole seconds; zero means what [`KEYWORDS`] says.
        impl Config {
            $(accessor! { $name $field $help $how $($type)* })*
        }

        impl Config {
            fn slot(&self, setting: Setting) -> &dyn Slot {
                match setting {
                    $(Setting::$name => &self.$field,)*
                }
            }

            fn slot_mut(&mut self, setting: Setting) -> &mut dyn Slot {
                match setting {
                    $(Setting::$name => &mut self.$field,)*
                }
            }

            fn holds_the_same(&self, other: &Config, keyword: &'static Keyword) -> bool {
                match keyword.setting {
                    $(Setting::$name => self.$field.same(&other.$field, keyword),)*
                }
            }

            /// Whether everything that `asked` obtained for a keyword holds here, defaults included.
            pub fn holds(&self, asked: &Config, keyword: &'static Keyword) -> bool {
                match keyword.setting {
                    $(Setting::$name => self.$field.includes(&asked.$field, keyword),)*
                }
            }
        }
    };
}
keyword_table!(settings);

/// The keywords whose value is another one in `new`, in alphabetical order. What a running tunnel
/// does about each is [`Keyword::on_reload`].
pub fn changes<'c>(
    old: &'c Config,
    new: &'c Config,
) -> impl Iterator<Item = &'static Keyword> + use<'c> {
    let changed = |keyword: &&'static Keyword| !old.holds_the_same(new, keyword);
    KEYWORDS.iter().filter(changed)
}

impl Config {
    /// A configuration in which nothing has been obtained yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Obtains one value of one word, given as it is: quotes and backslashes are part of it.
    ///
    /// # Errors
    /// A value that the keyword does not take, or too many of them; without position.
    pub fn set(&mut self, setting: Setting, word: &str) -> Result<Option<Notice>, ConfigError> {
        let keyword = setting.keyword();
        let slot = self.slot_mut(setting);
        let first = !slot.is_set();
        match slot.obtain(keyword, &[word], true) {
            Ok(()) => Ok(Notice::about(setting, word).filter(|_| first)),
            Err(kind) => Notice::instead(&kind, word)
                .map(Some)
                .ok_or_else(|| ConfigError::on_command_line(kind)),
        }
    }

    /// Obtains one value in the form of `-o`: `Key=Value` or `Key Value`.
    ///
    /// # Errors
    /// An unknown keyword, a value it does not take, or too many of them; without position.
    pub fn parse_option(&mut self, option: &str) -> Result<Option<Notice>, ConfigError> {
        let mut words = Words::new(option);
        let name = words.keyword().map_or(option, |(name, _)| name);
        let named = self.named(name).map_err(ConfigError::on_command_line)?;
        self.take(named, &mut words, true)
            .map_err(|(_, kind)| ConfigError::on_command_line(kind))
    }

    /// Obtains the values of a configuration file without `Include` for the destination host
    /// `host`. [`FileParser`] reads those with.
    ///
    /// # Errors
    /// The first wrong line, with line and column. Values before it have been obtained.
    #[cfg(test)]
    fn parse_file(&mut self, text: &str, host: &str) -> Result<(), ConfigError> {
        let mut parser = FileParser::new(text, Scope::new(host));
        while parser.step(self)?.is_some() {}
        Ok(())
    }

    /// Adds a forward (`-R`). One that is there already is not added again.
    ///
    /// # Errors
    /// More than [`MAX_FORWARDS`].
    pub fn add_forward(&mut self, forward: ForwardSpec) -> Result<(), ConfigErrorKind> {
        slot::add(
            &mut self.forwards,
            Setting::RemoteForward.keyword(),
            forward,
        )
    }

    /// Takes all forwards out.
    pub fn take_forwards(&mut self) -> Vec<ForwardSpec, MAX_FORWARDS> {
        core::mem::take(&mut self.forwards)
    }

    /// What becomes of a forward that a custom script asks for: `ScriptForward` names another
    /// listener for it, with tokens that [`Config::expand`] would replace.
    pub fn of_script(&self, asked: &ForwardSpec) -> ForwardSpec {
        let mut led = self.script_forwards.iter();
        let led = led.find(|led| led.listen == asked.listen);
        led.map_or_else(|| asked.clone(), |led| led.lead(asked))
    }

    /// [`Config::of_script`] for the first `count` forwards.
    pub fn lead_script_forwards(&mut self, count: usize) {
        for (index, forward) in self.take_forwards().iter().enumerate() {
            let led = match index < count {
                true => self.of_script(forward),
                false => forward.clone(),
            };
            // There were as many before.
            let _ = self.add_forward(led);
        }
    }

    /// Sets `ExitOnForwardFailure no`, whatever was obtained.
    pub fn keep_asking(&mut self) {
        self.exit_on_forward_failure = Some(false);
    }

    /// Makes every forward without an address listen on all addresses of the server.
    pub fn listen_on_all_addresses(&mut self) {
        for forward in self.take_forwards() {
            let forward = forward.on_all_addresses().unwrap_or(forward);
            // There were as many before.
            let _ = self.add_forward(forward);
        }
    }

    /// The real name or address of a server that was given as `given`: `Hostname` with its
    /// tokens replaced. None when the file does not name it.
    ///
    /// # Errors
    /// It is no host once its tokens are replaced.
    pub fn hostname(&self, given: &str) -> Option<Result<HostName, DestinationError>> {
        let template = self.hostname.as_deref()?;
        Some(parse::hostname(template, given).ok_or(DestinationError::Host))
    }

    /// Sets what a destination decides: user, host and port.
    pub fn settle(&mut self, destination: &Destination) {
        self.user = Some(destination.user.clone());
        self.hostname = Path::try_from(destination.host.as_str()).ok();
        self.port = Some(destination.port.unwrap_or_else(|| self.port()));
    }

    /// Replaces the tokens in forwards and file names. To be done once: what it gives is no
    /// template any more. Forwards that have become the same are one.
    ///
    /// # Errors
    /// A token without a value here, and what is no path with it.
    pub fn expand(&mut self, tokens: &Tokens<'_>) -> Result<(), ConfigErrorKind> {
        KEYWORDS
            .iter()
            .try_for_each(|keyword| self.slot_mut(keyword.setting).expand(keyword, tokens))
    }

    /// Whether anything that [`Config::expand`] looks at has the token `%letter`.
    pub fn uses_token(&self, letter: char) -> bool {
        let uses = |k: &'static Keyword| self.slot(k.setting).uses_token(k, letter);
        KEYWORDS.iter().any(uses)
    }

    fn named(&self, name: &str) -> Result<Named, ConfigErrorKind> {
        if let Some(keyword) = keyword::find(name) {
            return Ok(Named::Setting(keyword));
        }
        if let Some((index, foreign)) = keyword::find_foreign(name) {
            return Ok(Named::Foreign(index, foreign));
        }
        let ignored = |list: &str| pattern::list_matches(list.split(','), name);
        match self.ignore_unknown().is_some_and(ignored) {
            true => Ok(Named::Ignored),
            false => Err(ConfigErrorKind::UnknownKeyword(Excerpt::new(name))),
        }
    }

    /// Checks the value of one keyword and, if `store`, obtains it. An error comes with the
    /// offset of the word that is wrong.
    fn take(
        &mut self,
        named: Named,
        words: &mut Words<'_>,
        store: bool,
    ) -> Result<Option<Notice>, (usize, ConfigErrorKind)> {
        match named {
            Named::Ignored => Ok(None),
            Named::Foreign(index, foreign) => self.pass_over(index, foreign, words, store),
            Named::Setting(keyword) => self.obtain(keyword, words, store),
        }
    }

    fn obtain(
        &mut self,
        keyword: &'static Keyword,
        words: &mut Words<'_>,
        store: bool,
    ) -> Result<Option<Notice>, (usize, ConfigErrorKind)> {
        let word = match words.next() {
            Some(word) => word.map_err(|offset| (offset, ConfigErrorKind::Quote))?,
            None => return Err((words.offset(), ConfigErrorKind::NoValue(keyword))),
        };
        let second = words
            .next()
            .transpose()
            .map_err(|offset| (offset, ConfigErrorKind::Quote))?;
        let mut beyond = None;
        let extra = match (&second, words.next()) {
            (Some(second), _) if keyword.kind.most_words() < 2 => Some(second.offset),
            (_, Some(Ok(third))) if keyword.setting == Setting::UserKnownHostsFile => {
                beyond = Notice::instead(&ConfigErrorKind::TooMany(keyword.name, 2), &third.text);
                None
            }
            (_, Some(Ok(third))) => Some(third.offset),
            (_, Some(Err(offset))) => Some(offset),
            _ => None,
        };
        if let Some(offset) = extra {
            return Err((offset, ConfigErrorKind::ExtraWord(keyword)));
        }
        let both = [
            &*word.text,
            second.as_ref().map_or("", |second| &second.text),
        ];
        let both = &both[..1 + usize::from(second.is_some())];
        let slot = self.slot_mut(keyword.setting);
        let first = !slot.is_set();
        match slot.obtain(keyword, both, store) {
            Ok(()) if store && first => Ok(Notice::about(keyword.setting, &word.text).or(beyond)),
            Ok(()) => Ok(None),
            // ssh takes it, and it is for somebody else.
            Err(ConfigErrorKind::Forward(ForwardError::Dynamic)) if !store => Ok(None),
            Err(kind) => Notice::instead(&kind, &word.text)
                .map(Some)
                .ok_or((word.offset, kind)),
        }
    }

    /// What becomes of a keyword without a setting. As in ssh, its first value counts.
    fn pass_over(
        &mut self,
        index: usize,
        foreign: &'static Foreign,
        words: &mut Words<'_>,
        store: bool,
    ) -> Result<Option<Notice>, (usize, ConfigErrorKind)> {
        let name = foreign.name;
        let value = match words.next() {
            Some(value) => value.map_err(|offset| (offset, ConfigErrorKind::Quote))?,
            None => return Err((words.offset(), ConfigErrorKind::NoWord(name))),
        };
        let seen = self.foreign_seen & (1 << index) != 0;
        if store {
            self.foreign_seen |= 1 << index;
        }
        if seen || notice::is_so_anyway(foreign.treatment, &value.text) {
            return Ok(None);
        }
        Ok(match foreign.treatment {
            Treatment::Same(_) => None,
            Treatment::Unless(_, what) | Treatment::Refused(_, what) if !store => {
                Some(Notice::passed_over(name, &value.text, what))
            }
            Treatment::Unless(_, what) => Some(Notice::warning(name, &value.text, what)),
            Treatment::Refused(_, why) => {
                let value = Excerpt::new(&value.text);
                return Err((0, ConfigErrorKind::Refused { name, value, why }));
            }
        })
    }
}

/// What a word at the start of a line names.
enum Named {
    Setting(&'static Keyword),
    /// With its place in [`FOREIGN`](keyword::FOREIGN).
    Foreign(usize, &'static Foreign),
    /// `IgnoreUnknown` has it.
    Ignored,
}

// One bit each in `Config::foreign_seen`.
const _: () = assert!(keyword::FOREIGN.len() <= u128::BITS as usize);

#[cfg(test)]
mod tests;
