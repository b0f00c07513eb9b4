//! Authentication: `none`, and public keys (RFC 4252 sections 5.2 and 7, RFC 8308, RFC 8332).

mod person;

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::algorithms::PublicKeyAlgorithm;
use crate::error::Denial;
use crate::limits::{AUTH_ATTEMPTS, BANNERS, SHA1_QUERY_ATTEMPTS, USER_KEYS};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::userkey::UserKey;
use crate::wire::{Put, Reader, names};
use crate::{Error, Event};
use person::Person;

const SERVICE: &[u8] = b"ssh-userauth";
const NEXT_SERVICE: &[u8] = b"ssh-connection";
const METHOD: &str = "publickey";

/// What the server's next answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The authentication service.
    Service,
    /// `none`: what the server takes, and whether it needs anything at all.
    Nothing,
    /// A key, with a signature.
    Key,
    /// Whether an RSA key would do if it signed with SHA-1, which it never does.
    Sha1,
    /// A password.
    Password,
    /// `keyboard-interactive`.
    Keyboard,
}

/// Offers each key in turn, signed at once: there is nobody to ask, so the round trip that
/// finds out whether a key would do is saved.
pub(crate) struct Auth {
    user: String,
    keys: Rc<[UserKey]>,
    /// What the keys may sign with.
    allowed: Vec<PublicKeyAlgorithm>,
    /// `server-sig-algs` (RFC 8308 section 3.1).
    server_sig_algs: Option<String>,
    asked: Asked,
    /// The key being tried and which of its algorithms.
    key: usize,
    algorithm: usize,
    /// Signatures sent.
    attempts: usize,
    /// A key was accepted and something else is wanted besides.
    partial: bool,
    banners: usize,
    /// Somebody who can be asked; none for a tunnel.
    person: Option<Person>,
}

impl Auth {
    pub(crate) fn new(user: String, keys: Rc<[UserKey]>, allowed: Vec<PublicKeyAlgorithm>) -> Auth {
        Auth {
            user,
            keys,
            allowed,
            server_sig_algs: None,
            asked: Asked::Service,
            key: 0,
            algorithm: 0,
            attempts: 0,
            partial: false,
            banners: 0,
            person: None,
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
        match (payload[0], self.asked) {
            (msg::SERVICE_ACCEPT, Asked::Service) => {
                if reader.string()? != SERVICE {
                    return Err(Error::Malformed("service name"));
                }
                self.asked = Asked::Nothing;
                transport.send(&self.request("none"))?;
                Ok(None)
            }
            (msg::USERAUTH_BANNER, _) => {
                self.banners += 1;
                if self.banners > BANNERS {
                    return Err(Error::Limit("banners"));
                }
                Ok(Some(Event::Banner(printable(reader.string()?))))
            }
            (msg::USERAUTH_FAILURE, Asked::Nothing | Asked::Key) => {
                let methods = reader.name_list()?;
                let partial = reader.boolean()?;
                self.refused(methods, partial, transport)?;
                Ok(None)
            }
            (msg::USERAUTH_INFO_REQUEST, Asked::Keyboard) => self.prompted(reader, transport),
            (msg::USERAUTH_PASSWD_CHANGEREQ, Asked::Password) => {
                Err(denied(Denial::PasswordExpired, ""))
            }
            (msg::USERAUTH_FAILURE, Asked::Password | Asked::Keyboard) => {
                let methods = reader.name_list()?;
                self.partial |= reader.boolean()?;
                self.person_refused(methods, transport)?;
                Ok(None)
            }
            (msg::USERAUTH_SUCCESS, Asked::Nothing | Asked::Password | Asked::Keyboard) => {
                Ok(Some(Event::Authenticated { key: None }))
            }
            (msg::USERAUTH_SUCCESS, Asked::Key) => Ok(Some(Event::Authenticated {
                key: Some(self.key),
            })),
            (msg::USERAUTH_PK_OK, Asked::Sha1) => Err(denied(Denial::Sha1, METHOD)),
            (msg::USERAUTH_FAILURE, Asked::Sha1) => Err(denied(Denial::Keys, reader.name_list()?)),
            (message, _) => Err(Error::Unexpected {
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
        self.partial |= partial;
        if !names(methods).any(|name| name == METHOD) {
            return self.give_up(methods, transport);
        }
        match self.asked {
            Asked::Key if partial => {
                self.key += 1;
                self.algorithm = 0;
            }
            Asked::Key => self.algorithm += 1,
            _ => {}
        }
        self.attempt(methods, transport)
    }

    fn attempt(&mut self, methods: &str, transport: &mut Transport) -> Result<(), Error> {
        let keys = Rc::clone(&self.keys);
        let (key, algorithm) = loop {
            let key = keys.get(self.key).filter(|_| self.key < USER_KEYS);
            let Some(key) = key.filter(|_| self.attempts < AUTH_ATTEMPTS) else {
                return self.give_up(methods, transport);
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
        self.asked = Asked::Key;
        // The signature covers the session identifier and the request itself (RFC 4252 section 7).
        let mut signed = Vec::new();
        signed.put_string(transport.session_id());
        let request = signed.len();
        signed.put(&self.key_request(key, algorithm, true));
        let signature = key
            .sign(algorithm, &signed)
            .map_err(|_| Error::Crypto("signing with the user key"))?;
        signed.put_string(&signature);
        transport.send(&signed[request..])
    }

    /// No key is left to try. OpenSSH up to 9.2 lists SHA-2 as a signature algorithm although its
    /// configuration may not allow it, so whether SHA-1 is the cause is asked for.
    fn give_up(&mut self, methods: &str, transport: &mut Transport) -> Result<(), Error> {
        if self.person.is_some() {
            return self.ask_person(methods, transport);
        }
        let rsa = |key: &&UserKey| key.key_type() == PublicKeyAlgorithm::RsaSha1.name();
        let keys = Rc::clone(&self.keys);
        match keys.iter().find(rsa) {
            Some(key)
                if names(methods).any(|name| name == METHOD)
                    && !self.partial
                    && self.attempts <= SHA1_QUERY_ATTEMPTS =>
            {
                self.asked = Asked::Sha1;
                transport.send(&self.key_request(key, PublicKeyAlgorithm::RsaSha1, false))
            }
            _ => Err(denied(self.denial(), methods)),
        }
    }

    fn denial(&self) -> Denial {
        match (self.partial, self.attempts) {
            (true, _) => Denial::SecondFactor,
            (false, 0) => Denial::NoPublicKey,
            (false, _) => Denial::Keys,
        }
    }

    /// A request up to the method's own fields (RFC 4252 section 5).
    fn request(&self, method: &str) -> Vec<u8> {
        let mut request = Vec::with_capacity(64 + self.user.len());
        request.put_u8(msg::USERAUTH_REQUEST);
        request.put_string(self.user.as_bytes());
        request.put_string(NEXT_SERVICE);
        request.put_string(method.as_bytes());
        request
    }

    /// A request for a key, up to its signature (RFC 4252 section 7).
    fn key_request(&self, key: &UserKey, algorithm: PublicKeyAlgorithm, signed: bool) -> Vec<u8> {
        let mut request = self.request(METHOD);
        request.put_boolean(signed);
        request.put_string(algorithm.name().as_bytes());
        request.put_string(key.public_blob());
        request
    }
}

fn denied(why: Denial, methods: &str) -> Error {
    Error::AuthRefused {
        why,
        methods: printable(methods.as_bytes()),
    }
}
