//! Where the server listens for each forward.

use std::time::Duration;

use reachback_core::cause::Cause;
use reachback_core::control::Snapshot;
use reachback_core::forward::{Bind, ForwardSpec, Listen};
use reachback_core::forwards::ForwardState;
use reachback_core::verify::places;
use reachback_ssh::{Client, ForwardId, Refusal};

use super::BESIDES;
use super::report::Report;
use crate::exit;
use crate::once::{Broken, Connection, Heard};
use crate::status::{self, Answer};
use crate::sys::clock;

/// One forward at a time.
const ID: ForwardId = ForwardId(0);
/// How long a connection of the server to its own listener may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(2);
/// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED` (RFC 4254 section 5.1).
const PROHIBITED: u32 = 1;

/// What is wrong with a forward, if anything is, and the words for it.
type Finding = (Option<Cause>, &'static str);

const LISTENING: Finding = (None, "listening");
const PUBLIC: Finding = (None, "listening, for everybody");
const LOOPBACK: Finding = (
    Some(Cause::LoopbackOnly),
    "listening on the server's loopback address only",
);
const ELSEWHERE: Finding = (Some(Cause::Elsewhere), "it leads elsewhere");
const TAKEN: Finding = (Some(Cause::Elsewhere), "refused: the port is taken");
const FORBIDDEN: Finding = (
    Some(Cause::ForwardRefused),
    "refused: the port is free, so the key may not have it",
);
const REFUSED: Finding = (
    Some(Cause::ForwardRefused),
    "refused: the port is taken or not permitted",
);

/// What a connection of the server to its own listener showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// It arrived here.
    Here,
    /// Somebody else took it.
    Elsewhere,
    /// Nobody listens there.
    Nothing,
    /// The server makes no such connections.
    Prohibited,
}

/// These are not looked at.
pub fn skip(forwards: &[&ForwardSpec], report: &mut Report) {
    for spec in forwards {
        report.skip(format_args!("forward {}", listener(spec)), "");
    }
}

fn listener(spec: &ForwardSpec) -> String {
    match &spec.listen {
        Listen::Tcp { port, .. } => port.to_string(),
        Listen::Unix(path) => path.to_string(),
    }
}

/// What the running tunnel says of its forwards: nobody else could have their listeners.
pub fn reported(snapshot: &Snapshot, report: &mut Report) {
    for forward in &snapshot.forwards {
        let finding = match status::cause(forward, &Answer::NotAsked) {
            None => LISTENING,
            Some(Cause::LoopbackOnly) => LOOPBACK,
            Some(Cause::Elsewhere) => ELSEWHERE,
            Some(_) => REFUSED,
        };
        let name = format_args!("forward {}", listener(&forward.spec));
        match forward.state {
            ForwardState::Confirmed { .. } | ForwardState::Refused { .. } => {
                report.begin(name);
                tell(finding, &forward.spec, ", says the running tunnel", report);
            }
            _ => report.skip(name, ": the running tunnel has not asked for it yet"),
        }
    }
}

/// Asks for each forward, looks where the server listens, and takes it back.
pub fn ask(
    connection: &mut Connection,
    client: &mut Client,
    forwards: &[&ForwardSpec],
    report: &mut Report,
) {
    for (index, spec) in forwards.iter().enumerate() {
        let name = listener(spec);
        let Listen::Tcp { bind, port } = &spec.listen else {
            report.skip(
                format_args!("forward {name}"),
                ": its file would stay behind on the server",
            );
            continue;
        };
        report.begin(format_args!("forward {name}"));
        let mut server = Server { connection, client };
        match server.ask(bind, *port) {
            Ok(finding) => tell(finding, spec, "", report),
            Err(broken) => {
                report.fail(
                    exit::UNAVAILABLE,
                    format_args!("{broken}"),
                    format_args!("look at the log of sshd on the server"),
                );
                return skip(&forwards[index + 1..], report);
            }
        }
    }
}

fn tell((cause, text): Finding, spec: &ForwardSpec, by: &str, report: &mut Report) {
    let public = match &spec.listen {
        Listen::Tcp { bind, .. } => !matches!(bind.wire(), "localhost" | "127.0.0.1" | "::1"),
        Listen::Unix(_) => false,
    };
    let text = format_args!("{text}{by}");
    match cause {
        Some(Cause::LoopbackOnly) if public => {
            report.fail_for(BESIDES, text, Cause::LoopbackOnly);
        }
        None | Some(Cause::LoopbackOnly) => report.right(text),
        Some(cause) => report.fail_for(exit::UNAVAILABLE, text, cause),
    }
}

struct Server<'a> {
    connection: &'a mut Connection,
    client: &'a mut Client,
}

impl Server<'_> {
    fn ask(&mut self, bind: &Bind, port: u16) -> Result<Finding, Broken> {
        self.client.request_forward(ID, bind.wire(), port)?;
        let mut listens = None;
        self.connection.converse(self.client, |_, heard| {
            if let Heard::Listens(port) = heard {
                listens = port;
                return Ok(true);
            }
            Ok(false)
        })?;
        let Some(port) = listens else {
            return Ok(match self.first(bind, port, false)? {
                Probe::Nothing => FORBIDDEN,
                Probe::Prohibited => REFUSED,
                _ => TAKEN,
            });
        };
        let public = match self.connection.address {
            // The server is this machine: another of its addresses stands for the public one.
            address if address.is_loopback() => "127.0.0.2".to_owned(),
            address => address.to_string(),
        };
        let finding = match self.probe(&public, port, true)? {
            Probe::Here => PUBLIC,
            _ => match self.first(bind, port, true)? {
                Probe::Here => LOOPBACK,
                Probe::Elsewhere => ELSEWHERE,
                _ => LISTENING,
            },
        };
        self.client.cancel_forward(ID)?;
        let cancelled = |_: &mut Client, heard| Ok(matches!(heard, Heard::Cancelled));
        self.connection.converse(self.client, cancelled)?;
        Ok(finding)
    }

    /// What the first of the places shows where there is something.
    fn first(&mut self, bind: &Bind, port: u16, arrives: bool) -> Result<Probe, Broken> {
        for place in places(bind) {
            let probe = self.probe(place, port, arrives)?;
            if probe != Probe::Nothing {
                return Ok(probe);
            }
        }
        Ok(Probe::Nothing)
    }

    /// Has the server connect to one of its ports; what arrives here is turned away at once, so no
    /// target sees it.
    fn probe(&mut self, host: &str, port: u16, arrives: bool) -> Result<Probe, Broken> {
        let Some(direct) = self.client.open_direct(host, port)? else {
            return Ok(Probe::Nothing);
        };
        let end = self.connection.end;
        let limit = clock::now() + ARRIVAL;
        self.connection.end = Some(end.map_or(limit, |end| end.min(limit)));
        let mut probe = Probe::Nothing;
        let probed = self.connection.converse(self.client, |client, heard| {
            match heard {
                Heard::Opened(_) => {
                    probe = Probe::Elsewhere;
                    return Ok(!arrives);
                }
                Heard::Came(channel) => {
                    client.refuse_channel(channel, Refusal::ConnectFailed, "")?;
                    probe = Probe::Here;
                }
                Heard::NotOpened(PROHIBITED, _) => probe = Probe::Prohibited,
                Heard::NotOpened(..) => {}
                _ => return Ok(false),
            }
            Ok(true)
        });
        self.connection.end = end;
        match probed {
            Ok(()) | Err(Broken::Silent(_)) => {}
            Err(broken) => return Err(broken),
        }
        if matches!(probe, Probe::Here | Probe::Elsewhere) {
            self.client.channel_close(direct)?;
        }
        Ok(probe)
    }
}
