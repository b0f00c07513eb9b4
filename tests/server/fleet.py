#!/usr/bin/env python3
"""One program's fleet on a real sshd that `server/setup` has made ready: what happens to it, and what it does to the server.

    python3 tests/server/fleet.py PROGRAM FILE     as root, with REACHBACK_BIN; PROGRAM: reachback, autossh or dbclient

The place is made as in place.py, so two of these know nothing of each other. Each line on standard input names a phase
(see PHASES), each line on standard output one that is over. The end of the input ends it, and FILE has the figures.
FLEET (300) is the number of controllers; FLEET_OUTAGE (300), FLEET_FLAP (20), FLEET_FLAPS (3), FLEET_LIMIT (100) are the
seconds of an outage, of one way of a flap, the number of flaps, and the seconds after which nobody is waited for any more.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import place
from place import KIT, Controller, sh
from watch import NFT, Server, Watch

COUNT = int(os.environ.get("FLEET", "300"))
OUTAGE_S = float(os.environ.get("FLEET_OUTAGE", "300"))
FLAP_S = float(os.environ.get("FLEET_FLAP", "20"))
FLAPS = int(os.environ.get("FLEET_FLAPS", "3"))
LIMIT_S = float(os.environ.get("FLEET_LIMIT", "100"))
DOWN_S = 20
# A stale port of dbclient's is held until the server has given its session up.
CUT_LIMIT_S = 180
# What sshd says about each connection; and for dbclient's account that a silent session ends after two minutes: OpenSSH 9.2
# takes twice as long as sshd_config(5) says.
SSHD = """LogLevel VERBOSE
ClientAliveInterval 15
ClientAliveCountMax 3
"""
ALIVE = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=30"]
LOG = Path("/var/log/sshd.log")
VERSIONS = {"reachback": "reachback --version", "autossh": "autossh -V; ssh -V", "dbclient": "dbclient -V"}
LOOP = 'while :; do "$@"; sleep 60; done'


class Member:
    """A controller with its program, and where its two forwards are on the server."""

    def __init__(self, where, number, program, target):
        controller = Controller(where, f"SN-{number:04}")
        self.name, self.directory, key = controller.name, controller.directory, str(controller.key)
        self.listeners = [str(controller.socket(name)) for name in ("ssh", "web")]
        known = ["-o", f"UserKnownHostsFile={self.directory}/known_hosts"]
        forwards = ["-R", f"/run/ssh:localhost:{target}", "-R", f"/run/web:localhost:{target}"]
        user = f"c-{self.name}@hub.example"
        if program == "reachback":
            arguments = controller.arguments(f"/run/ssh:localhost:{target}", f"/run/web:localhost:{target}")
            self.command = [*arguments[:-1], *ALIVE, arguments[-1]]
        elif program == "autossh":
            options = [*ALIVE, "-o", "ExitOnForwardFailure=yes", "-o", "StrictHostKeyChecking=accept-new", *known]
            self.command = ["env", "AUTOSSH_GATETIME=0", "autossh", "-M", "0", "-N", *options, "-i", key, *forwards, user]
        else:
            # It knows ports only.
            sh(f"rm {key} {key}.pub; dropbearkey -t ed25519 -f {key} && dropbearkey -y -f {key} | grep ^ssh- >{key}.pub")
            self.listeners = [20000 + number, 30000 + number]
            ports = [part for port in self.listeners for part in ("-R", f"{port}:localhost:{target}")]
            client = ["dbclient", "-y", "-N", "-K", "15", "-o", "ExitOnForwardFailure=yes", "-i", key, *ports]
            self.command = ["sh", "-c", LOOP, "sh", *client, "tunnel@hub.example"]
        self.public = Path(f"{key}.pub").read_text().strip()
        self.fingerprint = sh(f"ssh-keygen -l -f {key}.pub").split()[1]
        self.process = None
        self.back, self.port = False, None

    def start(self, gate):
        """It runs once `gate` is closed at its other end."""
        with open(self.directory / "log", "w") as log:
            self.process = subprocess.Popen(["sh", "-c", 'read -r _; exec "$@" </dev/null', "sh", *self.command], stdin=gate,
                                            stdout=log, stderr=log, env={**os.environ, "HOME": str(self.directory)})


def enrol(where, members, program):
    if program != "dbclient":
        (where / "list").write_text("".join(f"{member.name} {member.public}\n" for member in members))
        sh(f"reachback-controllers add --list {where}/list")
        return
    sh("useradd -m -s /usr/sbin/nologin -p '*' tunnel; install -d -m 700 -o tunnel /home/tunnel/.ssh")
    with open("/home/tunnel/.ssh/authorized_keys", "w") as file:
        for member in members:
            permitted = ",".join(f'permitlisten="localhost:{port}"' for port in member.listeners)
            file.write(f"restrict,port-forwarding,{permitted} {member.public}\n")
    sh("chown tunnel /home/tunnel/.ssh/authorized_keys")


def path(there):
    sh("nft flush chain inet fleet path" if there else
       "nft add rule inet fleet path tcp dport 22 drop; nft add rule inet fleet path tcp sport 22 drop")


class Phases:
    """Each does its harm, and gives how many seconds are waited for the last one after it."""

    def __init__(self, server, watch, members):
        self.server, self.watch, self.members = server, watch, members
        self.gate = os.pipe()
        for member in members:
            member.start(self.gate[0])

    def cold(self):
        os.close(self.gate[1])
        return LIMIT_S

    def restart(self):
        self.server.stop()
        self.server.lost = self.cpu_before
        time.sleep(DOWN_S)
        self.server.start()
        return LIMIT_S

    def outage(self):
        path(there=False)
        time.sleep(OUTAGE_S)
        path(there=True)
        return LIMIT_S

    def flapping(self):
        for flap in range(FLAPS):
            if flap:
                time.sleep(FLAP_S)
            sh("nft add rule inet fleet path 'tcp dport 22 tcp flags & (syn | ack) == syn drop'")
            self.server.end_sessions()
            path(there=False)
            self.watch.away()
            time.sleep(FLAP_S)
            path(there=True)
        return LIMIT_S

    def cut(self):
        ports = re.findall(r":22 +\S+:(\d+)", sh("ss -Htn state established sport = :22"))
        if ports:
            sh(f"nft add element inet fleet cut {{ {','.join(ports)} }}")
        return CUT_LIMIT_S

    def run(self, name):
        self.watch.reset()
        self.cpu_before = self.server.cpu()
        limit_s = getattr(self, name)()
        over = time.monotonic()
        while not self.watch.all_back() and time.monotonic() < over + limit_s:
            time.sleep(0.2)
        time.sleep(2)
        over -= self.watch.since
        times = sorted(at - over for at in self.watch.returns.values())
        return {"over_s": over, "limit_s": limit_s, "back_s": times, "rows": self.watch.rows,
                "cpu_s": self.server.cpu() - self.cpu_before}


def main():
    program, file = sys.argv[1:]
    where = place.furnish()
    (where / "rules").write_text(NFT)
    sh(f"nft -f {where}/rules")
    Path("/etc/ssh/sshd_config.d/10-fleet.conf").write_text(SSHD)
    server = Server(LOG)
    sh(f"{KIT}/setup")
    watch = Watch(LOG)
    members = [Member(where, number, program, watch.target) for number in range(COUNT)]
    enrol(where, members, program)
    watch.members = {member.fingerprint: member for member in members}
    phases = Phases(server, watch, members)
    figures = {"program": program, "count": COUNT, "outage_s": OUTAGE_S, "flap_s": FLAP_S, "flaps": FLAPS, "down_s": DOWN_S,
               "version": sh(VERSIONS[program], status=None).strip().replace("\n", ", "),
               "server": sh("/usr/sbin/sshd -V", status=None).strip().splitlines()[-1], "phases": {}}
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        figures["phases"][name] = phases.run(name)
        Path(file).write_text(json.dumps(figures))
        print(name, flush=True)
    for member in members:
        member.process.kill()


if __name__ == "__main__":
    place.enter()
    main()
