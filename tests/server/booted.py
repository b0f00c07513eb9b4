#!/usr/bin/env python3
"""server/setup on a Debian whose first process is systemd: units, timer, reloads, PAM, socket activation.

    make server-systemd    as root on Debian, with debootstrap and systemd-container

One boot of systemd-nspawn; the tests run in their order. It sees nothing of this machine but the source tree and the
program, read-only, has its own loopback only, and what it writes is gone afterwards. No part of `make test`: the first run
fetches a root directory of 300 MB, and a timer of a minute is waited for.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import place
from place import BUILD, TOP, reachback, wait_for

place.PATIENCE_S = 200
ROOT = BUILD / "server-root"
PACKAGES = "systemd-sysv,dbus,libpam-systemd,openssh-server,openssh-client,iproute2,procps,socat"
UNIT = "reachback-controllers"
PAGE = "/var/lib/reachback/www/index.html"


def make_root():
    """A stock system of this machine's release, once."""
    if ROOT.exists():
        return
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    unfinished = ROOT.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{ROOT}: Debian {suite}, the first time", flush=True)
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, unfinished], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    unfinished.rename(ROOT)


class BootedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.console = tempfile.TemporaryFile("w+")
        cls.machine = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={ROOT}", "--boot", "--volatile=overlay", "--private-network", "--register=no",
             "--keep-unit", "--settings=no", "--machine=hub", "--link-journal=no", "--console=pipe", f"--bind-ro={TOP}:/mnt",
             f"--bind-ro={reachback()}:/usr/bin/reachback"],
            env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"}, stdin=subprocess.DEVNULL, stdout=cls.console, stderr=cls.console)
        cls.addClassCleanup(cls.end)
        cls.first = wait_for("nspawn has started it", cls.init)
        wait_for("it has booted", lambda: cls.sh("systemctl is-system-running", None).strip() in ("running", "degraded"))
        wait_for("sshd runs", lambda: cls.sh("systemctl is-active ssh", None) == "active\n")

    @classmethod
    def init(cls):
        """The number of its first process; raises if there is none any more."""
        if cls.machine.poll() is not None:
            cls.console.seek(0)
            raise AssertionError(f"systemd-nspawn ended:\n{cls.console.read()}")
        return Path(f"/proc/{cls.machine.pid}/task/{cls.machine.pid}/children").read_text().split()[-1:]

    @classmethod
    def end(cls):
        cls.machine.terminate()
        cls.machine.wait(place.PATIENCE_S)

    @classmethod
    def sh(cls, command, status=0):
        return place.sh(f"nsenter -t {cls.first[0]} -m -u -i -n -p sh -c {shlex.quote(command)}", status)

    def state(self, unit, *properties):
        return self.sh(f"systemctl show {' '.join(f'-P {name}' for name in properties)} {unit}").split()

    def start(self):
        """The controller; gives the process of its session at the server."""
        self.sh("reachback -q -N -f -y -i /root/id -R /run/ssh:localhost:22 -R /run/web:localhost:80 c-SN-1@127.0.0.1")
        wait_for("it is up", lambda: " up " in self.sh(f"{UNIT} list"))
        return self.sh("pgrep -u c-SN-1")

    def test_1_setup_installs_units_that_systemd_takes(self):
        self.assertIn(f"file /etc/systemd/system/{UNIT}.timer", self.sh("/mnt/server/setup"))
        self.assertEqual(self.sh(f"systemd-analyze verify /etc/systemd/system/{UNIT}.*"), "")
        self.assertEqual(self.state(f"{UNIT}.timer", "ActiveState", "UnitFileState"), ["active", "enabled"])
        self.assertEqual(self.sh("/mnt/server/setup"), "setup: nothing to do\n")

    def test_2_a_controller_stays_up_when_sshd_is_reloaded_and_restarted(self):
        self.sh(f"ssh-keygen -q -t ed25519 -N '' -f /root/id; {UNIT} add SN-1 /root/id.pub")
        session = self.start()
        sshd = self.state("ssh", "MainPID")
        self.assertIn("anew", self.sh("/mnt/server/setup --prometheus /var/lib/fleet.prom"))
        self.assertEqual(self.state("ssh", "MainPID", "ActiveState"), [*sshd, "active"])
        self.sh("systemctl restart ssh")
        self.assertNotEqual(self.state("ssh", "MainPID"), sshd)
        self.assertEqual(self.sh("pgrep -u c-SN-1"), session)

    def test_3_systemd_starts_nothing_for_a_controller_but_for_a_person(self):
        self.sh("useradd -m -p '*' tina; install -d -m 700 -o tina /home/tina/.ssh; cp /root/id.pub /home/tina/.ssh/authorized_keys")
        units = self.sh("ssh -i /root/id -o StrictHostKeyChecking=no tina@127.0.0.1 systemctl list-units --plain --no-legend 'user@*'")
        self.assertIn(f"user@{self.sh('id -u tina').strip()}.service", units)
        self.assertNotIn(f"user@{self.sh('id -u c-SN-1').strip()}.service", units)

    def test_4_the_timer_writes_pages_and_figures(self):
        page = wait_for("the page is there", lambda: self.sh(f"cat {PAGE} 2>/dev/null", None))
        self.assertRegex(page, r'<tr class="up"><td>SN-1</td>')
        self.assertEqual(self.state(f"{UNIT}.service", "Result", "ExecMainStatus"), ["success", "0"])
        self.assertIn('reachback_controller_up{controller="SN-1"} 1', self.sh("cat /var/lib/fleet.prom"))

    def test_5_revoke_ends_the_session(self):
        self.assertIn("its session was ended", self.sh(f"{UNIT} revoke SN-1"))
        self.assertEqual(self.sh("ps -eo user:40= | grep -c '^c-SN' || true"), "0\n")
        self.sh("reachback stop --all")

    def test_6_where_a_socket_starts_sshd_it_is_the_same(self):
        self.sh("systemctl disable -q --now ssh; systemctl enable -q --now ssh.socket")
        self.sh(f"{UNIT} add SN-1 /root/id.pub; rmdir /run/sshd")
        self.assertIn("anew", self.sh("/mnt/server/setup --prometheus none"))
        self.assertEqual(self.state("ssh", "ActiveState"), ["inactive"])
        self.start()
        self.assertIn("its session was ended", self.sh(f"{UNIT} revoke SN-1"))
        self.sh("reachback stop --all")

    def test_7_it_goes_as_it_came(self):
        self.sh("/mnt/server/setup --remove")
        self.assertEqual(self.state(f"{UNIT}.timer", "LoadState", "ActiveState"), ["not-found", "inactive"])


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("run it as root: systemd-nspawn needs it")
    if missing := [name for name in ("debootstrap", "systemd-nspawn") if not shutil.which(name)]:
        sys.exit(f"{' and '.join(missing)} missing: apt-get install debootstrap systemd-container")
    make_root()
    unittest.main(verbosity=2)
