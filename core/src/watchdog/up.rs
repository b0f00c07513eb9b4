//! What is due while the tunnel is up.

use core::time::Duration;

use super::Watchdog;
use crate::failure::{Failure, Stage};
use crate::liveness::Due;
use crate::time::Instant;

/// Longest wait for the reply to a forward request or a cancellation, however much the server
/// says and takes meanwhile.
pub const REPLY_LIMIT: Duration = Duration::from_secs(600);

impl Watchdog {
    /// Whether [`super::Input::Acknowledged`] is wanted before [`Watchdog::handle_timeout`]: the
    /// peer is about to be probed or judged.
    pub fn wants_progress(&self, now: Instant) -> bool {
        let judged = [self.reply_due(), self.liveness.poll_timeout()];
        self.is_up() && judged.into_iter().flatten().any(|due| due <= now)
    }

    /// When a reply is overdue. It may wait behind our own data or the server's, so its time
    /// runs from the last sign of life, for [`REPLY_LIMIT`] in all.
    pub(super) fn reply_due(&self) -> Option<Instant> {
        let timeout = self.policy.forward_timeout;
        let due = self.forwards.reply_due()?;
        let last = due + REPLY_LIMIT.saturating_sub(timeout);
        Some(due.max(last.min(self.liveness.alive_at() + timeout)))
    }

    pub(super) fn handle_timeout_up(&mut self, now: Instant) {
        if self.reply_due().is_some_and(|due| due <= now) {
            self.abandon(now, Failure::Timeout(Stage::Forward));
            return;
        }
        while let Some(id) = self.forwards.poll_retry(now) {
            self.request(now, id);
        }
        if self.renewal_due().is_some_and(|due| due <= now) {
            self.handle_reconnect(now);
            return;
        }
        if self.failback_at.is_some_and(|due| due <= now) {
            self.failback_at = Some(now + self.policy.failback_interval);
            self.agenda.try_first();
        }
        match self.liveness.poll(now) {
            Some(Due::Probe) => self.agenda.probe(),
            Some(Due::Dead) => self.abandon(now, Failure::Silent),
            None => {}
        }
    }

    /// Leaves a tunnel to a fallback for the first destination.
    pub(super) fn handle_first_answers(&mut self, now: Instant) {
        if self.is_up() && self.destinations.current() != 0 {
            self.destinations.handle_stable();
            self.destinations.fail_back();
            self.agenda.abandon(Failure::Failback);
            self.forwards.reset();
            self.wait_until(now, now, Failure::Failback);
            self.handle_timeout(now);
        }
    }
}
