#!/usr/bin/env python3
"""Faults on the controller itself, in one boot: each is noticed and overcome within its bound.

    make faults-arm        or    python3 tests/arm/faults.py

What the guest adds to tests/faults: the ARM binary, netem, and a card whose carrier can be
dropped. The user network ends TCP inside QEMU, so the server never sees a lost packet itself.
Results are added to $BUILD/faults/arm.jsonl for docs/faults.md.
"""

import contextlib
import json
import re
import sys
import time
import unittest

import controller as arm
import image
import through
from ssh_server import SshServer, free_ports

INTERVAL_S = 3
COUNT = 3
CONNECT_S = 5
# From the last byte; one second for the emulator.
SILENCE_S = INTERVAL_S + COUNT * INTERVAL_S + 1
# As long as packets still arrive, so do the server's own two questions, one a second.
HALF_OPEN_S = SILENCE_S + 2
# What a connection with an RSA key takes on the emulated machine.
CONNECTION_S = 3
RESULTS = image.BUILD / "faults/arm.jsonl"


def program_with_libraries(package, program):
    """A program of an armhf package and the libraries that it needs: {path there: file here}."""
    directory = image.IMAGE / package
    if not (directory / program).exists():
        image.packages("unpack", directory, package, *image.packages("closure", package))
    libraries = {path.name: path for path in directory.glob("**/lib/arm-linux-gnueabihf/*.so*")}
    loader = "ld-linux-armhf.so.3"
    files = {program: directory / program, f"lib/{loader}": libraries[loader]}
    waiting = [files[program]]
    while waiting:
        needed = image.run("readelf", "-d", waiting.pop())
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", needed):
            path = f"lib/arm-linux-gnueabihf/{name}"
            if path not in files and name != loader:
                files[path] = libraries[name]
                waiting.append(libraries[name])
    return files


class Faults(unittest.TestCase):
    """One boot, one server; every fault begins with a tunnel that is up."""

    @classmethod
    def setUpClass(cls):
        cls.sshd_port, cls.port = free_ports(2)
        machine = arm.Controller(extra=program_with_libraries("iproute2", "sbin/tc"))
        authorized = [image.public_line(image.KEYS / "charge")]
        alive = ("ClientAliveInterval 1", "ClientAliveCountMax 2")
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(SshServer(cls.sshd_port, authorized, alive))
        cls.controller = stack.enter_context(machine)

    def setUp(self):
        """A fresh program, so that no wait has grown by an earlier fault."""
        options = f"-o ServerAliveInterval={INTERVAL_S} -o ServerAliveCountMax={COUNT}"
        self.controller.check(
            f"reachback -N -y -i {arm.KEY} {options} -o ConnectTimeout={CONNECT_S}"
            f" -R {self.port}:localhost:80 -p {self.sshd_port}"
            f" {self.server.user}@{arm.HOST_ADDRESS} >/tmp/faults.log 2>&1 &"
        )
        arm.wait_until(self.is_usable, 60, "the tunnel is up")
        self.pids = self.controller.all_pids()
        time.sleep(1)

    def tearDown(self):
        self.controller.run("/sbin/tc qdisc del dev eth0 root")
        log = self.controller.check("cat /tmp/faults.log")
        pids = self.controller.all_pids()
        self.controller.check(f"kill -TERM {' '.join(self.controller.pids())}")
        arm.wait_until(lambda: not self.controller.all_pids(), 10, "reachback has ended")
        self.assertNotIn("panick", log)
        self.assertEqual(pids, self.pids, "the same processes to the end")

    def is_usable(self, timeout_s=2):
        page = through.dashboard(self.port, timeout_s)
        return page is not None and through.DASHBOARD_LINE in page

    def losses(self):
        count = self.controller.run("grep -c 'connection lost' /tmp/faults.log").output
        return int(count)

    def own_log(self):
        return self.controller.check("tail -n 25 /tmp/faults.log")

    def inject(self, what, begin, end=None, lasts_s=0, notice_s=None, usable_s=0, patience_s=2):
        """Begins a fault, ends it after `lasts_s`, and asserts the bounds.

        `notice_s` counts from the beginning; None means that the connection survives.
        `usable_s` counts from the end, or from the beginning if there is no end.
        """
        before = self.losses()
        begun = time.monotonic()
        begin()
        noticed = None
        while time.monotonic() < begun + lasts_s or (end is None and notice_s and noticed is None):
            if noticed is None and self.losses() > before:
                noticed = time.monotonic() - begun
            if time.monotonic() > begun + 60:
                break
            time.sleep(0.1)
        origin = begun
        if end:
            end()
            origin = time.monotonic()
        usable = None
        while usable is None and time.monotonic() < origin + max(60, 2 * usable_s):
            if self.is_usable(patience_s):
                usable = time.monotonic() - origin
        if noticed is None and self.losses() > before:
            noticed = time.monotonic() - begun
        self.record(what, notice_s, noticed, end is not None, usable_s, usable)
        if notice_s is None:
            self.assertIsNone(noticed, f"survives; log:\n{self.own_log()}")
        else:
            self.assertIsNotNone(noticed, f"noticed; log:\n{self.own_log()}")
            self.assertLessEqual(noticed, notice_s, self.own_log())
        self.assertIsNotNone(usable, f"usable again; log:\n{self.own_log()}")
        self.assertLessEqual(usable, usable_s, self.own_log())

    def record(self, what, notice_s, noticed, ends, usable_s, usable):
        line = {
            "kind": "guest",
            "what": what,
            "notice_bound_s": notice_s,
            "survives": notice_s is None,
            "noticed_s": noticed and round(noticed, 1),
            "from": "end" if ends else "beginning",
            "usable_bound_s": usable_s,
            "usable_s": usable and round(usable, 1),
        }
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with RESULTS.open("a") as results:
            print(json.dumps(line), file=results)

    def netem(self, parameters):
        self.controller.check(f"/sbin/tc qdisc replace dev eth0 root netem {parameters}")

    def no_netem(self):
        self.controller.check("/sbin/tc qdisc del dev eth0 root")

    # --- The faults --------------------------------------------------------------------

    def test_silent_loss_is_noticed_and_overcome(self):
        # The attempt under way, the wait after it (at most 8 s), and a connection.
        self.inject(
            "packets lost between card and network without a word, 20 s",
            self.controller.cut_link,
            self.controller.restore_link,
            lasts_s=20,
            notice_s=SILENCE_S,
            usable_s=CONNECT_S + 8 + CONNECTION_S,
        )

    def test_with_the_carrier_back_the_tunnel_is_usable_within_2_s(self):
        self.inject(
            "the card's carrier lost and back, 20 s",
            self.controller.drop_carrier,
            self.controller.restore_carrier,
            lasts_s=20,
            notice_s=SILENCE_S,
            usable_s=2 + CONNECTION_S,
        )

    def test_a_killed_session_is_replaced_at_once(self):
        self.inject(
            "the server's session killed",
            self.server.cut_sessions,
            notice_s=2,
            usable_s=1 + CONNECTION_S + 1,
        )

    def test_a_server_that_was_away_is_found_again(self):
        # Attempts that are refused at once use up the short waits; 60 s is the longest.
        self.inject(
            "sshd and its sessions ended, started after 10 s",
            self.server.stop,
            self.server.start,
            lasts_s=10,
            notice_s=2,
            usable_s=60 + CONNECTION_S,
        )

    def test_outgoing_packets_that_vanish_are_noticed(self):
        self.inject(
            "netem loses every outgoing packet, 20 s",
            lambda: self.netem("loss 100%"),
            self.no_netem,
            lasts_s=20,
            notice_s=HALF_OPEN_S,
            usable_s=CONNECT_S + 8 + CONNECTION_S,
        )

    def test_ten_per_cent_of_loss_are_survived(self):
        self.inject(
            "netem loses 10 % of the outgoing packets",
            lambda: self.netem("loss 10%"),
            usable_s=20,
            patience_s=20,
        )

    def test_a_modem_with_a_second_of_delay_is_survived(self):
        self.inject(
            "netem delays by 1 s, give or take 0.2 s",
            lambda: self.netem("delay 1000ms 200ms"),
            usable_s=15,
            patience_s=15,
        )

    def test_packets_doubled_disordered_and_damaged_are_survived(self):
        self.inject(
            "netem doubles 10 %, reorders 25 % and damages 2 % of the packets",
            lambda: self.netem("delay 100ms reorder 25% duplicate 10% corrupt 2%"),
            usable_s=15,
            patience_s=15,
        )


def main():
    arm.end_on_signals()
    RESULTS.unlink(missing_ok=True)
    suite = unittest.TestSuite(Faults(name) for name in vars(Faults) if name.startswith("test_"))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
