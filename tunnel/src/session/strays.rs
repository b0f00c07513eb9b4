//! Connections of the server that the client refused: for no forward of ours, or one too many.

use log::info;
use reachback_core::forward::Listen;
use reachback_core::forwards::Forwards;
use reachback_core::repeats::Repeats;
use reachback_core::time::Instant;
use reachback_ssh::Refusal;
use reachback_ssh::limits::CHANNELS;

/// Kinds that are counted at once; the server makes as many as it likes.
const KINDS: usize = 8;

/// A refused connection: why, and the listener in the server's words.
type Stray = (Refusal, String, u32);

/// What the log says of them: the first of a kind, then a count a minute.
pub struct Strays(Repeats<Stray, KINDS>);

impl Strays {
    pub fn new() -> Strays {
        Strays(Repeats::new())
    }

    /// One was refused.
    pub fn refused(&mut self, stray: Stray, forwards: &Forwards, now: Instant) {
        if self.0.note(stray.clone(), now) {
            say("connection", &stray, forwards);
        }
    }

    /// How many were refused since the last call.
    pub fn take_refused(&mut self) -> u32 {
        self.0.take_noted()
    }

    /// When [`Strays::say_count`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    /// Says how many were refused like one before, if that is due.
    pub fn say_count(&mut self, forwards: &Forwards, now: Instant) {
        while let Some((stray, count)) = self.0.poll_count(now) {
            let plural = if count == 1 { "" } else { "s" };
            say(
                &format!("{count} more connection{plural}"),
                &stray,
                forwards,
            );
        }
    }
}

fn say(what: &str, (refusal, address, port): &Stray, forwards: &Forwards) {
    if *refusal == Refusal::ResourceShortage {
        info!("{what} refused: {CHANNELS} connections wait or are open already");
        return;
    }
    let of_port = |listen: &&Listen| match listen {
        Listen::Tcp { port: own, .. } => u32::from(*own) == *port,
        Listen::Unix(_) => false,
    };
    let asked: Vec<String> = forwards
        .wanted()
        .map(|(_, forward)| &forward.spec.listen)
        .filter(of_port)
        .map(ToString::to_string)
        .collect();
    let asked = if asked.is_empty() {
        String::new()
    } else {
        format!("; asked for was {}", asked.join(", "))
    };
    info!(
        "{what} refused: the server names '{address}' port {port}, which is no forward of ours{asked}"
    );
}
