//! What the watchdog wants, done with the lookup, the dialler and the session.

use log::{debug, error, info};
use mio::{Registry, Token};
use reachback_core::failure::{Class, Failure};
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Action, Happening};

use super::{Link, RESOLVE, Tunnel};
use crate::ended::Ended;
use crate::net::lookup::Lookup;
use crate::plan::Settings;
use crate::sys::random;

impl Tunnel {
    /// Carries out what the watchdog wants; true when that was anything.
    pub(super) fn perform_all(&mut self, registry: &Registry, now: Instant) -> bool {
        let mut any = false;
        while let Some(action) = self.watchdog.poll_action() {
            any = true;
            if action == Action::Resolve {
                self.select_server();
            }
            if let Err(ended) = self.perform(action, registry, now) {
                self.failed(ended, registry, now);
            }
        }
        any
    }

    fn perform(&mut self, action: Action, registry: &Registry, now: Instant) -> Result<(), Ended> {
        let Settings {
            user,
            host,
            port,
            family,
            ..
        } = &self.settings;
        match action {
            Action::Resolve if !random::is_ready() => {
                let reason = "the kernel has no randomness yet (dmesg: crng init done); a board \
                              without a source of its own needs one, such as rngd or jitterentropy";
                return Err(Ended::new(Failure::Local, reason));
            }
            Action::Resolve if self.homeward.is_some() && self.watchdog.destination() == 0 => {
                self.attempt_homeward(registry, now)?;
            }
            Action::TryFirst => self.try_first(registry, now),
            Action::CancelForward { index } => {
                if let Link::Up(session) = &mut self.link {
                    self.record.asked(now);
                    session.cancel_forward(index, now)?;
                }
            }
            Action::Resolve => {
                let tokens = [
                    Token(self.first_token + RESOLVE),
                    Token(self.first_token + RESOLVE + 1),
                ];
                debug!("looking up {host}");
                self.homeward = None;
                let known = self.remembered.address(host, *port);
                let resolution = Lookup::start(host, *family, known, registry, tokens, now);
                self.link = Link::Resolving(Box::new(resolution));
            }
            Action::Abandon(failure) => {
                self.reason = failure.to_string();
                let lost = failure != Failure::Asked;
                self.had_connection = self.record.ended(&self.reason, lost, now);
                self.close(registry);
            }
            Action::RequestForward { index } => {
                if let Link::Up(session) = &mut self.link {
                    self.record.asked(now);
                    session.request_forward(index, &self.settings)?;
                }
            }
            Action::Probe => {
                if let Link::Up(session) = &mut self.link {
                    self.record.asked(now);
                    session.probe()?;
                }
            }
            Action::Wait { until, why } => self.say_wait(until.since(now), why),
            Action::TunnelUp => {
                self.waiting_told = 0;
                info!("tunnel up: {user}@{host} port {port}");
                let shown = format!("{user}@{host} port {port}");
                self.record.note(Kind::Up, shown, now);
            }
            Action::ForwardWaits { index, until } => {
                if let Some(spec) = self.settings.forwards.get(usize::from(index)) {
                    self.record.note(Kind::ForwardRefused, spec, now);
                }
                self.say_forward_waits(index, until.since(now))
            }
            Action::Disconnect => {
                self.ending = true;
                match &mut self.link {
                    Link::Up(session) => {
                        session.cancel_forwards(self.settings.forwards.len() as u8, now)?
                    }
                    _ => self.finish(registry, now),
                }
            }
            Action::Exit => self.finish(registry, now),
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, mut ended: Ended, registry: &Registry, now: Instant) {
        self.close(registry);
        self.distrust_memory(&mut ended);
        if matches!(ended.failure.class(), Class::HostKey) {
            error!("{}", ended.reason);
        }
        if ended.failure == Failure::AuthRefused {
            let Settings { user, host, .. } = &self.settings;
            error!(
                "authentication refused for {user}@{host}: {}: add the line that `reachback pubkey` prints \
                 to the authorized_keys of {user} on the server",
                ended.reason
            );
        }
        if !self.ending {
            self.had_connection = self.record.ended(&ended.reason, true, now);
        }
        self.reason = ended.reason;
        self.watchdog.handle(now, Happening::Failed(ended.failure));
    }

    pub(super) fn close(&mut self, registry: &Registry) {
        self.look = None;
        if let Link::Up(mut session) = std::mem::replace(&mut self.link, Link::Down) {
            session.end(registry);
        }
    }

    pub(super) fn finish(&mut self, registry: &Registry, now: Instant) {
        if self.finished {
            return;
        }
        self.close(registry);
        self.finished = true;
        debug!("ended at {} ms", now.0);
    }
}
