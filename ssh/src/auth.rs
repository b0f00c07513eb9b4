//! Public-key authentication (RFC 4252 section 7, RFC 8308, RFC 8332).

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::algorithms::PublicKeyAlgorithm;
use crate::limits::{AUTH_ATTEMPTS, BANNERS, USER_KEYS};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::userkey::UserKey;
use crate::wire::{Put, Reader, names};
use crate::{Error, Event};

const SERVICE: &[u8] = b"ssh-userauth";
const NEXT_SERVICE: &[u8] = b"ssh-connection";
const METHOD: &[u8] = b"publickey";

/// Offers each key in turn, signed at once: there is nobody to ask, so the round trip that
/// finds out whether a key would do is saved.
pub(crate) struct Auth {
    user: String,
    keys: Rc<[UserKey]>,
    /// What the keys may sign with.
    allowed: Vec<PublicKeyAlgorithm>,
    /// `server-sig-algs` (RFC 8308 section 3.1).
    server_sig_algs: Option<String>,
    /// The key being tried and which of its algorithms.
    key: usize,
    algorithm: usize,
    attempts: usize,
    banners: usize,
    accepted: bool,
}

impl Auth {
    pub(crate) fn new(user: String, keys: Rc<[UserKey]>, allowed: Vec<PublicKeyAlgorithm>) -> Auth {
        Auth {
            user,
            keys,
            allowed,
            server_sig_algs: None,
            key: 0,
            algorithm: 0,
            attempts: 0,
            banners: 0,
            accepted: false,
        }
    }

    /// Asks for the authentication service (RFC 4253 section 10).
    pub(crate) fn start(&mut self, transport: &mut Transport) -> Result<(), Error> {
        let mut payload = Vec::new();
        payload.put_u8(msg::SERVICE_REQUEST);
        payload.put_string(SERVICE);
        transport.send(&payload)
    }

    /// `SSH_MSG_EXT_INFO` (RFC 8308 section 2.3); unknown extensions are ignored.
    pub(crate) fn handle_ext_info(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(&payload[1..]);
        for _ in 0..reader.u32()? {
            let name = reader.string()?;
            let value = reader.string()?;
            if name == b"server-sig-algs" {
                self.server_sig_algs = core::str::from_utf8(value).ok().map(ToString::to_string);
            }
        }
        Ok(())
    }

    pub(crate) fn handle(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        // What is sent may not be made of what lies in the buffer.
        let payload = transport.inbound.payload().to_vec();
        let mut reader = Reader::new(&payload[1..]);
        match payload[0] {
            msg::SERVICE_ACCEPT if !self.accepted => {
                if reader.string()? != SERVICE {
                    return Err(Error::Malformed("service name"));
                }
                self.accepted = true;
                self.attempt(transport, "")?;
                Ok(None)
            }
            msg::USERAUTH_BANNER => {
                self.banners += 1;
                if self.banners > BANNERS {
                    return Err(Error::Limit("banners"));
                }
                Ok(Some(Event::Banner(printable(reader.string()?))))
            }
            msg::USERAUTH_FAILURE if self.attempts > 0 => {
                let methods = reader.name_list()?;
                let partial = reader.boolean()?;
                self.refused(methods, partial, transport)?;
                Ok(None)
            }
            msg::USERAUTH_SUCCESS if self.attempts > 0 => {
                Ok(Some(Event::Authenticated { key: self.key }))
            }
            message => Err(Error::Unexpected {
                message,
                during: "authentication",
            }),
        }
    }

    /// After a failure: the next algorithm of this key, or the next key. A partial success means
    /// that this key counted and another one is wanted (RFC 4252 section 5.1).
    fn refused(
        &mut self,
        methods: &str,
        partial: bool,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        if !names(methods).any(|name| name.as_bytes() == METHOD) {
            return Err(Error::AuthRefused {
                methods: printable(methods.as_bytes()),
            });
        }
        if partial {
            self.key += 1;
            self.algorithm = 0;
        } else {
            self.algorithm += 1;
        }
        self.attempt(transport, methods)
    }

    fn attempt(&mut self, transport: &mut Transport, methods: &str) -> Result<(), Error> {
        let refused = || Error::AuthRefused {
            methods: printable(methods.as_bytes()),
        };
        let keys = Rc::clone(&self.keys);
        let (key, algorithm) = loop {
            let Some(key) = keys.get(self.key).filter(|_| self.key < USER_KEYS) else {
                return Err(refused());
            };
            let algorithms = key.algorithms(self.server_sig_algs.as_deref()).iter();
            let mut allowed = algorithms.filter(|a| self.allowed.contains(a));
            match allowed.nth(self.algorithm) {
                Some(algorithm) => break (key, *algorithm),
                None => {
                    self.key += 1;
                    self.algorithm = 0;
                }
            }
        };
        self.attempts += 1;
        if self.attempts > AUTH_ATTEMPTS {
            return Err(refused());
        }
        // The signature covers the session identifier and the request itself (RFC 4252 section 7).
        let mut signed = Vec::new();
        signed.put_string(transport.session_id());
        let request = signed.len();
        signed.put_u8(msg::USERAUTH_REQUEST);
        signed.put_string(self.user.as_bytes());
        signed.put_string(NEXT_SERVICE);
        signed.put_string(METHOD);
        signed.put_boolean(true);
        signed.put_string(algorithm.name().as_bytes());
        signed.put_string(key.public_blob());
        let signature = key
            .sign(algorithm, &signed)
            .map_err(|_| Error::Crypto("signing with the user key"))?;
        signed.put_string(&signature);
        transport.send(&signed[request..])
    }
}
