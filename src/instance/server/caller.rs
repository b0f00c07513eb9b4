//! One caller at the owner's socket, and what it asks for.

use std::io::{self, Read, Write};
use std::mem::take;
use std::time::Duration;

use mio::net::UnixStream;
use reachback_core::control::{MAX_LINE, Refusal, Reply, Request, VERSION};
use reachback_core::forward::{ForwardSpec, MAX_FORWARDS};
use reachback_core::forwards::Origin;
use reachback_core::keyword::KEYWORDS;
use reachback_core::time::Instant;
use reachback_tunnel::Progress;

use super::Tunnel;
use crate::instance::supervisor;
use crate::sys::worker;

/// Requests of one client in one turn.
const REQUESTS_PER_TURN: usize = 4;
/// How long a client may be silent, or leave an answer unread. While it waits for forwards its
/// own limit holds.
const DEADLINE: Duration = Duration::from_secs(10);

/// How a client's turn ended.
pub(super) enum Turn {
    Idle,
    More,
    Over,
}

fn ending() -> Reply {
    Reply::refused(Refusal::Ended, "the tunnel is ending")
}

/// One client. Its buffers are one line and one answer: the next request is read when the
/// answer to the last one is gone.
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// What came of the next request.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    greeted: bool,
    /// It will send no more, or must not.
    closing: bool,
    pub(super) waiting: bool,
    pub(super) deadline: Instant,
    /// The options it asked for that do not hold yet.
    asked: Vec<String>,
    /// The forwards it added.
    added: Vec<ForwardSpec>,
    /// The forwards it waits for.
    awaited: Vec<ForwardSpec>,
}

impl Client {
    pub(super) fn new(stream: UnixStream, now: Instant) -> Client {
        Client {
            stream,
            readable: true,
            writable: true,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            greeted: false,
            closing: false,
            waiting: false,
            deadline: now + DEADLINE,
            asked: Vec::new(),
            added: Vec::new(),
            awaited: Vec::new(),
        }
    }

    pub(super) fn drive(&mut self, tunnel: &mut impl Tunnel, now: Instant) -> Turn {
        if self.waiting {
            self.wait(tunnel, now);
        }
        let mut handled = false;
        for _ in 0..REQUESTS_PER_TURN {
            self.write();
            if !self.output.is_empty() {
                break;
            }
            if self.closing {
                return Turn::Over;
            }
            let Some(line) = self.line() else {
                break;
            };
            self.deadline = now + DEADLINE;
            self.handle(&line, tunnel, now);
            handled = true;
        }
        self.write();
        if now >= self.deadline || (self.closing && self.output.is_empty()) {
            return Turn::Over;
        }
        // What was asked for is done in the tunnel's next turn.
        let more = handled || (self.readable && self.output.is_empty());
        if more { Turn::More } else { Turn::Idle }
    }

    /// The next whole line. Reads at most as much as a line may have; the end of the stream, an
    /// error and a line that is too long are the end of the client.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return match String::from_utf8(line) {
                    Ok(line) => Some(line.trim_end_matches('\n').to_owned()),
                    Err(_) => Some(String::new()),
                };
            }
            if self.input.len() > MAX_LINE {
                self.say(&Reply::refused(Refusal::Bad, "line too long"));
                self.closing = true;
                return None;
            }
            if !self.readable {
                return None;
            }
            let mut buffer = [0; MAX_LINE];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    // Nobody reads the answer to a wait any more.
                    self.readable = false;
                    self.closing = true;
                    return None;
                }
                Ok(n) => self.input.extend(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.readable = false;
                    self.closing |= error.kind() != io::ErrorKind::WouldBlock;
                    return None;
                }
            }
        }
    }

    fn handle(&mut self, line: &str, tunnel: &mut impl Tunnel, now: Instant) {
        // One that waits and asks for something else waits no more.
        self.waiting = false;
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err(bad) => return self.say(&Reply::refused(Refusal::Bad, bad)),
        };
        if !self.greeted && !matches!(request, Request::Hello(_)) {
            self.closing = true;
            return self.say(&Reply::refused(Refusal::Bad, "say hello first"));
        }
        let reply = match request {
            Request::Hello(VERSION) => {
                self.greeted = true;
                Reply::Hello {
                    version: VERSION,
                    pid: worker::known_as(),
                }
            }
            Request::Hello(_) => {
                self.closing = true;
                let text = format!("this owner speaks version {VERSION}");
                Reply::refused(Refusal::Version, text)
            }
            Request::Check => supervisor::running(),
            Request::Option(option) => match tunnel.asks(&option) {
                Ok(false) => Reply::done("so it is"),
                Ok(true) if self.asked.len() < KEYWORDS.len() => {
                    self.asked.push(option.as_str().to_owned());
                    Reply::done("noted")
                }
                Ok(true) => Reply::refused(Refusal::Full, "too many options"),
                Err(why) => Reply::refused(Refusal::Unfit, why),
            },
            Request::Call if tunnel.is_ending() => ending(),
            Request::Call => tunnel.call(take(&mut self.asked), now),
            Request::Forward(spec) => self.forward(spec, Origin::Caller, tunnel, now),
            Request::ForwardService(spec) => self.forward(spec, Origin::Service, tunnel, now),
            Request::Cancel(spec) => tunnel.remove_forward(&spec, now),
            Request::Withdraw(spec) => tunnel.withdraw_forward(&spec, now),
            Request::Wait(limit) => {
                self.waiting = true;
                // Those of now: one that is taken away meanwhile is not confirmed.
                self.awaited = match self.added.as_slice() {
                    [] => tunnel.forwards(),
                    added => added.to_vec(),
                };
                self.deadline = now + limit;
                return self.wait(tunnel, now);
            }
            Request::Status => {
                let lines = tunnel.status(now);
                self.output.extend(lines.as_bytes());
                return;
            }
            Request::Reconnect => {
                tunnel.reconnect(now);
                Reply::done("connecting anew")
            }
            Request::StopService if !supervisor::is_of_service() => supervisor::not_of_service(),
            Request::Stop | Request::StopService => {
                tunnel.stop("asked to", now);
                Reply::done("ending")
            }
            Request::Reload => {
                tunnel.reload();
                Reply::done("reading the configuration again")
            }
            Request::Renew if tunnel.is_ending() => ending(),
            Request::Renew => match tunnel.renew(now) {
                Ok(()) => Reply::done("renewing"),
                Err(why) => Reply::refused(Refusal::Unfit, why),
            },
        };
        self.say(&reply);
    }

    fn forward(
        &mut self,
        spec: ForwardSpec,
        origin: Origin,
        tunnel: &mut impl Tunnel,
        now: Instant,
    ) -> Reply {
        if tunnel.is_ending() {
            return ending();
        }
        let reply = tunnel.add_forward(&spec, origin, now);
        if matches!(reply, Reply::Done(_))
            && self.added.len() < MAX_FORWARDS
            && !self.added.contains(&spec)
        {
            self.added.push(spec);
        }
        reply
    }

    fn wait(&mut self, tunnel: &impl Tunnel, now: Instant) {
        let late = now >= self.deadline;
        let reply = match tunnel.confirmed(&self.awaited, self.deadline) {
            Progress::Confirmed => Reply::done("forwards confirmed"),
            Progress::NotYet { why, hope } if late || !hope => Reply::refused(Refusal::NotYet, why),
            Progress::NotYet { .. } => return,
        };
        self.waiting = false;
        self.deadline = now + DEADLINE;
        self.say(&reply);
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        self.output.extend(format!("{reply}\n").into_bytes());
    }

    /// Writes what the client takes at once.
    pub(super) fn write(&mut self) {
        while self.writable && self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.writable = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.closing = true;
                        self.output.clear();
                    }
                }
            }
        }
        if self.written >= self.output.len() {
            self.output = Vec::new();
            self.written = 0;
        }
    }
}
