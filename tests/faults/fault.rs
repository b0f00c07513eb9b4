//! What a fault is, and how the answer to it is measured.

use std::time::{Duration, Instant};

use crate::report;
use crate::subject::{Program, SHORT, Subject, Timing};
use crate::support::{skip, wait_until};
use crate::world::{ServerKind, World};

/// How a client's connection is to fare.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Notice {
    /// It is given up within this time.
    Within(Duration),
    /// It survives, and is watched for this time.
    Survives(Duration),
    /// Either is right.
    Either,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Lasts {
    /// This long. Times to usable count from its end.
    For(Duration),
    /// Until the client gives the stalled connection up, at most this long.
    UntilGivenUp(Duration),
    /// The tunnel has to live with it. Times to usable count from its beginning.
    ForGood,
}

/// A fault, its bounds, and how it is injected.
pub struct Fault {
    /// What happens and what is expected, as a name of a test.
    pub name: &'static str,
    /// What happens, in a table.
    pub what: &'static str,
    /// The server it happens to.
    pub server: ServerKind,
    /// Whether the client knows the server by its name only.
    pub by_name: bool,
    /// Whether it is there before the client starts.
    pub from_start: bool,
    /// The waits of the client.
    pub timing: Timing,
    /// How long it lasts.
    pub lasts: Lasts,
    /// Bound for giving the connection up, from the beginning.
    pub notice: Notice,
    /// Bound for the tunnel being usable, from the end or the beginning.
    pub usable: Duration,
    /// Longest time for one use of the tunnel.
    pub patience: Duration,
    /// How long it is waited for a program that does not meet the bound.
    pub limit: Duration,
    /// Whether the other programs can face it.
    pub peers: bool,
    /// Begins it.
    pub begin: fn(&mut World, &Subject),
    /// Ends it.
    pub end: fn(&mut World, &Subject),
}

/// One second: a unit for the bounds.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The bound for silence, with half a second for the machine: interval 3 s, 3 probes.
pub const SILENCE: Duration = Duration::from_millis(3_000 + 3 * 3_000 + 500);

/// Attempts that fail at once use up the short waits, however the dice fall, but no wait is longer
/// than the outage so far: as long again, and two seconds to connect.
pub const fn as_long_again(outage_s: u64) -> Duration {
    Duration::from_secs(outage_s + 2)
}

/// A fault that is nothing special; others say how they differ.
pub const PLAIN: Fault = Fault {
    name: "",
    what: "",
    server: ServerKind::OpenSsh,
    by_name: false,
    from_start: false,
    timing: SHORT,
    lasts: Lasts::For(s(20)),
    notice: Notice::Within(SILENCE),
    usable: s(2),
    patience: s(1),
    limit: s(70),
    peers: true,
    begin: |_, _| {},
    end: |world, _| world.heal(),
};

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// From the beginning until the connection was given up.
    pub noticed: Option<Duration>,
    /// Until the tunnel was usable; see [`Lasts`].
    pub usable: Option<Duration>,
}

/// Injects `fault` under `program`. `None` where that is not permitted.
pub fn measure(fault: &Fault, program: Program, timing: Timing) -> Option<(Measured, Vec<String>)> {
    let mut world = World::new(fault.server)?;
    if fault.by_name {
        world.by_name();
    }
    if fault.from_start {
        let nobody = nobody(&world);
        (fault.begin)(&mut world, &nobody);
    }
    let mut subject = Subject::start(&world, program, timing);
    if !fault.from_start {
        world.wait_usable(s(30));
        wait_until("one connection is there", s(5), || {
            world.connections().len() == 1
        });
        std::thread::sleep(s(1));
    }
    let connection = world.connections().first().copied().unwrap_or(0);
    let begun = Instant::now();
    if !fault.from_start {
        (fault.begin)(&mut world, &subject);
    }
    let mut watch = Watch {
        world: &mut world,
        fault,
        connection,
        begun,
        noticed: None,
    };
    let measured = watch.run(&subject);
    let log = subject.process.stderr.all();
    assert!(
        subject.process.is_running(),
        "{} ended: {log:#?}",
        program.name()
    );
    Some((measured, log))
}

/// Something to hand to a fault that begins before the client does.
fn nobody(world: &World) -> Subject {
    let mut command = std::process::Command::new("true");
    command.current_dir(world.scene.path("home"));
    Subject {
        process: crate::support::process::Process::start(&mut command),
    }
}

struct Watch<'a> {
    world: &'a mut World,
    fault: &'a Fault,
    connection: u16,
    begun: Instant,
    noticed: Option<Duration>,
}

impl Watch<'_> {
    fn run(&mut self, subject: &Subject) -> Measured {
        let from = match self.fault.lasts {
            Lasts::ForGood => self.begun,
            Lasts::For(span) => {
                self.look_until(self.begun + span, |_| false);
                self.end(subject)
            }
            Lasts::UntilGivenUp(span) => {
                self.look_until(self.begun + span, |watch| watch.noticed.is_some());
                self.end(subject)
            }
        };
        // Without an end, the tunnel of before is not the one that is waited for.
        let anew = self.fault.lasts == Lasts::ForGood
            && matches!(self.fault.notice, Notice::Within(_))
            && !self.fault.from_start;
        let patience = self.fault.patience;
        let mut usable = None;
        self.look_until(from + self.fault.limit, |watch| {
            if (watch.noticed.is_some() || !anew) && watch.world.is_usable(patience) {
                usable = Some(from.elapsed());
            }
            usable.is_some()
        });
        if let Notice::Survives(span) = self.fault.notice {
            self.look_until(self.begun + span, |_| false);
        }
        Measured {
            noticed: self.noticed,
            usable,
        }
    }

    fn end(&mut self, subject: &Subject) -> Instant {
        (self.fault.end)(self.world, subject);
        Instant::now()
    }

    fn look_until(&mut self, end: Instant, mut done: impl FnMut(&mut Self) -> bool) {
        while Instant::now() < end {
            self.look();
            if done(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn look(&mut self) {
        if self.noticed.is_some() || self.fault.from_start {
            return;
        }
        if let Some(gate) = &self.world.gate {
            let (stalled, given_up) = (gate.stalled(), gate.given_up());
            self.noticed = stalled.zip(given_up).map(|(from, to)| to - from);
        } else if !self.world.connections().contains(&self.connection) {
            self.noticed = Some(self.begun.elapsed());
        }
    }
}

/// The test: the program under test keeps the bounds.
pub fn keeps_its_bounds(fault: &Fault) {
    let Some((measured, log)) = measure(fault, Program::Reachback, fault.timing) else {
        return;
    };
    report::fault(fault, Program::Reachback, &measured);
    let tail = &log[log.len().saturating_sub(40)..];
    let told = format!("{measured:?}; log: {tail:#?}");
    match fault.notice {
        Notice::Within(bound) if !fault.from_start => {
            assert!(
                measured.noticed.is_some_and(|t| t <= bound),
                "noticed within {bound:?}: {told}"
            );
        }
        Notice::Survives(_) => assert!(measured.noticed.is_none(), "survives: {told}"),
        _ => {}
    }
    let bound = fault.usable;
    assert!(
        measured.usable.is_some_and(|t| t <= bound),
        "usable within {bound:?}: {told}"
    );
}

/// The comparison: what another program does.
pub fn is_faced_by(fault: &Fault, program: Program) {
    if crate::support::find_program("autossh").is_none() {
        return skip("autossh is not installed");
    }
    if let Some((measured, _)) = measure(fault, program, fault.timing) {
        report::fault(fault, program, &measured);
    }
}
