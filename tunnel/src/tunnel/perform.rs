//! What the watchdog wants, done with look-up, dialler and session.

use log::{debug, error, info};
use reachback_core::cause::Cause;
use reachback_core::failure::{Class, Failure};
use reachback_core::history::Kind;
use reachback_core::time::Instant;
use reachback_core::watchdog::{Action, Input};

use super::{Connection, Tunnel};
use crate::ended::Ended;
use crate::outside::{Outside, ServerStream};

impl<O: Outside> Tunnel<O> {
    /// Carries out what the watchdog wants; true when that was anything.
    pub(super) fn perform_all(&mut self, outside: &mut O, now: Instant) -> bool {
        let mut any = false;
        while let Some(action) = self.watchdog.poll_action() {
            any = true;
            if let Err(ended) = self.perform(action, outside, now) {
                self.failed(ended, outside, now);
            }
        }
        any
    }

    fn perform(&mut self, action: Action, outside: &mut O, now: Instant) -> Result<(), Ended> {
        match action {
            Action::Resolve => self.begin_attempt(outside, now)?,
            Action::TryFirst => self.try_first(outside, now),
            Action::CancelForward { id } => {
                if let Connection::Up(session) = &mut self.connection {
                    self.stats.asked(now);
                    session.cancel_forward(id, self.watchdog.forwards_mut(), now)?;
                }
            }
            Action::RequestForward { id } => {
                if let Connection::Up(session) = &mut self.connection {
                    self.stats.asked(now);
                    session.request_forward(id, self.watchdog.forwards())?;
                }
            }
            Action::Probe => {
                if let Connection::Up(session) = &mut self.connection {
                    self.stats.asked(now);
                    session.probe()?;
                }
            }
            Action::Abandon(failure) => {
                let ended = match (&self.connection, failure) {
                    (Connection::Dialling(dial), Failure::Timeout(_)) => {
                        dial.late(failure.to_string())
                    }
                    _ => Ended::new(failure, failure.to_string()),
                };
                self.reason = ended.reason;
                let lost = !matches!(failure, Failure::Asked | Failure::Failback);
                self.over((failure, ended.cause), lost, outside, now);
                if let (Connection::Up(session), true) = (&self.connection, failure.is_silence()) {
                    session.stream().discard_on_close();
                }
                self.close();
            }
            Action::Wait { until, why } => self.say_wait(until.since(now), why),
            Action::TunnelUp => {
                let server = self.server.to_string();
                info!("tunnel up: {server}");
                self.note(Kind::Up, server, outside, now);
            }
            Action::ForwardWaits { id, until, first } => {
                if let Some(forward) = self.watchdog.forwards().get(id) {
                    let (spec, wall_s) = (&forward.spec, outside.wall_s());
                    self.stats.note(Kind::ForwardRefused, spec, now, wall_s);
                    self.say_forward_waits(forward, until.since(now), first);
                }
            }
            Action::Disconnect => {
                self.ending = true;
                match &mut self.connection {
                    Connection::Up(session) => {
                        session.cancel_forwards(self.watchdog.forwards_mut(), now)?
                    }
                    _ => self.finish(now),
                }
            }
            Action::Exit => self.finish(now),
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, mut ended: Ended, outside: &mut O, now: Instant) {
        self.close();
        self.distrust_memory(&mut ended, outside);
        if matches!(ended.failure.class(), Class::HostKey) {
            error!("{}", ended.reason);
        }
        if ended.failure == Failure::AuthRefused {
            let (user, host) = (&self.server.user, &self.server.host);
            let advice = ended.cause.map_or("", Cause::advice);
            let why = &ended.reason;
            error!("authentication refused for {user}@{host}: {why}: {advice}");
        }
        self.reason = ended.reason;
        if !self.ending {
            self.over((ended.failure, ended.cause), true, outside, now);
        }
        self.watchdog.handle(now, Input::Failed(ended.failure));
    }

    /// An attempt or a connection is over; `lost` if nobody wanted that.
    fn over(
        &mut self,
        (why, cause): (Failure, Option<Cause>),
        lost: bool,
        outside: &O,
        now: Instant,
    ) {
        self.doubt(why);
        let wall_s = outside.wall_s();
        let age = self.stats.ended((&self.reason, cause), lost, now, wall_s);
        self.had_connection = age.is_some();
        let from_outside = matches!(why, Failure::Lost | Failure::Silent | Failure::ServerClosed);
        if let Some(age) = age.filter(|_| from_outside)
            && let Some(age) = self.ages.handle_lost(age)
        {
            self.stats.cause = Some(Cause::TimeLimit);
            self.say_limit(age);
        }
    }

    pub(super) fn close(&mut self) {
        self.failback = None;
        if let Connection::Up(session) = std::mem::replace(&mut self.connection, Connection::Down) {
            session.end();
        }
    }

    pub(super) fn finish(&mut self, now: Instant) {
        if self.finished {
            return;
        }
        self.close();
        self.finished = true;
        debug!("ended at {} ms", now.0);
    }
}
