//! An SSH server without sockets, clock or threads, which does what its [`Knobs`] say and
//! writes down what the client does wrong.
//!
//! Bytes in ([`Server::handle_input`]), bytes out ([`Server::take_output`]). It speaks
//! curve25519-sha256, Ed25519 and any one cipher, with code of its own but for the cipher
//! and the field types, so a mistake of the client is not made twice. The client is judged by
//! [`Server::violations`]: order of messages while keys are exchanged, windows, packet sizes,
//! ends of channels.

use std::collections::VecDeque;

use reachback_ssh::cipher::Opener;
use reachback_ssh::wire::Put;

mod channels;
mod exchange;
mod handlers;
mod knobs;
pub mod numbers;
mod packets;

pub use channels::{Channel, open_message, with_channel};
pub use exchange::{host_key, host_key_blob};
pub use knobs::{Answer, Knobs, Proves, Stall, client_ident};

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
    /// Those of them that it would not cancel.
    pub kept: Vec<Listener>,
    /// Forward requests that [`Answer::Ask`] left to the driver, oldest first.
    pub asked: VecDeque<Listener>,
    /// `direct-tcpip` channels that [`Answer::Ask`] left to the driver, oldest first: the
    /// server's number, host and port. [`Server::answer_direct`] answers one.
    pub asked_direct: VecDeque<(u32, String, u16)>,
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
            kept: Vec::new(),
            asked: VecDeque::new(),
            asked_direct: VecDeque::new(),
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
        self.cookies = self.cookies.wrapping_add(1);
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

    /// A channel, while it is not forgotten.
    pub fn find(&self, number: u32) -> Option<&Channel> {
        self.channels.table.get(&number)
    }

    /// What came on a channel since this was last asked.
    pub fn take_received(&mut self, number: u32) -> Vec<u8> {
        let channel = self.channels.table.get_mut(&number);
        channel.map_or_else(Vec::new, |channel| std::mem::take(&mut channel.received))
    }

    /// True while an exchange of keys is under way.
    pub fn is_in_kex(&self) -> bool {
        self.client_in_kex
    }

    /// True while a request of the client waits for its reply.
    pub fn owes_reply(&self) -> bool {
        !self.replies.is_empty() || !self.asked.is_empty()
    }

    /// The channels, with their numbers.
    pub fn channels(&self) -> impl Iterator<Item = (u32, &Channel)> {
        self.channels
            .table
            .iter()
            .map(|(number, channel)| (*number, channel))
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
}
