"""An OpenSSH server of our own on the loopback, for the controller to tunnel to.

It runs as the current user, with its own host key and configuration in a temporary
directory, takes keys only, and leaves the machine's own SSH server alone.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import controller as arm

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class PortBusy(Exception):
    """A port that is needed on 127.0.0.1 is in use."""


def require_free(port, purpose):
    """Raises PortBusy unless `port` can be listened on at 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortBusy(f"port {port} on 127.0.0.1, for {purpose}: {error.strerror}") from None


def free_ports(count):
    """Picks ports of 127.0.0.1 that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def is_listening(port):
    """True if something listens on the port at 127.0.0.1. Looks, does not connect (proc(5))."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and fields[3] == "0A":
            return True
    return False


def children(pid):
    """The direct children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


class SshServer:
    """sshd on 127.0.0.1; authorises the given authorized_keys lines for the current user.

    `options` are further sshd_config(5) lines.
    """

    def __init__(self, port, authorized, options=()):
        self.port = port
        self.authorized = authorized
        self.options = options
        self.user = getpass.getuser()
        self.process = None

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="sshd-"))
        try:
            self.configure()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def configure(self):
        files = self.directory
        key = files / "host_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (files / "authorized_keys").write_text("\n".join(self.authorized) + "\n")
        lines = [
            # sshd takes the first value that it meets.
            *self.options,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {key}",
            f"PidFile {files}/pid",
            f"AuthorizedKeysFile {files}/authorized_keys",
            # The directory is ours, but its parents need not be.
            "StrictModes no",
            f"UsePAM {'yes' if self.account_is_locked() else 'no'}",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AllowTcpForwarding remote",
            "X11Forwarding no",
            "PrintMotd no",
            "LogLevel VERBOSE",
        ]
        (files / "config").write_text("\n".join(lines) + "\n")

    def account_is_locked(self):
        """Without PAM, sshd refuses an account whose password entry begins with `!`."""
        try:
            shadow = Path("/etc/shadow").read_text()
        except OSError:
            return False
        return any(line.startswith(f"{self.user}:!") for line in shadow.splitlines())

    def start(self):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates privileges
        command = [SSHD, "-D", "-f", self.directory / "config", "-E", self.directory / "log"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=arm.die_with_parent
        )
        arm.wait_until(self.is_up, 10, f"sshd listens on port {self.port}")

    def is_up(self):
        if self.process.poll() is not None:
            raise arm.ControllerError(f"sshd ended:\n{self.log()}")
        return is_listening(self.port)

    def stop(self):
        """Ends the server and its sessions."""
        if self.process is None:
            return
        sessions = self.sessions()
        self.process.terminate()
        self.process.wait()
        self.process = None
        for pid in sessions:
            self.end(pid)

    def sessions(self):
        """The processes that serve one connection each."""
        return children(self.process.pid) if self.process else []

    def cut_sessions(self):
        """Kills what serves the open connections; the server itself stays. Returns how many."""
        sessions = self.sessions()
        for pid in sessions:
            for child in children(pid):
                self.end(child)
            self.end(pid)
        return len(sessions)

    @staticmethod
    def end(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""
