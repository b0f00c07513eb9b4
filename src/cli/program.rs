//! Whose command line it is: by the name that this program was called by.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::flags::{self, SUBCOMMANDS};

/// The program whose reading of flags holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// This one: ssh's and dbclient's flags together.
    #[default]
    Reachback,
    /// ssh(1).
    Ssh,
    /// autossh(1): ssh's flags, and `-M`.
    Autossh,
    /// dbclient(1).
    Dbclient,
}

impl Program {
    /// By the last part of the name it was called by, a symbolic link's.
    pub fn called(name: &OsStr) -> Self {
        match Path::new(name).file_name().and_then(OsStr::to_str) {
            Some("ssh") => Self::Ssh,
            Some("autossh") => Self::Autossh,
            Some("dbclient") => Self::Dbclient,
            _ => Self::Reachback,
        }
    }

    /// That of this process.
    pub fn this() -> Self {
        Self::called(&std::env::args_os().next().unwrap_or_default())
    }

    /// Takes autossh's `-M port[:port]` out; true if it was there. In ssh, `-M` has no argument:
    /// where the line may be of either, a number behind it tells.
    pub fn take_monitor(self, arguments: &mut Vec<OsString>) -> bool {
        if matches!(self, Self::Ssh | Self::Dbclient) {
            return false;
        }
        let is_port = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b':');
            digits && text.starts_with(|c: char| c.is_ascii_digit())
        };
        for index in 0..arguments.len() {
            let Some(letters) = self.letters(&arguments[index]) else {
                continue;
            };
            let Some(at) = letters.find('M') else {
                continue;
            };
            let (before, after) = (letters[..at].to_owned(), letters[at + 1..].to_owned());
            let next = arguments.get(index + 1).and_then(|next| next.to_str());
            let next = next.is_some_and(|next| self == Self::Autossh || is_port(next));
            if after.is_empty() && next {
                arguments.remove(index + 1);
            } else if !is_port(&after) {
                continue;
            }
            match before.is_empty() {
                true => drop(arguments.remove(index)),
                false => arguments[index] = format!("-{before}").into(),
            }
            return true;
        }
        false
    }

    /// The letters of a cluster of flags up to, and with what is behind, `-M` or the first that
    /// has an argument.
    fn letters(self, word: &OsStr) -> Option<&str> {
        let letters = word.to_str()?.strip_prefix('-')?;
        let plain = |c: char| flags::find(self, c).is_some_and(|flag| flag.argument.is_empty());
        let end = letters
            .find(|c| c == 'M' || !plain(c))
            .unwrap_or(letters.len());
        match letters[end..].starts_with('M') {
            true => Some(letters),
            false => Some(&letters[..end]),
        }
    }

    /// Whether these arguments start a tunnel in the background, where nobody sees what is wrong
    /// with them; they need not make sense.
    pub fn goes_to_background(self, arguments: &[OsString]) -> bool {
        let first = arguments.first().and_then(|first| first.to_str());
        let has_f = |word: &OsString| self.letters(word).is_some_and(|l| l.contains('f'));
        matches!(first, Some("invoke" | "boot")) && self == Self::Reachback
            || self.starts(arguments) && arguments.iter().any(has_f)
    }

    /// Whether these arguments start a tunnel.
    pub fn starts(self, arguments: &[OsString]) -> bool {
        let named = |word: &OsString| SUBCOMMANDS.iter().any(|known| word == known.name);
        match arguments.first() {
            Some(first) if self == Self::Reachback && named(first) => {
                first == "invoke" || first == "boot"
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_monitor(program: Program, line: &str) -> (String, bool) {
        let mut words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let found = program.take_monitor(&mut words);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        (words.join(" "), found)
    }

    #[test]
    fn autosshs_monitor_port_is_told_from_sshs_master_mode() {
        use Program::{Autossh, Reachback, Ssh};
        for (program, line, rest, found) in [
            (Reachback, "-M 0 -N u@h", "-N u@h", true),
            (Reachback, "-M0 -N u@h", "-N u@h", true),
            (Reachback, "-fNM 20000:7 u@h", "-fN u@h", true),
            (Reachback, "-M -N u@h", "-M -N u@h", false),
            (Reachback, "-oM 0 u@h", "-oM 0 u@h", false),
            (Reachback, "-iM 0 u@h", "-iM 0 u@h", false),
            (Autossh, "-M port -N u@h", "-N u@h", true),
            (Ssh, "-M 0 u@h", "-M 0 u@h", false),
        ] {
            assert_eq!(
                without_monitor(program, line),
                (rest.to_owned(), found),
                "{line}"
            );
        }
    }

    #[test]
    fn what_goes_to_the_background_is_seen_before_the_line_is_read() {
        let background = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            Program::Reachback.goes_to_background(&words)
        };
        for line in ["-f u@h", "-yNf -?", "invoke u", "boot", "-R x -NfR y"] {
            assert!(background(line), "{line}");
        }
        for line in ["-N u@h", "-i f", "-if", "status -f", "--fast"] {
            assert!(!background(line), "{line}");
        }
    }

    #[test]
    fn the_name_of_a_link_tells_the_program() {
        let called = |name: &str| Program::called(OsStr::new(name));
        assert_eq!(called("/usr/bin/autossh"), Program::Autossh);
        assert_eq!(called("dbclient"), Program::Dbclient);
        assert_eq!(called("/bin/reachback"), Program::Reachback);
    }
}
