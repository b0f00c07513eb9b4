#!/usr/bin/env python3
"""Debian's fail2ban beside the kit, with the file that docs/server.md gives for it, on what a real sshd logs.

    python3 tests/server/test_fail2ban.py     as root, with REACHBACK_BIN or a debug build
"""

import re
import shutil
import socket
import threading
import unittest
from pathlib import Path

import place
from place import KIT, TOP, Controller, Sshd, sh, wait_for

CARRIER, UNNAMED, ELSEWHERE = "198.51.100.7", "192.0.2.7", "192.0.2.8"
STRANGERS = [f"203.0.113.{number}" for number in range(1, 5)]
BANNED = Path("/run/banned")


def syslog():
    """/dev/log and /var/log/auth.log, as rsyslog has them."""
    upper, work = WHERE / "dev", WHERE / "dev-work"
    upper.mkdir()
    work.mkdir()
    sh(f"mount -t overlay place -o lowerdir=/dev,upperdir={upper},workdir={work} /dev")
    Path("/dev/log").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("/dev/log")
    Path("/dev/log").chmod(0o666)
    log = open("/var/log/auth.log", "w")

    def read():
        while True:
            line = listener.recv(65536).decode(errors="replace").strip("\0\n")
            log.write(re.sub(r"^<\d+>(.{15}) ", r"\1 hub ", line) + "\n")
            log.flush()

    threading.Thread(target=read, daemon=True).start()


def setUpModule():
    global WHERE
    if not shutil.which("fail2ban-client"):
        raise unittest.SkipTest("fail2ban is not installed")
    WHERE = place.furnish()
    for address in (CARRIER, UNNAMED, ELSEWHERE, *STRANGERS):
        sh(f"ip addr add {address}/32 dev lo")
    syslog()
    Sshd(None)
    sh(f"{KIT}/setup")
    document = (TOP / "docs/server.md").read_text().partition("/etc/fail2ban/jail.d/reachback.conf")[2]
    Path("/etc/fail2ban/jail.d/reachback.conf").write_text(document.split("```")[1])
    Path("/etc/fail2ban/action.d/note.conf").write_text(f"[Definition]\nactionban = echo <ip> >>{BANNED}\n")
    Path("/etc/fail2ban/jail.d/test.conf").write_text("[sshd]\nbackend = polling\naction = note\nignoreself = false\n")
    BANNED.touch()
    sh("mkdir -p /run/fail2ban; fail2ban-client start")


def tearDownModule():
    sh("fail2ban-client stop")


def found(address):
    """How often fail2ban found this address to fail."""
    return sh(f"grep -c ' Found {address} ' /var/log/fail2ban.log || true").strip()


class Fail2banTest(unittest.TestCase):
    strangers = iter(STRANGERS)

    def guess(self):
        """Somebody tries five names, and is banned. So everything that was logged before has been read."""
        stranger = next(self.strangers)
        for name in ("admin", "oracle", "test", "ubnt", "pi"):
            sh(f"ssh -n -b {stranger} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null {name}@hub.example", 255)
        wait_for("who guesses is banned", lambda: stranger in BANNED.read_text())

    def refused(self, name, address, revoke, times):
        """A controller whose key the server refuses starts so many times; what it says at last."""
        controller, real = (Controller(WHERE, part, address=address) for part in (name, f"{name}-real"))
        sh(f"reachback-controllers add {name} {real.public}")
        if revoke:
            sh(f"reachback-controllers revoke {name}")
        for _ in range(times):
            said = controller.start().wait("next attempt in ")
            controller.stop()
        self.guess()
        return said

    def test_carriers_addresses_are_not_banned_whatever_their_controllers_do(self):
        self.refused("GONE", CARRIER, True, 6)
        self.assertNotIn(CARRIER, BANNED.read_text())
        self.assertIn(f"Ignore {CARRIER} by ip", Path("/var/log/fail2ban.log").read_text())

    def test_another_key_for_an_account_that_is_there_counts_for_nothing(self):
        self.refused("OTHER", ELSEWHERE, False, 6)
        self.assertEqual(found(ELSEWHERE), "0")

    def test_one_revoked_controller_is_below_the_limit(self):
        said = self.refused("REVOKED", ELSEWHERE, True, 1)
        self.assertEqual(found(ELSEWHERE), "1")
        wait_s = int(re.search(r"next attempt in (\d+) s", said)[1])
        self.assertGreater(wait_s, int(sh("fail2ban-client get sshd findtime")))

    def test_five_behind_an_address_that_is_not_named_have_it_banned(self):
        self.refused("FIVE", UNNAMED, True, int(sh("fail2ban-client get sshd maxretry")))
        self.assertIn(UNNAMED, BANNED.read_text())


if __name__ == "__main__":
    place.enter()
    unittest.main(verbosity=2)
