//! ssh_config(5)'s TOKENS: `%h` and the like in paths, `%s` for a serial number, and `${NAME}` for
//! an environment variable.

use core::fmt;

use heapless::String;

/// Longest serial number in bytes.
pub const MAX_SERIAL: usize = 64;

/// The tokens and what they stand for, as the manual has them.
pub const TOKENS: [(char, &str); 11] = [
    ('%', "a percent sign"),
    ('d', "home directory on this machine"),
    ('h', "the server's name or address, after Hostname"),
    ('i', "number of the user on this machine"),
    ('L', "name of this machine up to its first dot"),
    ('l', "name of this machine"),
    ('n', "the server as the command line names it"),
    ('p', "port of the server"),
    ('r', "login name on the server"),
    ('s', "serial number of this machine, from SerialFile"),
    ('u', "name of the user on this machine"),
];

/// What is known of the server.
#[derive(Copy, Clone, Debug)]
pub struct Remote<'a> {
    /// Name or address that is connected to.
    pub host: &'a str,
    /// Name or address as the caller gave it.
    pub given: &'a str,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: &'a str,
}

/// Gives the value of the environment variable of this name to the function; false for one that
/// is not set.
pub type Variable<'a> = &'a dyn Fn(&str, &mut dyn FnMut(&str)) -> bool;

/// What the tokens stand for.
#[derive(Copy, Clone)]
pub struct Tokens<'a> {
    /// The environment.
    pub variable: Variable<'a>,
    /// The server; none where no destination was given.
    pub remote: Option<Remote<'a>>,
    /// Home directory.
    pub home: &'a str,
    /// This machine's name.
    pub local_host: &'a str,
    /// Name of the user who runs this.
    pub local_user: &'a str,
    /// Number of that user.
    pub uid: u32,
    /// Serial number, as [`serial`] gives it.
    pub serial: Option<&'a str>,
}

/// Why a text with tokens is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Not one of [`TOKENS`]; none after the percent sign at the end.
    Unknown(Option<char>),
    /// `%s`, but no `SerialFile`.
    NoSerial,
    /// A token of the server, but no destination.
    NoDestination(char),
    /// `${` without a variable that is set.
    Variable,
    /// Longer than its place allows.
    TooLong,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(Some(c)) if !c.is_control() => {
                write!(f, "unknown token %{c}; use")?;
                for (letter, _) in TOKENS {
                    write!(f, " %{letter}")?;
                }
                Ok(())
            }
            Self::Unknown(_) => f.write_str("stray percent sign; write %% for one"),
            Self::NoSerial => f.write_str("%s has no value; name the file with SerialFile"),
            Self::NoDestination(c) => {
                write!(f, "%{c} has no value here; it needs a destination")
            }
            Self::Variable => f.write_str("a ${variable} that is not set"),
            Self::TooLong => f.write_str("too long once its tokens are replaced; shorten it"),
        }
    }
}

impl core::error::Error for TokenError {}

/// The letters after the percent signs, in their order.
fn letters(text: &str) -> impl Iterator<Item = Option<char>> {
    let mut rest = text.chars();
    core::iter::from_fn(move || rest.by_ref().find(|c| *c == '%').map(|_| rest.next()))
}

/// Whether every token in `text` is one.
///
/// # Errors
/// [`TokenError::Unknown`].
pub fn check(text: &str) -> Result<(), TokenError> {
    let known = |c: char| TOKENS.iter().any(|(letter, _)| *letter == c);
    match letters(text).find(|letter| !letter.is_some_and(known)) {
        Some(letter) => Err(TokenError::Unknown(letter)),
        None => Ok(()),
    }
}

/// Whether `text` has the token `%letter`.
pub fn uses(text: &str, letter: char) -> bool {
    letters(text).any(|found| found == Some(letter))
}

impl Tokens<'_> {
    /// `text` with its tokens replaced.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn expand<const N: usize>(&self, text: &str) -> Result<String<N>, TokenError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            let (before, from) = rest.split_at(at);
            push(&mut out, before)?;
            if let Some(named) = from.strip_prefix("${") {
                let (name, after) = named.split_once('}').ok_or(TokenError::Variable)?;
                let mut pushed = Ok(());
                let is_set = (self.variable)(name, &mut |value| pushed = push(&mut out, value));
                pushed?;
                is_set.then_some(()).ok_or(TokenError::Variable)?;
                rest = after;
                continue;
            }
            rest = &from[1..];
            if from.starts_with('$') {
                push(&mut out, "$")?;
                continue;
            }
            let letter = rest.chars().next();
            let letter = letter.ok_or(TokenError::Unknown(None))?;
            rest = &rest[letter.len_utf8()..];
            self.push_token(letter, &mut out)?;
        }
        push(&mut out, rest)?;
        Ok(out)
    }

    fn push_token<const N: usize>(
        &self,
        letter: char,
        out: &mut String<N>,
    ) -> Result<(), TokenError> {
        let remote = || self.remote.ok_or(TokenError::NoDestination(letter));
        match letter {
            '%' => push(out, "%"),
            'd' => push(out, self.home),
            'h' => push(out, remote()?.host),
            'i' => number(out, self.uid),
            'L' => push(out, self.local_host.split('.').next().unwrap_or_default()),
            'l' => push(out, self.local_host),
            'n' => push(out, remote()?.given),
            'p' => number(out, u32::from(remote()?.port)),
            'r' => push(out, remote()?.user),
            's' => push(out, self.serial.ok_or(TokenError::NoSerial)?),
            'u' => push(out, self.local_user),
            other => Err(TokenError::Unknown(Some(other))),
        }
    }
}

fn push<const N: usize>(out: &mut String<N>, text: &str) -> Result<(), TokenError> {
    out.push_str(text).map_err(|_| TokenError::TooLong)
}

fn number<const N: usize>(out: &mut String<N>, number: u32) -> Result<(), TokenError> {
    use core::fmt::Write;
    write!(out, "{number}").map_err(|_| TokenError::TooLong)
}

/// Why the content of a `SerialFile` is no serial number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SerialError {
    /// Nothing but blanks.
    Empty,
    /// More than [`MAX_SERIAL`] bytes.
    TooLong,
    /// A byte that is none of `A-Za-z0-9._-`, or none of `A-Za-z0-9` at the start.
    Byte,
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty; write the serial number into it"),
            Self::TooLong => write!(f, "it has more than {MAX_SERIAL} bytes; shorten it"),
            Self::Byte => f.write_str(
                "it is no serial number; use letters, digits and ._- that start with a letter or digit",
            ),
        }
    }
}

impl core::error::Error for SerialError {}

/// Reads the content of a `SerialFile`. Blanks around it and the NUL at the end that the device
/// tree has (`/proc/device-tree/serial-number`) do not count. It becomes part of file names, so
/// nothing but `A-Za-z0-9._-` is let through, and no dot or dash at the start.
///
/// # Errors
/// See [`SerialError`].
pub fn serial(content: &[u8]) -> Result<&str, SerialError> {
    let around = |b: u8| b.is_ascii_whitespace() || b == 0;
    let start = content.iter().position(|b| !around(*b));
    let end = content.iter().rposition(|b| !around(*b));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(SerialError::Empty);
    };
    let bytes = &content[start..=end];
    if bytes.len() > MAX_SERIAL {
        return Err(SerialError::TooLong);
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    if !bytes[0].is_ascii_alphanumeric() || !bytes.iter().all(allowed) {
        return Err(SerialError::Byte);
    }
    core::str::from_utf8(bytes).map_err(|_| SerialError::Byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::string::ToString;

    const TOKENS_HERE: Tokens<'static> = Tokens {
        variable: &|name, give| {
            if name == "HOME" {
                give("/home/me");
            }
            name == "HOME"
        },
        remote: Some(Remote {
            host: "10.0.0.7",
            given: "hub",
            port: 2222,
            user: "op",
        }),
        home: "/home/charge",
        local_host: "ctl-7.site.example",
        local_user: "charge",
        uid: 1000,
        serial: Some("SN-0042"),
    };

    fn expand(text: &str) -> Result<String<64>, TokenError> {
        TOKENS_HERE.expand(text)
    }

    #[test]
    fn each_token_stands_for_what_ssh_config_says() {
        assert_eq!(expand("%h %n %p %r").unwrap(), "10.0.0.7 hub 2222 op");
        assert_eq!(expand("%l %L").unwrap(), "ctl-7.site.example ctl-7");
        assert_eq!(expand("%u %i %d").unwrap(), "charge 1000 /home/charge");
        assert_eq!(expand("/run/%s.sock %%").unwrap(), "/run/SN-0042.sock %");
        assert_eq!(expand("${HOME}/$x%h$").unwrap(), "/home/me/$x10.0.0.7$");
        for bad in ["${NONE}", "${", "${HOME"] {
            assert_eq!(expand(bad), Err(TokenError::Variable), "{bad}");
        }
    }

    #[test]
    fn every_token_of_the_table_is_replaced_and_no_other() {
        for letter in (0x20u8..0x7f).map(char::from) {
            let known = TOKENS.iter().any(|(c, _)| *c == letter);
            let text = std::format!("%{letter}");
            assert_eq!(check(&text).is_ok(), known, "{text}");
            assert_eq!(expand(&text).is_ok(), known, "{text}");
        }
        assert_eq!(check("50%"), Err(TokenError::Unknown(None)));
        assert!(check("%%s").is_ok() && !uses("%%s", 's') && uses("%%%s", 's'));
    }

    #[test]
    fn what_is_not_known_is_an_error_and_never_an_empty_text() {
        let nothing = Tokens {
            remote: None,
            serial: None,
            ..TOKENS_HERE
        };
        let expand = |text| nothing.expand::<64>(text).unwrap_err().to_string();
        assert!(expand("/x/%s").contains("SerialFile"));
        assert!(expand("/x/%r").contains("%r has no value here"));
        let short = TOKENS_HERE.expand::<8>("/x/%s").unwrap_err();
        assert_eq!(short, TokenError::TooLong);
    }

    #[test]
    fn a_serial_number_cannot_lead_out_of_a_directory_or_split_a_word() {
        assert_eq!(serial(b"  SN-0042\n"), Ok("SN-0042"));
        assert_eq!(serial(b"00000000a1b2c3d4\0"), Ok("00000000a1b2c3d4"));
        assert_eq!(serial(b" \n\0"), Err(SerialError::Empty));
        for bad in [
            "..", ".", "-x", "a/b", "a b", "a\nb", "a%s", "a:b", "a\0b", "a\"b", "é",
        ] {
            assert_eq!(serial(bad.as_bytes()), Err(SerialError::Byte), "{bad:?}");
        }
        assert_eq!(serial(&[b'1'; 65]), Err(SerialError::TooLong));
        assert!(serial(&[b'1'; 64]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn checked_texts_expand_and_no_text_makes_it_panic(text in "(\\PC|%[a-z%]?){0,20}") {
            let whole = TOKENS_HERE.expand::<4096>(&text);
            let variable = whole == Err(TokenError::Variable);
            proptest::prop_assert!(variable || check(&text).is_ok() == whole.is_ok());
        }

        #[test]
        fn a_serial_number_is_a_plain_file_name(content in proptest::collection::vec(0u8..128, 0..80)) {
            if let Ok(text) = serial(&content) {
                proptest::prop_assert!(!text.contains(['/', '%', ' ', ':', '"']) && !text.starts_with('.'));
            }
        }
    }
}
