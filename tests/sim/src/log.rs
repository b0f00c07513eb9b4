//! What the program logs, with its virtual time, for whoever replays a schedule.

use std::cell::{Cell, RefCell};

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            say(format_args!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Keeps the lines of this thread from now on.
pub fn keep() {
    // A second call finds the logger set.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Debug);
    LINES.set(Some(Vec::new()));
}

/// The lines since the last call, each with its virtual time in ms.
pub fn take() -> Vec<String> {
    LINES.with_borrow_mut(|lines| lines.as_mut().map(std::mem::take).unwrap_or_default())
}

/// One more line, if they are kept.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            lines.push(format!("{:>10} ms  {line}", NOW_MS.get()));
        }
    });
}

pub(crate) fn set_now(now_ms: u64) {
    NOW_MS.set(now_ms);
}
