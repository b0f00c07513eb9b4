//! Slow and lossy links, beside ssh and dbclient: how often the connection is lost, and how long
//! what is read through it pauses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::fault::s;
use crate::report;
use crate::subject::{DEFAULTS, Program, SHORT, Subject, Timing};
use crate::support::process::Process;
use crate::support::{client, wait_until};
use crate::world::{PORT, ServerKind, World};

/// What the tunnel is used for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Use {
    /// Nothing.
    Idle,
    /// Somebody at the server reads without end.
    Download,
    /// The same, and a second forward is asked for after this time.
    SecondForward(Duration),
}

/// A link, and what is done through it.
pub struct Slow {
    /// As a name of a test.
    pub name: &'static str,
    /// In a table.
    pub what: &'static str,
    /// As in `link.py`.
    pub link: &'static str,
    /// The waits of the client.
    pub timing: Timing,
    /// What the tunnel is used for.
    pub used: Use,
    /// For how long.
    pub span: Duration,
    /// Whether nothing may be lost: a link that is slow is none that is silent. One that loses packets
    /// may be, now and then, and is for comparison.
    pub survives: bool,
}

const fn every(interval: Duration) -> Timing {
    Timing {
        interval,
        ..DEFAULTS
    }
}

/// The longest wait for the first use.
const USABLE: Duration = s(60);
const SPAN: Duration = s(420);
const LOSSY: Duration = s(280);

/// Those that the program under test faces in every run: the queue alone holds a packet for
/// twice as long as silence takes to be noticed.
pub const SHORTENED: &[Slow] = &[
    Slow {
        name: "a_download_over_a_slow_link_and_a_second_forward_keep_the_connection",
        what: "20 kbit/s, 64 KiB of queue, a download, and a second forward after 15 s",
        link: "--rate 20000 --queue 65536",
        timing: SHORT,
        used: Use::SecondForward(s(15)),
        span: s(75),
        survives: true,
    },
    Slow {
        name: "steady_loss_does_not_end_a_connection_that_carries_data",
        what: "15 % lost and 250 ms each way, a download",
        link: "--loss 15 --delay 250",
        timing: every(s(5)),
        used: Use::Download,
        span: s(60),
        survives: true,
    },
];

/// The whole: for the table, with the other programs in the same run.
pub const LONG: &[Slow] = &[
    Slow {
        name: "download_at_9.6_kbit_s_with_64_KiB_of_queue",
        what: "9.6 kbit/s, 64 KiB of queue, a download",
        link: "--rate 9600 --queue 65536",
        timing: DEFAULTS,
        used: Use::Download,
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "download_at_20_kbit_s_with_64_KiB_of_queue",
        what: "20 kbit/s, 64 KiB of queue, a download",
        link: "--rate 20000 --queue 65536",
        timing: DEFAULTS,
        used: Use::Download,
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "download_at_30_kbit_s_with_64_KiB_of_queue",
        what: "30 kbit/s, 64 KiB of queue, a download",
        link: "--rate 30000 --queue 65536",
        timing: DEFAULTS,
        used: Use::Download,
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "download_at_64_kbit_s_with_256_KiB_of_queue",
        what: "64 kbit/s, 256 KiB of queue, a download",
        link: "--rate 64000 --queue 262144",
        timing: DEFAULTS,
        used: Use::Download,
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "download_at_64_kbit_s_with_256_KiB_of_queue_interval_15_s",
        what: "64 kbit/s, 256 KiB of queue, a download",
        link: "--rate 64000 --queue 262144",
        timing: every(s(15)),
        used: Use::Download,
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "second_forward_during_a_download_at_20_kbit_s",
        what: "20 kbit/s, 64 KiB of queue, a download, and a second forward after 40 s",
        link: "--rate 20000 --queue 65536",
        timing: DEFAULTS,
        used: Use::SecondForward(s(40)),
        span: SPAN,
        survives: true,
    },
    Slow {
        name: "download_with_15_%_loss_and_250_ms_each_way_interval_15_s",
        what: "15 % lost and 250 ms each way, a download",
        link: "--loss 15 --delay 250",
        timing: every(s(15)),
        used: Use::Download,
        span: LOSSY,
        survives: true,
    },
    Slow {
        name: "download_with_20_%_loss_and_500_ms_each_way_interval_15_s",
        what: "20 % lost and 500 ms each way, a download",
        link: "--loss 20 --delay 500",
        timing: every(s(15)),
        used: Use::Download,
        span: LOSSY,
        survives: false,
    },
    Slow {
        name: "idle_with_30_%_loss_and_500_ms_each_way_interval_15_s",
        what: "30 % lost and 500 ms each way, idle",
        link: "--loss 30 --delay 500",
        timing: every(s(15)),
        used: Use::Idle,
        span: SPAN,
        survives: false,
    },
];

/// How a program fared.
#[derive(Debug)]
pub struct Fared {
    /// Until the tunnel was usable for the first time.
    pub usable: Duration,
    /// Connections that were lost.
    pub lost: usize,
    /// The longest pause of what was read.
    pub pause: Duration,
    /// Bytes that were read.
    pub read: usize,
}

/// Lets `program` live with `slow`. `None` where that is not permitted.
pub fn fare(slow: &Slow, program: Program) -> Option<(Fared, Vec<String>)> {
    let world = World::new(ServerKind::Quiet)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/link.py");
    let mut link = Command::new("python3");
    link.arg(script).args(slow.link.split(' '));
    let _link = world.net.replace_cable(&link);
    for netns in [&world.net.controller, &world.net.internet] {
        // Goes by loss, as a controller's kernel does, and so fills the queue.
        netns.sysctl("ipv4/tcp_congestion_control", "reno");
    }
    let begun = Instant::now();
    let subject = Subject::start(&world, program, slow.timing);
    let deadline = begun + USABLE;
    while !world.is_usable(s(20)) {
        assert!(Instant::now() < deadline, "{}: never usable", slow.name);
    }
    let usable = begun.elapsed();
    let stop = AtomicBool::new(false);
    let (lost, (read, pause)) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| match slow.used {
            Use::Idle => (0, Duration::ZERO),
            Use::Download | Use::SecondForward(_) => world.net.internet.inside(|| read(&stop)),
        });
        let lost = watch(slow, program, &world);
        stop.store(true, Ordering::Relaxed);
        (lost, reader.join().unwrap())
    });
    if let (Use::SecondForward(_), Program::Reachback) = (slow.used, program) {
        // Behind what was on its way when the reader left.
        let log = &subject.process.stderr;
        let confirmed = || log.count("forward confirmed") == 2;
        wait_until("the second forward is confirmed", s(90), confirmed);
    }
    let fared = Fared {
        usable,
        lost,
        pause,
        read,
    };
    Some((fared, subject.process.stderr.all()))
}

/// Counts the connections that are lost during the span.
fn watch(slow: &Slow, program: Program, world: &World) -> usize {
    let begun = Instant::now();
    let mut second = match slow.used {
        Use::SecondForward(after) if program == Program::Reachback => Some(begun + after),
        _ => None,
    };
    let mut calls: Vec<Process> = Vec::new();
    let mut held = world.connections();
    let mut lost = 0;
    while begun.elapsed() < slow.span {
        if second.is_some_and(|at| at <= Instant::now()) {
            second = None;
            calls.push(ask_for_forward(world));
        }
        let now = world.connections();
        lost += held.iter().filter(|port| !now.contains(port)).count();
        held = now;
        std::thread::sleep(Duration::from_millis(500));
    }
    lost
}

fn ask_for_forward(world: &World) -> Process {
    let mut command = client::command(&world.scene);
    let forward = format!("{}:127.0.0.1:{}", PORT + 1, world.target.address.port());
    command.args(["-O", "forward", "-R", &forward]);
    command.args(["-p", &world.port().to_string()]);
    command.arg(format!("root@{}", world.host()));
    Process::start(&mut world.net.controller.wrap(&command))
}

/// Reads without end, over again when the connection ends. Gives the number of bytes and the
/// longest pause.
fn read(stop: &AtomicBool) -> (usize, Duration) {
    let (mut bytes, mut pause, mut last) = (0, Duration::ZERO, Instant::now());
    let mut buffer = [0; 16384];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", PORT)) else {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        };
        stream.set_read_timeout(Some(s(1))).unwrap();
        let _ = stream.write_all(b"GET /endless HTTP/1.0\r\n\r\n");
        while !stop.load(Ordering::Relaxed) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    bytes += count;
                    pause = pause.max(last.elapsed());
                    last = Instant::now();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }
    (bytes, pause.max(last.elapsed()))
}

/// The test: the program under test loses no connection that is alive.
pub fn keeps_its_connection(slow: &Slow) {
    let Some((fared, log)) = fare(slow, Program::Reachback) else {
        return;
    };
    report::slow(slow, Program::Reachback, &fared);
    assert!(
        fared.lost == 0 || !slow.survives,
        "{fared:?}; log: {log:#?}"
    );
    if slow.used != Use::Idle {
        assert!(fared.read > 0, "nothing was read: {fared:?}");
    }
}

/// For the table.
pub fn is_lived_with(slow: &Slow, program: Program) {
    if let Some((fared, _)) = fare(slow, program) {
        report::slow(slow, program, &fared);
    }
}
