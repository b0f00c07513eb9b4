#!/usr/bin/env python3
"""Shows the whole thing: a controller behind NAT, reached through an SSH server.

    make demo            boots, shows each step, cleans up
    make demo WALK=1     the walk of docs/operating.md instead, with six faults (walk.py)
    make demo KEEP=1     stays up to play with, until Enter or Ctrl-C
    make demo OCPP=1     does it once more with values from an OCPP backend; then by_name.py

Ports on this machine's loopback, from the environment:
    DEMO_SSHD_PORT  2222   the SSH server's own
    DEMO_PORT1      1111   leads to the controller's SSH server
    DEMO_PORT2      1112   leads to the controller's dashboard
"""

import os
import shlex
import signal
import sys
import time

import controller as arm
import image
import through
import walk
from ssh_server import PortBusy, SshServer, require_free

TUNNEL_TIMEOUT_S = 60
started = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)


def show(text):
    for line in text.splitlines():
        print(f"          | {line}", flush=True)


def port(name, default):
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"demo: {name}={text} is not a port number")
    return int(text)


def is_set(name):
    return os.environ.get(name, "0") not in ("", "0")


class Demo:
    def __init__(self):
        self.sshd_port = port("DEMO_SSHD_PORT", 2222)
        self.ssh_port = port("DEMO_PORT1", 1111)
        self.web_port = port("DEMO_PORT2", 1112)
        self.facts = []

    def run(self):
        for number, name, purpose in (
            (self.sshd_port, "DEMO_SSHD_PORT", "the SSH server"),
            (self.ssh_port, "DEMO_PORT1", "the way to the controller's SSH server"),
            (self.web_port, "DEMO_PORT2", "the way to its dashboard"),
        ):
            try:
                require_free(number, purpose)
            except PortBusy as busy:
                sys.exit(f"demo: {busy}. Set {name} to another port.")
        say("Building the controller's image (the first time fetches armhf packages).")
        machine = arm.Controller()
        authorized = [image.public_line(image.KEYS / "charge")]
        with SshServer(self.sshd_port, authorized) as server:
            say(f"An OpenSSH server listens on 127.0.0.1:{self.sshd_port}; "
                "the controller's key (RSA, Dropbear's format) is authorised.")
            say("Booting the controller: ARMv7, 64 MB, BusyBox, Dropbear and a dashboard ...")
            with machine as controller:
                self.show_controller(controller, server)
                self.start_tunnel(controller, server)
                self.use_tunnel()
                self.cut(controller, server)
                if is_set("OCPP"):
                    self.by_ocpp(controller, server)
                self.summary()
                if is_set("KEEP"):
                    self.keep()
        say("The controller and the SSH server are gone; nothing is left running.")

    def show_controller(self, controller, server):
        say("It is up. To the network it is 10.0.2.15 behind NAT: nothing here can connect to it.")
        show(controller.check("uname -mnr; reachback --version"))

    def start_tunnel(self, controller, server):
        destination = f"{server.user}@{arm.HOST_ADDRESS}:{server.port}"
        for script, number in (("custom_script1.sh", self.ssh_port), ("custom_script2.sh", self.web_port)):
            say(f"On the controller: /home/charge/{script} {destination}")
            controller.check(
                f"REACHBACK_REMOTE_PORT={number} /home/charge/{script} {shlex.quote(destination)}", 15
            )
        arm.wait_until(lambda: self.both_work(), TUNNEL_TIMEOUT_S, "both forwards work")
        show("\n".join(line for line in controller.log().splitlines() if "reachback" in line))

    def works(self):
        """Whether the first script's forward does, and the second's."""
        return through.shell(self.ssh_port, "true") is not None, through.has_dashboard(self.web_port)

    def both_work(self):
        return all(self.works())

    def use_tunnel(self):
        page = through.dashboard(self.web_port)
        if page is None or through.DASHBOARD_LINE not in page:
            raise arm.ControllerError("the dashboard did not come through the tunnel")
        say(f"The dashboard, through http://127.0.0.1:{self.web_port}/")
        show(next(line for line in page.splitlines() if through.DASHBOARD_LINE in line))
        self.facts.append(f"dashboard fetched through port {self.web_port}")

        command = "hostname; uptime"
        output = through.shell(self.ssh_port, command)
        if not output or output.splitlines()[0] != "controller":
            raise arm.ControllerError("no command could be run through the tunnel")
        say(f"A shell on it: ssh -p {self.ssh_port} root@127.0.0.1 '{command}'")
        show(output)
        self.facts.append(f"command run over SSH through port {self.ssh_port}")

    def cut(self, controller, server):
        before = controller.log()
        cut_at = time.monotonic()
        count = server.cut_sessions()
        if count == 0:
            raise arm.ControllerError("there was no SSH session to cut")
        say(f"Cutting the connection: killed {count} session process(es) of the SSH server.")
        controller.wait_for_log("tunnel up:", TUNNEL_TIMEOUT_S, before.count("tunnel up:") + 1)
        arm.wait_until(lambda: self.both_work(), TUNNEL_TIMEOUT_S, "both forwards work again")
        gap_s = time.monotonic() - cut_at
        say(f"Both are back after {gap_s:.1f} s. What the controller logged meanwhile:")
        meanwhile = controller.log().removeprefix(before).splitlines()
        show("\n".join(line for line in meanwhile if "reachback" in line))
        self.facts.append(f"connection cut, both back after {gap_s:.1f} s")

    def by_ocpp(self, controller, server):
        # Needs the packages of tests/ocpp.
        import by_ocpp

        say("The same from an OCPP backend. The charge point is a double that calls the controller's scripts.")
        before = controller.log()
        by_ocpp.show(
            controller,
            by_ocpp.values(f"{server.user}@{arm.HOST_ADDRESS}:{server.port}"),
            {1: self.ssh_port, 2: self.web_port},
            lambda both: arm.wait_until(lambda: self.works() == both, TUNNEL_TIMEOUT_S, f"the forwards work: {both}"),
            say,
        )
        say("What the controller logged meanwhile:")
        show("\n".join(line for line in controller.log().removeprefix(before).splitlines() if "Ebee" in line))
        self.facts.append("opened and closed by OCPP 1.6J and 2.0.1")

    def summary(self):
        print("\nSummary", flush=True)
        for fact in self.facts:
            print(f"  ok  {fact}", flush=True)
        print(flush=True)

    def keep(self):
        print("It stays up. Try:")
        print(f"  {shlex.join(through.ssh_command(self.ssh_port))}")
        print(f"  http://127.0.0.1:{self.web_port}/")
        print("Enter or Ctrl-C ends it.", flush=True)
        try:
            if not sys.stdin.isatty():
                signal.pause()
            sys.stdin.readline()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    arm.end_on_signals()
    demo = Demo()
    try:
        if os.environ.get("WALK", "0") not in ("", "0"):
            walk.walk(demo.sshd_port, (demo.ssh_port, demo.web_port))
        else:
            demo.run()
    except arm.ControllerError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
