//! The tunnel of this process, as the control socket sees it.

use reachback_core::control::Verdict;
use reachback_core::forward::ForwardSpec;
use reachback_core::time::Instant;
use reachback_tunnel::{Program, Progress, Tunnel};

use crate::cli;
use crate::control;
use crate::net::outside::Net;
use crate::sys::worker;

/// The tunnel and its outside.
pub struct Served {
    /// The tunnel.
    pub tunnel: Tunnel<Net>,
    /// Its outside.
    pub net: Net,
    /// Once the tunnel has ended, the process goes on for this reason
    /// ([`crate::supervisor::ask`]). An order to end takes it back.
    pub again: Option<u8>,
}

impl control::Tunnel for Served {
    fn add_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Verdict {
        self.tunnel.add_forward(spec, &self.net, now)
    }

    fn remove_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Verdict {
        self.tunnel.remove_forward(spec, &self.net, now)
    }

    fn forwards(&self) -> Vec<ForwardSpec> {
        self.tunnel.forwards()
    }

    fn confirmed(&self, specs: &[ForwardSpec], limit: Instant) -> Progress {
        self.tunnel.confirmed(specs, limit)
    }

    fn status(&self, now: Instant) -> String {
        let program = Program {
            pid: worker::known_as(),
            version: cli::version(),
        };
        self.tunnel.status(program, &self.net, now)
    }

    fn reconnect(&mut self, now: Instant) {
        self.tunnel.reconnect(&self.net, now);
    }

    fn stop(&mut self, why: &str, now: Instant) {
        self.again = None;
        self.tunnel.stop(why, &self.net, now);
    }

    fn is_ending(&self) -> bool {
        self.tunnel.is_ending()
    }
}
