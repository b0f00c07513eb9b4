//! A Unix datagram socket that stands for /dev/log.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Scene;
use super::process::Lines;

/// Where the program is told to log to in this scene.
pub fn path(scene: &Scene) -> PathBuf {
    scene.path("log")
}

/// A syslogd that reads.
pub struct Syslog {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    /// The datagrams, as they came.
    pub lines: Lines,
}

impl Syslog {
    /// Starts to receive.
    pub fn start(scene: &Scene) -> Self {
        let path = path(scene);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (stop, lines) = (Arc::new(AtomicBool::new(false)), Lines::default());
        let (stopped, to) = (stop.clone(), lines.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(n) = socket.recv(&mut buffer) {
                    to.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                }
            }
        });
        Self { path, stop, lines }
    }

    /// Goes away, socket file and all, as a syslogd that is being restarted.
    pub fn stop(self) {}
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }
}

/// A syslogd that hangs: its queue is full and never read.
pub fn stuck(scene: &Scene) -> UnixDatagram {
    let socket = UnixDatagram::bind(path(scene)).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"<30>full", path(scene)).is_ok() {}
    socket
}

/// One message in RFC 3164's form, `<PRI>Mmm dd hh:mm:ss TAG[PID]: TEXT`.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// Facility times eight plus severity.
    pub priority: u8,
    /// The tag, without the pid.
    pub tag: String,
    /// The process id in brackets.
    pub pid: i32,
    /// What was logged.
    pub text: String,
}

/// Takes a datagram apart; panics when it is not of that form.
pub fn parse(datagram: &str) -> Message {
    let take = || -> Option<Message> {
        let (priority, rest) = datagram.strip_prefix('<')?.split_once('>')?;
        let stamp = rest.get(..16)?;
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b' ');
        let well_formed = months.find(&stamp[..3])? % 3 == 0
            && &stamp[3..4] == " "
            && digits(&stamp[4..6])
            && &stamp[6..7] == " "
            && stamp[7..15]
                .split(':')
                .filter(|part| part.len() == 2 && digits(part))
                .count()
                == 3
            && &stamp[15..] == " ";
        let (head, text) = rest[16..].split_once(": ")?;
        let (tag, pid) = head.strip_suffix(']')?.split_once('[')?;
        let text = text.trim_end_matches('\n').to_owned();
        let (priority, pid) = (priority.parse().ok()?, pid.parse().ok()?);
        well_formed.then(|| Message {
            priority,
            tag: tag.to_owned(),
            pid,
            text,
        })
    };
    take().unwrap_or_else(|| panic!("not an RFC 3164 message: {datagram:?}"))
}
