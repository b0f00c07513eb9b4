//! The lines of `reachback doctor`, or its document.

use std::fmt::Arguments;

use reachback_core::cause::Cause;
use reachback_core::time::Instant;

use crate::commands::print;
use crate::exit::Exit;
use crate::logging::escaped;
use crate::status::Object;
use crate::sys::clock;

/// Columns of a small terminal.
const WIDTH: usize = 80;
/// Columns in front of what a line goes on with.
const INDENT: usize = 7;
/// Version of the document, as that of `status`.
const VERSION: u64 = 1;

/// What came of a step.
#[derive(Clone, Copy)]
enum Outcome {
    Right,
    Failed,
    NotTried,
}

impl Outcome {
    /// In the lines.
    fn sign(self) -> &'static str {
        match self {
            Outcome::Right => "ok",
            Outcome::Failed => "FAIL",
            Outcome::NotTried => "-",
        }
    }

    /// In the document.
    fn name(self) -> &'static str {
        match self {
            Outcome::Right => "ok",
            Outcome::Failed => "failed",
            Outcome::NotTried => "not-tried",
        }
    }
}

/// What was found so far. Each step is printed as it is known; the document at the end.
pub struct Report {
    json: bool,
    what: String,
    steps: Vec<String>,
    /// Of the step that is under way.
    name: String,
    last: Instant,
    code: u8,
    print: Result<(), Exit>,
}

impl Report {
    /// Before the first step.
    pub fn new(what: &str, json: bool) -> Report {
        Report {
            json,
            what: what.to_owned(),
            steps: Vec::new(),
            name: String::new(),
            last: clock::now(),
            code: 0,
            print: Ok(()),
        }
    }

    /// What comes is of this step.
    pub fn begin(&mut self, name: Arguments<'_>) {
        self.name = name.to_string();
    }

    /// The step is right.
    pub fn right(&mut self, text: Arguments<'_>) {
        self.write(Outcome::Right, text, None);
    }

    /// The step failed: exit status if it is the first, what is wrong, and what mends it.
    pub fn fail(&mut self, code: u8, text: Arguments<'_>, action: Arguments<'_>) {
        if self.code == 0 {
            self.code = code;
        }
        self.write(Outcome::Failed, text, Some(action));
    }

    /// The same, with what to do about its cause.
    pub fn fail_for(&mut self, code: u8, text: Arguments<'_>, cause: Cause) {
        self.fail(code, text, format_args!("{}", cause.advice()));
    }

    /// It failed as a start would: behind the last semicolon or colon stands what to do.
    pub fn exit(&mut self, exit: &Exit) {
        let line = exit.line();
        let at = line.rfind(';').or_else(|| line.rfind(':'));
        let (text, action) = line.split_at(at.unwrap_or(line.len()));
        let action = action.get(1..).unwrap_or_default().trim();
        self.fail(exit.code, format_args!("{text}"), format_args!("{action}"));
    }

    /// A step is left out, for a reason or because of one that failed.
    pub fn skip(&mut self, name: Arguments<'_>, why: &str) {
        self.begin(name);
        self.write(Outcome::NotTried, format_args!("not tried{why}"), None);
    }

    fn write(&mut self, result: Outcome, text: Arguments<'_>, action: Option<Arguments<'_>>) {
        let now = clock::now();
        let ms = now.since(self.last).as_millis() as u64;
        self.last = now;
        let text = escaped(text.to_string()).to_string();
        let action = action.map(|action| action.to_string());
        if self.json {
            let mut step = Object::default();
            step.text("step", &self.name);
            step.text("result", result.name());
            step.text("text", &text);
            step.optional_text("action", action.as_deref());
            step.number("ms", ms);
            self.steps.push(step.end());
            return;
        }
        let name = &self.name;
        // The blank before the unit is none to break at.
        let mut line = format!("{:<5}{name}: {text}, {ms}\u{a0}ms", result.sign());
        if let Outcome::NotTried = result {
            line = format!("-    {name}: {text}");
        }
        let mut lines = String::new();
        wrap(&line, &mut lines);
        if let Some(action) = action {
            wrap(&format!("     what to do: {action}"), &mut lines);
        }
        if self.print.is_ok() {
            self.print = print(&lines);
        }
    }

    /// Prints what is left to print; the exit status.
    ///
    /// # Errors
    /// Those of [`print()`].
    pub fn end(self) -> Result<u8, Exit> {
        self.print?;
        if self.json {
            let mut object = Object::default();
            object.text("schema", "reachback-doctor");
            object.number("version", VERSION);
            object.text("destination", &self.what);
            object.number("status", u64::from(self.code));
            object.list("steps", self.steps);
            print(&(object.end() + "\n"))?;
        }
        Ok(self.code)
    }
}

/// Adds `text` in lines of a small terminal, which it breaks at blanks only; all but the first are
/// indented.
fn wrap(text: &str, out: &mut String) {
    let blanks = text.len() - text.trim_start().len();
    out.push_str(&text[..blanks]);
    let mut width = blanks;
    for (index, word) in text[blanks..].split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 {
            if width + 1 + length > WIDTH {
                out.push_str("\n       ");
                width = INDENT;
            } else {
                out.push(' ');
                width += 1;
            }
        }
        out.extend(word.chars().map(|c| if c == '\u{a0}' { ' ' } else { c }));
        width += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks_and_words_stay_whole() {
        let wrapped = |text: &str| {
            let mut out = String::new();
            wrap(text, &mut out);
            out
        };
        let word = "w".repeat(30);
        let text = format!("ok   key: {word} {word} {word}, 3\u{a0}ms");
        let indent = " ".repeat(INDENT);
        assert_eq!(
            wrapped(&text),
            format!("ok   key: {word} {word}\n{indent}{word}, 3 ms\n")
        );
        assert_eq!(wrapped("     what to do"), "     what to do\n");
        let long = "x".repeat(100);
        assert_eq!(wrapped(&long), format!("{long}\n"));
    }
}
