//! The connections being served: one relay for each channel.

mod refused;
mod relay;
mod width;

use std::time::Duration;

use log::info;
use reachback_core::dial::AddressFamily;
use reachback_core::forward::Target;
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::places::{HOLDERS, Leave, PLACES, leave};
use reachback_core::repeats::Repeats;
use reachback_core::time::Instant;
use reachback_ssh::limits::CHANNELS;
use reachback_ssh::{ChannelId, Client, Error};

use crate::checks::{Held, Judgement, Suspicion};
use crate::outside::{Outside, Ready, Token};
use refused::{Refused, Why};
use relay::Relay;
pub use width::WIDTH_BUDGET;

/// Tokens of one relay: its socket and two for the resolver.
pub const TOKENS_PER_RELAY: usize = 3;

/// The table of relays of one connection.
pub struct Relays<O: Outside> {
    table: Vec<Option<Relay<O>>>,
    first_token: usize,
    /// Where the next turn begins, so that no channel is always the last.
    turn: usize,
    family: AddressFamily,
    /// `ChannelIdleTimeout`; zero is for ever.
    idle_limit: Duration,
    refused: Refused,
    /// Those that lost their place.
    closed: Refused,
}

impl<O: Outside> Relays<O> {
    /// An empty table whose tokens begin at `first_token` and number [`TOKENS_PER_RELAY`] for each
    /// of [`CHANNELS`] + [`HOLDERS`] relays.
    pub fn new(first_token: usize, family: AddressFamily) -> Relays<O> {
        Relays {
            table: Vec::new(),
            first_token,
            turn: 0,
            family,
            idle_limit: Duration::ZERO,
            refused: Repeats::new(),
            closed: Repeats::new(),
        }
    }

    /// True when there is no connection, served or held.
    pub fn is_empty(&self) -> bool {
        self.table.iter().all(Option::is_none)
    }

    /// Begins to serve a channel of a forward as soon as there is a place: the answer to the peer
    /// follows when the target is known to be there.
    pub fn open(
        &mut self,
        from: (ChannelId, ForwardId),
        target: &Target,
        client: &mut Client,
        outside: &mut O,
        now: Instant,
    ) -> Result<(), Error> {
        self.add(Relay::new(from, target, now));
        self.settle(client, outside, now)
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
        let mut relay = Relay::new((channel, id), target, now);
        if self.holders() < HOLDERS {
            client.accept_channel(channel)?;
            relay.hold(suspicion);
        }
        self.add(relay);
        Ok(())
    }

    /// The table has room: every channel has one relay, and at most [`HOLDERS`] relays have none.
    fn add(&mut self, relay: Relay<O>) {
        match self.table.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(relay),
            None => self.table.push(Some(relay)),
        }
    }

    /// Gives places to those who wait, the first first. Who has been idle for too long leaves.
    fn settle(&mut self, client: &mut Client, outside: &mut O, now: Instant) -> Result<(), Error> {
        loop {
            if self.count() < PLACES
                && self.holders() < HOLDERS
                && let Some(index) = self.next_waiting()
            {
                self.start(index, client, outside, now)?;
                continue;
            }
            match self.next_leave() {
                Some((index, at, why)) if at <= now => self.part(index, why, client, now)?,
                _ => return Ok(()),
            }
        }
    }

    /// Who has waited for longest.
    fn next_waiting(&self) -> Option<usize> {
        let relays = self.table.iter().enumerate();
        let waiting = relays.filter_map(|(n, relay)| Some((n, relay.as_ref()?.waits_until()?)));
        waiting.min_by_key(|(_, until)| *until).map(|(n, _)| n)
    }

    /// Who has been idle for longest; when it loses its place, and why.
    fn next_leave(&self) -> Option<(usize, Instant, Leave)> {
        let relays = self.table.iter().enumerate();
        let idle = relays.filter_map(|(n, relay)| Some((n, relay.as_ref()?.idle_since()?)));
        let (index, since) = idle.min_by_key(|(_, since)| *since)?;
        let (at, why) = leave(since, self.idle_limit, self.next_waiting().is_some())?;
        Some((index, at, why))
    }

    fn start(
        &mut self,
        index: usize,
        client: &mut Client,
        outside: &mut O,
        now: Instant,
    ) -> Result<(), Error> {
        let tokens = self.tokens(index);
        let Some(relay) = &mut self.table[index] else {
            return Ok(());
        };
        if let Err(error) = relay.start(tokens, self.family, outside, now) {
            relay.refuse(&error, client, &mut self.refused, now)?;
            self.table[index] = None;
        }
        Ok(())
    }

    /// Closes a connection that has been idle for too long.
    fn part(
        &mut self,
        index: usize,
        why: Leave,
        client: &mut Client,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(relay) = &mut self.table[index] else {
            return Ok(());
        };
        let (id, why) = (relay.id(), Why::Idle(why));
        if self.closed.note((id, why), now) {
            info!("connection to {} {why}", relay.target());
        }
        relay.leave(client, now)
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
            let Some(relay) = &mut self.table[index] else {
                continue;
            };
            let Some(held) = relay.as_held() else {
                continue;
            };
            match judge(held) {
                Judgement::Hold => {}
                Judgement::Close => relay.leave(client, now)?,
                Judgement::Serve => {
                    served.push(relay.waiting());
                    relay.wait(now);
                }
            }
        }
        if !served.is_empty() {
            self.settle(client, outside, now)?;
        }
        Ok(served)
    }

    /// How many connections were refused since the last call.
    pub fn take_refused(&mut self) -> u32 {
        self.refused.take_noted()
    }

    /// How many connections lost their place since the last call.
    pub fn take_closed(&mut self) -> u32 {
        self.closed.take_noted()
    }

    /// Says how many connections were refused or closed like one before, if that is due.
    pub fn say_counts(&mut self, forwards: &Forwards, now: Instant) {
        refused::say_counts(&mut self.refused, forwards, now);
        refused::say_counts(&mut self.closed, forwards, now);
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

    /// The earliest deadline of a relay, of a place, or of a count for the log.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.table.iter().flatten();
        let deadlines = relays.filter_map(Relay::poll_timeout);
        let counts = [self.refused.poll_timeout(), self.closed.poll_timeout()];
        let all = deadlines.chain(counts.into_iter().flatten());
        all.chain(self.next_leave().map(|(_, at, _)| at)).min()
    }

    /// Data of the peer: written to the target at once, and what it does not take is kept.
    /// Gives the bytes that the target took; none if no relay serves the channel.
    pub fn data(&mut self, channel: ChannelId, data: &[u8], now: Instant) -> Option<usize> {
        self.of(channel).map(|relay| relay.data(data, now))
    }

    /// Widens the channel's window, if what came shows that the peer has to wait for it.
    pub fn widen(&mut self, channel: ChannelId, client: &mut Client) {
        width::widen(&mut self.table, channel, client);
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

    /// How many connections are being served: neither held nor waiting, nor closed by the target.
    pub fn count(&self) -> usize {
        self.number_of(Relay::is_served)
    }

    /// How many may have bytes waiting here.
    fn holders(&self) -> usize {
        self.number_of(Relay::is_holder)
    }

    /// Whether fewer than `spare` more connections would find a place at once.
    pub fn is_crowded(&self, spare: usize) -> bool {
        self.holders() + spare >= PLACES || self.number_of(|_| true) + spare >= CHANNELS
    }

    fn number_of(&self, what: impl Fn(&Relay<O>) -> bool) -> usize {
        let relays = self.table.iter().flatten();
        relays.filter(|relay| what(relay)).count()
    }

    /// One turn for every relay, with `ChannelIdleTimeout` as `idle_limit`; gives the bytes that went
    /// from targets into packets.
    pub fn drive(
        &mut self,
        client: &mut Client,
        outside: &mut O,
        idle_limit: Duration,
        now: Instant,
    ) -> Result<u64, Error> {
        self.idle_limit = idle_limit;
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
        self.settle(client, outside, now)?;
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
