//! The connections being served: one relay for each channel.

mod refused;
mod relay;

use log::info;
use reachback_core::dial::AddressFamily;
use reachback_core::forward::Target;
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::repeats::Repeats;
use reachback_core::time::Instant;
use reachback_ssh::limits::CHANNELS;
use reachback_ssh::{ChannelId, Client, Error, Refusal};

use crate::checks::{Held, Judgement, Suspicion};
use crate::outside::{Outside, Ready, Token};
use refused::{Refused, Why};
use relay::Relay;

/// Relays at once: every channel, and as many again whose peer left while the target still
/// reads. A new connection that finds no place is refused.
pub const RELAYS: usize = 2 * CHANNELS;
/// Tokens of one relay: its socket and two for the resolver.
pub const TOKENS_PER_RELAY: usize = 3;

/// The table of relays of one connection.
pub struct Relays<O: Outside> {
    table: Vec<Option<Relay<O>>>,
    first_token: usize,
    /// Where the next turn begins, so that no channel is always the last.
    turn: usize,
    family: AddressFamily,
    refused: Refused,
}

impl<O: Outside> Relays<O> {
    /// An empty table whose tokens begin at `first_token` and number
    /// [`RELAYS`] × [`TOKENS_PER_RELAY`].
    pub fn new(first_token: usize, family: AddressFamily) -> Relays<O> {
        Relays {
            table: Vec::new(),
            first_token,
            turn: 0,
            family,
            refused: Repeats::new(),
        }
    }

    /// True when there is no connection, served or held.
    pub fn is_empty(&self) -> bool {
        self.table.iter().all(Option::is_none)
    }

    /// Begins to serve a channel of a forward: the answer to the peer follows when the target is known to
    /// be there.
    pub fn open(
        &mut self,
        (channel, id): (ChannelId, ForwardId),
        target: &Target,
        client: &mut Client,
        outside: &mut O,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(index) = self.place((channel, id), client, now)? else {
            return Ok(());
        };
        let mut relay = Relay::new((channel, id), target);
        match relay.start(self.tokens(index), self.family, outside, now) {
            Ok(()) => self.table[index] = Some(relay),
            Err(error) => relay.refuse(&error, client, &mut self.refused, now)?,
        }
        Ok(())
    }

    /// Accepts a channel that may be a check, and keeps its target out of it until
    /// [`Relays::judge_held`].
    pub fn hold(
        &mut self,
        (channel, id): (ChannelId, ForwardId),
        suspicion: Suspicion,
        target: &Target,
        client: &mut Client,
        now: Instant,
    ) -> Result<(), Error> {
        match self.place((channel, id), client, now)? {
            Some(index) => {
                client.accept_channel(channel)?;
                self.table[index] = Some(Relay::held((channel, id), suspicion, target));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Asks what is to become of each channel that is held. Gives, for each that is served from now
    /// on, how many bytes it has sent.
    pub fn judge_held(
        &mut self,
        client: &mut Client,
        mut judge: impl FnMut(Held<'_>) -> Judgement,
        outside: &mut O,
        now: Instant,
    ) -> Result<Vec<usize>, Error> {
        let mut served = Vec::new();
        for index in 0..self.table.len() {
            let tokens = self.tokens(index);
            let Some(relay) = &mut self.table[index] else {
                continue;
            };
            let Some(held) = relay.as_held() else {
                continue;
            };
            match judge(held) {
                Judgement::Hold => {}
                Judgement::Close => relay.leave(client)?,
                Judgement::Serve => {
                    served.push(relay.waiting());
                    if let Err(error) = relay.start(tokens, self.family, outside, now) {
                        relay.refuse(&error, client, &mut self.refused, now)?;
                    }
                }
            }
        }
        Ok(served)
    }

    /// A free place in the table; if there is none, the channel is refused.
    fn place(
        &mut self,
        (channel, id): (ChannelId, ForwardId),
        client: &mut Client,
        now: Instant,
    ) -> Result<Option<usize>, Error> {
        if let Some(index) = self.table.iter().position(Option::is_none) {
            return Ok(Some(index));
        }
        if self.table.len() < RELAYS {
            self.table.push(None);
            return Ok(Some(self.table.len() - 1));
        }
        if self.refused.note((id, Why::Crowded), now) {
            info!("connection refused: {RELAYS} connections are being served already");
        }
        let shortage = Refusal::ResourceShortage;
        client.refuse_channel(channel, shortage, "too many connections")?;
        Ok(None)
    }

    /// How many connections were refused since the last call.
    pub fn take_refused(&mut self) -> u32 {
        self.refused.take_noted()
    }

    /// Says how many connections were refused like one before, if that is due.
    pub fn say_refused(&mut self, forwards: &Forwards, now: Instant) {
        refused::say_counts(&mut self.refused, forwards, now);
    }

    fn tokens(&self, index: usize) -> [Token; TOKENS_PER_RELAY] {
        let base = self.first_token + index * TOKENS_PER_RELAY;
        [Token(base), Token(base + 1), Token(base + 2)]
    }

    /// A socket is ready. Tokens that are no relay's are ignored.
    pub fn handle_ready(&mut self, ready: Ready, now: Instant) {
        let Some(place) = ready.token.0.checked_sub(self.first_token) else {
            return;
        };
        if let Some(Some(relay)) = self.table.get_mut(place / TOKENS_PER_RELAY) {
            relay.handle_ready(ready, place.is_multiple_of(TOKENS_PER_RELAY), now);
        }
    }

    /// The earliest deadline of a relay, or of a count for the log.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.table.iter().flatten();
        let deadlines = relays.filter_map(Relay::poll_timeout);
        deadlines.chain(self.refused.poll_timeout()).min()
    }

    /// Data of the peer: written to the target at once, and what it does not take is kept.
    /// Gives the bytes that the target took; none if no relay serves the channel.
    pub fn data(&mut self, channel: ChannelId, data: &[u8]) -> Option<usize> {
        self.of(channel).map(|relay| relay.data(data))
    }

    /// The peer will send no more.
    pub fn peer_eof(&mut self, channel: ChannelId) {
        if let Some(relay) = self.of(channel) {
            relay.peer_eof();
        }
    }

    /// The channel is closed both ways; the target still gets what it has not taken yet.
    /// False if no relay serves the channel.
    pub fn peer_closed(&mut self, channel: ChannelId, now: Instant) -> bool {
        let relay = self.of(channel);
        relay.map(|relay| relay.peer_closed(now)).is_some()
    }

    fn of(&mut self, channel: ChannelId) -> Option<&mut Relay<O>> {
        self.table
            .iter_mut()
            .flatten()
            .find(|relay| relay.serves(channel))
    }

    /// How many connections are being served; those that are held are not.
    pub fn count(&self) -> usize {
        let relays = self.table.iter().flatten();
        relays.filter(|relay| !relay.is_held()).count()
    }

    /// How many channels are in use.
    pub fn channels(&self) -> usize {
        self.table.iter().flatten().count()
    }

    /// One turn for every relay; gives the bytes that went from targets into packets.
    pub fn drive(
        &mut self,
        client: &mut Client,
        outside: &mut O,
        now: Instant,
    ) -> Result<u64, Error> {
        let mut sent = 0;
        let count = self.table.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let token = self.tokens(index)[0];
            let Some(relay) = self.table[index].as_mut() else {
                continue;
            };
            let goes_on = relay.drive(token, client, outside, &mut self.refused, now)?;
            sent += relay.take_sent();
            if !goes_on {
                self.table[index] = None;
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        Ok(sent)
    }

    /// True when a relay can go on at once. To be asked after the output was written, which may
    /// have made room.
    pub fn has_work(&self, client: &Client) -> bool {
        self.table
            .iter()
            .flatten()
            .any(|relay| relay.has_work(client))
    }
}
