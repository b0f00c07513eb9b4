//! What people use instead, as far as a server notices: when each tries again. Written after
//! the manual of autossh(1) and its version 1.4g, and after the shell loop of the old scripts.

use super::Member;
use super::sshd::{Login, Sshd};
use crate::dice::Dice;

/// `AUTOSSH_POLL`, at its default.
const POLL_MS: u64 = 600_000;
/// A run of ssh that is shorter is a failure: a tenth of it.
const SHORT_MS: u64 = POLL_MS / 10;
/// Failures in a row that are tried again at once.
const FAST_TRIES: u64 = 5;
/// `ConnectTimeout` for ssh, and what Linux takes where there is none (six repeated SYNs).
const CONNECT_MS: (u64, u64) = (30_000, 127_000);
/// `ServerAliveInterval 15` and three of them, or `-K 15`: noticed so long after a silent loss.
const NOTICED_MS: (u64, u64) = (45_000, 60_000);
/// The loop's `sleep`.
const SLEEP_MS: u64 = 60_000;

/// Who tries again, and when.
#[derive(Clone, Copy, Debug)]
pub enum Policy {
    /// `AUTOSSH_GATETIME=0 autossh -M 0`, with so many short runs in a row.
    Autossh(u64),
    /// `while :; do dbclient ...; sleep 60; done`
    Loop,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Off {
        until_ms: u64,
    },
    Dialling {
        syn_ms: u64,
        wait_ms: u64,
    },
    Answered {
        at_ms: u64,
        taken: bool,
    },
    /// The server has the connection.
    Queued {
        login: Login,
    },
    LogsIn {
        login: Login,
        at_ms: u64,
    },
    Up,
    /// It learns of its end then.
    Ending {
        at_ms: u64,
    },
}

/// One controller.
pub struct Other {
    policy: Policy,
    number: usize,
    state: State,
    began_ms: u64,
    delay_ms: u64,
    passes: bool,
    knocks: u64,
    dice: Dice,
}

impl Other {
    /// One that does not run yet. Its way to the server takes 20 to 150 ms.
    pub fn new(policy: Policy, number: usize, seed: u64) -> Other {
        let mut dice = Dice::new(seed ^ ((number as u64) << 20));
        Other {
            policy,
            number,
            state: State::Off { until_ms: 0 },
            began_ms: 0,
            delay_ms: dice.between(20, 150),
            passes: true,
            knocks: 0,
            dice,
        }
    }

    fn ended(&mut self, now_ms: u64) {
        let wait_ms = match &mut self.policy {
            Policy::Loop => SLEEP_MS,
            Policy::Autossh(tries) => {
                let short = now_ms - self.began_ms < SHORT_MS;
                *tries = if short { *tries + 1 } else { 0 };
                let slow = tries.saturating_sub(FAST_TRIES);
                // Whole seconds, as there.
                (POLL_MS / 1_000 * slow * slow / 300 * 1_000).min(POLL_MS)
            }
        };
        let until_ms = now_ms + wait_ms;
        self.state = State::Off { until_ms };
    }

    fn connect_ms(&self) -> u64 {
        match self.policy {
            Policy::Autossh(_) => CONNECT_MS.0,
            Policy::Loop => CONNECT_MS.1,
        }
    }

    fn knock(&mut self, sshd: &mut Sshd, wait_ms: u64, now_ms: u64) {
        self.knocks += u64::from(self.passes);
        self.state = match self.passes && !(sshd.listening && sshd.is_full(now_ms)) {
            true => State::Answered {
                at_ms: now_ms + 2 * self.delay_ms,
                taken: sshd.listening,
            },
            false => State::Dialling {
                syn_ms: now_ms + wait_ms,
                wait_ms: 2 * wait_ms,
            },
        };
    }

    /// Does what is due now; gives when something is due next.
    fn act(&mut self, sshd: &mut Sshd, now_ms: u64) -> Option<u64> {
        match self.state {
            State::Off { until_ms } if until_ms <= now_ms => {
                self.began_ms = now_ms;
                self.knock(sshd, 1_000, now_ms);
            }
            State::Dialling { .. } if self.began_ms + self.connect_ms() <= now_ms => {
                self.ended(now_ms);
            }
            State::Dialling { syn_ms, wait_ms } if syn_ms <= now_ms => {
                self.knock(sshd, wait_ms, now_ms);
            }
            State::Answered { at_ms, taken } if at_ms <= now_ms => {
                let login = taken.then(|| sshd.arrive(self.number, now_ms)).flatten();
                self.state = match login {
                    Some(login) => State::Queued { login },
                    None if taken => State::Ending {
                        at_ms: now_ms + self.delay_ms,
                    },
                    None => State::Ending { at_ms: now_ms },
                };
            }
            State::Queued { login } if sshd.is_ready(login) => {
                // Identification, keys, service and key: four round trips.
                let at_ms = now_ms + 8 * self.delay_ms;
                self.state = State::LogsIn { login, at_ms };
            }
            State::LogsIn { login, at_ms } if at_ms <= now_ms => {
                sshd.end(login, true);
                self.state = State::Up;
            }
            State::Ending { at_ms } if at_ms <= now_ms => self.ended(now_ms),
            State::Off { until_ms: at } | State::Answered { at_ms: at, .. } => return Some(at),
            State::LogsIn { at_ms, .. } | State::Ending { at_ms } => return Some(at_ms),
            State::Dialling { syn_ms, .. } => {
                return Some(syn_ms.min(self.began_ms + self.connect_ms()));
            }
            State::Queued { .. } | State::Up => return None,
        }
        Some(now_ms)
    }
}

impl Member for Other {
    fn step(&mut self, sshd: &mut Sshd, now_ms: u64) -> Option<u64> {
        if self.began_ms == 0 && matches!(self.state, State::Off { until_ms: 0 }) {
            self.state = State::Off { until_ms: now_ms };
        }
        loop {
            match self.act(sshd, now_ms) {
                Some(at) if at <= now_ms => {}
                // Who is up is called when something happens to it.
                next => return next.or(Some(u64::MAX)),
            }
        }
    }

    fn reset(&mut self, _listening: bool, now_ms: u64) {
        let at_ms = now_ms + self.delay_ms;
        match self.state {
            State::Queued { .. } | State::LogsIn { .. } | State::Up => {
                self.state = State::Ending { at_ms };
            }
            _ => {}
        }
    }

    fn listen(&mut self) {}

    fn path(&mut self, passes: bool, now_ms: u64) {
        self.passes = passes;
        if passes {
            return;
        }
        self.cut(now_ms);
        if matches!(self.state, State::Answered { .. }) {
            // The answer is lost on its way.
            self.state = State::Dialling {
                syn_ms: now_ms + 1_000,
                wait_ms: 2_000,
            };
        }
    }

    fn cut(&mut self, now_ms: u64) {
        if matches!(self.state, State::Up) {
            let after_ms = self.dice.between(NOTICED_MS.0, NOTICED_MS.1);
            self.state = State::Ending {
                at_ms: now_ms + after_ms,
            };
        }
    }

    fn late(&mut self, now_ms: u64) {
        self.state = State::Ending { at_ms: now_ms };
    }

    fn is_back(&self) -> bool {
        matches!(self.state, State::Up) && self.passes
    }

    fn knocks(&self) -> u64 {
        self.knocks
    }
}
