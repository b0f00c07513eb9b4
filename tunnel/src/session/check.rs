//! What the checks of forwards found, in the log and for the watchdog.

use log::{debug, info, warn};
use reachback_core::forward::Listen;
use reachback_core::history::Kind;
use reachback_core::verify::{Refused, Verdict, places};
use reachback_core::watchdog::Happening;
use reachback_ssh::Error;

use super::{Session, Turn};
use crate::outside::Outside;
use crate::tunnel::place;

impl<O: Outside> Session<O> {
    /// Lets the checks go on, and serves the connections that are none.
    pub(super) fn check_forwards(&mut self, turn: &mut Turn<'_, O>) -> Result<(), Error> {
        let now = turn.now;
        loop {
            let serving = self.relays.count();
            let checks = &mut self.checks;
            let Some((index, verdict)) =
                checks.drive(&mut self.client, turn.plan, turn.stats, serving, now)?
            else {
                break;
            };
            self.concluded(index, verdict, turn);
            if matches!(verdict, Verdict::Elsewhere { .. } | Verdict::Gone) {
                turn.watchdog
                    .handle(now, Happening::ForwardElsewhere { index });
            }
        }
        while let Some(held) = self.checks.poll_released() {
            turn.stats.opened();
            turn.stats.received(held.first.len());
            let channel = held.channel;
            let who = (channel, held.index);
            self.relays
                .open(who, &held.target, &mut self.client, turn.outside, now)?;
            let taken = self.relays.data(channel, &held.first);
            self.client.channel_taken(channel, taken)?;
            if held.ended {
                self.relays.peer_eof(channel);
            }
        }
        Ok(())
    }

    fn concluded(&mut self, index: u8, verdict: Verdict, turn: &mut Turn<'_, O>) {
        let (now, wall_s) = (turn.now, turn.outside.wall_s());
        let port = self.checks.port(index);
        let place = place(turn.plan, turn.server);
        match verdict {
            Verdict::Here if self.checks.is_news(index, false) => {
                info!("forward verified: server port {port}{place} leads here");
            }
            Verdict::Loopback if self.checks.is_news(index, true) => warn!(
                "forward verified: server port {port}{place} leads here, but on the server's \
                 loopback address only: GatewayPorts in its sshd_config forbids others"
            ),
            Verdict::Here | Verdict::Loopback => {
                debug!("server port {port}{place} still leads here")
            }
            Verdict::Elsewhere { place: at } => {
                let spec = turn.plan.forwards.get(usize::from(index));
                let at = spec.and_then(|spec| match &spec.listen {
                    Listen::Tcp { bind, .. } => places(bind).get(usize::from(at)).copied(),
                    Listen::Unix(_) => None,
                });
                let at = at.unwrap_or_default();
                warn!(
                    "the server's port {port}{place} leads elsewhere: a stale session holds it, \
                     or another program (found at {at})"
                );
                let text = format!("server port {port} leads elsewhere, found at {at}");
                turn.stats.note(Kind::ForwardRefused, text, now, wall_s);
            }
            Verdict::Gone => {
                warn!("nothing answers at the server's port {port}{place}, which it confirmed");
                let text = format!("server port {port} does not answer");
                turn.stats.note(Kind::ForwardRefused, text, now, wall_s);
            }
            Verdict::Off(why) => {
                let why = match why {
                    Refused::Unanswered => "it did not answer".to_owned(),
                    Refused::Hollow => "it claims every connection to be made".to_owned(),
                    Refused::Reason(reason) => {
                        format!("{} (reason {reason})", self.checks.refusal())
                    }
                };
                info!(
                    "forwards cannot be verified{place}: the server does not connect to its own \
                     listeners: {why}; VerifyForward is off for this connection"
                );
            }
        }
    }
}
