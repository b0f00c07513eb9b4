//! The algorithms that a configuration leaves, and the list of those that there are.

use reachback_core::config::Config;
use reachback_ssh::algorithms::{List, Offer};

use super::Note;
use crate::exit::{self, Exit};
use crate::logging::escaped;

/// ssh's words for a list, as `-Q` takes them beside the keyword.
const QUERIES: [(&str, List); 6] = [
    ("cipher", List::Cipher),
    ("cipher-auth", List::Cipher),
    ("kex", List::Kex),
    ("key", List::HostKey),
    ("mac", List::Mac),
    ("sig", List::UserKey),
];

fn value(config: &Config, list: List) -> Option<&str> {
    match list {
        List::Kex => config.kex_algorithms(),
        List::HostKey => config.host_key_algorithms(),
        List::Cipher => config.ciphers(),
        List::Mac => config.macs(),
        List::UserKey => config.pubkey_accepted_algorithms(),
    }
}

/// What to offer; what there is none of is passed over with a warning.
///
/// # Errors
/// [`exit::CONFIG`] for a list of which nothing is left.
pub fn offer(config: &Config, notes: &mut Vec<Note>) -> Result<Offer, Exit> {
    let mut offer = Offer::default();
    for list in List::ALL {
        let Some(value) = value(config, list) else {
            continue;
        };
        let name = list.keyword();
        let unknown = offer.set(list, value).map_err(|error| {
            let value = escaped(value);
            let why = format!(
                "bad configuration: {name} {value}: {error}; reachback -Q {name} lists them"
            );
            Exit::new(exit::CONFIG, why)
        })?;
        if !unknown.is_empty() {
            let unknown = escaped(unknown.join(",")).to_string();
            let text = format!("{name}: passed over, as there are none here: {unknown}");
            let is_warning = true;
            notes.push(Note { is_warning, text });
        }
    }
    Ok(offer)
}

/// `-Q`: a name on each line, best first.
///
/// # Errors
/// [`exit::USAGE`] for a list that there is none of.
pub fn list(what: &str) -> Result<String, Exit> {
    let is = |name: &str| name.eq_ignore_ascii_case(what);
    let by_keyword = List::ALL.into_iter().find(|list| is(list.keyword()));
    let by_query = || {
        QUERIES
            .iter()
            .find(|(query, _)| is(query))
            .map(|(_, list)| *list)
    };
    let list = by_keyword.or_else(by_query).ok_or_else(|| {
        let shown = escaped(what);
        Exit::usage(format!("bad -Q: {shown}: use cipher, kex, key, mac or sig"))
    })?;
    Ok(list
        .names()
        .iter()
        .map(|name| format!("{name}\n"))
        .collect())
}
