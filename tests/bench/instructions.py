"""The user's part of what the ARM programs do, in instructions, under qemu-arm.

Repeatable to the last digits, and without the kernel: what guest.py has in CPU time holds both.
"""

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

import controller as arm
import image
import load
import programs
import size

MIB = 4
KEYSTROKES = 50
HERE = Path(__file__).resolve().parent
LINE = ["qemu-arm", "-cpu", "cortex-a7"]


def measure(table):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        plugin = compiled(directory)
        if not plugin:
            print("instructions: this qemu-arm takes no plugin; left out")
            return
        counter = directory / "count"
        counter.write_bytes(bytes(8))
        library = sysroot(directory)
        for program, [path, *_] in size.files().items():
            runner = [*LINE, "-L", str(library), "-plugin", f"{plugin},to={counter}", str(path)]
            one(table, program, runner, counter)


def compiled(directory):
    """The plugin for this QEMU, whatever version of its interface it wants; None if it has none."""
    plugin, trial = directory / "count.so", directory / "trial"
    trial.write_bytes(bytes(8))
    for version in range(1, 12):
        image.run("cc", "-O2", "-shared", "-fPIC", f"-DVERSION={version}", "-o", plugin, HERE / "count.c")
        line = [*LINE, "-plugin", f"{plugin},to={trial}", image.REACHBACK, "--version"]
        done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode == 0 and trial.read_bytes() != bytes(8):
            return plugin
    return None


def sysroot(directory):
    """ssh's libraries, as the image has them."""
    for path, source in image.openssh().items():
        target = directory / "root" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    return directory / "root"


def one(table, program, runner, counter):
    def spent(act):
        before = at_rest(counter)
        act()
        return at_rest(counter) - before

    def add(key, what, count, digits=0):
        table.add(key, what, program, count, digits)

    with contextlib.ExitStack() as stack:
        targets = (load.sink, load.source_of(MIB << 20), load.echo)
        services = [stack.enter_context(load.Service(target)) for target in targets]
        counter.write_bytes(bytes(8))
        site = stack.enter_context(programs.Site())
        tunnel = stack.enter_context(programs.Tunnel(site, program, services, runner=runner))
        add("start-user", "from start to tunnel up, Ed25519, million", at_rest(counter) / 1e6, 1)
        down, up, keys = tunnel.ports
        with load.dial(keys) as end:
            load.stroke(end)
            count = spent(lambda: [load.stroke(end) for _ in range(KEYSTROKES)])
        add("keystroke-user", "a keystroke there and back, thousand", count / KEYSTROKES / 1e3, 1)
        count = spent(lambda: load.send(down, MIB << 20))
        add("down-user", "a MiB to the controller, million", count / MIB / 1e6, 1)
        count = spent(lambda: load.receive(up))
        add("up-user", "a MiB from the controller, million", count / MIB / 1e6, 1)


def at_rest(counter):
    """The count once nothing has been added to it for half a second."""
    seen, since = None, time.monotonic()

    def same():
        nonlocal seen, since
        now = int.from_bytes(counter.read_bytes(), "little")
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 0.5

    arm.wait_until(same, 60, "the program is at rest", 0.05)
    return seen
