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
# A transfer, what a link carries of it a second, and for how long it has been under way before
# the keystroke.
SLOW = [("upload", 60_000, 6), ("upload", 8_000, 12), ("download", 60_000, 6), ("download", 500_000, 6)]
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
    """A keystroke and its echo during a transfer; all three at once, each on a link of its own."""
    for way, rate, head_start in SLOW:
        article = "an" if way == "upload" else "a"
        what = f"a keystroke during {article} {way} over {rate // 1000} kB/s, s"

        def measured(program, key=f"{way}-{rate}", what=what, link=(way, rate, head_start)):
            table.add(key, what, program, None, 1)
            table.add(key, what, program, keystroke(program, *link), 1)

        threads = [threading.Thread(target=measured, args=[program]) for program in PROGRAMS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def keystroke(program, way, rate, head_start):
    """Seconds, or a text if it took longer than anybody would wait."""
    with load.Service(load.echo) as echo, load.Service(load.source) as source, load.Service(load.sink) as sink:
        for _, tunnel in programs.each([echo, source, sink], {"rate": rate}, [program]):
            keys, up, down = tunnel.ports
            transfer = (load.receive, up) if way == "upload" else (load.send_for_ever, down)
            with load.dial(keys, PATIENCE_S) as end, load.Process(*transfer):
                time.sleep(head_start)
                begin = time.perf_counter()
                try:
                    load.stroke(end)
                    return time.perf_counter() - begin
                except TimeoutError:
                    return f"> {PATIENCE_S}"
    return None
