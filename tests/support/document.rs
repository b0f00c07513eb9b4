//! The commands that README.md and docs/operating.md tell people to type, and what those say is printed.

use std::path::Path;

/// What people are told to type in, and begins like this.
const PROGRAMS: [&str; 10] = [
    "reachback ",
    "ssh ",
    "ssh-keygen ",
    "/home/charge/",
    "/etc/init.d/",
    "grep ",
    "kill ",
    "ss ",
    "ip ",
    "make ",
];

/// A document of this tree.
pub fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Every command of a document: the lines in fences that have a prompt or begin with a program, and the
/// words between backticks that begin with one and have an argument. Without prompt, comment, and `\`.
pub fn commands(document: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (number, part) in document.split("\n```").enumerate() {
        if number % 2 == 1 {
            let lines = part.replace("\\\n", " ");
            let typed = lines.lines().skip(1).filter_map(|line| {
                let prompt = line.strip_prefix("# ").or(line.strip_prefix("$ "));
                prompt.or(is_command(line).then_some(line))
            });
            all.extend(typed.map(tidy));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            all.extend(spans.filter(|span| is_command(span)).map(tidy));
        }
    }
    all
}

fn is_command(line: &str) -> bool {
    let argument = line.contains(' ');
    argument && PROGRAMS.iter().any(|program| line.starts_with(program))
}

/// In one line, without a comment.
fn tidy(command: &str) -> String {
    let command = command.split(" #").next().unwrap();
    command.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a document says this prints, under a line that begins so. An empty text where it shows nothing.
pub fn shown<'a>(document: &'a str, heading: &str, command: &str) -> &'a str {
    let at = document.find(&format!("\n{heading}"));
    let at = at.unwrap_or_else(|| panic!("no {heading}"));
    let typed = document[at..].find(&format!(" {command}\n"));
    let typed = typed.unwrap_or_else(|| panic!("no {command} under {heading}"));
    let rest = &document[at + typed + command.len() + 2..];
    let ends = ["```", "# ", "$ "].map(|end| {
        let line = rest.find(&format!("\n{end}")).map(|at| at + 1);
        if rest.starts_with(end) {
            0
        } else {
            line.unwrap_or(rest.len())
        }
    });
    &rest[..*ends.iter().min().unwrap()]
}

/// Whether a command printed what a document shows. Numbers, times and fingerprints may be others,
/// lines may be broken elsewhere; `...` stands for any text.
pub fn shows(expected: &str, printed: &str) -> bool {
    let (expected, all) = (words(expected), words(printed));
    let mut rest = &all[..];
    expected.split(|word| word == "...").all(|chunk| {
        let at = (0..=rest.len()).find(|at| rest[*at..].starts_with(chunk));
        at.is_some_and(|at| {
            rest = &rest[at + chunk.len()..];
            true
        })
    })
}

/// Words with `#` for a number, and `TIME` for a duration.
fn words(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut plain = String::new();
        for letter in word.chars() {
            match letter.is_ascii_digit() {
                false => plain.push(letter),
                true if plain.ends_with('#') => {}
                true => plain.push('#'),
            }
        }
        if plain.starts_with("SHA#:") {
            plain = "SHA:".to_owned();
        }
        let unit = plain.trim_end_matches([',', ';', ':', ')']);
        if all.last().is_some_and(|last| last == "#")
            && ["ms", "s", "min", "h", "d"].contains(&unit)
        {
            let end = plain[unit.len()..].to_owned();
            all.pop();
            if all.last().is_some_and(|last| last == "TIME") {
                all.pop();
            }
            plain = format!("TIME{end}");
        }
        all.push(plain);
    }
    all
}
