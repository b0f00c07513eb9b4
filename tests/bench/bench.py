#!/usr/bin/env python3
"""What reachback costs and how fast it is, beside dbclient and ssh, in one run.

    make bench                        everything, 12 minutes
    make bench ROWS="delays speed"    some of it

Parts: guest (the ARM machine), instructions (ARM programs, counted), size, speed, delays.
Prints a table; keeps $BUILD/bench/PART.json; writes the tables of docs/performance.md and of the
README, and docs/performance.svg. Parts that were not run keep what they say there.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "arm"), str(HERE.parent.parent / "scripts")]

import controller as arm  # noqa: E402
import image  # noqa: E402
import page  # noqa: E402
import programs  # noqa: E402
from rows import Table  # noqa: E402

RESULTS = image.BUILD / "bench"


def main():
    wanted = os.environ.get("ROWS", "").replace(",", " ").split() or list(page.PARTS)
    if unknown := [name for name in wanted if name not in page.PARTS]:
        sys.exit(f"bench: no part {' '.join(unknown)}; there are {' '.join(page.PARTS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    programs.build()
    failed = [part for part in wanted if not run(part)]
    page.write([part for part in wanted if part not in failed], RESULTS)
    sys.exit(f"bench: failed: {' '.join(failed)}" if failed else 0)


def run(part):
    """Measures a part and keeps its rows; False, with a word about it, if that failed."""
    try:
        begin = time.monotonic()
        print(f"bench: {part} ...", file=sys.stderr, flush=True)
        table = Table()
        importlib.import_module(part).measure(table)
        rows = list(table.values())
        (RESULTS / f"{part}.json").write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
        print(page.table(rows), flush=True)
        print(f"bench: {part} took {time.monotonic() - begin:.0f} s", file=sys.stderr)
        return True
    except (arm.ControllerError, OSError, EOFError) as error:
        print(f"bench: {part}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    arm.end_on_signals()
    main()
