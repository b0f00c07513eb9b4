//! Somebody who types what the documents say: a controller with nothing on it yet, a server that knows
//! its password, and a technician's machine.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::accounts::Account;
use super::client::{Ended, environment, wrapper};
use super::keys::{self, Format, Key, Kind};
use super::process::{Lines, Process};
use super::sshd::{self, Sshd};
use super::syslog::Syslog;
use super::targets::Target;
use super::terminal::Terminal;
use super::{Scene, document, free_port, patience, text, wait_until};

/// The account's password.
const PASSWORD: &str = "it's a secret";
/// What the dashboard answers.
pub const DASHBOARD: &str = "the dashboard";

/// The three machines. Fields are dropped in this order, the scene last.
pub struct Typist {
    /// The controller's log.
    pub syslog: Syslog,
    /// The server.
    pub server: Sshd,
    /// The server's account.
    pub account: Account,
    /// The controller's own SSH server.
    _shell: Sshd,
    /// The controller's dashboard, while it runs.
    dashboard: Option<Target>,
    /// Where it listens.
    address: SocketAddr,
    /// The controller's key.
    pub key: Key,
    /// What stands in the documents, and what is typed for it.
    names: Vec<(String, String)>,
    /// The server's ports of the two scripts.
    pub ports: [u16; 2],
    /// The technician's port for the dashboard.
    pub local: u16,
    /// Both documents.
    pub documents: String,
    /// The directory of it all.
    pub scene: Scene,
}

impl Typist {
    /// Before anything was typed; an error says why that cannot be.
    pub fn new() -> Result<Typist, String> {
        Typist::with(&[])
    }

    /// The same with these lines of the server's sshd_config(5).
    pub fn with(lines: &[&str]) -> Result<Typist, String> {
        let scene = Scene::new();
        let account = Account::new(&scene, PASSWORD, "/bin/sh")?;
        fs::create_dir_all(scene.path("charge/.ssh")).unwrap();
        let key = keys::generate(&scene, "charge/.ssh/id_rsa", Kind::Rsa, Format::OpenSsh);
        let technician = keys::generate(&scene, "technician", Kind::Ed25519, Format::OpenSsh);
        let allowed = text(&scene.file("technicians", technician.public.clone() + "\n"));
        let mut server = sshd::builder(&scene);
        for line in lines {
            server = server.config(line);
        }
        let mut server = server
            .config(&format!(
                "AuthorizedKeysFile .ssh/authorized_keys {allowed}"
            ))
            .config("PasswordAuthentication yes")
            .prepare();
        server.start_for(&account);
        let shell = sshd::builder(&scene).authorize(&technician).start();
        let dashboard = Target::http(DASHBOARD);
        let (address, ports) = (dashboard.address, [free_port(), free_port()]);
        let local = free_port();
        let program = text(&wrapper(&scene));
        let config = scene.file(
            "config",
            format!(
                "IdentityFile {}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n\
                 ControlPath none\n",
                technician.file()
            ),
        );
        let ssh = super::find_program("ssh").ok_or("ssh is not installed")?;
        let ssh = format!(
            "#!/bin/sh\nexec {} -F {} \"$@\"\n",
            text(&ssh),
            text(&config)
        );
        scene.executable("ssh", ssh);
        let there = format!("127.0.0.1:{}", server.port);
        let jump = format!("root@{there}");
        let url = format!("ssh://{jump}");
        let dashboard_way = format!("-L {local}:localhost:{} {url}", ports[1]);
        let shell_way = format!("ssh -N -L {}:localhost:{} {url}", shell.port, ports[0]);
        let names = [
            // `status` knows an SSH server by its port, which another one has here.
            (
                "    ssh -J operator@server.example -p 1111 root@localhost",
                shell_way,
            ),
            (
                "-L 8080:localhost:1112 operator@server.example",
                dashboard_way,
            ),
            (
                "-p 22\n       operator@server.example",
                format!("-p {} root@127.0.0.1", server.port),
            ),
            (
                "operator@server.example port 22",
                format!("root@127.0.0.1 port {}", server.port),
            ),
            ("operator@server.example's", "root@127.0.0.1's".to_owned()),
            ("user@server.example.com", jump.clone()),
            // Only a listener for everybody is at this address.
            ("root@server.example.com", "root@127.0.0.2".to_owned()),
            ("/etc/ssh/ssh_host_ed25519_key", server.host_key.file()),
            ("operator@server.example", jump.clone()),
            ("user@host[:port]", jump.clone()),
            ("user@host", jump),
            ("HOST[:PORT]", there.clone()),
            ("HOST:PORT", there),
            ("/home/charge/", text(&scene.path("charge")) + "/"),
            ("/home/operator/", text(&account.home) + "/"),
            ("/root/", text(&scene.path("home")) + "/"),
            ("/var/log/messages", text(&scene.path("messages"))),
            ("/usr/bin/reachback", program),
            ("KEYFILE", key.file()),
            ("-i KEY", format!("-i {}", key.file())),
            ("localhost:22", format!("localhost:{}", shell.port)),
            ("localhost:80", format!("localhost:{}", address.port())),
            ("1111", ports[0].to_string()),
            ("1112", ports[1].to_string()),
            ("8080", local.to_string()),
        ];
        let names = names.map(|(there, here)| (there.to_owned(), here)).to_vec();
        let typist = Typist {
            syslog: Syslog::start(&scene),
            server,
            account,
            _shell: shell,
            dashboard: Some(dashboard),
            address,
            key,
            names,
            ports,
            local,
            documents: document::read("README.md") + "\n" + &document::read("docs/operating.md"),
            scene,
        };
        for number in [1, 2] {
            let name = format!("custom_script{number}.sh");
            let script = document::read(&format!("packaging/{name}"));
            typist
                .scene
                .executable(&format!("charge/{name}"), typist.here(&script));
        }
        typist.scene.file("home/password", format!("{PASSWORD}\n"));
        Ok(typist)
    }

    /// A text of the documents with the names of this test.
    pub fn here(&self, text: &str) -> String {
        // A name that was put in stays: it may look like another one of the documents.
        let mut text = text.to_owned();
        for (number, (there, _)) in self.names.iter().enumerate() {
            text = text.replace(
                there,
                &format!("\u{1}{}\u{2}", (b'A' + number as u8) as char),
            );
        }
        for (number, (_, here)) in self.names.iter().enumerate() {
            text = text.replace(
                &format!("\u{1}{}\u{2}", (b'A' + number as u8) as char),
                here,
            );
        }
        text
    }

    /// The shell that gets a command of a document, which must stand there word for word.
    #[track_caller]
    fn shell(&self, command: &str) -> Command {
        let known = document::commands(&self.documents);
        assert!(
            known.iter().any(|known| known == command),
            "no {command:?} in {known:#?}"
        );
        self.own_shell(&self.here(command))
    }

    fn own_shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        environment(&mut shell, &self.scene);
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", text(&self.scene.path(""))));
        shell
    }

    /// Types a command of a document and waits for its end.
    #[track_caller]
    pub fn types(&self, command: &str) -> Ended {
        run(self.shell(command))
    }

    /// Types what stands in no document but was said by the program, in the names of this test.
    pub fn follows(&self, command: &str) -> Ended {
        run(self.own_shell(command))
    }

    /// Types a command of a document and lets it run.
    #[track_caller]
    pub fn begins(&self, command: &str) -> Process {
        Process::start(&mut self.shell(command))
    }

    /// Types a command of a document at a terminal of its own.
    #[track_caller]
    pub fn at_terminal(&self, command: &str) -> Terminal {
        Terminal::start(&self.shell(command))
    }

    /// Types a command that asks for the server's key and the password, and answers; what it shows.
    #[track_caller]
    pub fn enrolls(&self, command: &str) -> String {
        let mut terminal = self.at_terminal(command);
        terminal.wait_for("Is this the server's key (yes/no)? ");
        terminal.type_in("yes\n");
        terminal.wait_for("'s password: ");
        terminal.type_in(&format!("{PASSWORD}\n"));
        let (code, shown) = terminal.end();
        assert_eq!(code, 0, "{shown}");
        shown
    }

    /// Types a command until it prints what docs/operating.md shows under this heading.
    #[track_caller]
    pub fn sees(&self, heading: &str, command: &str) -> Ended {
        let page = document::read("docs/operating.md");
        let expected = self.here(document::shown(&page, heading, command));
        assert_ne!(expected, "");
        let end = Instant::now() + patience();
        loop {
            let ended = self.types(command);
            if document::shows(&expected, &printed(&ended)) {
                return ended;
            }
            assert!(Instant::now() < end, "{command}: {ended:#?}\n{expected}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until `status` says that everything is up.
    #[track_caller]
    pub fn is_up(&self) {
        self.status_is(0);
    }

    /// Waits until `status` ends so.
    #[track_caller]
    pub fn status_is(&self, code: i32) {
        wait_until(&format!("status {code}"), patience(), || {
            self.follows("reachback status").code == code
        });
    }

    /// The controller's log as a file.
    pub fn write_log(&self) {
        let lines: Lines = self.syslog.lines.clone();
        self.scene.file("messages", lines.all().join("\n") + "\n");
    }

    /// Ends the dashboard.
    pub fn stop_dashboard(&mut self) {
        self.dashboard = None;
        wait_until("nobody listens there", patience(), || {
            std::net::TcpStream::connect(self.address).is_err()
        });
    }

    /// Starts it again.
    pub fn start_dashboard(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.dashboard = Some(Target::http_on(listener, DASHBOARD));
    }

    /// Restarts the server.
    pub fn restart_server(&mut self) {
        self.server.stop();
        self.server.start_for(&self.account);
    }

    /// The server's authorized_keys.
    pub fn authorized_keys(&self) -> std::path::PathBuf {
        Path::new(&self.account.home).join(".ssh/authorized_keys")
    }
}

fn run(mut command: Command) -> Ended {
    let mut process = Process::start_and_keep(&mut command);
    let code = process.wait(patience() * 2);
    super::client::ended(process, code)
}

/// Both outputs.
pub fn printed(ended: &Ended) -> String {
    [ended.stdout.join("\n"), ended.stderr.join("\n")].join("\n")
}
