//! The tunnel of this process, as the control socket sees it.

use std::path::PathBuf;

use nix::sys::signal::{Signal, raise};
use reachback_core::control::Reply;
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::Origin;
use reachback_core::time::Instant;
use reachback_tunnel::{Program, Progress, Tunnel};

use crate::cli;
use crate::instance::server;
use crate::instance::supervisor::ask;
use crate::net::outside::Net;
use crate::renew;
use crate::sys::worker;

/// The tunnel and its outside.
pub struct Served {
    /// The tunnel.
    pub tunnel: Tunnel<Net>,
    /// Its outside.
    pub net: Net,
    /// The file of the program, where a newer one may be by now.
    pub program: PathBuf,
    /// Where relative names in the arguments start.
    pub directory: PathBuf,
    /// Once the tunnel has ended, the process goes on for this reason
    /// ([`crate::instance::supervisor::ask`]). An order to end takes it back.
    pub again: Option<u8>,
}

impl server::Tunnel for Served {
    fn add_forward(&mut self, spec: &ForwardSpec, origin: Origin, now: Instant) -> Reply {
        self.tunnel.add_forward(spec, origin, &self.net, now)
    }

    fn remove_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Reply {
        self.tunnel
            .remove_forward(spec, Origin::Caller, &self.net, now)
    }

    fn withdraw_forward(&mut self, spec: &ForwardSpec, now: Instant) -> Reply {
        let reply = self
            .tunnel
            .remove_forward(spec, Origin::Script, &self.net, now);
        if matches!(reply, Reply::Done(_)) && self.tunnel.is_unused() {
            self.stop("the last forward was taken away", now);
            return Reply::done("forward taken away, and the connection with it: it was the last");
        }
        reply
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

    fn reload(&mut self) {
        // The loop reads it, as it reads a person's.
        let _ = raise(Signal::SIGHUP);
    }

    fn renew(&mut self, now: Instant) -> Result<(), String> {
        renew::check(&self.program, &self.directory)?;
        self.stop("the program is renewed", now);
        self.again = Some(ask::RENEW);
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.tunnel.is_ending()
    }
}
