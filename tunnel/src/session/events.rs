//! What the client says, for the watchdog, the record, the log and the relays.

use log::{debug, info, warn};
use reachback_core::history::Kind;
use reachback_core::watchdog::Input;
use reachback_ssh::{Error, Event, Refusal};

use super::{Session, Turn};
use crate::ended::Ended;
use crate::outside::Outside;
use crate::tunnel::at_server;

impl<O: Outside> Session<O> {
    pub(super) fn handle_events(&mut self, turn: &mut Turn<'_, O>) -> Result<(), Ended> {
        loop {
            match self.handle_event(turn) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Stop::Ended(ended)) => return Err(ended),
                Err(Stop::Ssh(error)) => return Err(self.ended(error)),
            }
        }
    }

    /// One event of the client; false when there is none.
    fn handle_event(&mut self, turn: &mut Turn<'_, O>) -> Result<bool, Stop> {
        let Turn {
            plan,
            server,
            watchdog,
            stats,
            outside,
            now,
        } = turn;
        let now = *now;
        let Some(event) = self.client.poll_event()? else {
            return Ok(false);
        };
        match event {
            Event::Identified(software) => {
                debug!("the server is {software}");
                self.keeps_listeners = is_old_dropbear(&software);
                watchdog.handle(now, Input::Identified);
            }
            Event::HostKey { key_type, blob } => {
                outside.judge_host_key(&server.host, server.port, key_type, &blob)?;
                self.client.accept_host_key()?;
            }
            Event::KeysExchanged { first, negotiated } => {
                let (kex, cipher) = (negotiated.kex.name(), negotiated.cipher_c2s.name());
                debug!(
                    "keys exchanged: {kex}, {}, {cipher}",
                    negotiated.host_key.name()
                );
                if first {
                    self.authenticating = true;
                    watchdog.handle(now, Input::KeysExchanged);
                }
            }
            Event::Banner(text) => info!("the server says: {text}"),
            Event::Authenticated { key } => {
                let user = &server.user;
                match key.and_then(|key| plan.keys.get(key)) {
                    Some(key) => info!(
                        "authenticated as {user} with {} {}",
                        key.key_type(),
                        key.fingerprint()
                    ),
                    None => info!("authenticated as {user} without a key"),
                }
                self.connected = true;
                stats.logged_in(now);
                watchdog.handle(now, Input::Authenticated);
            }
            Event::ForwardConfirmed {
                forward: number,
                port,
                replied,
            } => {
                let Some(id) = watchdog.forwards().by_number(number.0) else {
                    return Ok(true);
                };
                if let Some(forward) = watchdog.forwards().get(id) {
                    let spec = &forward.spec;
                    let shown = format!("server {} to {}", spec.listen.on(port), spec.target);
                    if !replied {
                        warn!(
                            "the server sends connections for {} but has not replied to the \
                             request for it; taking it as confirmed",
                            spec.listen.on(port)
                        );
                    }
                    info!("forward confirmed: {shown}{}", at_server(plan, server));
                    stats.note(Kind::ForwardConfirmed, shown, now, outside.wall_s());
                }
                if replied {
                    stats.answered(now);
                } else {
                    stats.unanswered();
                }
                watchdog.handle(now, Input::ForwardConfirmed { id, port });
                self.checks.confirmed(id, watchdog.forwards_mut(), now);
            }
            Event::ForwardRefused { forward: number } => {
                stats.answered(now);
                if let Some(id) = watchdog.forwards().by_number(number.0) {
                    watchdog.handle(now, Input::ForwardRefused { id });
                }
            }
            Event::ForwardCancelled {
                forward: number,
                done,
            } => {
                stats.answered(now);
                let Some(id) = watchdog.forwards().by_number(number.0) else {
                    return Ok(true);
                };
                if let Some(forward) = watchdog.forwards().get(id) {
                    let (spec, server) = (&forward.spec, at_server(plan, server));
                    match done {
                        true => info!("forward cancelled: {spec}{server}"),
                        false => warn!(
                            "forward kept by the server: {spec}{server}: connections to it are \
                             refused, and the connection to the server is renewed when no other \
                             is served, within an hour"
                        ),
                    }
                }
                self.keeps_listeners |= !done;
                watchdog.handle(now, Input::ForwardCancelled { id, done });
            }
            Event::AddressDiffers {
                forward: number,
                address,
            } => {
                let forwards = watchdog.forwards();
                let forward = forwards.by_number(number.0).and_then(|id| forwards.get(id));
                if let Some(forward) = forward {
                    warn!(
                        "the server names '{address}' for {}; its connections are taken by \
                         their port",
                        forward.spec.listen
                    );
                }
            }
            Event::OpenRefused {
                refusal,
                address,
                port,
            } => {
                let stray = (refusal, address, port);
                self.strays.refused(stray, watchdog.forwards(), now);
            }
            Event::HostKeysAnnounced { keys } => {
                let client = &mut self.client;
                self.rotation.announced(keys, client, server, *outside)?;
            }
            Event::HostKeysProven { keys } => {
                let login = self.client.host_key();
                self.rotation.proven(&keys, login, server, *outside);
            }
            Event::HostKeysRefused(why) => {
                warn!("what the server says of its host keys counts for nothing: {why}");
            }
            Event::KeepaliveAnswered => {
                stats.answered(now);
                self.checks.alive(watchdog.forwards_mut(), now);
            }
            Event::ChannelOpened {
                channel,
                forward: number,
                originator,
                originator_port,
            } => {
                let forwards = watchdog.forwards();
                let id = forwards.by_number(number.0);
                let Some((id, forward)) = id.and_then(|id| Some((id, forwards.get(id)?))) else {
                    return Ok(true);
                };
                if !forward.is_wanted() {
                    // The server goes on listening although it was asked not to.
                    let prohibited = Refusal::Prohibited;
                    let text = "this forward was cancelled";
                    self.client.refuse_channel(channel, prohibited, text)?;
                    return Ok(true);
                }
                let target = &forward.spec.target;
                debug!("connection from {originator} port {originator_port} to {target}");
                let port = forward.port();
                if let Some(suspicion) = self.checks.suspects(port) {
                    self.relays
                        .hold((channel, id), suspicion, target, &mut self.client, now)?;
                } else {
                    stats.opened();
                    self.relays
                        .open((channel, id), target, &mut self.client, *outside, now)?;
                }
            }
            Event::ChannelData { channel, data } if self.printed.is(channel) => {
                self.printed.data(data, now);
                let taken = data.len();
                self.client.channel_taken(channel, taken)?;
            }
            Event::ChannelData { channel, data } => {
                let taken = match self.relays.data(channel, data, now) {
                    Some(taken) => {
                        stats.received(data.len());
                        taken
                    }
                    None => {
                        self.checks.data(channel, watchdog.forwards_mut(), now);
                        data.len()
                    }
                };
                self.relays.widen(channel, &mut self.client);
                self.client.channel_taken(channel, taken)?;
            }
            Event::ChannelEof { channel } => self.relays.peer_eof(channel),
            Event::ChannelClosed { channel } if self.printed.is(channel) => {
                self.printed.ended("the server closed the session channel");
            }
            Event::ChannelClosed { channel } => {
                if !self.relays.peer_closed(channel, now) {
                    self.checks.peer_closed(channel, now);
                }
            }
            Event::OpenConfirmed { channel } if self.printed.is(channel) => {
                let wanted = plan.session_channel;
                self.printed.opened(channel, wanted, &mut self.client)?;
            }
            Event::OpenConfirmed { channel } => self.checks.opened(channel, now),
            Event::OpenFailed {
                channel,
                reason,
                text,
            } if self.printed.is(channel) => {
                let why = format!("the server opens no session channel: {text} (reason {reason})");
                self.printed.ended(&why);
            }
            Event::ProgramAnswered { done, .. } => {
                if !done {
                    warn!("the server starts no shell on the session channel");
                }
            }
            Event::Exited { .. } => debug!("the shell on the session channel ended"),
            Event::OpenFailed {
                channel,
                reason,
                text,
            } => {
                let forwards = watchdog.forwards_mut();
                self.checks.refused(channel, (reason, text), forwards, now);
            }
        }
        self.check_forwards(turn)?;
        Ok(true)
    }
}

/// What stops the handling of events.
enum Stop {
    Ended(Ended),
    Ssh(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Ssh(error)
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Stop {
        Stop::Ended(ended)
    }
}

/// Dropbear before 2026.90 looks for another address than it was given, so that no cancellation
/// matches.
fn is_old_dropbear(software: &str) -> bool {
    let version = software.strip_prefix("dropbear_");
    let numbers = version.and_then(|version| version.split_once('.'));
    numbers.is_some_and(|(year, number)| {
        let number = number.split(|c: char| !c.is_ascii_digit()).next();
        match (
            year.parse::<u16>(),
            number.unwrap_or_default().parse::<u16>(),
        ) {
            (Ok(year), Ok(number)) => (year, number) < (2026, 90),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::is_old_dropbear;

    #[test]
    fn dropbear_keeps_its_listeners_up_to_2025_89() {
        for old in [
            "dropbear_2022.83",
            "dropbear_2025.89",
            "dropbear_2019.78-1",
            "dropbear_0.52",
        ] {
            assert!(is_old_dropbear(old), "{old}");
        }
        for other in [
            "dropbear_2026.90",
            "dropbear_2027.1",
            "dropbear_",
            "dropbear",
            "OpenSSH_9.2",
        ] {
            assert!(!is_old_dropbear(other), "{other}");
        }
    }
}
