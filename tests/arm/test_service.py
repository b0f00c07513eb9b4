#!/usr/bin/env python3
"""The service on the controller itself: one boot, the installed init script, an upgrade.

    python3 tests/arm/test_service.py

tests/packaging/test_init.py has the details, on this machine; here the same init script runs
under the controller's BusyBox, with the ARM program and Dropbear. The tests run in order.
"""

import contextlib
import sys
import unittest

import controller as arm
import image
import through
from ssh_server import SshServer, free_ports, is_listening

SERVICE = "/etc/init.d/S60reachback"
TIMEOUT_S = 60


class TheService(unittest.TestCase):
    """A tunnel at boot for the shell, and a custom script's forward in it."""

    @classmethod
    def setUpClass(cls):
        sshd_port, cls.ssh_port, cls.web_port = free_ports(3)
        machine = arm.Controller()
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        server = stack.enter_context(SshServer(sshd_port, [image.public_line(image.KEYS / "charge")]))
        cls.controller = stack.enter_context(machine)
        cls.destination = f"{server.user}@{arm.HOST_ADDRESS}:{sshd_port}"

    def wait(self, condition, what):
        return arm.wait_until(condition, TIMEOUT_S, what)

    def both_listen(self):
        return is_listening(self.ssh_port) and is_listening(self.web_port)

    def test_1_nothing_is_started_as_it_is_installed(self):
        self.assertIn("nothing to start", self.controller.check(f"{SERVICE} start"))
        self.assertEqual(self.controller.pids(), [])

    def test_2_with_arguments_the_tunnel_is_up_and_a_script_adds_to_it(self):
        arguments = f"-N -y -i {arm.KEY} -R {self.ssh_port}:localhost:22 {self.destination}"
        self.controller.check(f"echo 'REACHBACK_ARGS=\"{arguments}\"' >/etc/default/reachback")
        self.assertIn("OK", self.controller.check(f"{SERVICE} start"))
        self.controller.check(
            f"REACHBACK_REMOTE_PORT={self.web_port} /home/charge/custom_script2.sh {self.destination}"
        )
        self.wait(self.both_listen, "both forwards")
        self.assertEqual(len(self.controller.pids()), 1)
        self.controller.check(f"{SERVICE} status")

    def test_3_a_restart_through_the_tunnel_brings_both_forwards_back(self):
        self.wait(lambda: through.shell(self.ssh_port, "hostname") == "controller", "a shell")
        before = self.controller.all_pids()
        through.shell(self.ssh_port, f"{SERVICE} restart")
        self.wait(lambda: self.controller.all_pids() not in ([], before), "another worker")
        self.wait(self.both_listen, "both forwards, again")
        self.wait(lambda: through.shell(self.ssh_port, "hostname") == "controller", "a shell, again")
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard")
        self.assertEqual(len(self.controller.pids()), 1)

    def test_4_stop_leaves_nothing(self):
        self.assertIn("OK", self.controller.check(f"{SERVICE} reload"))
        self.assertIn("OK", self.controller.check(f"{SERVICE} stop"))
        self.assertEqual(self.controller.pids(), [])
        self.controller.check("test -z \"$(ls /run/reachback)\"")

    def test_5_a_host_block_is_started_and_ended_beside_a_scripts_tunnel(self):
        address = f"{arm.HOST_ADDRESS}:"
        user, port = self.destination.split(f"@{address}")
        # The server's name and its address are two destinations.
        block = (f"Host hub\n  Hostname server\n  Port {port}\n  User {user}\n  IdentityFile {arm.KEY}\n"
                 f"  StrictHostKeyChecking accept-new\n  RemoteForward {self.web_port} localhost:80\n"
                 "  StartAtBoot yes\n")
        self.controller.check(f"echo '{block}' >/etc/reachback/config; echo >/etc/default/reachback")
        self.controller.check(
            f"REACHBACK_REMOTE_PORT={self.ssh_port} /home/charge/custom_script1.sh {self.destination}"
        )
        self.assertIn("OK", self.controller.check(f"{SERVICE} start"))
        self.wait(self.both_listen, "both forwards")
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard")
        self.assertIn("OK", self.controller.check(f"{SERVICE} stop"))
        self.wait(lambda: not is_listening(self.web_port), "the block's tunnel has ended")
        self.assertTrue(is_listening(self.ssh_port))
        self.assertEqual(len(self.controller.pids()), 1)


if __name__ == "__main__":
    arm.end_on_signals()
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
