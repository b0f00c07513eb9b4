#!/usr/bin/env python3
"""Compares what reachback, Dropbear's dbclient and OpenSSH's ssh cost on the controller.

    make measure

One boot; each client in turn holds one tunnel to the same sshd, without compression, and
carries 20 MiB up from the controller. Prints a Markdown table. CPU times are virtual
seconds at one instruction per 8 ns (QEMU's -icount), repeatable within a few per cent; they
compare the clients with each other, not with a real board.
"""

import sys
import time
import urllib.request
from dataclasses import dataclass

import controller as arm
import image
from ssh_server import SshServer, free_ports, is_listening

TRANSFER_MIB = 20
TRANSFER_TIMEOUT_S = 600
# Long enough after a change for the client to have come to rest.
SETTLE_S = 3


@dataclass
class Client:
    """One client to measure: its name in the table, its program, and its files in flash."""

    name: str
    program: str
    command: str
    files: list


@dataclass
class Costs:
    threads: int
    idle_kb: tuple
    after_kb: tuple
    start_s: float
    transfer_s: float


def clients(user, sshd_port):
    """All three with the same key and the forward in {forward}."""
    destination = f"{user}@{arm.HOST_ADDRESS}"
    dbclient = image.IMAGE / "dropbear/dbclient"
    common = f"-N -R {{forward}} -p {sshd_port}"
    return [
        Client("reachback", "reachback", f"reachback -y {common} -i {arm.KEY} {destination}", [image.REACHBACK]),
        Client("dbclient, static", "dbclient-alone",
               f"dbclient-alone -y {common} -i {arm.KEY} {destination}", [dbclient]),
        Client("ssh", "ssh",
               f"ssh -F none -o Compression=no -o StrictHostKeyChecking=accept-new {common}"
               f" -i {arm.KEY}.openssh {destination}", list(image.openssh().values())),
    ], {"usr/bin/dbclient-alone": dbclient}


class Measurement:
    def __init__(self, controller, client, port):
        self.controller = controller
        self.client = client
        self.port = port

    def run(self):
        command = self.client.command.format(forward=f"{self.port}:localhost:80")
        self.controller.check(f"{command} </dev/null >/tmp/client 2>&1 &")
        try:
            arm.wait_until(lambda: is_listening(self.port), 120, "the forward listens")
        except arm.ControllerError as error:
            output = self.controller.check("cat /tmp/client")
            raise arm.ControllerError(f"{self.client.name}: {error}\n{output}") from None
        # Of reachback two: its supervisor and its worker.
        self.pids = self.controller.all_pids(self.client.program)
        time.sleep(SETTLE_S)
        start_s, idle_kb = self.cpu_s(), self.memory_kb()
        tasks = " ".join(f"/proc/{pid}/task" for pid in self.pids)
        threads = len(self.controller.check(f"for t in {tasks}; do ls $t; done").split())
        self.transfer()
        time.sleep(SETTLE_S)
        transfer_s, after_kb = self.cpu_s() - start_s, self.memory_kb()
        self.controller.check(f"kill {' '.join(self.controller.pids(self.client.program))}")
        arm.wait_until(lambda: not is_listening(self.port), 30, "the forward's listener is gone")
        return Costs(threads, idle_kb, after_kb, start_s, transfer_s)

    def transfer(self):
        url = f"http://127.0.0.1:{self.port}/transfer"
        received = 0
        with urllib.request.urlopen(url, timeout=TRANSFER_TIMEOUT_S) as body:
            while chunk := body.read(1 << 16):
                received += len(chunk)
        if received != TRANSFER_MIB << 20:
            output = self.controller.check("cat /tmp/client")
            raise arm.ControllerError(
                f"{self.client.name}: {received} bytes came through\n{output}"
            )

    def cpu_s(self):
        """Seconds on the processor since the processes began (schedstats: nanoseconds)."""
        times = [self.controller.check(f"cat /proc/{pid}/schedstat").split()[0] for pid in self.pids]
        return sum(map(int, times)) / 1e9

    def memory_kb(self):
        """(Pss, Anonymous) from smaps_rollup: exact, where VmRSS lags behind. Pages that processes
        of the same program share count once in Pss, and in Anonymous for each of them."""
        fields = {"Pss": 0, "Anonymous": 0}
        for pid in self.pids:
            for line in self.controller.check(f"cat /proc/{pid}/smaps_rollup").splitlines()[1:]:
                key, value, _ = line.split()
                if key.rstrip(":") in fields:
                    fields[key.rstrip(":")] += int(value)
        return fields["Pss"], fields["Anonymous"]


def table(measured):
    """The Markdown table: one column per client."""
    sizes = [sum(path.stat().st_size for path in client.files) for client, _ in measured]
    costs = [cost for _, cost in measured]
    rows = [
        ("", [client.name for client, _ in measured]),
        ("---", ["---:"] * len(measured)),
        ("size with libraries, bytes", [f"{size:,}" for size in sizes]),
        ("threads", [str(c.threads) for c in costs]),
        ("Pss idle / after, kB", [f"{c.idle_kb[0]} / {c.after_kb[0]}" for c in costs]),
        ("Anonymous idle / after, kB", [f"{c.idle_kb[1]} / {c.after_kb[1]}" for c in costs]),
        ("CPU from start to tunnel up, s", [f"{c.start_s:.2f}" for c in costs]),
        (f"CPU for {TRANSFER_MIB} MiB up, s", [f"{c.transfer_s:.2f}" for c in costs]),
    ]
    return "\n".join(f"| {name} | {' | '.join(values)} |" for name, values in rows)


def main():
    sshd_port, *ports = free_ports(4)
    image.keys()
    authorized = [image.public_line(image.KEYS / "charge")]
    with SshServer(sshd_port, authorized) as server:
        compared, extra = clients(server.user, sshd_port)
        with arm.Controller(with_openssh=True, instruction_count=True, extra=extra) as controller:
            # A hole in tmpfs: reads as zeros and takes no memory.
            controller.check(f"truncate -s {TRANSFER_MIB}M /var/www/transfer")
            measured = []
            for client, port in zip(compared, ports, strict=True):
                print(f"measure: {client.name} ...", file=sys.stderr, flush=True)
                measured.append((client, Measurement(controller, client, port).run()))
    print(table(measured))


if __name__ == "__main__":
    arm.end_on_signals()
    try:
        main()
    except arm.ControllerError as error:
        sys.exit(f"measure: {error}")
