//! Tunnel, callers, server, people and targets agree with each other.

use reachback_core::forward::{ForwardSpec, Listen};
use reachback_core::forwards::ForwardState;
use reachback_core::watchdog::State;
use reachback_ssh::limits::{CHANNEL_WINDOW, WIDEST_WINDOW};
use reachback_tunnel::WIDTH_BUDGET;

use super::{Invariants, View};

/// How long the tunnel may go on with something of which one end is gone, while nothing is under
/// way: what a target has not taken yet is kept for 30 s, a target may take 10 s to accept, and a
/// connection that may be a check is held for 5 s.
const LINGER_MS: u64 = 45_000;

/// Something of which one end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// A channel that the server closed.
    Channel(u32),
    /// The target of a user who has gone.
    Target(u64),
}

impl Invariants {
    pub(super) fn judge_agreement(&mut self, view: &mut View<'_>) {
        self.judge_orders(view);
        self.judge_name(view);
        self.judge_memory(view);
        if !matches!(view.tunnel.state(), State::Up { .. }) || !view.net.is_quiet() {
            return;
        }
        self.judge_listeners(view);
    }

    /// What was acknowledged is what is wanted.
    fn judge_orders(&mut self, view: &View<'_>) {
        if view.wanted.stopped {
            return;
        }
        let (ours, theirs) = (view.tunnel.forwards(), view.wanted.forwards());
        let same = |one: &[ForwardSpec], other: &[ForwardSpec]| {
            one.iter().all(|spec| other.contains(spec))
        };
        if !same(&ours, &theirs) || !same(&theirs, &ours) {
            let show = |specs: &[ForwardSpec]| -> Vec<String> {
                specs.iter().map(ToString::to_string).collect()
            };
            let (ours, theirs) = (show(&ours), show(&theirs));
            let text = format!("{theirs:?} are wanted, and the tunnel has {ours:?}");
            self.broken(view.now_ms, text);
        }
    }

    /// Whatever server is in use, the tunnel goes by the name of the first.
    fn judge_name(&mut self, view: &View<'_>) {
        let (status, first) = (view.snapshot, &view.setup.servers[0]);
        let name = (status.user.as_str(), status.host.as_str(), status.port);
        if name != (first.user.as_str(), first.host.as_str(), first.port) {
            let text = format!("the tunnel calls itself {} {}", status.host, status.port);
            self.broken(view.now_ms, text);
        }
    }

    /// Nothing is under way: what status says of a forward is what the server says.
    fn judge_listeners(&mut self, view: &mut View<'_>) {
        let now_ms = view.now_ms;
        let Some(server) = view.net.server() else {
            return;
        };
        let listens = |spec: &ForwardSpec, port: u16| match &spec.listen {
            Listen::Tcp { bind, .. } => server
                .listeners
                .iter()
                .any(|own| own.bind == bind.wire() && own.port == port),
            Listen::Unix(_) => true,
        };
        let mut wrong = None;
        let mut known = 0;
        for forward in &view.snapshot.forwards {
            if let ForwardState::Confirmed { port } = forward.state {
                known += 1;
                if !listens(&forward.spec, port) {
                    wrong = Some(format!("status has {}, and the server not", forward.spec));
                }
            }
        }
        // One that the server would not cancel is got rid of when nobody is served.
        let ours = server.listeners.iter();
        let ours = ours.filter(|own| !server.kept.contains(own)).count();
        let others = ours.saturating_sub(known);
        if wrong.is_none() && others > 0 {
            wrong = Some(format!(
                "the server has {others} listeners that status has not"
            ));
        }
        if let Some(text) = wrong {
            self.broken(now_ms, text);
        }
        let closed = server.channels().filter(|(_, channel)| {
            // Its end has arrived, since nothing is under way.
            channel.close_sent && !channel.close_received
        });
        let channels: Vec<Left> = closed.map(|(number, _)| Left::Channel(number)).collect();
        let targets = view.net.orphans().into_iter().map(Left::Target);
        let left: Vec<Left> = channels.into_iter().chain(targets).collect();
        self.left.retain(|one, _| left.contains(one));
        for one in left {
            let since = *self.left.entry(one).or_insert(now_ms);
            if now_ms > since.max(self.held_up_until_ms) + LINGER_MS {
                self.broken(now_ms, format!("{one:?} outlives its other end"));
                self.left.insert(one, u64::MAX - LINGER_MS);
            }
        }
    }

    /// What may come to wait for targets keeps to each window's bound, and to that of all of them.
    fn judge_memory(&mut self, view: &mut View<'_>) {
        let mut beyond = 0;
        for (granted, written, id) in view.net.windows() {
            if granted > written + u64::from(WIDEST_WINDOW) {
                let text = format!("user {id} may send {granted}, the target took {written}");
                self.broken(view.now_ms, text);
            }
            self.widest_window = self.widest_window.max(granted.saturating_sub(written));
            beyond += granted.saturating_sub(written + u64::from(CHANNEL_WINDOW));
        }
        if beyond > WIDTH_BUDGET as u64 {
            let text = format!("windows have {beyond} bytes more than they opened with");
            self.broken(view.now_ms, text);
        }
    }
}
