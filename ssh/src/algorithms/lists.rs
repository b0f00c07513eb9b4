//! Changing the lists of an [`Offer`] as ssh_config(5) says.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{Cipher, Kex, Mac, Offer, PublicKeyAlgorithm};
use crate::wire::names;

/// A list of algorithms that has a keyword in ssh_config(5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// `KexAlgorithms`.
    Kex,
    /// `HostKeyAlgorithms`.
    HostKey,
    /// `Ciphers`.
    Cipher,
    /// `MACs`.
    Mac,
    /// `PubkeyAcceptedAlgorithms`.
    UserKey,
}

/// Why a list cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListError {
    /// There is no name in it.
    Empty,
    /// A pattern with `!`, which ssh does not allow here either.
    Negated,
    /// Nothing that is supported here would remain.
    NothingLeft,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListError::Empty => "the list is empty",
            ListError::Negated => "a name must not begin with '!'; begin the list with '-'",
            ListError::NothingLeft => "none of these algorithms is supported",
        })
    }
}

impl List {
    /// Every list.
    pub const ALL: [List; 5] = [
        List::Kex,
        List::HostKey,
        List::Cipher,
        List::Mac,
        List::UserKey,
    ];

    /// The keyword of ssh_config(5).
    pub fn keyword(self) -> &'static str {
        match self {
            List::Kex => "KexAlgorithms",
            List::HostKey => "HostKeyAlgorithms",
            List::Cipher => "Ciphers",
            List::Mac => "MACs",
            List::UserKey => "PubkeyAcceptedAlgorithms",
        }
    }

    /// What it is a list of.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            List::Kex => "key exchange method",
            List::HostKey => "host key algorithm",
            List::Cipher => "cipher",
            List::Mac => "MAC",
            List::UserKey => "signature algorithm",
        }
    }

    /// The names of what is supported, best first. The first [`List::defaults`] of them are
    /// the list when nothing else is said.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            List::Kex => Kex::ALL.iter().map(|item| item.name()).collect(),
            List::Cipher => Cipher::ALL.iter().map(|item| item.name()).collect(),
            List::Mac => Mac::ALL.iter().map(|item| item.name()).collect(),
            List::HostKey => PublicKeyAlgorithm::ALL
                .iter()
                .map(|item| item.name())
                .collect(),
            List::UserKey => PublicKeyAlgorithm::SHA2
                .iter()
                .map(|item| item.name())
                .collect(),
        }
    }

    /// How many of [`List::names`] are the default.
    pub fn defaults(self) -> usize {
        match self {
            List::Kex => Kex::ALL.len(),
            List::Cipher => Cipher::ALL.len(),
            List::Mac => Mac::ALL.len(),
            List::HostKey | List::UserKey => PublicKeyAlgorithm::SHA2.len(),
        }
    }
}

impl Offer {
    /// Sets one list from the value of its keyword, as ssh_config(5) describes it: names with
    /// commas between them replace the default, `+` appends them to it, `-` removes them and `^`
    /// puts them first. A name may be a pattern with `*` and `?`. What the list held before does
    /// not matter.
    ///
    /// Gives the names (without wildcards) that are not supported here, for one warning; they
    /// are passed over. An error leaves the list as it was.
    ///
    /// To be called once for each keyword that the configuration has: when it is read, to report
    /// unknown names and errors with their file and line, and on the [`Offer`] that a connection
    /// is made with:
    ///
    /// ```
    /// use reachback_ssh::algorithms::{List, Offer};
    ///
    /// let mut offer = Offer::default();
    /// let unknown = offer.set(List::Cipher, "^aes256-gcm*,3des-cbc").unwrap();
    /// assert_eq!(unknown, ["3des-cbc"]);
    /// assert_eq!(offer.ciphers[0].name(), "aes256-gcm@openssh.com");
    /// ```
    pub fn set(&mut self, list: List, value: &str) -> Result<Vec<String>, ListError> {
        fn pick<T: Copy>(all: &[T], picked: &[usize]) -> Vec<T> {
            picked.iter().map(|at| all[*at]).collect()
        }
        let (picked, unknown) = select(value, &list.names(), list.defaults())?;
        match list {
            List::Kex => self.kex = pick(Kex::ALL, &picked),
            List::Cipher => self.ciphers = pick(Cipher::ALL, &picked),
            List::Mac => self.macs = pick(Mac::ALL, &picked),
            List::HostKey => self.host_keys = pick(PublicKeyAlgorithm::ALL, &picked),
            List::UserKey => self.user_keys = pick(PublicKeyAlgorithm::ALL, &picked),
        }
        Ok(unknown)
    }
}

/// Positions in `all` that `value` selects, and its names that are not there.
fn select(
    value: &str,
    all: &[&str],
    defaults: usize,
) -> Result<(Vec<usize>, Vec<String>), ListError> {
    let operator = value.bytes().next().filter(|b| b"+-^".contains(b));
    let list = value.get(usize::from(operator.is_some())..).unwrap_or("");
    let mut named = Vec::new();
    let mut unknown = Vec::new();
    let mut empty = true;
    for pattern in names(list) {
        if pattern.starts_with('!') {
            return Err(ListError::Negated);
        }
        empty = false;
        let found = named.len();
        let fits = |at: &usize| matches(pattern, all[*at]);
        named.extend((0..all.len()).filter(fits));
        if named.len() == found && !pattern.contains(['*', '?']) {
            unknown.push(pattern.to_string());
        }
    }
    if empty {
        return Err(ListError::Empty);
    }
    let default = 0..defaults;
    let mut picked: Vec<usize> = match operator {
        None => named,
        Some(b'-') => default.filter(|at| !named.contains(at)).collect(),
        Some(b'^') => named.into_iter().chain(default).collect(),
        Some(_) => default.chain(named).collect(),
    };
    let mut seen = Vec::new();
    picked.retain(|at| {
        let new = !seen.contains(at);
        seen.push(*at);
        new
    });
    if picked.is_empty() {
        return Err(ListError::NothingLeft);
    }
    Ok((picked, unknown))
}

/// `*` stands for any bytes, `?` for one (PATTERNS in ssh_config(5)).
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when the last `*` has to stand for one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n));
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    (p, n) = (after, from + 1);
                    retry = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
