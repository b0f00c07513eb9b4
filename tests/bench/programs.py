"""The three programs on this machine, each with its forwards to a real sshd on loopback."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import controller as arm
import image
from rows import PROGRAMS
from ssh_server import SSHD, SshServer, children, free_ports, is_listening

HERE = Path(__file__).resolve().parent
# What is compared is SSH, not zlib, which one of the three does not have.
SSHD_OPTIONS = ("Compression no", "MaxStartups 200", "MaxSessions 200", "LogLevel ERROR")


def build():
    """Builds reachback for this machine, as it is released."""
    if not os.environ.get("REACHBACK_BIN"):
        command = ["cargo", "build", "-q", "--locked", "--release", "--bin", "reachback"]
        subprocess.run(command, cwd=image.TOP, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", image.BUILD / "target")
        os.environ["REACHBACK_BIN"] = f"{target}/release/reachback"


def versions():
    """One line about what is compared, for the page."""
    def said(*command):
        output = subprocess.PIPE
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if "SSH" in line or "ropbear" in line]
        return (lines or ["?"])[0].split(",")[0]

    server = next(line for line in [said(SSHD, "-V"), said(SSHD, "-?")] if line != "?")
    return f"{said('dbclient', '-V')}; {said('ssh', '-V')}; server: {server}"


class Site:
    """An sshd, and keys for it that each program reads."""

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.key = self.directory / "key"
        image.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        image.run("dropbearconvert", "openssh", "dropbear", self.key, f"{self.key}.dropbear")
        [port] = free_ports(1)
        self.server = SshServer(port, [self.key.with_suffix(".pub").read_text().strip()], SSHD_OPTIONS)
        self.server.__enter__()
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)


class Tunnel:
    """A program with a forward to each of the `services`, through `link` if there is one.

    `runner` is a command line that stands for the program, such as that of an emulator. `ports`
    are those on the server, one for each service. Ends with the `with` block.
    """

    def __init__(self, site, program, services, link=None, runner=()):
        self.site, self.program, self.services, self.link = site, program, services, link
        self.runner = runner
        self.ports = free_ports(len(services))

    def command(self):
        files, key = self.site.directory, str(self.site.key)
        port = self.link.port if self.link else self.site.server.port
        line = {
            "reachback": [os.environ["REACHBACK_BIN"], "-y", "-i", key, "-o", f"UserKnownHostsFile={files}/pins",
                          "-o", f"RuntimeDirectory={files}/run"],
            "dbclient": ["dbclient", "-y", "-y", "-i", f"{key}.dropbear"],
            "ssh": ["ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"],
        }[self.program]
        for own, service in zip(self.ports, self.services, strict=True):
            line += ["-R", f"{own}:127.0.0.1:{service.port}"]
        if self.runner:
            line[:1] = self.runner
        return [*line, "-N", "-p", str(port), f"{self.site.server.user}@127.0.0.1"]

    def __enter__(self):
        self.output = open(self.site.directory / self.program, "w+")
        environment = {**os.environ, "HOME": str(self.site.directory)}
        self.process = subprocess.Popen(
            self.command(), env=environment, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
            preexec_fn=arm.die_with_parent, start_new_session=True,
        )
        try:
            arm.wait_until(self.is_up, 60, f"the forwards of {self.program} are up")
        except arm.ControllerError as error:
            self.__exit__()
            raise arm.ControllerError(f"{error}\n{(self.site.directory / self.program).read_text()}") from None
        return self

    def is_up(self):
        if self.process.poll() is not None:
            raise arm.ControllerError(f"{self.program} ended")
        return all(map(is_listening, self.ports))

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        arm.wait_until(lambda: not any(map(is_listening, self.ports)), 60, "the forwards are gone")

    def pids(self):
        """Of reachback two: its supervisor and its worker."""
        return [self.process.pid, *children(self.process.pid)]


class Link:
    """A long or slow link to the server; see link.py for the options. `delay_ms` is there and back."""

    def __init__(self, site, delay_ms=0, rate=0):
        options = ["--delay", str(delay_ms / 2), "--rate", str(rate)]
        self.command = [sys.executable, HERE / "link.py", str(site.server.port), *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, preexec_fn=arm.die_with_parent)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def each(services, link=None, programs=PROGRAMS):
    """Goes through the programs, one after another: (program, its tunnel).

    `link` are the arguments of a Link.
    """
    with Site() as site:
        for program in programs:
            with Link(site, **link) if link else contextlib.nullcontext() as way:
                with Tunnel(site, program, services, way) as tunnel:
                    yield program, tunnel
