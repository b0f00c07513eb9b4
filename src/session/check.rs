//! What the checks of forwards found, in the log and for the watchdog.

use log::{debug, info, warn};
use reachback_core::forward::Listen;
use reachback_core::history::Kind;
use reachback_core::verify::{Refused, Verdict, places};
use reachback_core::watchdog::Happening;
use reachback_ssh::Error;

use super::{Session, Turn};

impl Session {
    /// Lets the checks go on, and serves the connections that are none.
    pub(super) fn check_forwards(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let now = turn.now;
        loop {
            let serving = self.relays.count();
            let checks = &mut self.checks;
            let Some((index, verdict)) =
                checks.drive(&mut self.client, turn.settings, turn.record, serving, now)?
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
            turn.record.opened();
            turn.record.received(held.first.len());
            let channel = held.channel;
            self.relays
                .open(channel, &held.target, &mut self.client, turn.registry, now)?;
            let taken = self.relays.data(channel, &held.first);
            self.client.channel_taken(channel, taken)?;
            if held.ended {
                self.relays.peer_eof(channel);
            }
        }
        Ok(())
    }

    fn concluded(&mut self, index: u8, verdict: Verdict, turn: &mut Turn<'_>) {
        let Turn {
            settings,
            record,
            now,
            ..
        } = turn;
        let port = self.checks.port(index);
        let place = &settings.place;
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
                let spec = settings.forwards.get(usize::from(index));
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
                record.note(Kind::ForwardRefused, text, *now);
            }
            Verdict::Gone => {
                warn!("nothing answers at the server's port {port}{place}, which it confirmed");
                let text = format!("server port {port} does not answer");
                record.note(Kind::ForwardRefused, text, *now);
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
