#!/usr/bin/env python3
"""The walk of docs/operating.md on a booted controller, against a stock sshd: `make demo WALK=1`.

From nothing to a browser, then six faults, each named by `reachback doctor` and mended by what that
says. Every command is looked up in README.md or docs/operating.md, or is one that doctor gave. The
whole goes to build/walk.txt; docs/walk.md and docs/dashboard.png are those of such a run in build/.
"""

import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import controller as arm
import image
import through
from ssh_server import SSHD, PortBusy, SshServer, free_ports, require_free

sys.path.insert(1, str(image.TOP / "tests/server"))

import browser

PASSWORD = "it's a secret"
KEY = "/home/charge/.ssh/id_rsa"
ENROLL = f"reachback enroll -y --password-fd 3 -i {KEY} operator@server.example 3<password"
SCRIPTS = [f"/home/charge/custom_script{number}.sh operator@server.example" for number in (1, 2)]
STATUS = "reachback status operator@server.example"
SHELL = "ssh -J operator@server.example -p 1111 root@localhost"
DASHBOARD = "ssh -N -L 8080:localhost:1112 operator@server.example"
UP_TIMEOUT_S = 240


class StockServer(SshServer):
    """sshd as it comes, and an account `root` with a home directory and a password of its own.

    The account is put over the system's in a mount namespace, which only root may do.
    """

    def __init__(self, port, technician):
        super().__init__(port, [])
        self.technician = technician

    @property
    def home(self):
        return self.directory / "account"

    @property
    def keys_file(self):
        return self.home / ".ssh/authorized_keys"

    def configure(self):
        self.home.mkdir(mode=0o700)
        (self.home / "technicians").write_text(self.technician)
        hashed = image.run("openssl", "passwd", "-6", PASSWORD).strip()
        for name, line in (("passwd", f"root:x:0:0:root:{self.home}:/bin/sh"),
                           ("shadow", f"root:{hashed}:20000:0:99999:7:::")):
            others = [old for old in Path(f"/etc/{name}").read_text().splitlines()
                      if not old.startswith("root:")]
            (self.directory / name).write_text("\n".join([line, *others]) + "\n")
        self.new_host_key()
        lines = [f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.directory}/host_key",
                 f"PidFile {self.directory}/pid", "PermitRootLogin yes",
                 # The technician's key is there before.
                 "AuthorizedKeysFile .ssh/authorized_keys technicians"]
        (self.directory / "config").write_text("\n".join(lines) + "\n")

    def new_host_key(self):
        for path in self.directory.glob("host_key*"):
            path.unlink()
        image.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / "host_key")

    def start(self):
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        script = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, self.directory,
                   SSHD, "-D", "-f", self.directory / "config", "-E", self.directory / "log"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=arm.die_with_parent)
        arm.wait_until(self.is_up, 20, f"sshd listens on port {self.port}")


class Quiet(BaseHTTPRequestHandler):
    """Somebody else's web server."""

    def log_message(self, *_):
        pass


class Walk:
    def __init__(self, sshd_port, ports):
        self.ports = ports
        self.sshd_port = sshd_port
        try:
            require_free(8080, "the technician's browser")
            self.local = 8080
        except PortBusy:
            self.local = free_ports(1)[0]
        self.documents = "".join((image.TOP / name).read_text() for name in ("README.md", "docs/operating.md"))
        self.whole, self.short = [], []
        self.started = time.monotonic()

    # --- What is typed and what is written down ---------------------------------------

    def say(self, text, heading=False):
        print(f"[{time.monotonic() - self.started:5.1f} s] {text}", flush=True)
        self.whole.append(text)
        self.short += ["", f"## {text}" if heading else text]

    def write(self, prompt, command, output, keep):
        lines = self.plain(output).splitlines()
        print("\n".join(f"          | {line}" for line in [f"{prompt} {command}", *lines]), flush=True)
        self.whole += [f"{prompt} {command}", *lines]
        if self.short[-1] == "```":
            self.short.pop()
        else:
            self.short.append("```")
        self.short += [f"{prompt} {self.plain(command)}", *keep(lines), "```"]

    def plain(self, text):
        return text.replace(str(self.server.home), "/root")

    def here(self, command, technician):
        """A command of the documents with the names of this machine."""
        if not any(f"{before}{command}" in self.documents for before in ("`", "# ", "$ ", "\n")):
            raise arm.ControllerError(f"neither README.md nor docs/operating.md has: {command}")
        place = f"127.0.0.1:{self.sshd_port}" if technician else f"{arm.HOST_ADDRESS}:{self.sshd_port}"
        url = "ssh://" if technician and "-L" in command else ""
        for old, new in (("operator@server.example", f"{url}root@{place}"), ("8080", str(self.local)),
                         (":1112", f":{self.ports[1]}"), (" 1111", f" {self.ports[0]}")):
            command = command.replace(old, new)
        return command

    def types(self, command, keep=lambda lines: lines, expect=0, given=False):
        """Types on the controller; `given` is a command that the program gave."""
        line = command if given else self.here(command, False)
        outcome = self.controller.run(f"cd /root; {self.environment(line)}{line}", 60)
        self.write("#", line, outcome.output, keep)
        if expect is not None and outcome.status != expect:
            raise arm.ControllerError(f"status {outcome.status}, not {expect}: {line}\n{outcome.output}")
        return outcome.output

    def environment(self, line):
        """Other ports of the server than the documents', where those are in use here."""
        for number, usual in ((1, 1111), (2, 1112)):
            if f"custom_script{number}.sh" in line and self.ports[number - 1] != usual:
                return f"REACHBACK_REMOTE_PORT={self.ports[number - 1]} "
        return ""

    def ssh(self, command):
        words = self.here(command, True).split()
        options = ["-F", str(self.server.directory / "technician")]
        return [words[0], *options, *words[1:]]

    # --- The walk -----------------------------------------------------------------------

    def run(self):
        technician = (image.KEYS / "operator.pub").read_text()
        with StockServer(self.sshd_port, technician) as server, arm.Controller() as controller:
            self.server, self.controller = server, controller
            (server.directory / "technician").write_text(
                f"IdentityFile {image.KEYS}/operator\nStrictHostKeyChecking no\n"
                "UserKnownHostsFile /dev/null\nLogLevel ERROR\nControlPath none\n")
            self.from_nothing()
            for fault in (self.key_removed, self.host_key_changed, self.server_down,
                          self.dashboard_stopped, self.forward_forbidden, self.wrong_port):
                fault()
        (image.BUILD / "walk.txt").write_text("\n".join(self.whole) + "\n")
        page = ["# The walk, as it was printed", "",
                "A controller (ARMv7, 64 MB, BusyBox, a key in Dropbear's format) in QEMU, and an sshd with the settings it",
                "comes with. The commands are those of [operating.md](operating.md), or `reachback doctor` gave them. Of its",
                "lines those of the step that fails are left here. `make demo WALK=1`, as root, goes the walk again and leaves",
                "the whole in `build/walk.txt`; this page is its `build/walk.md`."]
        text = "\n".join(page + self.short)
        (image.BUILD / "walk.md").write_text(text + "\n")
        print(f"The whole of it: {image.BUILD}/walk.txt", flush=True)

    def from_nothing(self):
        self.say("From nothing to a browser", heading=True)
        self.say("The server has to accept the controller's key.")
        self.controller.check(f'printf "%s\\n" "{PASSWORD}" >/root/password')
        self.types(ENROLL)
        self.say("The scripts, as a backend calls them: without a terminal they print nothing. Is it up?")
        for script in SCRIPTS:
            self.types(script)
        self.wait_up()
        self.types(STATUS)
        self.types("reachback doctor")
        self.say("From the technician's machine: a shell and the dashboard.")
        command = "hostname; uname -m"
        done = subprocess.run([*self.ssh(SHELL), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, timeout=120, check=True)
        self.write("$", f"{self.here(SHELL, True)} '{command}'", done.stdout, list)
        self.dashboard(show=True)

    def dashboard(self, show=False):
        """Opens the dashboard through `ssh -L`, and looks at it."""
        way = subprocess.Popen(self.ssh(DASHBOARD), stdin=subprocess.DEVNULL, preexec_fn=arm.die_with_parent)
        try:
            arm.wait_until(lambda: through.has_dashboard(self.local), 60, "the dashboard is there")
            if show:
                with urllib.request.urlopen(f"http://localhost:{self.local}/", timeout=30) as page:
                    text = page.read().decode()
                line = next(line for line in text.splitlines() if through.DASHBOARD_LINE in line)
                self.write("$", self.here(DASHBOARD, True), f"(http://localhost:{self.local})  {line}", list)
                self.screenshot()
        finally:
            way.terminate()
            way.wait()

    def screenshot(self):
        if not browser.PROGRAM:
            return self.say("SKIPPED: no chromium is installed, so there is no picture of it.")
        picture = image.BUILD / "dashboard.png"
        picture.unlink(missing_ok=True)
        browser.show(f"http://localhost:{self.local}/", "--window-size=1300,230", f"--screenshot={picture}")
        print(f"          | a picture of it: {picture}", flush=True)
        self.short += ["", "![The dashboard in a browser, through the tunnel](dashboard.png)"]

    def status(self):
        return self.controller.run("reachback status").status

    def wait_up(self):
        arm.wait_until(lambda: self.status() == 0, UP_TIMEOUT_S, "the tunnel is up", 1)

    def wait_down(self):
        arm.wait_until(lambda: self.status() == 2, UP_TIMEOUT_S, "the tunnel is down", 1)

    def doctor(self, step, status, action):
        """What doctor says of this step, on one line, which must fail with this action."""
        output = self.types("reachback doctor", lambda lines: failed(lines, step), expect=status)
        said = " ".join(" ".join(failed(output.splitlines(), step)).split())
        if action not in said:
            raise arm.ControllerError(f"doctor does not say {action!r} of {step}:\n{output}")
        return said

    def again(self):
        """Called again, everything is up and used."""
        for script in SCRIPTS:
            self.types(script)
        self.well()

    def well(self):
        self.wait_up()
        self.types(STATUS, lambda lines: [*lines[:3], "..."])
        self.dashboard()

    def key_removed(self):
        self.say("The key was removed at the server", heading=True)
        self.server.keys_file.unlink()
        self.server.cut_sessions()
        self.wait_down()
        said = self.doctor("login", 77, "reachback enroll")
        command = re.search(r"`(reachback enroll [^`]*)`", said)[1]
        self.types(f"{command} -y --password-fd 3 3<password", given=True)
        self.again()

    def host_key_changed(self):
        self.say("The server has another host key", heading=True)
        self.server.stop()
        self.server.new_host_key()
        self.server.start()
        self.wait_down()
        said = self.doctor("host key", 77, "has changed")
        command = re.search(r"reachback known-hosts forget [^ ,]*", said)[0]
        self.types(command, given=True)
        self.again()

    def server_down(self):
        self.say("The server is down", heading=True)
        self.server.stop()
        self.wait_down()
        self.doctor("TCP", 69, "is sshd running")
        self.say("It is started.")
        self.server.start()
        self.again()

    def dashboard_stopped(self):
        self.say("The dashboard on the controller is down", heading=True)
        self.controller.check("killall httpd")
        self.doctor("target localhost:80", 1, "start the service")
        self.types("httpd -p 80 -h /var/www", given=True)
        self.well()

    def forward_forbidden(self):
        self.say("The server's authorized_keys permits another port only", heading=True)
        keys = self.server.keys_file.read_text()
        self.server.keys_file.write_text(f'permitlisten="localhost:9" {keys}')
        self.server.cut_sessions()
        refused = "refused by the server"
        arm.wait_until(lambda: refused in self.controller.run("reachback status").output, UP_TIMEOUT_S, refused, 1)
        self.doctor(f"forward {self.ports[0]}", 69, "permitlisten")
        self.say("The line is corrected.")
        self.server.keys_file.write_text(keys)
        self.types("reachback reconnect")
        self.well()

    def wrong_port(self):
        self.say("Called with the wrong port, a web server's", heading=True)
        web = HTTPServer(("127.0.0.1", 0), Quiet)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        self.types("reachback stop --all")
        script = SCRIPTS[0].replace("operator@server.example", f"root@{arm.HOST_ADDRESS}:{web.server_port}")
        self.types(script, given=True)
        self.wait_down()
        self.doctor("server", 69, "is it the port of an SSH server")
        self.types("reachback stop --all")
        web.shutdown()
        self.again()


def failed(lines, step):
    """The lines of doctor about a step that failed."""
    kept = []
    for line in lines:
        if not line.startswith(" "):
            inside = line.startswith(f"FAIL {step}: ")
        if inside:
            kept.append(line)
    return kept


def walk(sshd_port, ports):
    if os.geteuid() != 0:
        sys.exit("demo: WALK=1 needs root: the server has an account with a password of its own")
    for number in (sshd_port, *ports):
        try:
            require_free(number, "the walk")
        except PortBusy as busy:
            sys.exit(f"demo: {busy}. Set DEMO_SSHD_PORT, DEMO_PORT1, DEMO_PORT2.")
    Walk(sshd_port, ports).run()
