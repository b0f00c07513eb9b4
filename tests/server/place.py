"""A server of its own to try the kit on: namespaces, a copy of the system's files, a stock sshd.

Whoever calls `enter()` first is run again as the only user of new mount, network and process
namespaces. What it writes to /etc, /var, /run and the like is gone when it ends; loopback is its
only network; its sshd listens on port 22 there, as a stock one does. REACHBACK_TEST_SSHD names another sshd.
"""

import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
KIT = TOP / "server"
BUILD = (TOP / os.environ.get("BUILD", "build")).resolve()
BASE = Path("/var/lib/reachback")
INSIDE = "REACHBACK_TEST_PLACE"
# For a program of another architecture: qemu-arm.
RUNNER = os.environ.get("REACHBACK_RUNNER", "")
COVERED = ["/etc", "/var/lib", "/usr/local/bin", "/root"]
EMPTY = ["/run", "/home", "/var/log"]
PATIENCE_S = 60
HOSTS = """127.0.0.1 localhost hub.example hub2.example fleet.example sn-0042.fleet.example
"""


def reachback():
    named = os.environ.get("REACHBACK_BIN")
    target = os.environ.get("CARGO_TARGET_DIR", TOP / "build" / "target")
    return Path(named or Path(target) / "debug" / "reachback").resolve()


def enter():
    """Returns inside the place."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid() != 0:
        print("skipped: the server's kit is tried as root")
        sys.exit(0)
    if not reachback().exists():
        sys.exit(f"{reachback()} is missing: cargo build --bin reachback")
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*namespaces, "true"], stderr=subprocess.DEVNULL).returncode:
        print("skipped: this system makes no namespaces")
        sys.exit(0)
    with tempfile.TemporaryDirectory() as place:
        # The shell takes in the daemons' processes that lose their parents.
        inside = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, *sys.argv]
        done = subprocess.run([*namespaces, *inside], env={**os.environ, INSIDE: place, "REACHBACK_BIN": str(reachback())})
    sys.exit(done.returncode)


def furnish():
    """Covers the system's files, and makes a stock server of them; once."""
    place = Path(os.environ[INSIDE])
    sh(f"mount -t tmpfs place {place}; ip link set lo up")
    # The source tree, what is made of it and the program may lie in somebody's home.
    mine = [path for path in (TOP, BUILD, Path(os.environ["REACHBACK_BIN"]).parent)
            if path.parent.is_relative_to("/home") or path.parent.is_relative_to("/root")]
    kept = {place / f"kept{number}": path for number, path in enumerate(mine)}
    for aside, path in kept.items():
        sh(f"mkdir {aside}; mount --bind {path} {aside}")
    for number, path in enumerate(COVERED):
        upper, work = place / f"upper{number}", place / f"work{number}"
        upper.mkdir()
        work.mkdir()
        sh(f"mount -t overlay place -o lowerdir={path},upperdir={upper},workdir={work} {path}")
    for path in EMPTY:
        sh(f"mount -t tmpfs -o mode=755 place {path}")
    for aside, path in kept.items():
        sh(f"mkdir -p {path}; mount --bind {aside} {path}")
    if Path("/dev/log").is_socket():
        sh("mount --bind /etc/hosts /dev/log")
    shutil.rmtree(BASE, ignore_errors=True)
    Path("/run/sshd").mkdir()
    Path("/etc/hosts").write_text(HOSTS)
    for leftover in Path("/etc/ssh").glob("sshd_config.d/*"):
        leftover.unlink()
    if not Path("/etc/ssh/ssh_host_ed25519_key").exists():
        sh("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
    stock = Path("/usr/share/openssh/sshd_config")
    if stock.exists():
        shutil.copy(stock, "/etc/ssh/sshd_config")
    if os.environ.get("REACHBACK_TEST_SSHD"):
        sh("mount --bind $REACHBACK_TEST_SSHD /usr/sbin/sshd")
    program = Path("/usr/local/bin/reachback")
    program.unlink(missing_ok=True)
    if RUNNER:
        program.write_text(f'#!/bin/sh\nexec {RUNNER} {os.environ["REACHBACK_BIN"]} "$@"\n')
        program.chmod(0o755)
    else:
        program.symlink_to(os.environ["REACHBACK_BIN"])
    return place


def sh(command, status=0, **more):
    """Runs a line of shell and returns what it prints, errors too."""
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, **more)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{command}\nexit status {done.returncode}, not {status}:\n{done.stdout}")
    return done.stdout


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


def person(name):
    """An account as people have it, with a key; returns the key's file."""
    sh(f"useradd -m -s /bin/sh -p '*' {name}")
    home = Path("/home") / name
    sh(f"install -d -m 700 -o {name} {home}/.ssh; ssh-keygen -q -t ed25519 -N '' -f {home}/.ssh/id_ed25519;"
       f"cp {home}/.ssh/id_ed25519.pub {home}/.ssh/authorized_keys; chown -R {name} {home}/.ssh")
    return home / ".ssh" / "id_ed25519"


def dashboard(text, port=0):
    """A web page, on a free port if none is named; returns localhost:port."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"localhost:{server.server_port}"


def page(path):
    """What the socket answers to a GET, or None where nobody listens."""
    with socket.socket(socket.AF_UNIX) as there:
        there.settimeout(PATIENCE_S)
        try:
            there.connect(str(path))
        except OSError:
            return None
        there.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            answer = b"".join(iter(lambda: there.recv(4096), b""))
        except ConnectionResetError:
            return ""
    return answer.partition(b"\r\n\r\n")[2].decode()


class Sshd:
    """The stock server, started as its package would."""

    def __init__(self, log=Path("/var/log/sshd.log")):
        """Without `log` it writes to syslog."""
        self.log = f"-E {log}" if log else ""
        self.start()

    def start(self):
        sh(f"/usr/sbin/sshd {self.log}")
        wait_for("sshd listens", lambda: "SSH-2.0" in self.banner())

    @staticmethod
    def banner():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 22), 5) as there:
            return there.recv(100).decode()
        return ""

    @staticmethod
    def stop():
        os.kill(int(Path("/run/sshd.pid").read_text()), signal.SIGTERM)
        wait_for("sshd ends", lambda: not Path("/run/sshd.pid").exists())
        sh("pkill -KILL -x sshd; pkill -KILL -x sshd-session", status=None)


class Controller:
    """A controller with its key, its configuration and its services, as one reachback process."""

    def __init__(self, place, name, web=None, ssh=None, address=None):
        """`address` is the one that it connects from."""
        self.name, self.directory = name, place / f"controller-{name}"
        self.directory.mkdir()
        self.key = self.directory / "id"
        sh(f"ssh-keygen -q -t ed25519 -N '' -f {self.key}")
        self.ssh, self.web = ssh or "localhost:22", web or "localhost:80"
        self.bind = ["-b", address] if address else []
        self.process = None

    @property
    def public(self):
        return Path(f"{self.key}.pub")

    def arguments(self, *forwards, user=None):
        return ["reachback", "-N", "-y", "-i", str(self.key), "-o", f"UserKnownHostsFile={self.directory}/known_hosts",
                "-o", f"RuntimeDirectory={self.directory}/run", *self.bind,
                *(part for forward in forwards for part in ("-R", forward)), f"{user or 'c-' + self.name}@hub.example"]

    def start(self, *forwards, user=None):
        forwards = forwards or (f"/run/ssh:{self.ssh}", f"/run/web:{self.web}")
        with open(self.directory / "log", "w") as log:
            self.process = subprocess.Popen(self.arguments(*forwards, user=user), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)
        return self

    def said(self, words=""):
        text = (self.directory / "log").read_text()
        return text if words in text else ""

    def wait(self, words):
        try:
            return wait_for(words, lambda: self.said(words))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def up(self):
        self.wait("tunnel up: ")
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE_S)

    def socket(self, name="web"):
        return BASE / f"c-{self.name}" / "run" / name
