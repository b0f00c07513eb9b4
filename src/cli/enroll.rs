//! The command line of `enroll`.

use reachback_core::config::StrictHostKeyChecking;
use reachback_tunnel::Server;

use super::{Command, Options, algorithms, identity_files, prepared};
use crate::enroll::Enrollment;
use crate::exit::Exit;
use crate::{keys, plan, proxy};

/// `reachback enroll user@host[:port]`.
pub fn enroll(options: &Options, words: &[String]) -> Result<Command, Exit> {
    let (destination, _, read) = prepared(options, words)?;
    let (config, mut notes) = (read.config, read.notes);
    let offer = algorithms::offer(&config, &mut notes)?;
    let restrictions = match options.restrict {
        true => keys::restrictions(config.forwards())?,
        false => String::new(),
    };
    let files = config.known_hosts_files().0;
    Ok(Command::Enroll(Box::new(Enrollment {
        server: Server {
            user: destination.user.as_str().to_owned(),
            host: destination.host.as_str().to_owned(),
            port: destination.port.unwrap_or_else(|| config.port()),
        },
        proxy: proxy::of(&config)?,
        alias: config.host_key_alias().map(str::to_owned),
        identity_files: identity_files(&config),
        known_hosts_files: files.iter().map(|file| keys::absolute(file)).collect(),
        accept_new: config.strict_host_key_checking() == StrictHostKeyChecking::AcceptNew,
        options: restrictions,
        password_fd: options.password_fd,
        family: config.address_family(),
        source: plan::source(&config),
        timeout: config.connect_timeout(),
        offer,
        notes: [options.notes.clone(), notes].concat(),
    })))
}
