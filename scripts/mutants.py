#!/usr/bin/env python3
"""Changes the code that decides, piece by piece, and sees whether its unit tests notice.

    make mutants                 everything; writes the table of docs/mutants.md
    make mutants SHARD=0/4       every fourth change only; writes nothing
    make mutants FILES='core/src/backoff.rs'
    MINUTES   after which it stops (120); the changes that were not tried are counted

cargo-mutants is installed under $BUILD/tools when it is not there. It works in a copy of the tree.
A change that no test notices is a finding, unless docs/mutants.md lists it and says why it does
not matter. Exit status 1: a finding, or less than 85 % noticed in a file.
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
# What is changed, and the tests that have to notice: arguments of cargo-mutants and of cargo test.
PACKAGES = {
    "reachback-core": (
        ["core/src/watchdog.rs", "core/src/watchdog/*.rs", "core/src/liveness.rs",
         "core/src/backoff.rs", "core/src/forwards.rs", "core/src/destinations.rs"],
        ["--timeout", "20"], ["--lib"],
    ),
}
LEAST_PERCENT = 85
# Fewer random cases than in `make test`, where a thousand of them cost most of the time.
ENVIRONMENT = {"PROPTEST_CASES": "64", "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_PROFILE_DEV_DEBUG": "0"}


def tool():
    root = BUILD / "tools"
    program = root / "bin" / "cargo-mutants"
    have = program.exists() and subprocess.run([program, "mutants", "--version"], text=True,
                                               stdout=subprocess.PIPE).stdout
    if not have or have.split() != ["cargo-mutants", VERSION]:
        subprocess.run(["cargo", "install", "--locked", "--quiet", "--root", root, "cargo-mutants",
                        "--version", VERSION], check=True)
    return program


def mutate(package, files, options, tests, seconds):
    """The outcomes of one package as cargo-mutants writes them, and how many changes there are."""
    output = BUILD / "mutants" / package
    output.mkdir(parents=True, exist_ok=True)
    command = [tool(), "mutants", "--package", package, "--output", output, "--cap-lints", "true",
               "--no-times", "--build-timeout", "300", *options]
    for name in files:
        command += ["--file", name]
    if shard := os.environ.get("SHARD"):
        command += ["--shard", shard, "--sharding", "round-robin"]
    command += ["--", *tests]
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
    return (json.loads((found / "outcomes.json").read_text())["outcomes"],
            len(json.loads((found / "mutants.json").read_text())))


def name_of(outcome):
    """What was changed, without line and column: these move with every edit."""
    return re.sub(r":\d+:\d+:", ":", outcome["scenario"]["Mutant"]["name"], count=1)


def row(name, outcomes):
    count = {kind: sum(one["summary"] == kind for one in outcomes)
             for kind in ("CaughtMutant", "Timeout", "MissedMutant")}
    tried = sum(count.values())
    noticed = tried - count["MissedMutant"]
    percent = 100 * noticed / tried if tried else 100
    return percent, f"| {name} | {tried} | {noticed} | {count['Timeout']} | {percent:.0f} % |"


def main():
    chosen = shlex.split(os.environ.get("FILES", ""))
    ends = datetime.datetime.now() + datetime.timedelta(minutes=float(os.environ.get("MINUTES", 120)))
    outcomes, planned = [], 0
    for package, (files, options, tests) in PACKAGES.items():
        crate = files[0].split("/")[0]
        files = [name for name in chosen if name.startswith(crate)] if chosen else files
        if files:
            left_s = max(60, (ends - datetime.datetime.now()).total_seconds())
            more, count = mutate(package, files, options, tests, left_s)
            outcomes += [one for one in more if one["scenario"] != "Baseline"]
            planned += count

    by_file = {}
    for one in outcomes:
        by_file.setdefault(one["scenario"]["Mutant"]["file"], []).append(one)
    lines, low = [], []
    for name in sorted(by_file):
        percent, line = row(f"`{name}`", by_file[name])
        lines.append(line)
        if percent < LEAST_PERCENT:
            low.append(name)
    lines.append(row("all", outcomes)[1])
    table = "\n".join(["| changed | changes | noticed | of them by going round for ever | share |",
                       "| --- | ---: | ---: | ---: | ---: |", *lines])
    print(table)
    if planned > len(outcomes):
        print(f"{planned - len(outcomes)} of {planned} changes were not tried: time is up")

    survivors = sorted({name_of(one) for one in outcomes
                        if one["summary"] == "MissedMutant"})
    text = DOCUMENT.read_text()
    listed = set(re.findall(r"^\| `(.+?)` \| ", text, re.MULTILINE))
    unlisted = [name for name in survivors if name not in listed]
    for name in unlisted:
        print(f"mutants.py: no test notices: {name}", file=sys.stderr)
    for name in low:
        print(f"mutants.py: below {LEAST_PERCENT} %: {name}", file=sys.stderr)
    if planned == len(outcomes) and not chosen and "SHARD" not in os.environ:
        for name in sorted(listed - set(survivors) - {f"{file}" for file in by_file}):
            print(f"mutants.py: listed, but a test notices: {name}", file=sys.stderr)
        head = f"`make mutants`, {datetime.date.today()}, cargo-mutants {VERSION}."
        made = f"<!-- made by make mutants -->\n{head}\n\n{table}\n<!-- until here -->"
        DOCUMENT.write_text(re.sub(r"<!-- made by make mutants -->.*?<!-- until here -->",
                                   lambda _: made, text, flags=re.DOTALL))
    sys.exit(1 if unlisted or low else 0)


if __name__ == "__main__":
    main()
