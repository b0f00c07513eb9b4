//! One connection for one purpose, waited for: look-up and dialling are the tunnel's own.

mod broken;
mod speaker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mio::{Events, Poll};
use reachback_core::dial::Doubts;
use reachback_core::failure::Failure;
use reachback_core::time::Instant;
use reachback_ssh::algorithms::Offer;
use reachback_ssh::userkey::UserKey;
use reachback_ssh::{Config, Rekey};
use reachback_tunnel::{
    Dial, Ended, Outside, Resolution, Stream, StreamOptions, Token, Way, reason,
};

pub use broken::Broken;
pub(crate) use speaker::speaks;
pub use speaker::{BY_APPLICATION, Heard, Speaker, heard};

use crate::net::outside::{Net, ServerSocket};
use crate::net::remember::Remembered;
use crate::sys::clock;
use crate::trust::Trust;

const RESOLVE: [Token; 2] = [Token(0), Token(1)];
const DIAL: usize = 2;
/// How long a server may take to say the next thing.
const SILENCE: Duration = Duration::from_secs(30);

/// Keys are not renewed on a connection that is over so soon.
const REKEY: Rekey = Rekey {
    bytes: 1 << 30,
    interval_ms: u64::MAX,
};

/// How a server is reached.
pub struct Route<'a> {
    /// The way.
    pub way: Way<'a>,
    /// `ConnectTimeout`, which look-up and connection may each take.
    pub timeout: Duration,
}

/// The network before there is a connection.
pub struct Network {
    poll: Poll,
    events: Events,
    net: Net,
}

/// What a name led to.
pub struct Found {
    /// 1 to 8 addresses.
    pub addresses: Vec<IpAddr>,
    /// The name server that gave them; none for an address and for a name of the hosts file.
    pub answered: Option<SocketAddr>,
}

impl Network {
    /// Ready to be used; an error says in words what the kernel refuses.
    pub fn new(trust: Trust) -> Result<Network, String> {
        let made = || {
            let poll = Poll::new()?;
            let net = Net::new(poll.registry(), Remembered::open(None), trust)?;
            let events = Events::with_capacity(16);
            Ok(Network { poll, events, net })
        };
        made().map_err(|error: io::Error| reason(&error))
    }

    /// Looks the server's name up; an error says in words why there is no address.
    pub fn look_up(&mut self, route: &Route<'_>) -> Result<Found, String> {
        let (host, _) = route.way.next();
        let started = clock::now();
        let end = started + route.timeout;
        let mut lookup = self.net.resolve(host, route.way.family, RESOLVE, started);
        loop {
            let now = clock::now();
            lookup.handle_timeout(now);
            if let Some(found) = lookup.result() {
                return Ok(Found {
                    addresses: found?,
                    answered: lookup.answered(),
                });
            }
            if now >= end {
                return Err(format!("cannot resolve {host}: {}", late(route)));
            }
            self.wait(lookup.poll_timeout(), end, now)?;
            for event in &self.events {
                lookup.handle_ready(Token(event.token().0), clock::now());
            }
        }
    }

    /// Connects to one of the addresses.
    ///
    /// # Errors
    /// Why none can be reached, or a proxy leads nowhere, and the address of that.
    pub fn connect(
        mut self,
        addresses: &[IpAddr],
        route: &Route<'_>,
    ) -> Result<Connection, (Ended, Option<IpAddr>)> {
        let started = clock::now();
        let end = started + route.timeout;
        let doubts = Doubts::default();
        let mut dial = Dial::start(addresses, &route.way, &doubts, DIAL, &mut self.net, started);
        let dialled = loop {
            let now = clock::now();
            dial.handle_timeout(&mut self.net, now);
            if let Some(result) = dial.result() {
                break result.map_err(|ended| (ended, dial.reached()))?;
            }
            if now >= end {
                return Err((dial.late(late(route)), dial.reached()));
            }
            self.wait(dial.poll_timeout(), end, now)
                .map_err(unreachable)?;
            for event in &self.events {
                dial.handle_ready(Token(event.token().0), &mut self.net, clock::now());
            }
        };
        let mut stream = dialled.stream;
        let options = StreamOptions::Server { keep_alive: true };
        stream
            .prepare(&options)
            .map_err(|error| unreachable(reason(&error)))?;
        Ok(Connection {
            poll: self.poll,
            events: self.events,
            stream,
            address: dialled.address,
            silence: SILENCE,
            end: None,
        })
    }

    fn wait(&mut self, due: Option<Instant>, end: Instant, now: Instant) -> Result<(), String> {
        let waited = wait(&mut self.poll, &mut self.events, due, end, now);
        waited.map_err(|error| reason(&error))
    }
}

fn unreachable(why: String) -> (Ended, Option<IpAddr>) {
    (Ended::new(Failure::Unreachable, why), None)
}

fn late(route: &Route<'_>) -> String {
    format!("no answer within {} s", route.timeout.as_secs())
}

/// A connection and what waits on it.
pub struct Connection {
    poll: Poll,
    events: Events,
    stream: ServerSocket,
    /// Where the server was reached.
    pub address: IpAddr,
    /// How long the server may take to say the next thing.
    pub silence: Duration,
    /// When it is over, whatever the server says.
    pub end: Option<Instant>,
}

impl Connection {
    /// Looks the server up and connects to it; an error says in words why it cannot be reached.
    pub fn open(route: &Route<'_>, trust: Trust) -> Result<Connection, String> {
        let mut network = Network::new(trust)?;
        let found = network.look_up(route)?;
        network
            .connect(&found.addresses, route)
            .map_err(|(ended, _)| ended.reason)
    }

    /// Moves bytes, and gives `hear` what the client has to say, until that says that it was all.
    ///
    /// # Errors
    /// Why the conversation is over; that of `hear` among them.
    pub fn converse<C: Speaker>(
        &mut self,
        client: &mut C,
        mut hear: impl FnMut(&mut C, Heard) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        self.run(&mut Turn {
            client,
            hear: &mut hear,
        })
    }

    /// One function for all, for its size.
    fn run(&mut self, turn: &mut dyn Turns) -> Result<(), Broken> {
        let mut silent_since = clock::now();
        loop {
            loop {
                match turn.next() {
                    Ok(None) => break,
                    Ok(Some(done)) => {
                        // An answer may have taken a person a while.
                        silent_since = clock::now();
                        if done {
                            return Ok(self.flush(turn.client())?);
                        }
                    }
                    Err(broken) => {
                        // The server is told why, if it listens.
                        let _ = self.flush(turn.client());
                        return Err(broken);
                    }
                }
            }
            let client = turn.client();
            client.settle()?;
            self.flush(client)?;
            match self.stream.read(client.input_space()) {
                Ok(0) => return Err(Broken::Closed(client.said_before_identification())),
                Ok(n) => {
                    silent_since = clock::now();
                    client.handle_input(n, silent_since.0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let now = clock::now();
                    let end = silent_since + self.silence;
                    let end = self.end.map_or(end, |all| all.min(end));
                    if now >= end {
                        return Err(Broken::Silent(now.since(silent_since)));
                    }
                    wait(&mut self.poll, &mut self.events, None, end, now)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says goodbye.
    pub fn end(&mut self, client: &mut dyn Speaker) {
        client.goodbye();
        let _ = self.flush(client);
    }

    fn flush(&mut self, client: &mut dyn Speaker) -> io::Result<()> {
        while !client.poll_output().is_empty() {
            match self.stream.write(client.poll_output()) {
                Ok(n) => client.handle_written(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A client and who listens to it, whatever their types.
trait Turns {
    fn client(&mut self) -> &mut dyn Speaker;

    /// Takes the next thing in; whether that was all, or none for want of input.
    fn next(&mut self) -> Result<Option<bool>, Broken>;
}

type Hear<'a, C> = &'a mut dyn FnMut(&mut C, Heard) -> Result<bool, Broken>;

struct Turn<'a, C> {
    client: &'a mut C,
    hear: Hear<'a, C>,
}

impl<C: Speaker> Turns for Turn<'_, C> {
    fn client(&mut self) -> &mut dyn Speaker {
        self.client
    }

    fn next(&mut self) -> Result<Option<bool>, Broken> {
        match self.client.next()? {
            None => Ok(None),
            Some(heard) => (self.hear)(self.client, heard).map(Some),
        }
    }
}

/// Waits for readiness, until one of the times at the latest.
fn wait(
    poll: &mut Poll,
    events: &mut Events,
    due: Option<Instant>,
    end: Instant,
    now: Instant,
) -> io::Result<()> {
    let until = due.map_or(end, |due| due.min(end));
    match poll.poll(events, Some(until.since(now) + Duration::from_millis(1))) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        polled => polled,
    }
}

/// What a client for one connection is made from; the types of host keys that are pinned are asked for
/// first.
pub fn config(user: &str, keys: Rc<[UserKey]>, offer: &Offer, pinned: &[String]) -> Config {
    let mut offer = offer.clone();
    offer.prefer_host_key_types(&pinned.iter().map(String::as_str).collect::<Vec<_>>());
    Config {
        user: user.to_owned(),
        keys,
        offer,
        rekey: REKEY,
    }
}
