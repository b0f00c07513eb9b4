"""What the tests of the service share: a device, a server that takes its key, and a target."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import device
from device import Device
from ssh_server import SshServer, free_ports

BACK_WITHIN_S = 10
KEY = "/home/charge/.ssh/id_rsa"


def echo_server():
    """A target in this process's own machine: answers every connection with `hello`."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"hello")
            connection.close()
    port = listener.getsockname()[1]
    listener.close()
    return child, port


def answers(port):
    """Whether `hello` comes through the forward at the server's port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(5) == b"hello"
    except OSError:
        return False


class OnADevice(unittest.TestCase):
    """A device, a server that takes its key, and a target."""

    options = {}
    has_key = True

    @classmethod
    def setUpClass(cls):
        if not (device.BUSYBOX and device.can_isolate()):
            if os.environ.get("REACHBACK_TESTS_NO_SKIP"):
                raise AssertionError("needs busybox, root and namespaces")
            raise unittest.SkipTest("needs busybox, root and namespaces")
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.scratch = Path(cls.stack.enter_context(tempfile.TemporaryDirectory()))
        key = cls.scratch / "id"
        subprocess.run(["dropbearkey", "-t", "rsa", "-s", "2048", "-f", key],
                       check=True, capture_output=True)
        shown = subprocess.run(["dropbearkey", "-y", "-f", key], check=True, capture_output=True,
                               text=True).stdout
        cls.public = next(line for line in shown.splitlines() if line.startswith("ssh-rsa"))
        child, cls.target = echo_server()
        cls.stack.callback(lambda: (os.kill(child, 9), os.waitpid(child, 0)))
        cls.sshd_port, cls.first, cls.second, cls.shell = free_ports(4)
        # Each address is a destination of its own.
        addresses = [f"ListenAddress 127.0.0.{last}" for last in (2, 3, 4)]
        cls.server = cls.stack.enter_context(SshServer(cls.sshd_port, [cls.public], addresses))
        cls.prepare()
        cls.device = cls.stack.enter_context(Device(**cls.options))
        if cls.has_key:
            there = cls.device.root / KEY.lstrip("/")
            shutil.copy(key, there)
            there.chmod(0o600)
        cls.destination = f"{cls.server.user}@127.0.0.1:{cls.sshd_port}"

    @classmethod
    def prepare(cls):
        """What has to be known before the device is made."""

    def arguments(self, *ports, more=""):
        forwards = " ".join(f"-R {port}:127.0.0.1:{self.target}" for port in ports)
        return f"-N -y -i {KEY} {forwards} {more} {self.destination}"

    def default(self, *ports, more=""):
        self.device.write("/etc/default/reachback", f'REACHBACK_ARGS="{self.arguments(*ports, more=more)}"\n')

    def block(self, name, host, *ports, more=""):
        """A `Host` block of the configuration that is started at boot."""
        forwards = "".join(f"  RemoteForward {port} 127.0.0.1:{self.target}\n" for port in ports)
        return (f"Host {name}\n  Hostname {host}\n  Port {self.sshd_port}\n  User {self.server.user}\n"
                f"  IdentityFile {KEY}\n  StrictHostKeyChecking accept-new\n{forwards}"
                f"  StartAtBoot yes\n{more}")

    def own(self):
        """What the processes of the service are for, {pid: "args" or "boot:NAME"}."""
        found = {}
        for pid in self.device.pids():
            if self.device.run(f"tr '\\0' '\\n' </proc/{pid}/environ | grep -q ^REACHBACK_SERVICE=").status == 0:
                words = self.device.run(f"tr '\\0' '\\n' </proc/{pid}/cmdline").output.split("\n")[:-1]
                found[pid] = f"boot:{words[-1]}" if words[-2] == "--" else "args"
        return found

    def renewed(self, times):
        """Waits until so many processes have become another program."""
        self.device.wait(lambda: self.device.log().count("going on as reachback") >= times, f"{times} are renewed")

    def count_renewed(self):
        return self.device.log().count("going on as reachback")

    def init(self, action, status=0):
        outcome = self.device.init(action)
        self.assertEqual(outcome.status, status, f"{outcome.output}\n{self.device.log()}")
        return outcome.output

    def wait_for(self, *ports, timeout_s=30):
        for port in ports:
            self.device.wait(lambda: answers(port), f"server port {port} leads to the target", timeout_s)
