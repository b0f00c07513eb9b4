//! What the program logs, with its virtual time, for whoever replays a schedule.

use std::cell::{Cell, RefCell};

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static LINES: RefCell<Lines> = const { RefCell::new(Lines::Nobody) };
}

/// Whoever wants the lines.
enum Lines {
    Nobody,
    Kept(Vec<String>),
    Printed,
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        LINES.with_borrow(|lines| !matches!(lines, Lines::Nobody))
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            say(format_args!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

fn give(lines: Lines) {
    // A second call finds the logger set.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Debug);
    LINES.set(lines);
}

/// Keeps the lines of this thread from now on.
pub fn keep() {
    give(Lines::Kept(Vec::new()));
}

/// Prints the lines of this thread from now on, each at once: a schedule that hangs has shown by
/// then where it does.
pub fn print() {
    give(Lines::Printed);
}

/// The lines that were kept since the last call, each with its virtual time in ms.
pub fn take() -> Vec<String> {
    LINES.with_borrow_mut(|lines| match lines {
        Lines::Kept(lines) => std::mem::take(lines),
        _ => Vec::new(),
    })
}

/// One more line, if anybody wants it.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let now_ms = NOW_MS.get();
    LINES.with_borrow_mut(|lines| match lines {
        Lines::Nobody => {}
        Lines::Kept(lines) => lines.push(format!("{now_ms:>10} ms  {line}")),
        Lines::Printed => println!("{now_ms:>10} ms  {line}"),
    });
}

pub(crate) fn set_now(now_ms: u64) {
    NOW_MS.set(now_ms);
}
