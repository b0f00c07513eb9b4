//! One connection for one purpose, waited for: look-up and dialling are the tunnel's own.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};
use reachback_core::dial::{AddressFamily, Doubts};
use reachback_core::time::Instant;
use reachback_ssh::interactive::{InteractiveClient, Prompts, Step};
use reachback_ssh::{ChannelId, Error, Event};
use reachback_tunnel::{Dial, Lookup, Server, Source, Stream, StreamOptions, Token, reason};

use zeroize::Zeroizing;

use crate::logging::escaped;
use crate::net::outside::{Net, ServerSocket};
use crate::net::remember::Remembered;
use crate::sys::clock;
use crate::trust::Trust;

const RESOLVE: [Token; 2] = [Token(0), Token(1)];
const DIAL: usize = 2;
/// `SSH_DISCONNECT_BY_APPLICATION` (RFC 4250 section 4.2.2).
const BY_APPLICATION: u32 = 11;
/// How long a server may take to say the next thing.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection and what waits on it.
pub struct Connection {
    poll: Poll,
    events: Events,
    stream: ServerSocket,
}

/// How a server is reached.
pub struct Route<'a> {
    /// The server.
    pub server: &'a Server,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `BindAddress` and its like.
    pub source: &'a Source,
    /// `ConnectTimeout`, which look-up and connection may each take.
    pub timeout: Duration,
}

impl Connection {
    /// Looks the server up and connects to it; an error says in words why it cannot be reached.
    pub fn open(route: &Route<'_>, trust: Trust) -> Result<Connection, String> {
        let failed = |error: io::Error| reason(&error);
        let mut poll = Poll::new().map_err(failed)?;
        let mut events = Events::with_capacity(16);
        let mut net = Net::new(poll.registry(), Remembered::open(None), trust).map_err(failed)?;
        let Server { host, port, .. } = route.server;
        let (started, late) = (
            clock::now(),
            format!("no answer within {} s", route.timeout.as_secs()),
        );
        let end = started + route.timeout;
        let mut lookup = Lookup::start(host, route.family, None, RESOLVE, &mut net, started);
        let addresses = loop {
            let now = clock::now();
            if let Some(found) = lookup.poll(now) {
                break found?.addresses;
            }
            if now >= end {
                return Err(format!("cannot resolve {host}: {late}"));
            }
            wait(&mut poll, &mut events, lookup.poll_timeout(), end, now).map_err(failed)?;
            for event in &events {
                lookup.handle_ready(Token(event.token().0), clock::now());
            }
        };
        let (started, from) = (
            clock::now(),
            (route.family, route.source, &Doubts::default()),
        );
        let end = started + route.timeout;
        let mut dial = Dial::start(&addresses, *port, from, DIAL, &mut net, started);
        let dialled = loop {
            let now = clock::now();
            dial.handle_timeout(&mut net, now);
            if let Some(result) = dial.result() {
                break result?;
            }
            if now >= end {
                return Err(late);
            }
            wait(&mut poll, &mut events, dial.poll_timeout(), end, now).map_err(failed)?;
            for event in &events {
                dial.handle_ready(Token(event.token().0), &mut net, clock::now());
            }
        };
        let mut stream = dialled.stream;
        let options = StreamOptions::Server { keep_alive: true };
        stream.prepare(&options).map_err(failed)?;
        Ok(Connection {
            poll,
            events,
            stream,
        })
    }

    /// Moves bytes, and gives `hear` what the client has to say, until that has a result. An error
    /// says in words why the conversation is over.
    pub fn converse<T>(
        &mut self,
        talk: &mut Talk,
        mut hear: impl FnMut(&mut Talk, Heard) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let mut result = None;
        self.run(talk, &mut |talk, heard| {
            result = hear(talk, heard)?;
            Ok(result.is_some())
        })?;
        result.ok_or_else(|| "nothing was said".to_owned())
    }

    /// The same until `hear` gives true: one function for all, for its size.
    fn run(
        &mut self,
        talk: &mut Talk,
        hear: &mut dyn FnMut(&mut Talk, Heard) -> Result<bool, String>,
    ) -> Result<(), String> {
        let mut silent_since = clock::now();
        loop {
            while let Some(heard) = talk.next().map_err(|error| self.ended(error, talk))? {
                let done = hear(talk, heard);
                // An answer may have taken a person a while.
                silent_since = clock::now();
                if done? {
                    return self.flush(talk).map_err(|error| reason(&error));
                }
            }
            talk.send_answers()
                .map_err(|error| escaped(error).to_string())?;
            self.flush(talk).map_err(|error| reason(&error))?;
            match self.stream.read(talk.client.input_space()) {
                Ok(0) => return Err(closed(talk)),
                Ok(n) => {
                    silent_since = clock::now();
                    talk.client.handle_input(n, silent_since.0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let end = silent_since + SILENCE;
                    if clock::now() >= end {
                        return Err(format!("the server was silent for {} s", SILENCE.as_secs()));
                    }
                    wait(&mut self.poll, &mut self.events, None, end, clock::now())
                        .map_err(|error| reason(&error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reason(&error)),
            }
        }
    }

    /// Says goodbye.
    pub fn end(mut self, mut talk: Talk) {
        talk.client.disconnect(BY_APPLICATION, "");
        let _ = self.flush(&mut talk);
    }

    /// The client gave up: the server is told why, if it listens.
    fn ended(&mut self, error: Error, talk: &mut Talk) -> String {
        let _ = self.flush(talk);
        escaped(error).to_string()
    }

    fn flush(&mut self, talk: &mut Talk) -> io::Result<()> {
        while !talk.client.poll_output().is_empty() {
            match self.stream.write(talk.client.poll_output()) {
                Ok(n) => talk.client.handle_written(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The client, and answers that wait until they can be sent.
pub struct Talk {
    /// The client.
    pub client: InteractiveClient,
    answers: Option<Answers>,
}

/// One for each prompt.
pub type Answers = Vec<Zeroizing<Vec<u8>>>;

/// What the client has to say, as far as it matters here.
pub enum Heard {
    /// [`Event::Identified`].
    Identified(String),
    /// [`Event::HostKey`].
    HostKey(&'static str, Vec<u8>),
    /// [`Event::Banner`].
    Banner(String),
    /// [`Step::Ask`].
    Ask(Prompts),
    /// Logged in.
    Authenticated {
        /// With a key.
        with_key: bool,
    },
    /// The session channel is open.
    Opened(ChannelId),
    /// There is none, or no program on it; why.
    NotOpened(String),
    /// The program printed this.
    Printed(ChannelId, Vec<u8>),
    /// The session channel is closed.
    Closed,
    /// Nothing to do for.
    Other,
}

impl Talk {
    /// With a client that has just begun.
    pub fn new(client: InteractiveClient) -> Talk {
        Talk {
            client,
            answers: None,
        }
    }

    /// Answers what was asked, now or as soon as it can be.
    pub fn answer(&mut self, answers: Answers) {
        self.answers = Some(answers);
    }

    fn send_answers(&mut self) -> Result<(), Error> {
        if let Some(answers) = self.answers.take()
            && !self.client.answer(&answers)?
        {
            self.answers = Some(answers);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Heard>, Error> {
        let step = match self.client.poll()? {
            None => return Ok(None),
            Some(step) => step,
        };
        Ok(Some(match step {
            Step::Ask(prompts) => Heard::Ask(prompts),
            Step::Event(Event::HostKey { key_type, blob }) => Heard::HostKey(key_type, blob),
            Step::Event(Event::Identified(software)) => Heard::Identified(software),
            Step::Event(Event::Banner(text)) => Heard::Banner(text),
            Step::Event(Event::Authenticated { key }) => Heard::Authenticated {
                with_key: key.is_some(),
            },
            Step::Event(Event::OpenConfirmed { channel }) => Heard::Opened(channel),
            Step::Event(Event::OpenFailed { text, .. }) => Heard::NotOpened(text),
            Step::Event(Event::ProgramAnswered { done: false, .. }) => {
                Heard::NotOpened("it runs no commands".to_owned())
            }
            Step::Event(Event::ChannelData { channel, data }) => {
                Heard::Printed(channel, data.to_vec())
            }
            Step::Event(Event::ChannelClosed { .. }) => Heard::Closed,
            Step::Event(_) => Heard::Other,
        }))
    }
}

fn closed(talk: &Talk) -> String {
    match talk.client.said_before_identification().as_str() {
        "" => "the server closed the connection".to_owned(),
        said => format!("the server closed the connection; it said: {said}"),
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
