#![allow(clippy::unwrap_used)]
use super::*;

struct Daemon {
    path: PathBuf,
}

impl Daemon {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("reachback-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Daemon { path }
    }

    fn start(&self) -> UnixDatagram {
        let _ = std::fs::remove_file(&self.path);
        let socket = UnixDatagram::bind(&self.path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lines(socket: &UnixDatagram) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    lines
}

fn send(log: &mut SyslogSocket, message: &str, now_ms: u64) {
    log.send(
        Level::Info,
        false,
        &format_args!("{message}"),
        Instant(now_ms),
    );
}

fn messages(socket: &UnixDatagram) -> Vec<String> {
    let text = |line: &String| line.split_once("]: ").unwrap().1.to_owned();
    lines(socket).iter().map(text).collect()
}

#[test]
fn a_line_is_as_rfc_3164_wants_it() {
    let daemon = Daemon::new("format");
    let socket = daemon.start();
    let mut log = SyslogSocket::new(daemon.path.clone());
    send(&mut log, "two\nlines", 1);
    log.send(Level::Info, true, &format_args!("n"), Instant(1));
    let lines = lines(&socket);
    // Facility daemon is 3, info 6, notice 5: 3 * 8 + 6 and 3 * 8 + 5.
    let (priority, rest) = lines[0].split_at(4);
    assert_eq!(priority, "<30>");
    assert!(lines[1].starts_with("<29>"));
    let (date, rest) = rest.split_at("Nov  3 01:02:03 ".len());
    let date = date.as_bytes();
    assert!(date[0].is_ascii_uppercase() && date[1].is_ascii_lowercase());
    assert!(matches!(date[4], b' ' | b'1'..=b'3') && date[5].is_ascii_digit());
    assert_eq!(
        (date[3], date[6], date[9], date[12], date[15]),
        (b' ', b' ', b':', b':', b' ')
    );
    assert_eq!(
        rest,
        format!("reachback[{}]: two\\nlines", std::process::id())
    );
}

#[test]
fn lines_wait_for_a_syslogd_that_is_missing_and_come_in_order() {
    let daemon = Daemon::new("missing");
    let mut log = SyslogSocket::new(daemon.path.clone());
    send(&mut log, "one", 1000);
    send(&mut log, "two", 1100);
    let socket = daemon.start();
    log.flush(Instant(1999));
    assert!(lines(&socket).is_empty(), "tried again within a second");
    send(&mut log, "three", 2000);
    assert_eq!(messages(&socket), ["one", "two", "three"]);
    assert!(!log.waiting());
}

#[test]
fn a_restarted_syslogd_loses_no_line() {
    let daemon = Daemon::new("restarted");
    let first = daemon.start();
    let mut log = SyslogSocket::new(daemon.path.clone());
    send(&mut log, "one", 1000);
    drop(first);
    let second = daemon.start();
    send(&mut log, "two", 1001);
    assert_eq!(messages(&second), ["two"]);
}

#[test]
fn a_full_syslogd_costs_the_newest_lines_and_they_are_counted() {
    let daemon = Daemon::new("full");
    let socket = daemon.start();
    let mut log = SyslogSocket::new(daemon.path.clone());
    let mut sent = 0;
    while !log.waiting() {
        send(&mut log, "fill", 1000);
        sent += 1;
        assert!(sent < 100_000, "the socket never fills");
    }
    for _ in 0..100 {
        send(&mut log, "more", 1000);
    }
    assert!(log.kept.len() <= KEPT_LINES && log.kept_bytes <= KEPT_BYTES);
    let kept = log.kept.len();
    let lost = log.lost;
    assert_eq!(kept as u32 + lost, 101);
    assert_eq!(lines(&socket).len(), sent - 1);
    // The socket's own queue is shorter than what was kept: several rounds.
    let mut arrived = Vec::new();
    for second in 1..100 {
        log.flush(Instant(1000 + 1000 * second));
        arrived.extend(messages(&socket));
    }
    assert_eq!(arrived.len(), kept + 1);
    assert_eq!(arrived.last().unwrap(), &format!("{lost} messages lost"));
    assert!(!log.waiting());
}

#[test]
fn an_overlong_line_is_cut_at_a_character() {
    let daemon = Daemon::new("long");
    let socket = daemon.start();
    let mut log = SyslogSocket::new(daemon.path.clone());
    send(&mut log, &"é".repeat(2000), 1);
    let lines = lines(&socket);
    assert!(lines[0].len() <= LINE_BYTES);
    assert!(lines[0].ends_with('é') || lines[0].ends_with("é "));
}
