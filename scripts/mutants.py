#!/usr/bin/env python3
"""Makes one small mistake after another in the code that decides and drives; do its tests notice?

    make mutants                 all of core's, a sample of tunnel's; writes the table of docs/mutants.md
    make mutants SHARD=3/30      every 30th mutant only, from the third on; writes nothing
    make mutants FILES='core/src/backoff.rs'
    MINUTES   after which it stops (120); mutants that were not tried are counted

cargo-mutants is installed under $BUILD/tools if it is not there. It works in a copy of the tree.
A mutant of core that no test notices is a finding, unless docs/mutants.md lists it and says why it
does not matter. Exit status 1: a finding, or less than 85 % caught in a file of core.
"""

import datetime
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD") or TOP / "build")
DOCUMENT = TOP / "docs" / "mutants.md"
VERSION = "27.1.0"
LEAST_PERCENT = 85
CORE = {
    "package": "reachback-core",
    "files": ["core/src/watchdog.rs", "core/src/watchdog/*.rs", "core/src/liveness.rs",
              "core/src/backoff.rs", "core/src/forwards.rs", "core/src/destinations.rs"],
    "options": ["--timeout", "20"],
    "tests": ["--lib"],
    "shard": None,
}
# The tests of tunnel are the simulation, which takes 20 times as long as the unit tests of core.
TUNNEL = {
    "package": "reachback-tunnel",
    "files": ["tunnel/src/**/*.rs"],
    "options": ["--test-package", "reachback-sim", "--timeout", "180"],
    "tests": ["--test", "schedules", "--test", "scenarios"],
    "shard": "0/30",
}
# Fewer random cases than in `make test`, where thousands of them take most of the time.
ENVIRONMENT = {"PROPTEST_CASES": "64", "REACHBACK_SIM_SEEDS": "100",
               "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_PROFILE_DEV_DEBUG": "0"}


def tool():
    root = BUILD / "tools"
    program = root / "bin" / "cargo-mutants"
    have = program.exists() and subprocess.run([program, "mutants", "--version"], text=True,
                                               stdout=subprocess.PIPE).stdout
    if not have or have.split() != ["cargo-mutants", VERSION]:
        subprocess.run(["cargo", "install", "--locked", "--quiet", "--root", root, "cargo-mutants",
                        "--version", VERSION], check=True)
    return program


def mutate(what, files, seconds):
    """The outcomes as cargo-mutants writes them, and how many mutants there are."""
    output = BUILD / "mutants" / what["package"]
    output.mkdir(parents=True, exist_ok=True)
    command = [tool(), "mutants", "--package", what["package"], "--output", output, "--jobs", "2",
               "--cap-lints", "true", "--no-times", "--build-timeout", "600", *what["options"]]
    for name in files:
        command += ["--file", name]
    if shard := os.environ.get("SHARD", what["shard"]):
        command += ["--shard", shard, "--sharding", "round-robin"]
    command += ["--", *what["tests"]]
    # Each copy of the tree has a target directory of its own.
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    running = subprocess.Popen(["nice", "-n", "15", *map(str, command)], cwd=TOP,
                               env={**environment, **ENVIRONMENT})
    try:
        # 2: some survived; 3: some timed out.
        if running.wait(timeout=seconds) not in (0, 2, 3):
            sys.exit(f"mutants.py: cargo-mutants ended with status {running.returncode}")
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)
        running.wait()
    found = output / "mutants.out"
    outcomes = json.loads((found / "outcomes.json").read_text())["outcomes"]
    return ([one for one in outcomes if one["scenario"] != "Baseline"],
            len(json.loads((found / "mutants.json").read_text())))


def name_of(outcome):
    """What was changed, without line and column: these move with every edit."""
    return re.sub(r":\d+:\d+:", ":", outcome["scenario"]["Mutant"]["name"], count=1)


def share(outcomes):
    """Percent caught, and the cells of the table. What does not compile is no mutant."""
    def count(kind):
        return sum(one["summary"] == kind for one in outcomes)
    endless = count("Timeout")
    caught = count("CaughtMutant") + endless
    tried = caught + count("MissedMutant")
    percent = 100 * caught / tried if tried else 100
    return percent, f"{tried} | {caught} | {endless} | {percent:.0f} %"


def main():
    chosen = shlex.split(os.environ.get("FILES", ""))
    ends = datetime.datetime.now() + datetime.timedelta(minutes=float(os.environ.get("MINUTES", 120)))
    by_file, rows, low, survivors, untried = {}, [], [], set(), 0
    for what in (CORE, TUNNEL):
        crate = what["files"][0].split("/")[0]
        files = [name for name in chosen if name.startswith(crate)] if chosen else what["files"]
        if not files:
            continue
        left_s = max(60, (ends - datetime.datetime.now()).total_seconds())
        outcomes, planned = mutate(what, files, left_s)
        untried += planned - len(outcomes)
        if what is CORE:
            for one in outcomes:
                by_file.setdefault(one["scenario"]["Mutant"]["file"], []).append(one)
            survivors = {name_of(one) for one in outcomes if one["summary"] == "MissedMutant"}
            for name in sorted(by_file):
                percent, cells = share(by_file[name])
                rows.append(f"| `{name}` | {cells} |")
                if percent < LEAST_PERCENT:
                    low.append(name)
        rows.append(f"| {crate}/{', a sample' if what['shard'] else ''} | {share(outcomes)[1]} |")
    head = ["| | mutants | caught | of them endless | share |", "| --- | ---: | ---: | ---: | ---: |"]
    table = "\n".join(head + rows)
    print(table)
    if untried:
        print(f"{untried} mutants were not tried: time is up")

    text = DOCUMENT.read_text()
    listed = set(re.findall(r"^\| `(core/.+?: .+?)` \| ", text, re.MULTILINE))
    for name in sorted(survivors - listed):
        print(f"mutants.py: no test notices: {name}", file=sys.stderr)
    for name in low:
        print(f"mutants.py: below {LEAST_PERCENT} %: {name}", file=sys.stderr)
    if not untried and not chosen and "SHARD" not in os.environ:
        for name in sorted(listed - survivors):
            print(f"mutants.py: listed, but a test notices: {name}", file=sys.stderr)
        run = f"`make mutants`, {datetime.date.today()}, cargo-mutants {VERSION}."
        made = f"<!-- made by make mutants -->\n{run}\n\n{table}\n<!-- until here -->"
        DOCUMENT.write_text(re.sub(r"<!-- made by make mutants -->.*?<!-- until here -->",
                                   lambda _: made, text, flags=re.DOTALL))
    sys.exit(1 if low or survivors - listed else 0)


if __name__ == "__main__":
    main()
