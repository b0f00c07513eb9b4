//! The other independent servers: Dropbear, and one built on thrussh.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::keys::{self, Format, Key, Kind};
use super::process::Process;
use super::{Scene, find_program, free_port, is_root, output, patience, text};

/// A real Dropbear. It reads `~/.ssh/authorized_keys` of the account only, so
/// it runs in a mount namespace with another home directory over root's.
pub struct Dropbear {
    /// The running server; its log is on stderr.
    pub process: Process,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Dropbear {
    /// The account that can log in.
    pub const USER: &'static str = "root";

    /// Starts one that `key` may log in to; an error says what is missing.
    pub fn start(scene: &Scene, key: &Key) -> Result<Self, String> {
        Self::with_host_key(scene, key, Kind::Ed25519)
    }

    /// The same with a host key of this kind.
    pub fn with_host_key(scene: &Scene, key: &Key, kind: Kind) -> Result<Self, String> {
        let program = find_program("dropbear").ok_or("dropbear is not installed")?;
        let home = scene.path("dropbear-home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::write(
            home.join(".ssh/authorized_keys"),
            format!("{}\n", key.public),
        )
        .unwrap();
        let host_key = keys::generate(scene, "dropbear-host", kind, Format::Dropbear);
        let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        let namespace: &[&str] = if is_root() { &["-m"] } else { &["-r", "-m"] };
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let root_home = passwd.lines().find(|l| l.starts_with("root:"));
        let root_home = root_home
            .and_then(|l| l.split(':').nth(5))
            .unwrap_or("/root");
        let wrapped = |inner: &[&str]| {
            let mut command = Command::new("unshare");
            command
                .args(namespace)
                .args(["sh", "-c", mount, &text(&home), root_home]);
            command.args(inner);
            command
        };
        let probe = wrapped(&["true"])
            .output()
            .map_err(|e| format!("unshare: {e}"))?;
        if !probe.status.success() {
            let reason = String::from_utf8_lossy(&probe.stderr);
            return Err(format!("no mount namespace: {}", reason.trim()));
        }
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let arguments = [
            &text(&program),
            "-F",
            "-E",
            "-p",
            &listen,
            "-r",
            &host_key.file(),
        ];
        let process = Process::start(&mut wrapped(&arguments));
        process.stderr.wait_for("Not backgrounding", patience());
        super::wait_until("dropbear listens", patience(), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Ok(Self { process, port })
    }
}

/// The server of `tests/peers/thrussh-server`, which offers
/// `mlkem768x25519-sha256` only. Its events are lines on stdout.
pub struct Thrussh {
    /// The running server.
    pub process: Process,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Thrussh {
    /// Starts one that `key` (Ed25519) may log in to.
    pub fn start(scene: &Scene, key: &Key, more: &[&str]) -> Result<Self, String> {
        let program = thrussh_program()?;
        let authorized = scene.file("thrussh-authorized", format!("{}\n", key.public));
        let mut command = Command::new(program);
        command
            .args(["--listen", "127.0.0.1:0", "--authorized-key"])
            .arg(authorized)
            .args(more);
        let process = Process::start(&mut command);
        let line = process.stdout.wait_for("listening on ", patience());
        let port = line.rsplit(':').next().unwrap().parse().unwrap();
        Ok(Self { process, port })
    }
}

/// `REACHBACK_THRUSSH_SERVER`, or the program built here, once per run.
fn thrussh_program() -> Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(build_thrussh).clone()
}

fn build_thrussh() -> Result<PathBuf, String> {
    if let Some(program) = std::env::var_os("REACHBACK_THRUSSH_SERVER") {
        return Ok(program.into());
    }
    let sodium = Command::new("pkg-config")
        .args(["--exists", "libsodium"])
        .status();
    if !sodium.is_ok_and(|s| s.success()) {
        return Err("libsodium-dev or pkg-config is not installed".to_owned());
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/thrussh-server");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("thrussh-server");
    output(&text(&dir.join("prepare.sh")), &[]);
    let manifest = text(&dir.join("Cargo.toml"));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = [
        "build",
        "-q",
        "--locked",
        "--manifest-path",
        &manifest,
        "--target-dir",
        &text(&target),
    ];
    output(&cargo, &arguments);
    Ok(target.join("debug/thrussh-server"))
}
