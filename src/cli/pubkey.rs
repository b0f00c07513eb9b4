//! The command line of `pubkey`: which keys, and for which forwards.

use super::{Command, Options, doctor, identity_files, local, prepared};
use crate::exit::Exit;
use crate::keys;

/// `reachback pubkey [destination]`. Without a key of its own, the one of the tunnel that runs.
///
/// # Errors
/// [`crate::exit::USAGE`] for arguments that it does not take, and those of the configuration.
pub fn pubkey(options: &Options, words: &[String]) -> Result<Command, Exit> {
    if options.restrict {
        let config = match words {
            [] if options.config.forwards().is_empty() => {
                match doctor::settings_of_the_only(options) {
                    Some(settings) => settings.config,
                    None => options.read_config("")?,
                }
            }
            [] => options.read_config("")?,
            _ => prepared(options, words)?.2.config,
        };
        // Without a destination, tokens that need one are refused here.
        let forwards = local::expand_forwards(config.forwards(), &config, None)?;
        return Ok(Command::Pubkey {
            identity_files: identity_files(&config),
            options: keys::restrictions(&forwards)?,
        });
    }
    // A destination that is none is most likely a key file without -i.
    let config = match words {
        [] if options.config.identity_files().is_empty() => {
            match doctor::settings_of_the_only(options) {
                Some(settings) => settings.config,
                None => options.config.clone(),
            }
        }
        [] => options.config.clone(),
        [word, ..] if !word.contains('/') => prepared(options, words)?.2.config,
        [word, ..] => {
            return Err(Exit::usage(format!(
                "unexpected argument: {}: name the key file with -i",
                crate::logging::escaped(word)
            )));
        }
    };
    Ok(Command::Pubkey {
        identity_files: identity_files(&config),
        options: String::new(),
    })
}
