//! The tunnel of this process, as the control socket sees it.

use std::rc::Rc;

use log::{error, info};
use nix::sys::signal::{Signal, raise};
use reachback_core::config::Config;
use reachback_core::control::{Refusal, Reply, Request};
use reachback_core::forward::ForwardSpec;
use reachback_core::forwards::Origin;
use reachback_core::keyword::{KEYWORDS, Keyword, OnReload};
use reachback_core::time::Instant;
use reachback_tunnel::{Plan, Program, Progress, Tunnel};

use crate::cli;
use crate::errands;
use crate::exit::Exit;
use crate::instance::server;
use crate::instance::supervisor::ask;
use crate::keys;
use crate::net::outside::Net;
use crate::sys::worker;
use crate::trust::Trust;

/// What the configuration says when it is read again.
pub enum Reread {
    /// How the tunnel is to be from now on, and what was read.
    Plan(Box<Plan>, Trust, Rc<Config>),
    /// It gives the tunnel another name, this one, or another runtime directory.
    Moved(String),
}

/// Reads the configuration again, with these options of callers before everything else.
pub type Reader = dyn Fn(&[String]) -> Result<Reread, Exit>;

/// The tunnel and its outside.
pub struct Served {
    /// The tunnel.
    pub tunnel: Tunnel<Net>,
    /// Its outside.
    pub net: Net,
    /// Once the tunnel has ended, the process goes on for this reason
    /// ([`crate::instance::supervisor::ask`]). An order to end takes it back.
    pub again: Option<u8>,
    /// What holds.
    pub config: Rc<Config>,
    /// What callers asked for beyond forwards, the last first, in the form of `-o`. One value for
    /// each keyword, or as many as it takes.
    pub options: Vec<String>,
    /// They have changed.
    pub options_changed: bool,
    /// For `SIGHUP` and for callers.
    pub reader: Box<Reader>,
}

impl Served {
    /// Follows `SIGHUP`. What is wrong with the configuration is logged, and nothing changes.
    pub fn read_again(&mut self, now: Instant) {
        match (self.reader)(&self.options) {
            Ok(reread) => {
                info!("configuration read again");
                self.follow(reread, now);
            }
            Err(exit) => {
                let why = exit.line();
                error!("configuration rejected, keeping the current one: {why}");
            }
        }
    }

    fn follow(&mut self, reread: Reread, now: Instant) {
        match reread {
            Reread::Plan(plan, trust, config) => {
                self.config = config;
                self.net.set_trust(trust);
                self.tunnel.reload(*plan, &self.net, now);
            }
            Reread::Moved(name) => {
                self.begin_anew(
                    &format!("the configuration moves the tunnel to {name}"),
                    now,
                );
            }
        }
    }

    /// Ends, for the process to begin anew with a lock and a socket of their own.
    pub fn begin_anew(&mut self, why: &str, now: Instant) {
        server::Tunnel::stop(self, why, now);
        self.again = Some(ask::MOVE);
    }

    /// What callers ordered, as lines, when it has changed since this was last asked.
    pub fn changed_orders(&mut self) -> Option<String> {
        let forwards = self
            .tunnel
            .changed_orders(std::mem::take(&mut self.options_changed))?;
        let options = self
            .options
            .iter()
            .map(|option| format!("option {option}\n"));
        Some(options.chain([forwards]).collect())
    }

    /// The options with these in front. Where it logs in with the default keys, those stay.
    fn with(&self, asked: Vec<String>) -> Vec<String> {
        let name = |option: &str| option.split(' ').next().unwrap_or_default().to_owned();
        let adds_up = |name: &str| matches!(name, "IdentityFile" | "Fallback");
        let mut options = asked;
        if self.config.identity_files().is_empty()
            && options.iter().any(|option| name(option) == "IdentityFile")
        {
            let usable = keys::defaults().filter(|(_, key)| key.is_ok());
            let defaults = usable.map(|(path, _)| path);
            options.extend(defaults.map(|path| format!("IdentityFile \"{}\"", path.display())));
        }
        for option in &self.options {
            let replaced = |new: &String| {
                new == option || name(new) == name(option) && !adds_up(&name(option))
            };
            if !options.iter().any(replaced) {
                options.push(option.clone());
            }
        }
        options
    }
}

/// The options in what was kept of callers' orders. The worker can write there: what it does not
/// take from callers counts from there neither.
pub fn options(orders: &str) -> Vec<String> {
    let options = orders
        .lines()
        .filter_map(|line| match Request::parse(line) {
            Ok(Request::Option(option)) => Some(option.as_str().to_owned()),
            _ => None,
        });
    let for_callers = |option: &String| {
        let mut asked = Config::new();
        let read = asked.parse_option(option).is_ok();
        let keyword = |keyword: &&Keyword| asked.is_set(keyword);
        read && !KEYWORDS.iter().filter(keyword).any(is_for_a_start)
    };
    options.filter(for_callers).collect()
}

/// What a running tunnel does not change.
fn is_for_a_start(keyword: &Keyword) -> bool {
    matches!(keyword.on_reload, OnReload::NextStart | OnReload::Moves)
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

    fn asks(&self, option: &str) -> Result<bool, String> {
        let mut asked = Config::new();
        let read = asked.parse_option(option);
        read.map_err(|error| error.to_string())?;
        let Some(keyword) = KEYWORDS.iter().find(|keyword| asked.is_set(keyword)) else {
            return Ok(false);
        };
        let differs = !self.config.holds(&asked, keyword);
        if differs && is_for_a_start(keyword) {
            return Err(
                "it is set when the tunnel starts: reachback stop, then call again".to_owned(),
            );
        }
        Ok(differs)
    }

    fn call(&mut self, asked: Vec<String>, now: Instant) -> Reply {
        let mut reply = Reply::done("trying");
        if !asked.is_empty() {
            let what = asked.join(", ");
            let options = self.with(asked);
            match (self.reader)(&options) {
                Ok(reread) => {
                    info!("taken over from another call: {what}");
                    self.options = options;
                    self.options_changed = true;
                    self.follow(reread, now);
                }
                Err(exit) => reply = Reply::refused(Refusal::Unfit, exit.line()),
            }
        }
        self.tunnel.call(now);
        reply
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
        errands::look()?;
        self.stop("the program is renewed", now);
        self.again = Some(ask::RENEW);
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.tunnel.is_ending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_start_sets_does_not_come_from_what_a_worker_wrote() {
        for option in [
            "LogFile /etc/cron.d/x",
            "StateFile /etc/x",
            "RunAsUser root",
            "Sandbox no",
            "RuntimeDirectory /etc",
            "Nonsense 1",
        ] {
            assert_eq!(options(&format!("option {option}\n")), [""; 0], "{option}");
        }
        let kept = "option ServerAliveInterval 7\nforward 1:h:2\n";
        assert_eq!(options(kept), ["ServerAliveInterval 7"]);
    }
}
