#!/usr/bin/env python3
"""Connected and killed over and over, the ARM binary holds what it held at the beginning.

    python3 tests/arm/soak.py

One boot. $SOAK_ARM_CYCLES times (60): the dashboard is fetched through the tunnel, the server's
session is killed, and SIGUSR1 cuts the wait that has grown by then. File descriptors and
Anonymous memory are compared early and at the end.
"""

import json
import os
import sys
import time

import controller as arm
import image
import through
from ssh_server import SshServer, free_ports

WARM = 10
PAGES_KB = 32
RESULTS = image.BUILD / "faults/soak-arm.jsonl"


class Soak:
    def __init__(self, controller, server, port):
        self.controller = controller
        self.server = server
        self.port = port

    def start(self):
        self.controller.check(
            f"reachback -N -y -i {arm.KEY} -R {self.port}:localhost:80 -p {self.server.port}"
            f" {self.server.user}@{arm.HOST_ADDRESS} >/tmp/soak.log 2>&1 &"
        )
        arm.wait_until(lambda: self.ups() == 1, 60, "the tunnel is up")
        # The worker.
        (self.pid,) = set(self.controller.all_pids()) - set(self.controller.pids())

    def count(self, text):
        return int(self.controller.run(f"grep -c '{text}' /tmp/soak.log").output)

    def ups(self):
        return self.count("tunnel up: ")

    def holds(self):
        """(file descriptors, Anonymous memory in kB)."""
        time.sleep(1)  # the connection to the dashboard is closed by then
        files = len(self.controller.check(f"ls /proc/{self.pid}/fd").split())
        rollup = self.controller.check(f"cat /proc/{self.pid}/smaps_rollup")
        fields = dict(line.split(":") for line in rollup.splitlines()[1:])
        return files, int(fields["Anonymous"].split()[0])

    def run(self, cycles):
        begun = time.monotonic()
        early = None
        for cycle in range(cycles):
            arm.wait_until(lambda: self.ups() == cycle + 1, 60, f"up in cycle {cycle}")
            if not through.has_dashboard(self.port):
                raise arm.ControllerError(f"cycle {cycle}: the dashboard is not reached")
            if cycle == WARM:
                early = self.holds()
            self.server.cut_sessions()
            lost = cycle + 1
            arm.wait_until(lambda: self.count("connection lost") >= lost, 30, "the loss is noticed")
            self.controller.check(f"kill -USR1 {self.pid}")
        arm.wait_until(lambda: self.ups() == cycles + 1, 60, "up at the end")
        return early, self.holds(), time.monotonic() - begun


def main():
    arm.end_on_signals()
    cycles = int(os.environ.get("SOAK_ARM_CYCLES", "60"))
    if cycles <= WARM:
        sys.exit(f"soak: SOAK_ARM_CYCLES must be more than {WARM}")
    sshd_port, port = free_ports(2)
    machine = arm.Controller()
    authorized = [image.public_line(image.KEYS / "charge")]
    with SshServer(sshd_port, authorized) as server, machine as controller:
        soak = Soak(controller, server, port)
        soak.start()
        early, late, took_s = soak.run(cycles)
    line = {
        "kind": "soak",
        "where": "emulated ARMv7 controller",
        "cycles": cycles,
        "took_s": round(took_s),
        "files": [early[0], late[0]],
        "anonymous_kb": [early[1], late[1]],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(line) + "\n")
    print(json.dumps(line))
    if late[0] > early[0] or late[1] > early[1] + PAGES_KB:
        sys.exit("soak: it holds more at the end")


if __name__ == "__main__":
    try:
        main()
    except arm.ControllerError as error:
        sys.exit(f"soak: {error}")
