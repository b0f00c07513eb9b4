//! What the checks of forwards found, in the log and for the watchdog.

use log::{debug, info, warn};
use reachback_core::forward::Listen;
use reachback_core::history::Kind;
use reachback_core::verify::{Finding, Refused, places};
use reachback_core::watchdog::Input;
use reachback_ssh::Error;

use super::{Session, Turn};
use crate::checks::{Found, SPARE};
use crate::outside::Outside;
use crate::tunnel::at_server;

impl<O: Outside> Session<O> {
    /// Lets the checks go on, and serves the connections that are none.
    pub(super) fn check_forwards(&mut self, turn: &mut Turn<'_, O>) -> Result<(), Error> {
        loop {
            self.judge_held(turn)?;
            let how = (turn.plan.verify_forward, self.relays.is_crowded(SPARE));
            let forwards = turn.watchdog.forwards_mut();
            let found = self
                .checks
                .drive(how, &mut self.client, forwards, turn.stats, turn.now)?;
            match found {
                Some(found) => self.concluded(&found, turn),
                None => break,
            }
        }
        self.judge_held(turn)
    }

    fn judge_held(&mut self, turn: &mut Turn<'_, O>) -> Result<(), Error> {
        let (checks, now) = (&mut self.checks, turn.now);
        let forwards = turn.watchdog.forwards_mut();
        let served = self.relays.judge_held(
            &mut self.client,
            |held| checks.judge(held, forwards, now),
            turn.outside,
            now,
        )?;
        for bytes in served {
            turn.stats.opened();
            turn.stats.received(bytes);
        }
        Ok(())
    }

    fn concluded(&mut self, found: &Found, turn: &mut Turn<'_, O>) {
        let Found { id, finding, news } = *found;
        let (now, wall_s) = (turn.now, turn.outside.wall_s());
        let Some(forward) = turn.watchdog.forwards().get(id) else {
            return;
        };
        let port = forward.port();
        let server = at_server(turn.plan, turn.server);
        match finding {
            Finding::Here if news => {
                info!("forward verified: server port {port}{server} leads here");
            }
            Finding::Loopback if news => warn!(
                "forward verified: server port {port}{server} leads here, but on the server's \
                 loopback address only: GatewayPorts in its sshd_config forbids others"
            ),
            Finding::Here | Finding::Loopback => {
                debug!("server port {port}{server} still leads here")
            }
            Finding::Elsewhere { place } => {
                let at = match &forward.spec.listen {
                    Listen::Tcp { bind, .. } => places(bind).get(usize::from(place)).copied(),
                    Listen::Unix(_) => None,
                };
                let at = at.unwrap_or_default();
                warn!(
                    "the server's port {port}{server} leads elsewhere: a stale session holds it, \
                     or another program (found at {at})"
                );
                let text = format!("server port {port} leads elsewhere, found at {at}");
                turn.stats.note(Kind::ForwardRefused, text, now, wall_s);
            }
            Finding::Gone => {
                warn!("nothing answers at the server's port {port}{server}, which it confirmed");
                let text = format!("server port {port} does not answer");
                turn.stats.note(Kind::ForwardRefused, text, now, wall_s);
            }
            Finding::Off(why) => {
                let why = match why {
                    Refused::Unanswered => "it did not answer".to_owned(),
                    Refused::Hollow => "it claims every connection to be made".to_owned(),
                    Refused::Reason(reason) => {
                        format!("{} (reason {reason})", self.checks.refusal())
                    }
                };
                info!(
                    "forwards cannot be verified{server}: the server does not connect to its own \
                     listeners: {why}; VerifyForward is off for this connection"
                );
            }
        }
        if matches!(finding, Finding::Elsewhere { .. } | Finding::Gone) {
            turn.watchdog.handle(now, Input::ForwardElsewhere { id });
        }
    }
}
