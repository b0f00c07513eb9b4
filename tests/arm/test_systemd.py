#!/usr/bin/env python3
"""The units on a controller whose first process is systemd, in one boot.

    make systemd-check    or    python3 tests/arm/test_systemd.py

The tests run in their order. No part of `make test`: the boot alone takes half a minute.
"""

import contextlib
import sys
import tempfile
import unittest
from pathlib import Path

import controller as arm
import image
import through
from ssh_server import SshServer, free_ports, is_listening

TIMEOUT_S = 90
# RestartSec, and as much again for the emulated machine to notice and to start it.
RESTART_S = 20


class Systemd(unittest.TestCase):
    """A tunnel of /etc/default/reachback, three Host blocks, and a custom script's tunnel."""

    @classmethod
    def setUpClass(cls):
        cls.sshd_port, cls.args, cls.first, cls.second, cls.added, cls.script = free_ports(6)
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(
            SshServer(cls.sshd_port, [image.public_line(image.KEYS / "charge")]))
        files = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Each name of the server is a destination of its own.
        (files / "hosts").write_text("127.0.0.1 localhost\n10.0.2.2 one two three four\n")
        arguments = f"-y -i {arm.KEY} -R {cls.args}:localhost:80 {cls.server.user}@three:{cls.sshd_port}"
        (files / "default").write_text(f'REACHBACK_ARGS="{arguments}"\n')
        (files / "config").write_text(
            cls.block("broken", "four", 1).replace(arm.KEY, "/nonexistent")
            + cls.block("hub-1", "one", cls.first) + cls.block("hub2", "two", cls.second))
        cls.controller = stack.enter_context(arm.Controller(with_systemd=True, extra={
            "etc/hosts": files / "hosts",
            "etc/default/reachback": files / "default",
            "etc/reachback/config": files / "config",
        }))

    @classmethod
    def block(cls, name, host, *ports):
        forwards = "".join(f"  RemoteForward {port} localhost:80\n" for port in ports)
        return (f"Host {name}\n  Hostname {host}\n  Port {cls.sshd_port}\n  User {cls.server.user}\n"
                f"  IdentityFile {arm.KEY}\n  StrictHostKeyChecking accept-new\n{forwards}"
                "  StartAtBoot yes\n")

    def check(self, command):
        return self.controller.check(command, TIMEOUT_S)

    def state(self, unit):
        return self.check(f"systemctl show -P ActiveState -P SubState '{unit}'").split()

    def pid(self, unit):
        return self.check(f"systemctl show -P MainPID '{unit}'")

    def wait(self, condition, what, timeout_s=TIMEOUT_S):
        try:
            return arm.wait_until(condition, timeout_s, what)
        except arm.ControllerError as error:
            self.fail(f"{error}\n{self.controller.log()}")

    def wait_for(self, *ports, timeout_s=TIMEOUT_S):
        for port in ports:
            self.wait(lambda: through.has_dashboard(port), f"the dashboard at port {port}", timeout_s)

    # --- In order ----------------------------------------------------------------------

    HUB1 = r"reachback@hub\x2d1.service"
    HUB2 = "reachback@hub2.service"

    def test_01_at_boot_every_tunnel_is_started(self):
        self.wait_for(self.args, self.first, self.second)
        self.assertEqual(self.state("reachback-boot.service"), ["active", "exited"])
        for unit in ("reachback.service", self.HUB1, self.HUB2):
            self.assertEqual(self.state(unit), ["active", "running"])
        self.assertEqual(len(self.controller.pids()), 3)
        self.check("reachback status")

    def test_02_one_that_fails_says_why_and_is_not_tried_again_and_again(self):
        self.assertEqual(self.state("reachback@broken.service"), ["failed", "failed"])
        log = self.check("journalctl --no-pager -u reachback@broken.service")
        self.assertEqual(log.count("/nonexistent"), 1, log)

    def test_03_the_runtime_directory_is_there_and_roots(self):
        self.assertEqual(self.check("stat -c '%a %U' /run/reachback"), "700 root")

    def test_04_the_processes_are_confined(self):
        for unit in ("reachback.service", self.HUB1):
            status = self.check(f"cat /proc/{self.pid(unit)}/status")
            self.assertRegex(status, r"NoNewPrivs:\s+1")
            self.assertRegex(status, r"Seccomp:\s+2")
            self.assertRegex(status, r"Threads:\s+1")
        self.assertNotEqual(
            self.controller.run(f"nsenter -t {self.pid(self.HUB1)} -m touch /usr/bin/x").status, 0)

    def test_05_reload_reads_the_configuration_in_the_same_process(self):
        before = self.pid(self.HUB2)
        line = f"Host hub2\n  RemoteForward {self.added} localhost:80\n"
        self.check(f"printf '%s' '{line}' >>/etc/reachback/config")
        self.check("systemctl reload reachback-boot.service")
        self.wait_for(self.added)
        self.assertEqual(self.pid(self.HUB2), before)
        self.check("systemctl reload reachback.service")

    def test_06_a_fault_is_survived_in_the_same_process(self):
        before = self.pid(self.HUB1)
        worker = self.check(f"grep -l '^PPid:.{before}$' /proc/[0-9]*/status").split("/")[2]
        self.check(f"kill -SEGV {worker}")
        self.controller.wait_for_log("restarted after: signal SIGSEGV", TIMEOUT_S)
        self.wait_for(self.first)
        self.assertEqual(self.pid(self.HUB1), before)

    def test_07_what_was_killed_is_started_again(self):
        for unit, port in (("reachback.service", self.args), (self.HUB2, self.second)):
            before = self.pid(unit)
            self.check(f"kill -KILL {before}")
            self.wait(lambda: self.pid(unit) not in ("0", before), "another process", RESTART_S)
            self.wait_for(port)

    def test_08_a_scripts_tunnel_is_its_own(self):
        self.check(f"REACHBACK_REMOTE_PORT={self.script} /home/charge/custom_script2.sh "
                   f"{self.server.user}@{arm.HOST_ADDRESS}:{self.sshd_port}")
        self.wait_for(self.script)
        self.assertEqual(len(self.controller.pids()), 4)

    def test_09_restart_renews_every_block_and_takes_up_what_is_new(self):
        before = {unit: self.pid(unit) for unit in (self.HUB1, self.HUB2)}
        self.check("sed -i s,/nonexistent,/home/charge/.ssh/id_rsa, /etc/reachback/config")
        self.check("systemctl restart reachback-boot.service")
        self.wait_for(self.first, self.second, self.added, self.script)
        for unit, pid in before.items():
            self.assertNotEqual(self.pid(unit), pid)
        self.assertEqual(self.state("reachback@broken.service"), ["active", "running"])

    def test_10_a_block_that_is_gone_is_a_failed_unit_after_a_restart(self):
        self.check("sed -i 's/^Host broken$/Host other/' /etc/reachback/config")
        self.check("systemctl restart reachback-boot.service")
        self.wait(lambda: self.state("reachback@other.service") == ["active", "running"], "the new one runs")
        self.wait(lambda: self.state("reachback@broken.service") == ["failed", "failed"], "the old one does not")
        self.wait_for(self.first, self.second, self.added)

    def test_11_stop_ends_its_own_tunnels_only(self):
        self.check("systemctl stop reachback-boot.service")
        for port in (self.first, self.second, self.added):
            self.wait(lambda: not is_listening(port), f"port {port} is free")
        self.assertEqual(len(self.controller.pids()), 2)
        self.wait_for(self.args, self.script)
        self.check("systemctl stop reachback.service")
        self.wait(lambda: not is_listening(self.args), "its port is free")
        self.wait_for(self.script)
        self.check("reachback stop --all")
        self.assertEqual(self.controller.pids(), [])

    def test_12_a_bad_configuration_is_a_failure_with_its_place(self):
        self.check("mv /etc/reachback/config /tmp/config && echo Prot 22 >/etc/reachback/config")
        self.assertNotEqual(self.controller.run("systemctl start reachback-boot.service").status, 0)
        self.assertIn("/etc/reachback/config:1:1", self.controller.log())

    def test_13_nothing_to_start_is_no_failure(self):
        self.check("rm /etc/reachback/config && echo >/etc/default/reachback")
        self.check("systemctl reset-failed && systemctl start reachback.service reachback-boot.service")
        self.assertEqual(self.state("reachback.service")[0], "inactive")
        self.assertEqual(self.state("reachback-boot.service"), ["active", "exited"])
        self.assertEqual(self.check("systemctl --failed --no-legend"), "")
        self.assertEqual(self.controller.pids(), [])

    def test_14_another_user_by_the_drop_ins_that_the_package_installs(self):
        self.check(r"""
            chown -R charge:charge /home/charge
            for unit in reachback reachback@; do
                mkdir -p /etc/systemd/system/$unit.service.d
                printf '[Service]\nUser=charge\n' >/etc/systemd/system/$unit.service.d/user.conf
            done
            sed -i 's/ root root / charge - /' /usr/lib/tmpfiles.d/reachback.conf
            systemd-tmpfiles --create reachback.conf
            mv /tmp/config /etc/reachback/config
            systemctl daemon-reload && systemctl restart reachback-boot.service
        """)
        self.wait_for(self.first, self.second)
        self.assertRegex(self.check(f"cat /proc/{self.pid(self.HUB1)}/status"), r"Uid:\s+1000")
        self.assertEqual(self.check("stat -c '%a %U' /run/reachback"), "700 charge")
        self.check("grep -q . /home/charge/.ssh/known_hosts && reachback status")


if __name__ == "__main__":
    arm.end_on_signals()
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
