//! Reads configuration files from disk, with what they include.

use std::io;
use std::path::{Path, PathBuf};

use reachback_core::config::{Config, FileParser, Found, Position, Scope, may_be_secret};
use reachback_core::forward::ForwardSpec;
use reachback_core::pattern;

use super::options::Note;
use crate::exit::{self, Exit};
use crate::logging::escaped;
use crate::sys::{file, host};

/// Largest configuration file, bytes.
const CONFIG_BYTES: usize = 64 * 1024;
/// All files of one reading together, bytes.
const TOTAL_BYTES: usize = 256 * 1024;
/// Files of one reading.
const FILES: usize = 64;
/// Names that one part of a pattern may stand for.
const ENTRIES: usize = 1024;
/// Characters of a wrong line that are shown.
const SHOWN: usize = 100;

/// What was read.
pub struct Read {
    /// The values.
    pub config: Config,
    /// The forwards among them that the files name.
    pub forwards: Vec<ForwardSpec>,
    /// The servers that `Host` lines name, each once.
    pub names: Vec<String>,
    /// What a person should know, with its place.
    pub notes: Vec<Note>,
}

impl Read {
    /// Nothing yet, beyond these values.
    pub fn new(config: Config) -> Self {
        Read {
            config,
            forwards: Vec::new(),
            names: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Adds the values of a file and of those it includes to `config`, for the host and the login
/// name that the caller gave.
///
/// # Errors
/// [`exit::NO_INPUT`] and [`exit::NO_PERMISSION`] for a file that cannot be read,
/// [`exit::CONFIG`] for one that is wrong.
pub fn read(
    mut config: Config,
    path: &Path,
    given: &str,
    user: Option<&str>,
) -> Result<Read, Exit> {
    let own = config.take_forwards();
    let mut reader = Reader {
        read: Read::new(config),
        wants_final: false,
        bytes: 0,
        files: 0,
    };
    let unreadable = |error: &io::Error| unreadable(path, error);
    let local = host::user_name();
    let scope = Scope::new(given).by(user, &local);
    reader.file(path, scope, &unreadable)?;
    if reader.wants_final {
        let real = reader.read.config.hostname(given).and_then(Result::ok);
        let real = real.map_or(given.to_owned(), |real| real.as_str().to_owned());
        (reader.bytes, reader.files) = (0, 0);
        reader.file(path, scope.again(&real), &unreadable)?;
    }
    let Read {
        config, forwards, ..
    } = &mut reader.read;
    forwards.extend(config.take_forwards());
    for forward in own.into_iter().chain(forwards.iter().cloned()) {
        config.add_forward(forward).map_err(|error| {
            let shown = escaped(path.display());
            Exit::new(exit::CONFIG, format!("bad configuration: {shown}: {error}"))
        })?;
    }
    Ok(reader.read)
}

struct Reader {
    read: Read,
    wants_final: bool,
    bytes: usize,
    files: usize,
}

impl Reader {
    fn file(
        &mut self,
        path: &Path,
        scope: Scope<'_>,
        unreadable: &dyn Fn(&io::Error) -> Exit,
    ) -> Result<(), Exit> {
        let bytes = file::read_bounded(path, CONFIG_BYTES).map_err(|error| unreadable(&error))?;
        self.files += 1;
        self.bytes += bytes.len();
        if self.files > FILES || self.bytes > TOTAL_BYTES {
            let most = format!("more than {FILES} files or {TOTAL_BYTES} bytes in all");
            return Err(unreadable(&io::Error::new(
                io::ErrorKind::FileTooLarge,
                most,
            )));
        }
        // Comments may be in another encoding; the parser refuses words that are.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.as_ref();
        let at_start = Position { line: 1, column: 1 };
        let mut parser = FileParser::new(text, scope);
        loop {
            let found = parser.step(&mut self.read.config).map_err(|error| {
                let position = error.position.unwrap_or(at_start);
                wrong(path, text, position, &error.kind)
            })?;
            match found {
                None => {
                    self.wants_final |= parser.wants_final();
                    return Ok(());
                }
                Some(Found::Name(name)) => {
                    if !self.read.names.iter().any(|known| **known == *name) {
                        self.read.names.push((*name).to_owned());
                    }
                }
                Some(Found::Notice(notice, at)) => {
                    let is_warning = notice.is_warning;
                    self.note(is_warning, path, at, &notice);
                }
                Some(Found::Include {
                    pattern,
                    position,
                    scope,
                }) => {
                    let refused = |path_in: &Path, error: &io::Error| {
                        let why = format!("{}: {}", path_in.display(), file::reason(error));
                        let mut exit = wrong(path, text, position, &escaped(why));
                        exit.code = unreadable_code(error);
                        exit
                    };
                    let included = resolve(&pattern, path);
                    let files = files(&included).map_err(|error| refused(&included, &error))?;
                    for included in files {
                        // As in ssh; but a name that was mistyped should be seen.
                        if !included.exists() {
                            let what = format_args!("Include {}: no such file", included.display());
                            self.note(true, path, position, &what);
                            continue;
                        }
                        if included.is_dir() {
                            let shown = included.display();
                            let what = format_args!(
                                "Include {shown}: a directory; for the files in it: Include {shown}/*"
                            );
                            self.note(true, path, position, &what);
                            continue;
                        }
                        self.file(&included, scope, &|error| refused(&included, error))?;
                    }
                }
            }
        }
    }
}

impl Reader {
    fn note(&mut self, is_warning: bool, path: &Path, at: Position, what: &dyn std::fmt::Display) {
        let text = escaped(format!("{}:{}: {what}", path.display(), at.line)).to_string();
        if !self.read.notes.iter().any(|note| note.text == text) {
            self.read.notes.push(Note { is_warning, text });
        }
    }
}

/// Relative names are looked for beside the file that includes them.
fn resolve(pattern: &str, including: &Path) -> PathBuf {
    let beside = including.parent().unwrap_or(Path::new(""));
    beside.join(host::expand_tilde(pattern))
}

/// The files that a pattern names, in the order of their names. Without `*` and `?` that is the
/// file itself, which then has to be there; otherwise there may be none.
fn files(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let is_pattern = |part: &str| part.contains(['*', '?']);
    if !is_pattern(&pattern.to_string_lossy()) {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str();
        let Some(name) = part.to_str().filter(|name| is_pattern(name)) else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let mut next = Vec::new();
        for directory in &found {
            named_in(directory, name, &mut next)?;
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// What is called so in a directory, if it is one.
fn named_in(directory: &Path, name: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let here = directory.as_os_str().is_empty();
    let entries = match std::fs::read_dir(if here { Path::new(".") } else { directory }) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?.file_name();
        let Some(entry) = entry.to_str() else {
            continue;
        };
        let hidden = entry.starts_with('.') && !name.starts_with('.');
        if !hidden && pattern::file_matches(name, entry) {
            if found.len() == ENTRIES {
                let most = format!("more than {ENTRIES} names");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, most));
            }
            found.push(directory.join(entry));
        }
    }
    Ok(())
}

fn unreadable_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
        io::ErrorKind::FileTooLarge => exit::CONFIG,
        _ => exit::NO_INPUT,
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Exit {
    let shown = path.display();
    let reason = file::reason(error);
    Exit::new(
        unreadable_code(error),
        format!("cannot read the configuration: {shown}: {reason}; name another with -F"),
    )
}

/// `file:line:column`, as compilers write it, so that editors and people find the place; then
/// the line itself and a mark under the column.
fn wrong(path: &Path, text: &str, at: Position, why: &dyn std::fmt::Display) -> Exit {
    let Position { line, column } = at;
    let place = format!("{}:{line}:{column}", path.display());
    let summary = format!("bad configuration: {}: {why}", escaped(place));
    let source = text.lines().nth(line as usize - 1).unwrap_or_default();
    if may_be_secret(source) {
        return Exit::new(exit::CONFIG, summary);
    }
    let column = column as usize - 1;
    let skipped = column.saturating_sub(SHOWN / 2);
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || c.is_whitespace() && c != ' ' => '?',
        c => c,
    };
    let shown: String = source
        .chars()
        .skip(skipped)
        .take(SHOWN)
        .map(plain)
        .collect();
    let indent = " ".repeat(column - skipped);
    let detail = format!("\n    {}\n    {indent}^", shown.trim_end());
    Exit::new(exit::CONFIG, summary + &detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use reachback_core::keyword::LogLevel;
    use std::fs;

    fn scene(files: &[(&str, &str)]) -> tempfile::TempDir {
        let scene = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = scene.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        scene
    }

    fn read_for(scene: &tempfile::TempDir, host: &str) -> Result<(Config, Vec<String>), Exit> {
        let read = read(Config::new(), &scene.path().join("config"), host, None)?;
        Ok((read.config, read.names))
    }

    #[test]
    fn included_files_stand_where_the_line_stands_in_the_order_of_their_names() {
        let scene = scene(&[
            ("config", "Include conf.d/*.conf\nPort 9\nHost c\n"),
            ("conf.d/20.conf", "Port 2\nUser two\nHost b\n"),
            ("conf.d/10.conf", "Port 1\nInclude more/?\nHost a\n"),
            ("conf.d/more/x", "LogLevel ERROR\n"),
            ("conf.d/more/xy", "LogLevel QUIET\n"),
            ("conf.d/.hidden.conf", "Port 3\n"),
            ("conf.d/readme", "not for us\n"),
            ("conf.d/dir.conf/x", ""),
        ]);
        let all = files(&scene.path().join("c*.d/*/?")).unwrap();
        let all: Vec<_> = all
            .iter()
            .map(|f| f.strip_prefix(scene.path()).unwrap())
            .collect();
        assert_eq!(all, ["conf.d/dir.conf/x", "conf.d/more/x"].map(Path::new));
        let (config, names) = read_for(&scene, "h").unwrap();
        assert_eq!((config.port(), config.user()), (1, Some("two")));
        assert_eq!(config.log_level(), LogLevel::Error);
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn an_include_in_a_block_holds_for_the_hosts_of_the_block_only() {
        let files = [
            (
                "config",
                "Host a\nInclude more\nUser outer\nHost *\nPort 7\n",
            ),
            (
                "more",
                "Port 1\nHost b\nUser inner\nHost a\nLogLevel ERROR\n",
            ),
        ];
        let scene = scene(&files);
        let (a, _) = read_for(&scene, "a").unwrap();
        assert_eq!((a.port(), a.user()), (1, Some("outer")));
        assert_eq!(a.log_level(), LogLevel::Error);
        let (b, _) = read_for(&scene, "b").unwrap();
        assert_eq!((b.port(), b.user()), (7, None), "b is never asked for");
    }

    #[test]
    fn a_file_that_includes_itself_ends_at_a_bound_and_so_do_too_many() {
        let own = scene(&[("config", "Include config\n")]);
        let refused = read_for(&own, "h").unwrap_err();
        assert_eq!(refused.code, exit::CONFIG);
        assert!(refused.message.contains("at most 8 deep"), "{refused}");
        let wide = "Include config x\n".repeat(2);
        let wide = scene(&[("config", &wide), ("x", "Include config x\n")]);
        assert_eq!(read_for(&wide, "h").unwrap_err().code, exit::CONFIG);
        let big = "#".repeat(CONFIG_BYTES);
        let many = scene(&[("config", "Include x x x x x\n"), ("x", &big)]);
        let refused = read_for(&many, "h").unwrap_err();
        assert!(refused.message.contains("bytes in all"), "{refused}");
    }

    #[test]
    fn what_cannot_be_included_is_named_with_the_line_that_wants_it() {
        for (line, code, words) in [
            ("Include  /dev/null", exit::NO_INPUT, "not a regular file"),
            ("Include", exit::CONFIG, "names no file"),
        ] {
            let scene = scene(&[("config", &format!("Port 1\n{line}\n"))]);
            let refused = read_for(&scene, "h").unwrap_err();
            assert_eq!(refused.code, code, "{line}: {refused}");
            assert!(refused.message.contains(words), "{line}: {refused}");
            assert!(refused.message.contains("config:2:"), "{refused}");
        }
        let scene = scene(&[("config", "Include gone/*\n")]);
        assert!(read_for(&scene, "h").is_ok(), "no file matches");
        for (name, said) in [("gone", "no such file"), ("more", "more/*")] {
            let scene = self::scene(&[("config", &format!("Include {name}\nPort 7\n"))]);
            std::fs::create_dir(scene.path().join("more")).unwrap();
            let read = read(Config::new(), &scene.path().join("config"), "h", None).unwrap();
            assert_eq!(read.config.port(), 7);
            assert!(read.notes[0].text.ends_with(said), "{}", read.notes[0].text);
        }
    }

    #[test]
    fn the_mark_stands_under_the_column_even_in_long_lines() {
        let mark = |text: &str, column: u32| {
            let exit = wrong(Path::new("f"), text, Position { line: 1, column }, &"why");
            let lines: Vec<String> = exit.message.lines().map(str::to_owned).collect();
            assert_eq!(
                (lines.len(), lines[0].as_str()),
                (3, format!("bad configuration: f:1:{column}: why").as_str())
            );
            let at = lines[2].chars().count() - 1;
            lines[1].chars().nth(at)
        };
        assert_eq!(mark("\tPrt 22", 2), Some('P'));
        assert_eq!(mark("é\u{1b} X", 4), Some('X'));
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        assert_eq!(mark(&long, 501), Some('X'));
        assert_eq!(mark("Port", 5), None, "behind the end");
    }
}
