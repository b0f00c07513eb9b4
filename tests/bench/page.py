"""Writes the tables of docs/performance.md and of the README, and the chart."""

import datetime
import json
import os
import re

import chart
import image
import programs
from rows import BEFORE, PROGRAMS, figure, row_from_json

PAGE = image.TOP / "docs/performance.md"
README = image.TOP / "README.md"
CHART = image.TOP / "docs/performance.svg"
# Each with what stands above its table.
PARTS = {
    "guest": "On the controller in QEMU, whose clock follows the instructions.",
    "instructions": "The user's part, in instructions of the ARM programs under qemu-arm.",
    "size": "Flash.",
    "speed": "Bulk data through one channel, on this machine.",
    "delays": "Small things, on this machine.",
}
IN_README = ["size", "size-xz", "pss-idle", "anonymous-idle", "anonymous-after", "start-rsa", "second-call", "cpu-up",
             "down-50", "two-writes"]
IN_CHART = ["size", "anonymous-idle", "pss-idle", "start-rsa", "start-ed25519", "cpu-up", "cpu-down", "keystroke",
            "idle-wakeups", "down-50", "down-300", "up-50", "two-writes", "new-0", "beside-up", "upload-60000"]


def table(rows, before=True):
    """Markdown. What is worse than the better known program is bold."""
    head = ["", *(["before"] if before else []), *PROGRAMS, "to the better"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        ratio = row.ratio()
        said = "" if ratio is None else f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
        if row.is_behind():
            said = f"**{said}**"
        own = BEFORE.get(row.key)
        past = [] if not before else ["" if own is None else figure(own, row.digits)]
        lines.append([row.what, *past, *map(row.text, PROGRAMS), said])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace(path, name, text):
    """Puts `text` between the markers of that name."""
    marker = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    old = path.read_text()
    new = marker.sub(lambda found: found[1] + text + "\n" + found[2], old)
    if not marker.search(old):
        raise SystemExit(f"bench: {path.name} has no markers of {name}")
    path.write_text(new)


def write(parts, results):
    """Writes what was measured now; what needs other parts too, from their last results."""
    today = datetime.date.today().isoformat()
    known = {}
    for part in PARTS:
        file = results / f"{part}.json"
        if file.exists():
            rows = [row_from_json(data) for data in json.loads(file.read_text())]
            known.update((row.key, row) for row in rows)
            if part in parts:
                replace(PAGE, part, f"{PARTS[part]} {today}.\n\n{table(rows)}")
    with_host = f"{programs.versions()}; {os.cpu_count()} processors."
    replace(PAGE, "versions", with_host)
    if all(key in known for key in IN_README):
        replace(README, "summary", table([known[key] for key in IN_README], before=False))
    draw([known[key] for key in IN_CHART if key in known])


def draw(rows):
    """How many times reachback's cost the others have. Speeds are turned round, so that longer is
    worse in every line."""
    groups, values, labels = [], {p: [] for p in PROGRAMS[1:]}, {p: [] for p in PROGRAMS[1:]}
    for row in rows:
        own = row.number("reachback")
        if not own:
            continue
        groups.append(f"{row.what}: {row.text('reachback')}")
        for program in values:
            other = row.number(program)
            times = None if not other else own / other if row.more else other / own
            values[program].append(times)
            labels[program].append(row.text(program))
    if groups:
        title, x = "Times reachback's cost", "left of 1: better than reachback, whose figure is in the name"
        size = (9, 0.4 * len(groups) + 1)
        chart.bars(CHART, groups, values, title=title, x=x, labels=labels, flat=True, base=1, size=size)
