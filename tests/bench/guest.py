"""What the programs cost on the controller itself, ARMv7, in one boot of QEMU.

It has 128 MB here: its files are in RAM, ssh's too, and the kernel buffers what stuck targets leave.
The clock of the machine follows its instructions (-icount), 8 ns each: CPU times are repeatable
within a few per cent, and compare the programs with each other only. The network is QEMU's.
"""

import time

import controller as arm
import image
import load
from rows import PROGRAMS
from ssh_server import SshServer, free_ports, is_listening

MIB = 1 << 20
TRANSFER_MIB = 20
# Long enough after a change for the client to have come to rest.
SETTLE_S = 3
# Long enough for a client to give back what a load took, at one of its keepalives.
AFTER_LOAD_S = 16
INTERVAL_S = 5
INTERVALS = 3
SECOND_CALLS = 10
KEYSTROKES = 100
STUCK = 32
# Of Ethernet, which the guest's card counts.
LINK_HEADER = 14
# Programs behind the forwards, by the port that BusyBox's nc serves them on.
TARGETS = {
    9000: "/bin/sink",
    9001: f"dd bs=64k count={TRANSFER_MIB * 16} if=/dev/zero",
    9002: "cat",
    9003: "sleep 10000",
}
EXECUTABLES = {"reachback": "reachback", "dbclient": "dbclient-alone", "ssh": "ssh"}


def measure(table):
    image.keys()
    rsa, ed25519 = image.KEYS / "charge", ed25519_key()
    sink = image.IMAGE / "sink"
    sink.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    extra = {"usr/bin/dbclient-alone": image.dropbear() / "dbclient", "bin/sink": sink,
             "root/ed25519": ed25519, "root/ed25519.openssh": f"{ed25519}.openssh"}
    [port] = free_ports(1)
    options = ("Compression no", "MaxSessions 200", "MaxStartups 200")
    with SshServer(port, [image.public_line(rsa), image.public_line(ed25519)], options) as server:
        with arm.Controller(with_openssh=True, instruction_count=True, extra=extra, memory_mb=128) as controller:
            # Only the user may read a key.
            controller.check("chmod 600 /root/ed25519*")
            for number, program in TARGETS.items():
                controller.check(f"nc -ll -p {number} -e {program} >/dev/null 2>&1 &")
            for program in PROGRAMS:
                Subject(controller, server, program, table).run()


def ed25519_key():
    key = image.KEYS / "charge-ed25519"
    if not key.exists():
        image.run("dropbearkey", "-t", "ed25519", "-f", key)
        image.run("dropbearconvert", "dropbear", "openssh", key, f"{key}.openssh")
    return key


class Subject:
    def __init__(self, controller, server, program, table):
        self.controller, self.server, self.program, self.table = controller, server, program, table
        self.ports = free_ports(len(TARGETS))

    def add(self, key, what, value, digits=0):
        self.table.add(key, what, self.program, value, digits)

    def command(self, key, ports, targets):
        forwards = " ".join(f"-R {own}:localhost:{target}" for own, target in zip(ports, targets, strict=False))
        common = f"-N {forwards} -p {self.server.port}"
        destination = f"{self.server.user}@{arm.HOST_ADDRESS}"
        master = "-o ControlMaster=yes -o ControlPath=/tmp/control"
        return {
            "reachback": f"reachback -y {common} -o ServerAliveInterval={INTERVAL_S} -i {key} {destination}",
            "dbclient": f"dbclient-alone -y {common} -K {INTERVAL_S} -i {key} {destination}",
            "ssh": f"ssh -F none -o Compression=no -o StrictHostKeyChecking=accept-new {master} {common}"
                   f" -o ServerAliveInterval={INTERVAL_S} -i {key}.openssh {destination}",
        }[self.program]

    def run(self):
        self.start("/root/ed25519", self.ports[:1])
        self.add("start-ed25519", "CPU from start to tunnel up, Ed25519, s", self.cpu_s(), 2)
        self.stop()
        self.start(arm.KEY, self.ports)
        self.add("start-rsa", "CPU from start to tunnel up, RSA 2048, s", self.cpu_s(), 2)
        self.idle()
        self.memory("idle", "idle")
        self.keystrokes()
        self.transfers()
        time.sleep(AFTER_LOAD_S)
        self.memory("after", f"after {2 * TRANSFER_MIB} MiB")
        self.second_call()
        self.stuck()
        self.stop()

    def start(self, key, ports):
        self.controller.check(f"{self.command(key, ports, TARGETS)} </dev/null >/tmp/client 2>&1 &")
        try:
            arm.wait_until(lambda: all(map(is_listening, ports)), 120, "the forwards listen")
        except arm.ControllerError as error:
            raise arm.ControllerError(f"{self.program}: {error}\n{self.controller.check('cat /tmp/client')}") from None
        time.sleep(SETTLE_S)
        # Of reachback two: its supervisor and its worker.
        self.pids = self.controller.all_pids(EXECUTABLES[self.program])

    def stop(self):
        self.controller.check(f"kill {' '.join(self.controller.pids(EXECUTABLES[self.program]))}")
        arm.wait_until(lambda: not any(map(is_listening, self.ports)), 30, "the forwards are gone")
        arm.wait_until(lambda: not self.controller.all_pids(EXECUTABLES[self.program]), 30, "the client ends")

    # --- Rows --------------------------------------------------------------------------------

    def memory(self, key, when):
        values = self.smaps()
        self.add(f"anonymous-{key}", f"Anonymous {when}, kB", values["Anonymous"])
        self.add(f"pss-{key}", f"Pss {when}, kB", values["Pss"])

    def idle(self):
        before = self.traffic(), self.wakeups()
        time.sleep(INTERVAL_S * INTERVALS)
        (packets, amount), wakeups = self.traffic(), self.wakeups()
        self.add("idle-packets", "idle: packets for a keepalive, both ways", (packets - before[0][0]) / INTERVALS, 1)
        self.add("idle-bytes", "idle: bytes of IP for a keepalive, both ways", (amount - before[0][1]) / INTERVALS)
        self.add("idle-wakeups", "idle: wake-ups for a keepalive", (wakeups - before[1]) / INTERVALS, 1)

    def keystrokes(self):
        with load.dial(self.ports[2]) as end:
            load.stroke(end)
            before = self.cpu_s()
            for _ in range(KEYSTROKES):
                load.stroke(end)
            spent = self.cpu_s() - before
        self.add("keystroke", "CPU for a keystroke there and back, µs", spent / KEYSTROKES * 1e6)

    def transfers(self):
        upload, download = lambda: load.receive(self.ports[1]), lambda: load.send(self.ports[0], TRANSFER_MIB * MIB)
        for key, what, act in (("up", "from", upload), ("down", "to", download)):
            before = self.cpu_s(), self.traffic()
            act()
            packets, amount = (new - old for new, old in zip(self.traffic(), before[1], strict=True))
            self.add(f"cpu-{key}", f"CPU for {TRANSFER_MIB} MiB {what} the controller, s", self.cpu_s() - before[0], 2)
            self.add(f"bytes-{key}", f"bytes of IP for a MiB {what} it, both ways", amount / TRANSFER_MIB)
            self.add(f"packets-{key}", f"packets for a MiB {what} it, both ways", packets / TRANSFER_MIB)

    def second_call(self):
        """Of a script, while the tunnel is up: it hands its forward over."""
        [port] = free_ports(1)
        self.add("second-call", "CPU of a second call of a script, s", None, 3)
        line = {
            "reachback": f"REACHBACK_REMOTE_PORT={port} /home/charge/custom_script2.sh"
                         f" {self.server.user}@{arm.HOST_ADDRESS}:{self.server.port}",
            "ssh": f"ssh -F none -S /tmp/control -O forward -R {port}:localhost:80 {arm.HOST_ADDRESS}",
        }.get(self.program)
        if not line:
            return
        before = self.cpu_s()
        loop = f"for n in $(seq {SECOND_CALLS}); do {line} >/dev/null 2>&1 || exit; done"
        spent = self.controller.check(f"time -f '%U %S' sh -c '{loop}' 2>&1", 120).split()[-2:]
        arm.wait_until(lambda: is_listening(port), 30, "the second call's forward listens")
        total = sum(map(float, spent)) + self.cpu_s() - before
        self.add("second-call", "CPU of a second call of a script, s", total / SECOND_CALLS, 3)

    def stuck(self):
        """Connections to a target that reads nothing, as full as they get."""
        ends = [load.dial(self.ports[3]) for _ in range(STUCK)]
        for end in ends:
            end.settimeout(0.5)
            try:
                while True:
                    end.send(load.BLOCK)
            except TimeoutError:
                pass
        time.sleep(SETTLE_S)
        self.add("stuck", f"Anonymous with {STUCK} channels whose targets read nothing, kB", self.smaps()["Anonymous"])
        for end in ends:
            load.abort(end)
        self.controller.check("killall sleep")

    # --- What the kernel says -------------------------------------------------------------------

    def cpu_s(self):
        """Seconds on the processor since the processes began (schedstats: nanoseconds)."""
        files = " ".join(f"/proc/{pid}/schedstat" for pid in self.pids)
        return sum(int(line.split()[0]) for line in self.controller.check(f"cat {files}").splitlines()) / 1e9

    def smaps(self):
        """From smaps_rollup: exact, where VmRSS lags behind. Pages that processes of the same
        program share count once in Pss, and in Anonymous for each of them."""
        files = " ".join(f"/proc/{pid}/smaps_rollup" for pid in self.pids)
        found = {"Pss": 0, "Anonymous": 0}
        for line in self.controller.check(f"cat {files}").splitlines():
            key = line.split()[0].rstrip(":")
            if key in found:
                found[key] += int(line.split()[1])
        return found

    def wakeups(self):
        files = " ".join(f"/proc/{pid}/status" for pid in self.pids)
        lines = self.controller.check(f"grep -h ^voluntary {files}").splitlines()
        return sum(int(line.split()[1]) for line in lines)

    def traffic(self):
        """(packets, bytes of IP) that the card has carried; nothing else uses it."""
        counts = self.controller.check("sed -n 's/.*eth0://p' /proc/net/dev").split()
        packets = int(counts[1]) + int(counts[9])
        return packets, int(counts[0]) + int(counts[8]) - packets * LINK_HEADER
