//! The real client and the simulated server, joined by a perfect wire.

use std::collections::VecDeque;
use std::rc::Rc;

use reachback_ssh::algorithms::Offer;
use reachback_ssh::limits::{INBOUND_BUFFER, LOGIN_PACKET_LENGTH, OUTBOUND_BUFFER};
use reachback_ssh::userkey::UserKey;
use reachback_ssh::{ChannelId, Client, Config, Error, Event, ForwardId, Refusal, Rekey};
use ring::signature::{Ed25519KeyPair, KeyPair};

mod seen;
pub use seen::Seen;

use crate::dice::Dice;
use crate::server::{Knobs, Server};

/// Keys are not renewed by the client.
pub const NEVER: Rekey = Rekey {
    bytes: u64::MAX,
    interval_ms: u64::MAX,
};

/// How the bytes of one side reach the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// As much at once as there is room for.
    Whole,
    /// One byte at a time.
    Single,
    /// 1 to 700 bytes, as the seed decides.
    Random(u64),
}

/// What the caller of the client does with a channel that is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOpen {
    /// Serves it.
    Accept,
    /// Serves it, and sends back what comes.
    Echo,
    /// The target cannot be reached.
    Refuse,
    /// Leaves it open.
    Wait,
}

/// Client and server, joined.
pub struct Duo {
    /// The real client.
    pub client: Client,
    /// The simulated server.
    pub server: Server,
    /// The client's events, in order.
    pub seen: Vec<Seen>,
    /// What ended the client.
    pub error: Option<Error>,
    /// The client's clock.
    pub now_ms: u64,
    /// Forwards to ask for after authentication: bind address and port, by number.
    pub forwards: Vec<(String, u16)>,
    /// For channels that are announced.
    pub on_open: OnOpen,
    /// Targets take what comes; otherwise it stays in the channel's window.
    pub targets_take: bool,
    /// The server reads what the client sends.
    pub server_reads: bool,
    /// Channels announced so far, by the order in which they came.
    pub opened: Vec<ChannelId>,
    /// Most bytes that the client had ready for writing.
    pub most_unwritten: usize,
    /// Bytes from the server that the client has not been given.
    pub to_client: VecDeque<u8>,
    /// All bytes that the server made.
    pub made: usize,
    /// All that the server made, when it is to be kept.
    pub record: Option<Vec<u8>>,
    /// Bits to spoil: position in all that the server makes, mask.
    pub spoil: Option<(usize, u8)>,
    echoes: Vec<(ChannelId, VecDeque<u8>, bool)>,
    chunks: Chunks,
    dice: Dice,
}

/// A user key; the client has that of seed 7.
pub fn user_key(seed: u8) -> Rc<[UserKey]> {
    let seed = [seed; 32];
    let public = Ed25519KeyPair::from_seed_unchecked(&seed)
        .ok()
        .and_then(|key| key.public_key().as_ref().try_into().ok())
        .unwrap_or([0; 32]);
    match UserKey::ed25519(&seed, &public) {
        Ok(key) => [key].into(),
        Err(error) => unreachable!("{error}"),
    }
}

/// A client that logs in as `controller`. `seed` makes its cookies and padding.
pub fn client(rekey: Rekey, seed: u64, now_ms: u64) -> Client {
    client_with(user_key(7), rekey, seed, now_ms)
}

/// As [`client`], with other keys.
pub fn client_with(keys: Rc<[UserKey]>, rekey: Rekey, seed: u64, now_ms: u64) -> Client {
    client_offering(Offer::default(), keys, rekey, seed, now_ms)
}

/// As [`client_with`], with other algorithms.
pub fn client_offering(
    offer: Offer,
    keys: Rc<[UserKey]>,
    rekey: Rekey,
    seed: u64,
    now_ms: u64,
) -> Client {
    let config = Config {
        user: "controller".into(),
        keys,
        offer,
        rekey,
    };
    match Client::new(config, Box::new(Dice::new(seed)), now_ms) {
        Ok(client) => client,
        Err(error) => unreachable!("{error}"),
    }
}

impl Duo {
    /// A connection that has just been made, for one forward of `localhost` port 1111.
    pub fn new(knobs: Knobs, chunks: Chunks) -> Duo {
        Duo::with_rekey(knobs, chunks, NEVER)
    }

    /// As [`Duo::new`], with a client that renews its keys.
    pub fn with_rekey(knobs: Knobs, chunks: Chunks, rekey: Rekey) -> Duo {
        Duo {
            client: client(rekey, 1, 0),
            server: Server::new(knobs),
            seen: Vec::new(),
            error: None,
            now_ms: 0,
            forwards: vec![("localhost".into(), 1111)],
            on_open: OnOpen::Accept,
            targets_take: true,
            server_reads: true,
            opened: Vec::new(),
            most_unwritten: 0,
            to_client: VecDeque::new(),
            made: 0,
            record: None,
            spoil: None,
            echoes: Vec::new(),
            chunks,
            dice: Dice::new(match chunks {
                Chunks::Random(seed) => seed,
                _ => 0,
            }),
        }
    }

    /// Moves bytes both ways until nothing moves.
    pub fn run(&mut self) {
        while self.turn() {}
    }

    /// Moves one chunk each way. False when nothing moved.
    pub fn turn(&mut self) -> bool {
        self.collect();
        self.events();
        let mut moved = self.deliver();
        self.events();
        moved |= self.echo();
        moved |= self.carry();
        self.collect();
        moved
    }

    /// True when the client is logged in and alive.
    pub fn is_up(&self) -> bool {
        self.error.is_none() && self.seen.contains(&Seen::Authenticated)
    }

    fn collect(&mut self) {
        let mut bytes = self.server.take_output();
        if let Some((at, mask)) = self.spoil
            && (self.made..self.made + bytes.len()).contains(&at)
        {
            bytes[at - self.made] ^= mask;
        }
        self.made += bytes.len();
        if let Some(record) = &mut self.record {
            record.extend(&bytes);
        }
        self.to_client.extend(bytes);
    }

    fn chunk(&mut self) -> usize {
        match self.chunks {
            Chunks::Whole => usize::MAX,
            Chunks::Single => 1,
            Chunks::Random(_) => self.dice.between(1, 700) as usize,
        }
    }

    fn deliver(&mut self) -> bool {
        let chunk = self.chunk();
        let space = self.client.input_space();
        let most = if self.server.authenticated {
            INBOUND_BUFFER
        } else {
            LOGIN_PACKET_LENGTH + 128
        };
        assert!(space.len() <= most, "the input buffer grew");
        let n = chunk.min(space.len()).min(self.to_client.len());
        for (place, byte) in space.iter_mut().zip(self.to_client.drain(..n)) {
            *place = byte;
        }
        if n > 0 {
            self.client.handle_input(n, self.now_ms);
        }
        n > 0
    }

    fn carry(&mut self) -> bool {
        let chunk = self.chunk();
        let ready = self.client.poll_output();
        self.most_unwritten = self.most_unwritten.max(ready.len());
        assert!(ready.len() <= OUTBOUND_BUFFER, "the output buffer grew");
        let n = if self.server_reads {
            ready.len().min(chunk)
        } else {
            0
        };
        if n > 0 {
            self.server.handle_input(&ready[..n]);
            self.client.handle_written(n);
        }
        n > 0
    }

    /// Takes note of an error of the client; true when there was none.
    pub fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result
            .map_err(|error| self.error = self.error.take().or(Some(error)))
            .ok()
    }

    /// Lets time pass for the client.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let result = self.client.handle_timeout(self.now_ms);
        self.check(result);
        self.run();
    }

    fn events(&mut self) {
        while self.error.is_none() {
            match self.client.poll_event() {
                Ok(Some(event)) => {
                    let opened = match event {
                        Event::ChannelOpened { channel, .. } => Some(channel),
                        _ => None,
                    };
                    let seen = Seen::from(event);
                    self.act(&seen);
                    self.seen.push(seen);
                    if let Some(channel) = opened {
                        self.opened(channel);
                    }
                }
                Ok(None) => break,
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn act(&mut self, seen: &Seen) {
        match seen {
            Seen::HostKey(_) => {
                let result = self.client.accept_host_key();
                self.check(result);
            }
            Seen::Authenticated => {
                for (index, (bind, port)) in self.forwards.clone().iter().enumerate() {
                    let id = ForwardId(index as u8);
                    let result = self.client.request_forward(id, bind, *port);
                    self.check(result);
                }
            }
            Seen::Data { channel, data } => self.take(*channel, data),
            Seen::Eof { channel } => {
                for (id, _, ended) in &mut self.echoes {
                    *ended |= id.index() == *channel;
                }
            }
            Seen::Closed { channel } => self.echoes.retain(|(id, _, _)| id.index() != *channel),
            _ => {}
        }
    }

    fn take(&mut self, channel: usize, data: &[u8]) {
        let Some(id) = self.opened.iter().rev().find(|id| id.index() == channel) else {
            return;
        };
        let id = *id;
        if let Some((_, echo, _)) = self.echoes.iter_mut().find(|(echo, _, _)| *echo == id) {
            echo.extend(data);
        } else if self.targets_take {
            let result = self.client.channel_taken(id, data.len());
            self.check(result);
        }
    }

    /// Answers the channels that were announced and moves echoes into packets.
    fn echo(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.echoes.len() {
            let (id, waiting, ended) = &mut self.echoes[at];
            let id = *id;
            if waiting.is_empty() && *ended {
                *ended = false;
                let result = self.client.channel_eof(id);
                self.check(result);
                moved = true;
                continue;
            }
            if waiting.is_empty() || self.error.is_some() {
                continue;
            }
            let result = self.client.channel_space(id, waiting.len());
            let Ok(Some(space)) = result else { continue };
            let n = space.len();
            for (place, byte) in space.iter_mut().zip(waiting.drain(..n)) {
                *place = byte;
            }
            let result = self
                .client
                .channel_filled(id, n)
                .and_then(|()| self.client.channel_taken(id, n));
            self.check(result);
            moved = true;
        }
        moved
    }

    fn opened(&mut self, id: ChannelId) {
        self.opened.push(id);
        let result = match self.on_open {
            OnOpen::Accept => self.client.accept_channel(id),
            OnOpen::Echo => {
                self.echoes.push((id, VecDeque::new(), false));
                self.client.accept_channel(id)
            }
            OnOpen::Refuse => self
                .client
                .refuse_channel(id, Refusal::ConnectFailed, "no target"),
            OnOpen::Wait => Ok(()),
        };
        self.check(result);
    }
}
