//! Where the faults happen: a controller and a server in network namespaces of their own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::dropbear::Dropbear;
use crate::gate::Gate;
use crate::support::keys::{self, Format, Key, Kind};
use crate::support::names::NameServer;
use crate::support::netns::{Net, SERVER};
use crate::support::sshd::{self, Sshd};
use crate::support::targets::Target;
use crate::support::{Scene, find_program, output, process, skip, text, wait_until};

/// Port of the server's SSH service.
pub const SSH: u16 = 2222;
/// Port of the gate in front of it.
pub const GATE: u16 = 2200;
/// Port of the forward on the server.
pub const PORT: u16 = 1111;
/// The name under which [`NameServer`] knows the server.
pub const NAME: &str = "hub.test";

/// Which program serves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ServerKind {
    /// OpenSSH, noticing within 3 s that a session was cut off.
    OpenSsh,
    /// OpenSSH that asks nothing by itself.
    Quiet,
    /// OpenSSH behind a [`Gate`].
    Gated,
    /// Dropbear, noticing within about 5 s.
    Dropbear,
}

/// A server, a target, and two namespaces. Fields are dropped in this order.
pub struct World {
    /// Ports of the server that something else holds.
    pub held: Vec<TcpListener>,
    /// Processes that were stopped.
    pub stopped: Vec<i32>,
    /// In front of the server, if asked for.
    pub gate: Option<Gate>,
    /// In the controller's namespace, if asked for.
    pub names: Option<NameServer>,
    /// The server, if it is OpenSSH.
    pub sshd: Option<Sshd>,
    /// The server, if it is Dropbear.
    pub dropbear: Option<Dropbear>,
    /// Answers `reached`, or without end to `/endless`.
    pub target: Target,
    /// The key in OpenSSH's format.
    pub key: Key,
    /// The key in Dropbear's format.
    pub dropbear_key: Key,
    /// The files.
    pub scene: Scene,
    /// The namespaces.
    pub net: Net,
}

impl World {
    /// `None`, with a word about it, where namespaces are not permitted.
    pub fn new(server: ServerKind) -> Option<Self> {
        let net = Net::new()?;
        if let Err(reason) = prepare_rules(&net) {
            skip(&reason);
            return None;
        }
        let scene = Scene::new();
        let key = keys::key(&scene, "key", Kind::Ed25519);
        let dropbear_key = keys::generate(&scene, "key-d", Kind::Ed25519, Format::Dropbear);
        let target = net.controller.inside(|| Target::start(serve));
        let mut world = Self {
            held: Vec::new(),
            stopped: Vec::new(),
            gate: None,
            names: None,
            sshd: None,
            dropbear: None,
            target,
            key,
            dropbear_key,
            scene,
            net,
        };
        match server {
            ServerKind::Dropbear => {
                let keys = [&world.key, &world.dropbear_key];
                world.dropbear = Some(Dropbear::start(&world.scene, &world.net.internet, &keys));
            }
            ServerKind::Quiet => world.serve_openssh(0),
            ServerKind::OpenSsh | ServerKind::Gated => world.serve_openssh(1),
        }
        if server == ServerKind::Gated {
            let log = world.sshd.as_ref().unwrap().log.clone();
            world.gate = Some(world.net.internet.inside(|| Gate::start(log)));
        }
        Some(world)
    }

    fn serve_openssh(&mut self, alive_interval_s: u32) {
        let mut sshd = sshd::builder(&self.scene)
            .port(SSH)
            .config(&format!("ListenAddress {SERVER}:{SSH}"))
            .config(&format!("ClientAliveInterval {alive_interval_s}"))
            .config("ClientAliveCountMax 2")
            .authorize(&self.key)
            .authorize(&self.dropbear_key)
            .prepare();
        sshd.start_in(&self.net.internet);
        self.sshd = Some(sshd);
    }

    /// The server's OpenSSH.
    pub fn sshd(&mut self) -> &mut Sshd {
        self.sshd.as_mut().unwrap()
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        if self.gate.is_some() { GATE } else { SSH }
    }

    /// The host that clients connect to.
    pub fn host(&self) -> &'static str {
        if self.names.is_some() { NAME } else { SERVER }
    }

    /// Lets the controller know its server by [`NAME`] only.
    pub fn by_name(&mut self) {
        let controller = &self.net.controller;
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        controller.etc("resolv.conf", resolver);
        controller.etc("hosts", "127.0.0.1 localhost\n");
        self.names = Some(controller.inside(|| NameServer::start(&[SERVER])));
    }

    /// Runs an nft(8) command in the server's namespace, where table `inet fault` has the
    /// chains `input` and `output`.
    pub fn nft(&self, command: &str) {
        nft(&self.net, command).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Adds a rule to both chains, for packets on the cable.
    pub fn both_ways(&self, rule: &str) {
        self.inward(rule);
        self.outward(rule);
    }

    /// Adds a rule for packets that arrive from the controller.
    pub fn inward(&self, rule: &str) {
        self.nft(&format!("add rule inet fault input iifname far {rule}"));
    }

    /// Adds a rule for packets that go to the controller.
    pub fn outward(&self, rule: &str) {
        self.nft(&format!("add rule inet fault output oifname far {rule}"));
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.nft("flush table inet fault");
    }

    /// The controller's ports of connections to the server that the client still holds:
    /// established, or closed by the server only (proc(5), /proc/net/tcp).
    pub fn connections(&self) -> Vec<u16> {
        const ESTABLISHED: &str = "01";
        const CLOSE_WAIT: &str = "08";
        let table = Path::new("/proc/thread-self/net/tcp");
        let text = self.net.controller.inside(|| fs::read_to_string(table));
        let octets: Vec<u8> = SERVER
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        let address = u32::from_le_bytes(octets.try_into().unwrap());
        let remote = format!("{address:08X}:{:04X}", self.port());
        let text = text.unwrap();
        let rows = text.lines().skip(1).map(|line| line.split_whitespace());
        rows.filter_map(|mut row| {
            let local = row.nth(1)?;
            let to_server = row.next()? == remote;
            let held = [ESTABLISHED, CLOSE_WAIT].contains(&row.next()?);
            let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
            (to_server && held).then_some(port)
        })
        .collect()
    }

    /// Whether someone at the server reaches the target within `limit`.
    pub fn is_usable(&self, limit: Duration) -> bool {
        self.net
            .internet
            .inside(|| ask(limit).is_ok_and(|a| a.ends_with("\r\n\r\nreached")))
    }

    /// Waits until someone at the server reaches the target.
    pub fn wait_usable(&self, limit: Duration) {
        wait_until("the target is reached", limit, || {
            self.is_usable(Duration::from_secs(1))
        });
    }

    /// Starts reading, at the server, what the target sends without end.
    pub fn start_endless(&self) {
        self.net.internet.inside(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            stream.write_all(b"GET /endless HTTP/1.0\r\n\r\n").unwrap();
            let mut first = [0; 65536];
            stream.read_exact(&mut first).unwrap();
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        });
    }

    /// The same where no answer may come through.
    pub fn start_endless_unless_stuck(&self) {
        self.net.internet.inside(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            stream.write_all(b"GET /endless HTTP/1.0\r\n\r\n").unwrap();
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        });
    }

    /// The processes that serve connections.
    pub fn sessions(&self) -> Vec<i32> {
        match (&self.sshd, &self.dropbear) {
            (Some(sshd), _) => sshd.sessions(),
            (None, Some(dropbear)) => dropbear.sessions(),
            (None, None) => Vec::new(),
        }
    }

    /// Kills them; the listener stays.
    pub fn kill_sessions(&self) {
        let sessions = self.sessions();
        sessions.iter().for_each(|pid| process::kill(*pid));
        wait_until("sessions are gone", Duration::from_secs(5), || {
            !sessions.iter().any(|pid| process::is_alive(*pid))
        });
    }

    /// The process that listens for connections.
    pub fn listener(&self) -> i32 {
        let config = text(&self.scene.path(&format!("sshd-{SSH}.conf")));
        let found = process::with_command_line(&config);
        assert!(found.len() == 1, "one listener: {found:?}");
        found[0]
    }

    /// Stops processes until [`World::go_on`].
    pub fn stop(&mut self, pids: Vec<i32>) {
        pids.iter().for_each(|pid| signal("STOP", *pid));
        self.stopped.extend(pids);
    }

    /// Lets stopped processes go on.
    pub fn go_on(&mut self) {
        for pid in self.stopped.drain(..) {
            signal("CONT", pid);
        }
    }

    /// Holds the forward's port on the server as soon as it is free, for both families: sshd
    /// confirms a forward that it can listen for on one of them only.
    pub fn hold_port(&mut self) {
        let end = Instant::now() + Duration::from_secs(5);
        for address in ["127.0.0.1", "::1"] {
            let bind = || TcpListener::bind((address, PORT));
            loop {
                match self.net.internet.inside(bind) {
                    Ok(listener) => break self.held.push(listener),
                    Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
                }
            }
        }
    }

    /// Exchanges the server's host key for another, or back, from its next start on.
    pub fn exchange_host_key(&mut self) {
        let own = self.sshd().host_key.private.clone();
        let other = self.scene.path("other-host-key");
        if !other.exists() {
            let _ = keys::key(&self.scene, "other-host-key", Kind::Ed25519);
        }
        for suffix in ["", ".pub"] {
            let (own, other) = (text(&own) + suffix, text(&other) + suffix);
            let (mine, theirs) = (fs::read(&own).unwrap(), fs::read(&other).unwrap());
            fs::write(own, theirs).unwrap();
            fs::write(other, mine).unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in &self.stopped {
            process::kill(*pid);
        }
        for pid in self.sessions() {
            process::kill(pid);
        }
    }
}

/// Makes the table and its chains, and sees whether the kernel has what the faults need.
fn prepare_rules(net: &Net) -> Result<(), String> {
    if find_program("nft").is_none() {
        return Err("nftables is not installed".to_owned());
    }
    nft(net, "add table inet fault")?;
    for hook in ["input", "output"] {
        let chain = format!("{{ type filter hook {hook} priority 0; }}");
        nft(net, &format!("add chain inet fault {hook} {chain}"))?;
    }
    nft(
        net,
        "add rule inet fault input numgen random mod 100 < 1 drop",
    )?;
    nft(
        net,
        "add rule inet fault input meta l4proto tcp reject with tcp reset",
    )?;
    nft(net, "flush table inet fault")
}

fn nft(net: &Net, command: &str) -> Result<(), String> {
    let mut nft = Command::new("nft");
    nft.arg(command);
    let out = net
        .internet
        .wrap(&nft)
        .output()
        .map_err(|e| format!("nft: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&out.stderr);
    Err(format!("nft {command}: {}", error.trim()))
}

/// Sends a signal by its name.
pub fn signal(name: &str, pid: i32) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .output();
}

/// The version line of a program, for the record.
pub fn version(program: &str, argument: &str) -> String {
    let script = format!("{program} {argument} 2>&1 | head -n 1");
    output("sh", &["-c", &script])
}

fn ask(limit: Duration) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], PORT));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn serve(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
    if !request.starts_with(b"GET /endless ") {
        let _ = stream.write_all(b"reached");
        return;
    }
    // More than a compressor looks back (RFC 1951: 32 KiB), so that none makes less of it.
    let mut block = [0; 65536];
    let mut random = File::open("/dev/urandom").unwrap();
    random.read_exact(&mut block).unwrap();
    while stream.write_all(&block).is_ok() {}
}
