//! Child processes that never outlive the test, and the lines they write.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Lines that appear over time, from one or several readers.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

/// Whether the parts of `pattern` between its `*` appear in `line` in order.
pub fn matches(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    for part in pattern.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl Lines {
    /// Adds one line.
    pub fn push(&self, line: String) {
        let (lines, changed) = &*self.0;
        lines.lock().unwrap().push(line);
        changed.notify_all();
    }

    /// Reads lines from `from` until it ends, in a thread of its own.
    pub fn read_from(&self, from: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
                lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// The number of lines so far: a place to search from later.
    pub fn mark(&self) -> usize {
        self.0.0.lock().unwrap().len()
    }

    /// How many lines match so far.
    pub fn count(&self, pattern: &str) -> usize {
        self.0
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|l| matches(l, pattern))
            .count()
    }

    /// Whether a line matches already.
    pub fn contains(&self, pattern: &str) -> bool {
        self.count(pattern) > 0
    }

    /// Waits for a line that matches and returns it.
    pub fn wait_for(&self, pattern: &str, limit: Duration) -> String {
        self.wait_after(0, pattern, limit)
    }

    /// The same for lines after a mark.
    pub fn wait_after(&self, mark: usize, pattern: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let (lines, changed) = &*self.0;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().skip(mark).find(|l| matches(l, pattern)) {
                return line.clone();
            }
            let now = Instant::now();
            if now >= end {
                let seen = lines.join("\n  ");
                drop(lines);
                panic!("no line like '{pattern}' within {limit:?}; lines:\n  {seen}");
            }
            lines = changed.wait_timeout(lines, end - now).unwrap().0;
        }
    }
}

/// A running program with its output; killed with all its descendants on drop.
pub struct Process {
    child: Child,
    /// Where its output is until it ends, if that is read only then.
    files: Option<[File; 2]>,
    /// What it wrote to stdout.
    pub stdout: Lines,
    /// What it wrote to stderr.
    pub stderr: Lines,
}

impl Process {
    /// Starts `command` with its output captured.
    pub fn start(command: &mut Command) -> Self {
        Self::start_into(command, Lines::default())
    }

    /// Starts `command`; its stderr is added to `stderr`.
    pub fn start_into(command: &mut Command, stderr: Lines) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = Lines::default();
        stdout.read_from(child.stdout.take().unwrap());
        stderr.read_from(child.stderr.take().unwrap());
        Self {
            child,
            files: None,
            stdout,
            stderr,
        }
    }

    /// Starts `command` with this for its stderr; nothing of it is captured.
    pub fn start_saying_to(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // The command keeps its copy of what was given to it.
        command.stderr(Stdio::null());
        Self {
            child,
            files: None,
            stdout: Lines::default(),
            stderr: Lines::default(),
        }
    }

    /// Starts `command`; its output is there once it has been waited for, whole, whatever it
    /// left in the background.
    pub fn start_and_keep(command: &mut Command) -> Self {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [out, err] = files.each_ref().map(|file| file.try_clone().unwrap());
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            child,
            files: Some(files),
            stdout: Lines::default(),
            stderr: Lines::default(),
        }
    }

    fn collect(&mut self) {
        let Some(files) = self.files.take() else {
            return;
        };
        for (file, lines) in files.iter().zip([&self.stdout, &self.stderr]) {
            // Not by reading on: the place in the file is shared with who still writes.
            let mut text = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut text, 0).unwrap();
            for line in String::from_utf8_lossy(&text).lines() {
                lines.push(line.trim_end().to_owned());
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Stops it and what it started, as Ctrl-Z does; gives back once all stand still.
    pub fn pause(&self) {
        for pid in self.family() {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGSTOP);
            super::wait_until("it stands still", super::patience(), || {
                stat(pid).is_some_and(|(state, _)| state == 'T')
            });
        }
    }

    /// Lets all of it go on.
    pub fn resume(&self) {
        for pid in self.family() {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    fn family(&self) -> Vec<i32> {
        let mut family = descendants(self.pid());
        family.push(self.pid());
        family
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to end, as an init script would.
    pub fn terminate(&self) {
        let _ = signal::kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
    }

    /// Waits for its end and returns the exit code, or -1 after a signal.
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.collect();
                return status.code().unwrap_or(-1);
            }
            assert!(
                Instant::now() < end,
                "still running after {limit:?}; stderr: {:#?}",
                self.stderr.all()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it and everything it started.
    pub fn kill(&mut self) {
        let children = descendants(self.pid());
        let _ = self.child.kill();
        let _ = self.child.wait();
        children.into_iter().for_each(kill);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills one process.
pub fn kill(pid: i32) {
    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process, from /proc/PID/stat (proc(5)).
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// The children of a process, their children, and so on.
pub fn descendants(pid: i32) -> Vec<i32> {
    let table: Vec<(i32, i32)> = all_pids()
        .into_iter()
        .filter_map(|p| Some((p, stat(p)?.1)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(table.iter().filter(|(_, p)| *p == parent).map(|(p, _)| *p));
        next += 1;
    }
    found.split_off(1)
}

/// The process that does the work of a tunnel's process, as soon as there is one.
pub fn worker(supervisor: i32) -> i32 {
    let mut found = None;
    super::wait_until("the worker is there", super::patience(), || {
        found = descendants(supervisor).first().copied();
        found.is_some()
    });
    found.unwrap()
}

/// Other live processes whose command line contains `needle`.
pub fn with_command_line(needle: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let names = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(needle)
    };
    all_pids()
        .into_iter()
        .filter(|pid| *pid != own && names(pid) && is_alive(*pid))
        .collect()
}

/// The number of file descriptors that a process has open.
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count())
}

/// The processor time that a process has taken, to 10 ms (proc(5): utime and stime).
pub fn cpu_time(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A number from /proc/PID/status, such as `Threads` or `VmRSS` (KiB).
pub fn status_field(pid: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|l| l.split_whitespace().next());
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {text}"))
}
