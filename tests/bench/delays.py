"""How long small things take: alone, behind others, and on slow links."""

import threading
import time

import load
import programs
from rows import PROGRAMS, median, p99

REQUESTS = 200
VISITS = {0: 100, 50: 12}
BESIDE_S = 3
PEOPLE = 10
# Of a link: bytes a second, and for how long an upload has been under way before the keystroke.
SLOW = {60_000: 6, 8_000: 12}
PATIENCE_S = 20


def measure(table):
    with load.Service(load.answer) as answer, load.Service(load.answer_in_two_writes) as two:
        alone(table, [answer, two])
        visits(table, answer)
        with load.Service(load.sink) as sink, load.Service(load.source) as source:
            beside(table, [answer, sink, source])
    slow(table)


def spread(table, key, what, program, times):
    table.add(key, f"{what}: median, ms", program, median(times), 2)
    table.add(f"{key}-p99", f"{what}: 99 of 100 within, ms", program, p99(times), 2)


def alone(table, services):
    for program, tunnel in programs.each(services):
        for port, key, what in zip(tunnel.ports, ("request", "two-writes"), ("one write", "two writes"), strict=True):
            with load.dial(port) as end:
                times = [load.request(end) for _ in range(REQUESTS)]
            # The kernel acknowledges at once while a connection is young.
            spread(table, key, f"answer in {what}", program, times[REQUESTS // 5:])


def visits(table, answer):
    for delay, count in VISITS.items():
        link = {"delay_ms": delay} if delay else None
        for program, tunnel in programs.each([answer], link):
            [port] = tunnel.ports
            load.visit(port)
            times = [load.visit(port) for _ in range(count)]
            spread(table, f"new-{delay}", f"a new connection, a request, its end, at {delay} ms", program, times)


def beside(table, services):
    for program, tunnel in programs.each(services):
        small, down, up = tunnel.ports
        with load.dial(small) as end:
            with load.Process(load.send_for_ever, down):
                times = for_a_while(lambda: load.request(end))
                spread(table, "beside-down", "a request beside a transfer to the controller", program, times)
            with load.Process(load.receive, up):
                times = for_a_while(lambda: load.request(end))
                spread(table, "beside-up", "a request beside a transfer from the controller", program, times)
        with load.Process(load.receive, up):
            times = []

            def visitor(port=small, seen=times):
                seen.extend(for_a_while(lambda: load.visit(port)))

            people = [threading.Thread(target=visitor) for _ in range(PEOPLE)]
            for one in people:
                one.start()
            for one in people:
                one.join()
            spread(table, "ten", f"a new connection, {PEOPLE} people at once beside it", program, times)


def for_a_while(act):
    time.sleep(0.5)
    end = time.monotonic() + BESIDE_S
    times = []
    while time.monotonic() < end:
        times.append(act())
    return times


def slow(table):
    """A keystroke and its echo during an upload; all three at once, each on a link of its own."""
    for rate, head_start in SLOW.items():
        what = f"a keystroke during an upload over {rate // 1000} kB/s, s"
        threads = [threading.Thread(target=keystroke, args=(table, rate, head_start, what, p)) for p in PROGRAMS]
        for program in PROGRAMS:
            table.add(f"slow-{rate}", what, program, None, 1)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def keystroke(table, rate, head_start, what, program):
    with load.Service(load.echo) as echo, load.Service(load.source) as source:
        for _, tunnel in programs.each([echo, source], {"rate": rate}, [program]):
            keys, up = tunnel.ports
            with load.dial(keys, PATIENCE_S) as end, load.Process(load.receive, up):
                time.sleep(head_start)
                begin = time.perf_counter()
                end.sendall(b"k")
                try:
                    end.recv(1)
                    took = time.perf_counter() - begin
                except TimeoutError:
                    took = f"> {PATIENCE_S}"
            table.add(f"slow-{rate}", what, program, took, 1)
