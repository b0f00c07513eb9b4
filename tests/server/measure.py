#!/usr/bin/env python3
"""What controllers cost a server: memory, processes, descriptors, time; for the table in docs/server.md.

    python3 tests/server/measure.py [CONTROLLERS]     as root, with REACHBACK_BIN or a debug build
"""

import datetime
import os
import re
import sys
import time
from pathlib import Path

import place
from place import KIT, Controller, Sshd, sh, wait_for


def sessions():
    """Numbers of sshd's processes but the listener."""
    listener = int(Path("/run/sshd.pid").read_text())
    return [int(pid) for pid in sh("pgrep -x 'sshd(-session)?'").split() if int(pid) != listener]


def memory(pids, field):
    found = (re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M) for pid in pids)
    return sum(int(match[1]) for match in found)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    where = place.furnish()
    Sshd()
    sh(f"{KIT}/setup")
    controllers = [Controller(where, f"SN-{number:04}") for number in range(count)]
    (where / "list").write_text("".join(f"{c.name} {c.public.read_text()}" for c in controllers))
    before = time.monotonic()
    sh(f"reachback-controllers add --list {where}/list")
    enrolment = time.monotonic() - before
    free = available()
    for controller in controllers:
        controller.start()
    for controller in controllers:
        controller.up()
    before = time.monotonic()
    listed = sh("reachback-controllers list")
    listing = time.monotonic() - before
    assert listed.count(" up ") == count, listed
    pids = sessions()
    descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
    both = free - available()
    clients = sh("pgrep -x reachback").split()
    both -= memory(clients, "Pss")
    print(f"{count} controllers, two sockets each; {sh('/usr/sbin/sshd -V', status=None).strip().splitlines()[-1]}; "
          f"{datetime.date.today()}")
    print(f"processes for each            {len(pids) / count:.1f}")
    print(f"private memory of both, kB    {(memory(pids, 'Private_Clean') + memory(pids, 'Private_Dirty')) / count:.0f}")
    print(f"Pss of both, kB               {memory(pids, 'Pss') / count:.0f}")
    print(f"MemAvailable for each, kB     {both / count:.0f} (without the controllers' own processes)")
    print(f"descriptors of a process      {max(descriptors)} at most")
    print(f"enrolment of one, ms          {enrolment / count * 1000:.0f}")
    print(f"list of all, ms               {listing * 1000:.0f}")
    for controller in controllers:
        controller.process.kill()
    wait_for("the sessions end", lambda: sh("pgrep -c -x 'sshd(-session)?'", status=None).strip() == "1")


def available():
    return int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1])


if __name__ == "__main__":
    place.enter()
    main()
