//! The wait after a fault, and what callers are told meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use reachback_core::backoff;
use reachback_core::control::{MAX_LINE, Refusal, Reply, Request, VERSION};

use super::{Before, is_of_service, not_of_service};
use crate::instance::lock::Inherited;
use crate::sys::worker::{self, Wake};

/// How soon after a fault a caller can have the tunnel back at the earliest.
const CALLED: Duration = Duration::from_secs(1);
/// How long a caller may take to say what he wants.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of one caller that are read.
const LINES: usize = 4;

/// How the wait after a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is over.
    Due,
    /// Somebody asks for the tunnel.
    Called,
    /// The tunnel is to end.
    Ended,
}

impl Before {
    /// Waits as it has to after a fault, and tells callers meanwhile that it does. Only that is
    /// served: what failed may be the code that would do more. So an order does not wait for the
    /// end of this, it ends it.
    pub fn hold(&self) -> Held {
        let Some(Inherited { listener, .. }) = &self.inherited else {
            return Held::Due;
        };
        let delay = backoff::restart_delay(self.faults);
        let (began, mut called) = (Instant::now(), false);
        loop {
            let limit = if called { delay.min(CALLED) } else { delay };
            match worker::wait(limit.saturating_sub(began.elapsed()), listener) {
                Wake::Due if called => return Held::Called,
                Wake::Due => return Held::Due,
                Wake::Called => return Held::Called,
                Wake::Ended => return Held::Ended,
                Wake::Readable => {
                    let Ok((stream, _)) = listener.accept() else {
                        continue;
                    };
                    match self.answer(stream) {
                        Some(Request::Stop | Request::StopService) => return Held::Ended,
                        Some(Request::Check | Request::Status) | None => {}
                        Some(_) => called = true,
                    }
                }
            }
        }
    }

    /// Ends, and takes the files with it.
    pub fn release(self) {
        if let Some(inherited) = self.inherited {
            inherited.release();
        }
    }

    /// Tells one caller; what he asked for.
    fn answer(&self, mut stream: UnixStream) -> Option<Request> {
        let peer = getsockopt(&stream, sockopt::PeerCredentials).ok()?;
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            return None;
        }
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let pid = std::process::id();
        let lines =
            BufReader::new(stream.try_clone().ok()?.take((LINES * MAX_LINE) as u64)).lines();
        for line in lines.take(LINES) {
            let request = Request::parse(&line.ok()?).ok()?;
            let reply = match request {
                Request::Hello(_) => Reply::Hello {
                    version: VERSION,
                    pid,
                },
                Request::StopService if !is_of_service() => {
                    let _ = writeln!(stream, "{}", not_of_service());
                    return None;
                }
                Request::Stop | Request::StopService => Reply::done("ending"),
                _ => Reply::refused(Refusal::Restarting, &self.reason),
            };
            // He may have gone: what he asked for holds all the same.
            let _ = writeln!(stream, "{reply}");
            if !matches!(request, Request::Hello(_)) {
                return Some(request);
            }
        }
        None
    }
}
