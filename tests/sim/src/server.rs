//! An SSH server without sockets, clock or threads, which does what its [`Knobs`] say and
//! writes down what the client does wrong.
//!
//! Bytes in ([`Server::handle_input`]), bytes out ([`Server::take_output`]). It speaks
//! curve25519-sha256, Ed25519 and chacha20-poly1305, with code of its own but for the cipher
//! and the field types, so a mistake of the client is not made twice. The client is judged by
//! [`Server::violations`]: order of messages while keys are exchanged, windows, packet sizes,
//! ends of channels.

use std::collections::VecDeque;

use reachback_ssh::cipher::Opener;
use reachback_ssh::wire::{Put, Reader};
use ring::signature::{ED25519, UnparsedPublicKey};

mod channels;
mod exchange;
mod knobs;
pub mod numbers;
mod packets;

pub use channels::{Channel, open_message, with_channel};
pub use exchange::{host_key, host_key_blob};
pub use knobs::{Answer, Knobs, Stall, client_ident};

use channels::Channels;
use numbers::*;
use packets::Packets;

/// Sealed and untaken bytes from which on no channel data is added.
const OUTPUT_HIGH: usize = 64 * 1024;

/// A payload of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its sequence number.
    pub sequence: u32,
    /// The message.
    pub payload: Vec<u8>,
}

/// A listener that the client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address, in the client's words.
    pub bind: String,
    /// The port it listens on.
    pub port: u16,
}

enum Kex {
    Idle,
    Sent { ours: Vec<u8> },
    Exchanging { ours: Vec<u8>, theirs: Vec<u8> },
    AwaitingNewKeys { opener: Box<Opener> },
}

/// One connection, from the server's side.
pub struct Server {
    /// Its behaviour; may be turned at any time.
    pub knobs: Knobs,
    /// What the client did wrong.
    pub violations: Vec<String>,
    /// Everything above the identification that came, while [`Knobs::keeps_log`].
    pub log: Vec<Received>,
    /// Listeners it granted.
    pub listeners: Vec<Listener>,
    /// Forward requests that [`Answer::Ask`] left to the driver, oldest first.
    pub asked: VecDeque<Listener>,
    /// Keepalives that came.
    pub keepalives: usize,
    /// The user is logged in.
    pub authenticated: bool,
    /// The connection is over: `SSH_MSG_DISCONNECT` went or came.
    pub closed: bool,
    /// Exchanges of keys that are over on both sides.
    pub exchanges: usize,
    packets: Packets,
    client_ident: Option<Vec<u8>>,
    kex: Kex,
    session_id: Option<Vec<u8>>,
    /// Between the client's KEXINIT and its NEWKEYS.
    client_in_kex: bool,
    held: VecDeque<Vec<u8>>,
    channels: Channels,
    /// Replies in the order of the requests; `None` until there is one.
    replies: VecDeque<Option<Vec<u8>>>,
    cookies: u8,
    /// The client's KEXINIT, while [`Stall::KexInit`] keeps ours back.
    unanswered: Option<Vec<u8>>,
    /// [`Stall::NewKeys`]: what follows is sealed with keys that were never taken into use.
    deaf: bool,
}

impl Server {
    /// A server that has just accepted a connection.
    pub fn new(knobs: Knobs) -> Server {
        let mut packets = Packets::default();
        packets.output.extend_from_slice(&knobs.pre_ident);
        if knobs.stall != Some(Stall::Ident) {
            packets.output.extend_from_slice(&knobs.ident);
        }
        Server {
            knobs,
            violations: Vec::new(),
            log: Vec::new(),
            listeners: Vec::new(),
            asked: VecDeque::new(),
            keepalives: 0,
            authenticated: false,
            closed: false,
            exchanges: 0,
            packets,
            client_ident: None,
            kex: Kex::Idle,
            session_id: None,
            client_in_kex: false,
            held: VecDeque::new(),
            channels: Channels::default(),
            replies: VecDeque::new(),
            cookies: 0,
            unanswered: None,
            deaf: false,
        }
    }

    /// Bytes of the client.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if self.deaf {
            return;
        }
        self.packets.feed(bytes);
        if self.client_ident.is_none() {
            let Some(line) = self.packets.line() else {
                return;
            };
            self.client_ident = Some(line);
            let silent = matches!(self.knobs.stall, Some(Stall::Ident | Stall::KexInit));
            if !silent {
                self.start_kex();
            }
        }
        while !self.closed && !self.deaf {
            match self.packets.next() {
                Ok(Some((sequence, payload))) => self.handle(sequence, payload),
                Ok(None) => break,
                Err(error) => {
                    self.violation(error);
                    self.closed = true;
                }
            }
        }
        self.pump();
    }

    /// What goes to the client, all of it.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.pump();
        std::mem::take(&mut self.packets.output)
    }

    /// True when there is something for the client.
    pub fn has_output(&mut self) -> bool {
        self.pump();
        !self.packets.output.is_empty()
    }

    /// Sends a payload as soon as no exchange of keys forbids it.
    pub fn send(&mut self, payload: &[u8]) {
        self.held.push_back(payload.to_vec());
        self.pump();
    }

    /// Sends a payload at once, whether or not it may be sent.
    pub fn send_now(&mut self, payload: &[u8]) {
        self.packets.push(payload);
    }

    /// Sends bytes that are no packet.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.packets.output.extend_from_slice(bytes);
    }

    /// Seals a packet with these length fields.
    pub fn send_crafted(&mut self, length: u32, padding: u8, body: &[u8]) {
        self.packets.push_crafted(length, padding, body);
    }

    /// The sequence number of the packet that is sent next.
    pub fn next_sequence(&self) -> u32 {
        self.packets.sequence_out
    }

    /// Begins an exchange of keys, or goes on with one that [`Stall::KexInit`] held up.
    pub fn start_kex(&mut self) {
        if !matches!(self.kex, Kex::Idle) {
            return;
        }
        for payload in std::mem::take(&mut self.knobs.before_kexinit) {
            self.packets.push(&payload);
        }
        self.cookies += 1;
        let first = self.session_id.is_none();
        let ours = exchange::kexinit(&self.knobs, first, [self.cookies; 16]);
        self.packets.push(&ours);
        if self.knobs.wrong_guess {
            self.packets.push(&[KEX_REPLY, 1, 2, 3]);
        }
        for payload in std::mem::take(&mut self.knobs.after_kexinit) {
            self.packets.push(&payload);
        }
        self.kex = match self.unanswered.take() {
            Some(theirs) => Kex::Exchanging { ours, theirs },
            None => Kex::Sent { ours },
        };
    }

    /// Ends the connection with a reason (RFC 4253 section 11.1).
    pub fn disconnect(&mut self, reason: u32, text: &str) {
        let mut payload = vec![DISCONNECT];
        payload.put_u32(reason);
        payload.put_string(text.as_bytes());
        payload.put_string(b"");
        self.packets.push(&payload);
        self.closed = true;
    }

    /// Somebody connected to a listener: opens a channel, and gives its number.
    pub fn open(&mut self, bind: &str, port: u32) -> u32 {
        let (number, message) = self.channels.open(&self.knobs, bind, port);
        self.send(&message);
        number
    }

    /// Data for a channel, sent as the client's window allows.
    pub fn write(&mut self, number: u32, data: &[u8]) {
        self.channels.write(number, data);
        self.pump();
    }

    /// No more data on a channel, once what was written has gone.
    pub fn finish(&mut self, number: u32) {
        self.channels.finish(number);
        self.pump();
    }

    /// Closes a channel, once what was written has gone.
    pub fn close(&mut self, number: u32) {
        self.channels.close(number);
        self.pump();
    }

    /// A channel.
    pub fn channel(&self, number: u32) -> &Channel {
        &self.channels.table[&number]
    }

    /// Forgets channels that are over.
    pub fn tidy(&mut self) {
        self.channels.table.retain(|_, channel| !channel.is_over());
    }

    /// Channels that are not over.
    pub fn open_channels(&self) -> usize {
        let open = |channel: &&Channel| !channel.is_over();
        self.channels.table.values().filter(open).count()
    }

    /// Answers the oldest request of [`Server::asked`].
    pub fn answer_forward(&mut self, granted: bool) {
        if let Some(listener) = self.asked.pop_front() {
            let reply = self.grant(listener, granted);
            if let Some(slot) = self.replies.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(reply);
            }
            self.flush_replies();
        }
    }

    /// Payloads of one kind that came.
    pub fn received(&self, number: u8) -> Vec<&[u8]> {
        self.log
            .iter()
            .map(|received| &received.payload[..])
            .filter(|payload| payload[0] == number)
            .collect()
    }

    fn violation(&mut self, text: impl Into<String>) {
        // Enough to see what is wrong; a broken client must not fill the memory.
        if self.violations.len() < 16 {
            self.violations.push(text.into());
        }
    }

    fn may_send(&self) -> bool {
        matches!(self.kex, Kex::Idle | Kex::AwaitingNewKeys { .. }) && self.session_id.is_some()
    }

    fn pump(&mut self) {
        while self.may_send() && !self.closed {
            if let Some(payload) = self.held.pop_front() {
                self.packets.push(&payload);
                continue;
            }
            if self.packets.output.len() >= OUTPUT_HIGH {
                break;
            }
            match self.channels.poll() {
                Some(payload) => self.packets.push(&payload),
                None => break,
            }
        }
    }

    fn handle(&mut self, sequence: u32, payload: Vec<u8>) {
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
        if let Some(text) = &self.knobs.banner {
            let mut banner = vec![USERAUTH_BANNER];
            banner.put_string(text);
            banner.put_string(b"");
            self.send(&banner);
        }
        let signed = self.signature_holds(payload) == Some(true);
        if !signed {
            self.violation("a signature that does not verify");
        }
        if self.knobs.stall == Some(Stall::Authentication) {
            return;
        }
        match self.knobs.auth {
            Answer::Yes => {
                self.authenticated = true;
                self.send(&[USERAUTH_SUCCESS]);
            }
            Answer::No => {
                let mut failure = vec![USERAUTH_FAILURE];
                failure.put_name_list(["publickey", "password"]);
                failure.put_boolean(false);
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
        key.string().ok()?;
        let key = key.string().ok()?;
        let mut message = Vec::new();
        message.put_string(self.session_id.as_deref()?);
        message.extend_from_slice(&payload[..body]);
        let verified = UnparsedPublicKey::new(&ED25519, key).verify(&message, signature);
        Some(verified.is_ok())
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
        let bind = reader.text().unwrap_or_default().to_owned();
        let port = reader.u32().unwrap_or_default() as u16;
        let listener = Listener { bind, port };
        let answer = match name {
            b"tcpip-forward" => self.knobs.forward,
            b"cancel-tcpip-forward" => self.knobs.cancel,
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
            (_, Answer::Yes) => Some(vec![REQUEST_SUCCESS]),
            (_, Answer::No) => Some(vec![REQUEST_FAILURE]),
        };
        if wants_reply {
            self.replies.push_back(reply);
            self.flush_replies();
        }
    }

    /// Replies go out in the order of the requests, and wait for one another.
    fn flush_replies(&mut self) {
        while let Some(Some(_)) = self.replies.front() {
            if let Some(Some(reply)) = self.replies.pop_front() {
                self.send(&reply);
            }
        }
    }

    fn grant(&mut self, mut listener: Listener, granted: bool) -> Vec<u8> {
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
