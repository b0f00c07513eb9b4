//! What the server does with each message of the client.

use reachback_ssh::wire::{Put, Reader};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::channels::{DirectOpen, with_channel};
use super::numbers::*;
use super::{Answer, Kex, Listener, Received, Server, Stall, exchange};

impl Server {
    pub(super) fn handle(&mut self, sequence: u32, payload: Vec<u8>) {
        let Some(&number) = payload.first() else {
            self.violation("an empty packet");
            return;
        };
        let transport = matches!(number, 1..=4 | KEXINIT..=49);
        if self.client_in_kex && !transport {
            self.violation(format!("message {number} between KEXINIT and NEWKEYS"));
        }
        match number {
            KEXINIT => self.handle_kexinit(&payload),
            KEX_INIT => self.handle_init(&payload),
            NEWKEYS => self.handle_newkeys(),
            DISCONNECT => self.closed = true,
            SERVICE_REQUEST if self.knobs.stall != Some(Stall::Service) => {
                let mut accept = vec![SERVICE_ACCEPT];
                accept.put_string(b"ssh-userauth");
                self.send(&accept);
            }
            USERAUTH_REQUEST => self.handle_authentication(&payload),
            GLOBAL_REQUEST => self.handle_request(&payload),
            CHANNEL_OPEN => self.handle_open(&payload),
            CHANNEL_OPEN_CONFIRMATION..=CHANNEL_FAILURE => {
                match self.channels.handle(&payload, &self.knobs) {
                    Ok(Some(answer)) => self.send(&answer),
                    Ok(None) => {}
                    Err(error) => self.violation(error),
                }
            }
            _ => {}
        }
        if self.knobs.keeps_log {
            self.log.push(Received { sequence, payload });
        }
    }

    fn handle_kexinit(&mut self, payload: &[u8]) {
        if self.client_in_kex {
            self.violation("KEXINIT twice");
        }
        self.client_in_kex = true;
        let silent = matches!(self.knobs.stall, Some(Stall::Ident | Stall::KexInit));
        if silent && matches!(self.kex, Kex::Idle) {
            self.unanswered = Some(payload.to_vec());
            return;
        }
        self.start_kex();
        match std::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::Sent { ours } => {
                let theirs = payload.to_vec();
                self.kex = Kex::Exchanging { ours, theirs };
            }
            _ => self.violation("KEXINIT out of place"),
        }
    }

    fn handle_init(&mut self, payload: &[u8]) {
        let Kex::Exchanging { ours, theirs } = std::mem::replace(&mut self.kex, Kex::Idle) else {
            self.violation("the exchange's first message out of place");
            return;
        };
        if self.knobs.stall == Some(Stall::KexReply) {
            self.kex = Kex::Exchanging { ours, theirs };
            return;
        }
        let ident = self.knobs.ident.trim_ascii_end().to_vec();
        let session_id = self.session_id.as_deref();
        let agreed = exchange::answer(&self.knobs, &ident, &theirs, &ours, payload, session_id);
        let agreed = match agreed {
            Ok(agreed) => agreed,
            Err(error) => {
                self.violation(error);
                self.closed = true;
                return;
            }
        };
        self.packets.push(&agreed.reply);
        for payload in std::mem::take(&mut self.knobs.before_newkeys) {
            self.packets.push(&payload);
        }
        if self.knobs.stall == Some(Stall::NewKeys) {
            self.kex = Kex::Exchanging { ours, theirs };
            return;
        }
        self.packets.push(&[NEWKEYS]);
        let first = self.session_id.is_none();
        let reset = self.knobs.strict && self.knobs.resets_sequence;
        self.packets.set_sealer(agreed.sealer, reset);
        self.session_id = Some(agreed.session_id);
        self.kex = Kex::AwaitingNewKeys {
            opener: Box::new(agreed.opener),
        };
        if first && self.knobs.ext_info {
            let mut info = vec![EXT_INFO];
            info.put_u32(1);
            info.put_string(b"server-sig-algs");
            info.put_string(b"ssh-ed25519,rsa-sha2-256");
            self.packets.push(&info);
        }
        for payload in std::mem::take(&mut self.knobs.after_newkeys) {
            self.packets.push(&payload);
        }
    }

    fn handle_newkeys(&mut self) {
        if self.knobs.stall == Some(Stall::NewKeys) {
            self.deaf = true;
            return;
        }
        match std::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::AwaitingNewKeys { opener } => {
                self.packets.set_opener(*opener, self.knobs.strict);
                self.client_in_kex = false;
                self.exchanges += 1;
            }
            other => {
                self.kex = other;
                self.violation("NEWKEYS out of place");
            }
        }
    }

    fn handle_authentication(&mut self, payload: &[u8]) {
        if let Some(text) = self.knobs.banner.take() {
            let mut banner = vec![USERAUTH_BANNER];
            banner.put_string(&text);
            banner.put_string(b"");
            self.send(&banner);
        }
        let mut reader = Reader::new(&payload[1..]);
        let mut next = || reader.string().unwrap_or_default();
        let (_user, _service, method) = (next(), next(), next());
        if self.knobs.stall == Some(Stall::Authentication) {
            return;
        }
        let answer = match method {
            b"none" => self.knobs.auth_none,
            b"publickey" => {
                let signed = reader.boolean() == Ok(true);
                if signed && self.signature_holds(payload) != Some(true) {
                    self.violation("a signature that does not verify");
                }
                if !signed && self.knobs.auth_query == Answer::Yes {
                    let mut ok = vec![USERAUTH_PK_OK];
                    ok.extend_from_slice(reader.rest());
                    self.send(&ok);
                    return;
                }
                if signed {
                    self.knobs.auth
                } else {
                    self.knobs.auth_query
                }
            }
            b"keyboard-interactive" => self.knobs.keyboard,
            b"password" if self.knobs.password_expired => {
                let mut change = vec![USERAUTH_PASSWD_CHANGEREQ];
                change.put_string(b"Your password has expired");
                change.put_string(b"");
                self.send(&change);
                return;
            }
            b"password" => {
                let changes = reader.boolean() != Ok(false);
                let given = reader.text().unwrap_or_default();
                match self.knobs.password == Some(given) && !changes {
                    true => Answer::Yes,
                    false => Answer::No,
                }
            }
            _ => Answer::No,
        };
        match answer {
            Answer::Yes => {
                self.authenticated = true;
                self.send(&[USERAUTH_SUCCESS]);
            }
            Answer::No => {
                let mut failure = vec![USERAUTH_FAILURE];
                failure.put_name_list(self.knobs.auth_methods.iter().copied());
                failure.put_boolean(self.knobs.partial && method == b"publickey");
                self.send(&failure);
            }
            Answer::Silence | Answer::Ask => {}
        }
    }

    /// Whether the Ed25519 signature of an authentication request holds (RFC 4252 section 7).
    fn signature_holds(&self, payload: &[u8]) -> Option<bool> {
        let mut reader = Reader::new(payload.get(1..)?);
        for _ in 0..3 {
            reader.string().ok()?;
        }
        reader.boolean().ok()?;
        reader.string().ok()?;
        let blob = reader.string().ok()?;
        let body = payload.len() - reader.rest().len();
        let mut signature = Reader::new(reader.string().ok()?);
        signature.string().ok()?;
        let signature = signature.string().ok()?;
        let mut key = Reader::new(blob);
        if key.string().ok()? != b"ssh-ed25519" {
            // Others are not looked into here.
            return Some(true);
        }
        let key = key.string().ok()?;
        let mut message = Vec::new();
        message.put_string(self.session_id.as_deref()?);
        message.extend_from_slice(&payload[..body]);
        let verified = UnparsedPublicKey::new(&ED25519, key).verify(&message, signature);
        Some(verified.is_ok())
    }

    fn handle_open(&mut self, payload: &[u8]) {
        let Some(open) = DirectOpen::parse(payload) else {
            return self.violation("a channel of a kind that the client must not open");
        };
        if open.is_session {
            let Some(prints) = self.knobs.prints else {
                return self.violation("a session channel that nobody wants");
            };
            let number = self.channels.opened_by_client(open, &self.knobs);
            self.answer_direct(number, Ok(()));
            if !self.knobs.prints_after_shell {
                self.write(number, prints);
            }
            return;
        }
        if self.knobs.direct == Answer::Silence {
            return;
        }
        let (host, port) = (open.host.clone(), open.port);
        let number = self.channels.opened_by_client(open, &self.knobs);
        match self.knobs.direct {
            Answer::Yes => self.answer_direct(number, Ok(())),
            Answer::No => self.answer_direct(number, Err(ADMINISTRATIVELY_PROHIBITED)),
            _ => self.asked_direct.push_back((number, host, port)),
        }
    }

    /// Answers a channel that the client opens; `Err` has the reason of RFC 4254 section 5.1.
    pub fn answer_direct(&mut self, number: u32, answer: Result<(), u32>) {
        let Some(channel) = self.channels.table.get_mut(&number) else {
            return;
        };
        let remote = channel.remote.unwrap_or_default();
        let message = match answer {
            Ok(()) => {
                let mut message = with_channel(CHANNEL_OPEN_CONFIRMATION, remote);
                message.put_u32(number);
                message.put_u32(self.knobs.window);
                message.put_u32(self.knobs.packet);
                message
            }
            Err(reason) => {
                channel.refused = Some(reason);
                let mut message = with_channel(CHANNEL_OPEN_FAILURE, remote);
                message.put_u32(reason);
                message.put_string(b"open failed");
                message.put_string(b"");
                message
            }
        };
        self.send(&message);
    }

    fn handle_request(&mut self, payload: &[u8]) {
        let mut reader = Reader::new(&payload[1..]);
        let (Ok(name), Ok(wants_reply)) = (reader.string(), reader.boolean()) else {
            self.violation("a global request that does not parse");
            return;
        };
        if !self.authenticated {
            self.violation("a global request before authentication");
        }
        if let (b"hostkeys-prove-00@openssh.com", Some(proves)) = (name, self.knobs.proves) {
            let keys: Vec<&[u8]> = std::iter::from_fn(|| reader.string().ok()).collect();
            let session = self.session_id.as_deref().unwrap_or_default();
            self.replies.push_back(Some(proves(session, &keys)));
            return self.flush_replies();
        }
        let bind = reader.text().unwrap_or_default().to_owned();
        let port = reader.u32().unwrap_or_default() as u16;
        let listener = Listener { bind, port };
        let answer = match name {
            b"tcpip-forward" => self.knobs.forward,
            b"cancel-tcpip-forward" => self.knobs.cancel,
            // Which sockets they are about is the scripts' matter.
            b"streamlocal-forward@openssh.com" => self.knobs.forward,
            b"cancel-streamlocal-forward@openssh.com" => self.knobs.cancel,
            b"keepalive@openssh.com" => {
                self.keepalives += 1;
                self.knobs.keepalive
            }
            _ => Answer::No,
        };
        let reply = match (name, answer) {
            (b"tcpip-forward", Answer::Ask) => {
                self.asked.push_back(listener);
                None
            }
            (_, Answer::Silence | Answer::Ask) => None,
            (b"tcpip-forward", answer) => Some(self.grant(listener, answer == Answer::Yes)),
            (b"cancel-tcpip-forward", Answer::Yes) => {
                let before = self.listeners.len();
                self.listeners.retain(|held| *held != listener);
                let found = self.listeners.len() < before;
                Some(vec![if found {
                    REQUEST_SUCCESS
                } else {
                    REQUEST_FAILURE
                }])
            }
            (b"cancel-tcpip-forward", Answer::No) => {
                self.kept.push(listener);
                Some(vec![REQUEST_FAILURE])
            }
            (_, Answer::Yes) => Some(vec![REQUEST_SUCCESS]),
            (_, Answer::No) => Some(vec![REQUEST_FAILURE]),
        };
        if wants_reply {
            self.replies.push_back(reply);
            self.flush_replies();
        }
    }

    /// Replies go out in the order of the requests, and wait for one another.
    pub(super) fn flush_replies(&mut self) {
        while let Some(Some(_)) = self.replies.front() {
            if let Some(Some(reply)) = self.replies.pop_front() {
                self.send(&reply);
            }
        }
    }

    pub(super) fn grant(&mut self, mut listener: Listener, granted: bool) -> Vec<u8> {
        if !granted {
            return vec![REQUEST_FAILURE];
        }
        let mut reply = vec![REQUEST_SUCCESS];
        let chosen = listener.port == 0;
        if chosen {
            listener.port = self.knobs.first_free_port + self.listeners.len() as u16;
        }
        if chosen || self.knobs.echo_port {
            reply.put_u32(u32::from(listener.port));
        }
        self.listeners.push(listener);
        reply
    }
}
