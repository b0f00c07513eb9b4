//! Checks on their way out.

use reachback_core::forward::Listen;
use reachback_core::time::Instant;
use reachback_core::verify::{Action, Verdict, places};
use reachback_ssh::limits::CHANNELS;
use reachback_ssh::{Client, Error};

use super::{Checks, SPARE, TOKEN, Watch};
use crate::plan::Plan;
use crate::stats::Stats;

impl Checks {
    /// Does what is due; `serving` is the number of connections that are being served. Gives a
    /// verdict, and is then to be called again.
    ///
    /// # Errors
    /// Those of the client; the connection is over.
    pub fn drive(
        &mut self,
        client: &mut Client,
        plan: &Plan,
        stats: &mut Stats,
        serving: usize,
        now: Instant,
    ) -> Result<Option<(u8, Verdict)>, Error> {
        self.policy.set_enabled(plan.verify_forward, now);
        if self.policy.is_checking() && serving + self.held.len() + SPARE >= CHANNELS {
            self.policy.handle_crowded(now);
        }
        self.policy.handle_timeout(now);
        self.expire(now);
        loop {
            for channel in self.to_close.drain(..) {
                client.channel_close(channel)?;
            }
            match self.policy.poll_action() {
                None => break,
                Some(Action::Close) => self.give_up(now),
                Some(Action::Ask) => {
                    stats.asked(now);
                    client.keepalive()?;
                }
                Some(Action::Verdict { index, verdict }) => return Ok(Some((index, verdict))),
                Some(Action::Open { index, place }) => {
                    let port = self.port(index);
                    self.open((index, place, port), client, plan, now)?;
                }
                Some(Action::OpenNothing { index, place }) => {
                    self.open((index, place, 0), client, plan, now)?;
                }
            }
        }
        self.send_token(client)?;
        Ok(None)
    }

    fn open(
        &mut self,
        (index, place, port): (u8, u8, u16),
        client: &mut Client,
        plan: &Plan,
        now: Instant,
    ) -> Result<(), Error> {
        let spec = plan.forwards.get(usize::from(index));
        let host = spec.and_then(|spec| match &spec.listen {
            Listen::Tcp { bind, .. } => places(bind).get(usize::from(place)).copied(),
            Listen::Unix(_) => None,
        });
        let mut secret = [0; 16];
        let (Some(host), Ok(())) = (host, self.random.fill(&mut secret)) else {
            self.policy.handle_crowded(now);
            return Ok(());
        };
        let Some(direct) = client.open_direct(host, port)? else {
            self.policy.handle_crowded(now);
            return Ok(());
        };
        let mut token = [0; TOKEN];
        let words = format!("reachback-check {:032x}\r\n", u128::from_ne_bytes(secret));
        token.copy_from_slice(words.as_bytes());
        self.watches.push(Watch {
            index,
            port,
            token,
            // Nothing is to arrive from port 0.
            sent: if port == 0 { TOKEN } else { 0 },
            direct: Some(direct),
            opened: false,
            current: true,
            until: None,
        });
        Ok(())
    }

    fn send_token(&mut self, client: &mut Client) -> Result<(), Error> {
        for watch in &mut self.watches {
            let (Some(direct), true) = (watch.direct, watch.opened && watch.sent < TOKEN) else {
                continue;
            };
            while watch.sent < TOKEN
                && let Some(space) = client.channel_space(direct)?
            {
                let n = space.len().min(TOKEN - watch.sent);
                space[..n].copy_from_slice(&watch.token[watch.sent..watch.sent + n]);
                client.channel_filled(direct, n)?;
                watch.sent += n;
            }
        }
        Ok(())
    }
}
