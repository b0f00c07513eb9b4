"""Boots and drives the emulated controller: ARMv7, 64 MB, QEMU's user network.

    with Controller() as controller:
        controller.check("cat /proc/uptime")
        controller.cut_link()

Commands travel over a virtio serial port, not the network, so they work while the link is
down. Leaving the `with` block powers the machine off and removes its files; QEMU also ends
when this process dies. In the guest the host's loopback is 10.0.2.2.
"""

import base64
import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import image

# The host's loopback, as the guest's user network shows it.
HOST_ADDRESS = "10.0.2.2"
KEY = "/home/charge/.ssh/id_rsa"

BOOT_TIMEOUT_S = 90
POWER_OFF_TIMEOUT_S = 15

# cma=0: with the default contiguous area, 64 MB do not boot.
KERNEL_ARGUMENTS = "console=ttyAMA0 rdinit=/init panic=-1 cma=0 quiet"


class ControllerError(Exception):
    """The machine did not boot, did not answer, or a checked command failed."""


@dataclass
class Outcome:
    """What a command in the guest gave: its exit status (137 if killed) and its output."""

    status: int
    output: str


def wait_until(condition, timeout_s, what, interval_s=0.1):
    """Polls until `condition()` is true and returns that value.

    Raises ControllerError naming `what` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ControllerError(f"not within {timeout_s} s: {what}")
        time.sleep(interval_s)


def die_with_parent():
    """Runs in the child: asks the kernel to end it when this program dies (prctl(2))."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_signals():
    """Makes SIGTERM and SIGHUP unwind the program, so that `with` blocks clean up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))


class Controller:
    """One emulated controller.

    `with_openssh` puts the OpenSSH client into the image. `instruction_count` makes the
    machine's clock follow its instructions (QEMU's -icount), so that CPU times can be
    compared; it is slower. `extra` is {path in the guest: file here}. `with_systemd` boots
    systemd, in 256 MB; otherwise the machine has `memory_mb`.
    """

    def __init__(self, with_openssh=False, instruction_count=False, extra=None, with_systemd=False, memory_mb=64):
        self.kernel, self.initramfs = image.build(with_openssh, extra, with_systemd)
        self.systemd = with_systemd
        self.memory_mb = 256 if with_systemd else memory_mb
        self.instruction_count = instruction_count
        self.process = None
        self.channel = None
        self.buffer = b""
        self.commands = 0

    def __enter__(self):
        # Socket paths are short: sockaddr_un has 108 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="controller-"))
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.power_off()

    # --- Starting and ending ---------------------------------------------------------

    def command_line(self):
        unpacked = image.BUILD / "host/usr/bin/qemu-system-arm"
        qemu = shutil.which("qemu-system-arm") or str(unpacked)
        files = self.directory
        line = [qemu, "-M", "virt", "-cpu", "cortex-a7", "-smp", "1", "-m", str(self.memory_mb)]
        line += ["-nographic", "-nodefaults", "-no-reboot", "-monitor", "none"]
        line += ["-kernel", str(self.kernel), "-initrd", str(self.initramfs)]
        first = " reachback.systemd" if self.systemd else ""
        line += ["-append", KERNEL_ARGUMENTS + first, "-serial", f"file:{files}/console"]
        line += ["-qmp", f"unix:{files}/qmp,server=on,wait=off"]
        # A hub between the card and the user network: a link that is cut there loses
        # packets silently, while one cut at the card drops the carrier.
        line += ["-netdev", "user,id=outside"]
        line += ["-netdev", "hubport,id=hub-outside,hubid=0,netdev=outside"]
        line += ["-netdev", "hubport,id=hub-inside,hubid=0"]
        line += ["-device", "virtio-net-device,netdev=hub-inside,id=card"]
        line += ["-chardev", f"socket,id=run,path={files}/run,server=on,wait=off"]
        line += ["-device", "virtio-serial-device"]
        line += ["-device", "virtserialport,chardev=run,name=reachback.run"]
        if self.instruction_count:
            line += ["-icount", "shift=3"]
        return line

    def boot(self):
        with open(self.directory / "qemu", "wb") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        self.channel = self.connect("run")
        self.qmp = self.connect("qmp")
        self.qmp_replies = self.qmp.makefile("rb")
        json.loads(self.qmp_replies.readline())
        self.monitor("qmp_capabilities")
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self.read_line(deadline) != "ready":
            pass
        self.wait_for_log("controller ready", 30)

    def connect(self, name):
        """Connects to one of QEMU's sockets, which it makes soon after it starts."""
        path = str(self.directory / name)
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while True:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(path)
                return end
            except OSError:
                end.close()
                self.must_run()
                if time.monotonic() > deadline:
                    raise ControllerError("QEMU made no sockets") from None
                time.sleep(0.02)

    def must_run(self):
        if self.process.poll() is not None:
            raise ControllerError(f"QEMU ended:\n{self.console()}")

    def console(self):
        """What QEMU and the guest's kernel wrote: the place to look when a boot fails."""
        texts = []
        for name in ("qemu", "console"):
            path = self.directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace")[-4000:])
        return "\n".join(texts)

    def power_off(self):
        """Shuts the guest down; ends QEMU if that takes too long."""
        try:
            if self.process and self.process.poll() is None:
                self.send("poweroff -f", 5)
                self.process.wait(POWER_OFF_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self.close()

    def close(self):
        """Ends QEMU at once and removes the machine's files."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        for end in (self.channel, getattr(self, "qmp", None)):
            if end:
                end.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- Commands in the guest -----------------------------------------------------------

    def run(self, command, timeout_s=30):
        """Runs a shell command in the guest as root and waits for it to end.

        After `timeout_s` the guest kills it (status 137). What it starts in the background
        lives on.
        """
        identifier = self.send(command, timeout_s)
        deadline = time.monotonic() + timeout_s + 30
        while True:
            words = self.read_line(deadline).split()
            if len(words) == 3 and words[0] == identifier:
                break
        output = self.read_exactly(int(words[2]), deadline)
        return Outcome(int(words[1]), output.decode(errors="replace"))

    def check(self, command, timeout_s=30):
        """Runs a command that must succeed; returns its output without the last newline."""
        outcome = self.run(command, timeout_s)
        if outcome.status != 0:
            raise ControllerError(f"status {outcome.status}: {command}\n{outcome.output}")
        return outcome.output.rstrip("\n")

    def send(self, command, timeout_s):
        self.commands += 1
        text = base64.b64encode(command.encode()).decode()
        self.channel.sendall(f"{self.commands} {int(timeout_s)} {text}\n".encode())
        return str(self.commands)

    def receive(self, deadline):
        self.channel.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = self.channel.recv(65536)
        except TimeoutError:
            raise ControllerError(f"the guest does not answer:\n{self.console()}") from None
        if not data:
            raise ControllerError(f"QEMU ended:\n{self.console()}")
        self.buffer += data

    def read_line(self, deadline):
        while b"\n" not in self.buffer:
            self.receive(deadline)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace")

    def read_exactly(self, length, deadline):
        while len(self.buffer) < length:
            self.receive(deadline)
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    # --- Things the tests often want -------------------------------------------------------

    def log(self):
        """The guest's system log."""
        return self.check("journalctl --no-pager" if self.systemd else "cat /var/log/messages")

    def wait_for_log(self, text, timeout_s, count=1):
        """Waits until `text` stands in the system log at least `count` times."""
        try:
            wait_until(lambda: self.log().count(text) >= count, timeout_s, f"log line: {text}")
        except ControllerError as error:
            raise ControllerError(f"{error}\nThe log:\n{self.log()}") from None

    def all_pids(self, name="reachback"):
        """The process ids of a program that runs in the guest."""
        return self.run(f"pidof {name}").output.split()

    def pids(self, name="reachback"):
        """The same without those that another of them started: reachback's workers."""
        pids = self.all_pids(name)
        look = f"for p in {' '.join(pids)}; do echo $p $(sed -n 's/^PPid:.//p' /proc/$p/status); done"
        pairs = [line.split() for line in self.run(look).output.splitlines()] if pids else []
        return [pair[0] for pair in pairs if len(pair) == 2 and pair[1] not in pids]

    # --- Faults ----------------------------------------------------------------------------

    def monitor(self, command, **arguments):
        """One QMP command; events that come in between are passed over."""
        request = {"execute": command, "arguments": arguments}
        self.qmp.sendall(json.dumps(request).encode() + b"\n")
        while True:
            reply = json.loads(self.qmp_replies.readline() or "{}")
            if "error" in reply:
                raise ControllerError(f"{command}: {reply['error'].get('desc')}")
            if "return" in reply:
                return reply["return"]
            if not reply:
                raise ControllerError("QEMU closed its monitor")

    def set_link(self, name, up):
        self.monitor("set_link", name=name, up=up)

    def cut_link(self):
        """From now on packets are lost; nothing in the guest is told."""
        self.set_link("hub-outside", False)

    def restore_link(self):
        self.set_link("hub-outside", True)

    def drop_carrier(self):
        """Pulls the cable: the guest sees its card lose the carrier."""
        self.set_link("card", False)

    def restore_carrier(self):
        self.set_link("card", True)


def main():
    """Boots, runs the commands given as arguments, and powers off."""
    end_on_signals()
    with Controller() as controller:
        for command in sys.argv[1:] or ["uname -a; free; ps; cat /var/log/messages"]:
            outcome = controller.run(command)
            print(outcome.output, end="")
            if outcome.status:
                sys.exit(outcome.status)


if __name__ == "__main__":
    try:
        main()
    except ControllerError as error:
        sys.exit(f"controller: {error}")
