#!/usr/bin/env python3
"""Measures a fleet at its server, beside autossh and the shell loop with dbclient: docs/fleet.md.

    fleet.py              both, and the page
    fleet.py real         $FLEET (300) real controllers of each program on a real sshd (20 minutes, as root)
    fleet.py simulated    $FLEET_SIMULATED (10000) tunnels on a model of sshd (2 minutes)
    fleet.py write        the page from the figures that are there

What the figures are is kept under $BUILD/fleet; tests/server/fleet.py has more variables. The page's text stays;
what is between its markers is written anew, and the charts in docs/fleet.
"""

import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import chart

TOP = Path(__file__).resolve().parent.parent
BUILD = (TOP / os.environ.get("BUILD", "build")).resolve()
TARGET = os.environ.get("CARGO_TARGET_DIR", str(BUILD / "target"))
RESULTS = BUILD / "fleet"
PAGE = TOP / "docs/fleet.md"
CHARTS = TOP / "docs/fleet"
PROGRAMS = ("reachback", "autossh", "dbclient")
REAL = ("cold", "restart", "flapping", "cut", "outage")
# So long one after the other, so that the first seconds of one fleet do not fall into another's.
APART_S = 15
TITLES = {
    "cold": "all start at once",
    "restart": "the server is away for {down_s} s",
    "flapping": "the path goes and comes, {flap_s:g} s each, {flaps} times",
    "cut": "the carrier's NAT forgets all at once",
    "outage": "the path is away for {outage_min:g} min",
    "outage-65": "the path is away for 65 min",
}
SIMULATED = {"down_s": 20, "flap_s": 20, "flaps": 3, "outage_s": 3600}
BEFORE_S = 130


def measure():
    """One fleet of each program, each in a place of its own, through all phases."""
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "reachback"], cwd=TOP, check=True)
    environment = {**os.environ}
    environment.setdefault("REACHBACK_BIN", f"{TARGET}/release/reachback")
    inner = [sys.executable, str(TOP / "tests/server/fleet.py")]
    fleets = [subprocess.Popen([*inner, program, f"{RESULTS}/real-{program}.json"], env=environment, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) for program in PROGRAMS]
    try:
        await_all(fleets, "ready")
        for phase in REAL:
            print(f"fleet: {phase}, {datetime.datetime.now():%H:%M:%S}", flush=True)
            for number, fleet in enumerate(fleets):
                if number:
                    time.sleep(APART_S)
                print(phase, file=fleet.stdin, flush=True)
            await_all(fleets, phase)
        for fleet in fleets:
            fleet.stdin.close()
            fleet.wait()
    finally:
        # The place goes with its processes.
        for fleet in fleets:
            if fleet.poll() is None:
                os.killpg(fleet.pid, signal.SIGKILL)


def await_all(fleets, word):
    for fleet in fleets:
        line = fleet.stdout.readline().strip()
        if line != word:
            sys.exit(f"fleet: {fleet.args[2]} says '{line}' and not '{word}'; what failed is above")


def simulate():
    environment = {**os.environ, "FLEET_RESULTS": str(RESULTS)}
    cold = figures("real").get("reachback", {}).get("phases", {}).get("cold")
    if cold:
        environment["FLEET_LOGIN_US"] = f"{login_ms(cold) * 1000:.0f}"
    test = ["cargo", "test", "--locked", "--profile", "sim", "-p", "reachback-sim", "--test", "fleet"]
    subprocess.run([*test, "ten_thousand", "--", "--ignored"], cwd=TOP, env=environment, check=True)


def figures(kind):
    files = {program: RESULTS / f"{kind}-{program}.json" for program in PROGRAMS}
    return {program: json.loads(file.read_text()) for program, file in files.items() if file.exists()}


def login_ms(phase):
    return phase["cpu_s"] * 1000 / max(phase["rows"][-1][3], 1)


def share(phase, count, percent):
    """When so many of a hundred were back, in words."""
    needed = max(-(-count * percent // 100), 1)
    back = phase["back_s"]
    return f"{max(back[needed - 1], 0):.0f} s" if len(back) >= needed else f"- ({len(back) * 100 // count}%)"


def rates(rows):
    """(time, connections a second) between the rows."""
    pairs = zip([[0, 0], *rows], rows)
    return [(now[0], (now[1] - before[1]) / max(now[0] - before[0], 1)) for before, now in pairs]


def title(phase, about):
    return TITLES[phase].format(**{**about, "outage_min": round(about["outage_s"] / 60, 1)})


def table(found, about):
    phases = list(next(iter(found.values()))["phases"])
    real = "cpu_s" in next(iter(found.values()))["phases"][phases[0]]
    head = ["", "program", "half back", "99 %", "all", "connections a second, at most", "in all", "dropped", "logins"]
    head += ["sshd's processor time"] if real else []
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for name in phases:
        for number, (program, data) in enumerate(found.items()):
            phase, count = data["phases"][name], data["count"]
            last = phase["rows"][-1]
            line = ["" if number else title(name, about), program, *(share(phase, count, part) for part in (50, 99, 100))]
            line += [f"{max(rate for _, rate in rates(phase['rows'])):,.0f}", *(f"{value:,}" for value in last[1:4])]
            line += [f"{phase['cpu_s']:.1f} s"] if real else []
            lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(kind, found, about):
    """Charts of all phases; gives the lines of the page that show them."""
    CHARTS.mkdir(exist_ok=True)
    shown = []
    for name in next(iter(found.values()))["phases"]:
        phases = {program: data["phases"][name] for program, data in found.items()}
        over = max(phase["over_s"] for phase in phases.values())
        harm = min(over, BEFORE_S)
        spans = [(-harm, 0, "")] if over > 1 else []
        count = next(iter(found.values()))["count"]
        for what in ("back", "connections"):
            series = {}
            for program, phase in phases.items():
                points = [(row[0], row[4]) for row in phase["rows"]] if what == "back" else rates(phase["rows"])
                points = [(at - phase["over_s"], value) for at, value in points if at >= phase["over_s"] - harm]
                series[program] = thin(points, max if what == "connections" else None)
            file = CHARTS / f"{kind}-{name}-{what}.svg"
            text = f"{title(name, about)[0].upper()}{title(name, about)[1:]}: "
            text += f"back, of {count:,}" if what == "back" else "connections a second"
            chart.lines(str(file), series, title=text, x="seconds after its end", step=what == "back", spans=spans, size=(8, 3))
            shown.append(f"![{text}](fleet/{file.name})")
    return "\n".join(shown)


def thin(points, best):
    """Some 250 points; of rates the highest of each few."""
    step = len(points) // 250 + 1
    if best is None:
        return [[round(x, 1), y] for x, y in [*points[::step], points[-1]]]
    parts = [points[at:at + step] for at in range(0, len(points), step)]
    return [[round(part[0][0], 1), round(best(y for _, y in part), 1)] for part in parts]


def part(kind):
    found = figures(kind)
    if not found:
        return None
    first = next(iter(found.values()))
    lines = f"{table(found, first if kind == 'real' else SIMULATED)}\n\n{draw(kind, found, first if kind == 'real' else SIMULATED)}"
    if kind == "real":
        versions = "; ".join(data["version"] for data in found.values())
        about = f"{first['count']} controllers of each program; {first['server']} as server; {versions}; Linux {platform.release().split('-')[0]}"
    else:
        about = f"{first['count']:,} controllers of each program; {first['login_us'] / 1000:.1f} ms of processor time for a login"
    today = datetime.date.fromtimestamp((RESULTS / f"{kind}-reachback.json").stat().st_mtime)
    return f"{today}, {os.cpu_count()} processors. {about}.\n\n{lines}\n"


def write_page():
    text = PAGE.read_text()
    for kind in ("real", "simulated"):
        body = part(kind)
        if body:
            text = re.sub(rf"(?s)(<!-- {kind} -->\n).*?(<!-- /{kind} -->)", lambda found: found[1] + body + found[2], text)
    PAGE.write_text(text)
    print(f"fleet: wrote {PAGE}")


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    if len(sys.argv) > 2 or what not in ("all", "real", "simulated", "write"):
        sys.exit(__doc__)
    # So that the fleets are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    RESULTS.mkdir(parents=True, exist_ok=True)
    if what in ("all", "real"):
        measure()
    if what in ("all", "simulated"):
        simulate()
    write_page()


if __name__ == "__main__":
    main()
