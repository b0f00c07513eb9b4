//! The host keys that the server announces, from the announcement to the pins.

use log::warn;
use reachback_ssh::{Client, Error};

use crate::outside::Outside;
use crate::plan::Server;

/// What was announced, until it was proven.
#[derive(Default)]
pub struct Rotation {
    announced: Vec<Vec<u8>>,
    asked: usize,
}

impl Rotation {
    /// The server has these keys: asks it to prove those that are new, if there are any.
    pub fn announced<O: Outside>(
        &mut self,
        keys: Vec<Vec<u8>>,
        client: &mut Client,
        server: &Server,
        outside: &mut O,
    ) -> Result<(), Error> {
        let (host, port) = (&server.host, server.port);
        let Some(new) = outside.to_prove(host, port, client.host_key(), &keys) else {
            return Ok(());
        };
        let new = new.into_iter().filter_map(|at| keys.get(at).cloned());
        let new: Vec<Vec<u8>> = new.filter(|key| client.takes_host_key(key)).collect();
        if new.is_empty() {
            outside.follow_host_keys(host, port, client.host_key(), &keys, &[]);
            return Ok(());
        }
        (self.announced, self.asked) = (keys, new.len());
        client.prove_host_keys(new)
    }

    /// It proved these.
    pub fn proven<O: Outside>(
        &mut self,
        keys: &[Vec<u8>],
        login: &[u8],
        server: &Server,
        outside: &mut O,
    ) {
        let announced = std::mem::take(&mut self.announced);
        let sha1 = self.asked - keys.len();
        if sha1 > 0 {
            warn!(
                "host keys of the server that are not pinned, for it proves them with SHA-1: {sha1}"
            );
        }
        outside.follow_host_keys(&server.host, server.port, login, &announced, keys);
    }
}
