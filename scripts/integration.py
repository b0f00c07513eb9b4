#!/usr/bin/env python3
"""Runs the integration tests; a test that failed runs a second time, alone.

The tests talk to real servers, all at once on few processors: what failed among
the others and passes alone is told of as such and does not fail the run. A test
that fails twice does, and so do more than MOST failures in one run: that many
have a cause of their own.

    integration.py [ARGUMENTS OF cargo test]

REACHBACK_BIN and REACHBACK_RUNNER say what is tested (tests/support/client.rs).
"""

import re
import subprocess
import sys

MOST = 4
CARGO = ["cargo", "test", "--locked", "--no-fail-fast", "-p", "reachback"]


def failures(lines):
    """The tests that failed, as (file, test), and whether they explain the outcome.

    >>> failures(["     Running tests/a.rs (build/a-1)", "test b ... ok",
    ...           "test c ... FAILED", "test result: FAILED. 1 passed; 1 failed"])
    ([('a', 'c')], True)
    >>> failures(["     Running tests/d/main.rs (build/d-1)", "test c ... FAILED",
    ...           "test result: FAILED. 0 passed; 1 failed"])
    ([('d', 'c')], True)

    A file that ended without its result, by a signal say, is explained by no test:

    >>> failures(["     Running tests/a.rs (build/a-1)", "test b ... ok"])
    ([], False)
    >>> failures(["error: could not compile `reachback`"])
    ([], False)
    """
    failed, file, open_files = [], None, 0
    for line in lines:
        if found := re.match(r" +Running tests/(\w+)(?:/main)?\.rs ", line):
            file, open_files = found[1], open_files + 1
        elif found := re.match(r"test (\S+) \.\.\. FAILED$", line):
            failed.append((file, found[1]))
        elif line.startswith("test result: "):
            open_files -= 1
    return failed, bool(failed) and open_files == 0


def run(arguments):
    """Runs cargo; its exit status and its lines, which are printed as they come."""
    lines = []
    cargo = subprocess.Popen(
        CARGO + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in cargo.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip("\n"))
    return cargo.wait(), lines


def main():
    status, lines = run(sys.argv[1:] or ["--test", "*"])
    if status == 0:
        return 0
    failed, explained = failures(lines)
    if not explained or len(failed) > MOST:
        return status
    for file, test in failed:
        print(f"\n=== once more, alone: {file}::{test}", flush=True)
        if run(["--test", file, "--", "--exact", test])[0]:
            return 1
    for file, test in failed:
        print(f"PASSED ALONE, after it failed among the others: {file}::{test}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
