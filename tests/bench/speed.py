"""How fast bulk data goes through one channel, and what it costs in system calls."""

import os
import re
import signal
import subprocess

import load
import programs

MB = 1_000_000
# A tenth of them where a program needs longer than the limit for it.
SIZES = {0: 200 * MB, 50: 40 * MB, 300: 10 * MB}
LIMIT_S = {0: 4, 50: 5, 300: 8}
LINK_BYTES_S = 50_000_000 // 8
LINK_DELAY_MS = 80
MANY = 32
CALLS_MIB = 20


def measure(table):
    with load.Service(load.sink) as sink, load.Service(load.source) as source:
        services = [sink, source]
        for delay, size in SIZES.items():
            link = {"delay_ms": delay} if delay else None
            for program, tunnel in programs.each(services, link):
                down, up = tunnel.ports
                for way, rate in (
                    ("to", load.download(down, sink, size, LIMIT_S[delay])),
                    ("from", load.upload(up, size, LIMIT_S[delay])),
                ):
                    key = f"{'down' if way == 'to' else 'up'}-{delay}"
                    what = f"{way} the controller, {delay} ms there and back, MB/s"
                    table.add(key, what, program, rate, 2, more=True)
        full(table, services)
        many(table, services)
        system_calls(table, sink)


def full(table, services):
    link = {"delay_ms": LINK_DELAY_MS, "rate": LINK_BYTES_S}
    for program, tunnel in programs.each(services, link):
        share = 100 * MB / LINK_BYTES_S
        down, up = tunnel.ports
        rate = load.download(down, services[0], 20 * MB, 5)
        what = f"to the controller over 50 Mbit/s at {LINK_DELAY_MS} ms, % of the link"
        table.add("link-down", what, program, rate * share, more=True)
        rate = load.upload(up, 20 * MB, 5)
        table.add("link-up", "from the controller over it, % of the link", program, rate * share, more=True)


def many(table, services):
    """One of many channels has a target that reads 8 kB/s."""
    for program, tunnel in programs.each(services):
        down, _ = tunnel.ports
        sink = services[0]
        senders = [load.Process(load.send_for_ever, down, b"f") for _ in range(MANY - 1)]
        senders.append(load.Process(load.send_for_ever, down, b"s"))
        try:
            rate = load.rate(sink, 4)
        finally:
            for sender in senders:
                sender.__exit__()
        what = f"{MANY} at once to the controller, one of them slow: the others, MB/s"
        table.add("many", what, program, rate, 1, more=True)


def system_calls(table, sink):
    size = CALLS_MIB << 20
    with load.Service(load.source_of(size)) as source:
        for program, tunnel in programs.each([sink, source]):
            down, up = tunnel.ports
            acts = ("calls-down", "to", lambda: load.send(down, size)), ("calls-up", "from", lambda: load.receive(up))
            for key, what, act in acts:
                calls = counted(tunnel.pids(), act)
                table.add(key, f"system calls for a MiB {what} the controller", program, calls / CALLS_MIB)


def counted(pids, act):
    """System calls of the processes while `act` runs, by strace -c."""
    command = ["strace", "-c", "-f", *(f"-p{pid}" for pid in pids)]
    english = {**os.environ, "LC_ALL": "C"}
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=english)
    for _ in pids:
        tracer.stderr.readline()  # attached
    act()
    tracer.send_signal(signal.SIGINT)
    _, text = tracer.communicate()
    # percent, seconds, µs a call, calls, perhaps errors, name
    lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(?!total)\w+$", text, re.MULTILINE)
    return sum(map(int, lines))
