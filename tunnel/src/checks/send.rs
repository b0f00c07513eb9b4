//! Checks on their way out, and the questions that go with them.

use reachback_core::forward::{Listen, MAX_FORWARDS};
use reachback_core::forwards::{ForwardId, Forwards};
use reachback_core::time::Instant;
use reachback_core::verify::places;
use reachback_ssh::{Client, Error};

use super::{Checks, TOKEN, Watch};
use crate::stats::Stats;

impl Checks {
    /// Asks the questions whose time has come, all with one keepalive.
    pub(super) fn ask_due(
        &mut self,
        client: &mut Client,
        stats: &mut Stats,
        now: Instant,
    ) -> Result<(), Error> {
        let number = self.asked + 1;
        let mut any = false;
        for watch in &mut self.watches {
            if watch.question.is_none() && watch.ask_at.is_some_and(|at| at <= now) {
                (watch.question, any) = (Some(number), true);
            }
        }
        if let Some(doubt) = &mut self.doubt
            && doubt.question.is_none()
            && doubt.at <= now
        {
            (doubt.question, any) = (Some(number), true);
        }
        if any {
            stats.asked(now);
            self.ask(client)?;
        }
        Ok(())
    }

    pub(super) fn open(
        &mut self,
        (id, place, port): (ForwardId, u8, u16),
        client: &mut Client,
        forwards: &mut Forwards,
        now: Instant,
    ) -> Result<(), Error> {
        let host = forwards
            .get(id)
            .and_then(|forward| match &forward.spec.listen {
                Listen::Tcp { bind, .. } => places(bind).get(usize::from(place)).copied(),
                Listen::Unix(_) => None,
            });
        let mut secret = [0; 16];
        let direct = match (host, self.random.fill(&mut secret)) {
            (Some(host), Ok(())) if self.watches.len() < 2 * MAX_FORWARDS => {
                client.open_direct(host, port)?
            }
            _ => None,
        };
        let Some(direct) = direct else {
            self.policy.handle_crowded(forwards, now);
            return Ok(());
        };
        let mut token = [0; TOKEN];
        let words = format!("reachback-check {:032x}\r\n", u128::from_ne_bytes(secret));
        token.copy_from_slice(words.as_bytes());
        let number = self.count;
        self.count += 1;
        self.watches.push(Watch {
            number,
            id,
            port,
            token,
            // Nothing is to arrive from port 0.
            sent: if port == 0 { TOKEN } else { 0 },
            direct: Some(direct),
            opened: false,
            current: true,
            until: None,
            ask_at: None,
            question: None,
            settled: false,
        });
        Ok(())
    }

    pub(super) fn send_token(&mut self, client: &mut Client) -> Result<(), Error> {
        for watch in &mut self.watches {
            let (Some(direct), true) = (watch.direct, watch.opened && watch.sent < TOKEN) else {
                continue;
            };
            while watch.sent < TOKEN
                && let Some(space) = client.channel_space(direct, TOKEN - watch.sent)?
            {
                let n = space.len();
                space[..n].copy_from_slice(&watch.token[watch.sent..watch.sent + n]);
                client.channel_filled(direct, n)?;
                watch.sent += n;
            }
        }
        Ok(())
    }
}
