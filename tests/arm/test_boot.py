#!/usr/bin/env python3
"""What must hold on the controller itself, shown in one boot.

    make test-arm        or    python3 tests/arm/test_boot.py

The tests run in the order in which they stand here: each uses the tunnel that the ones
before it started.
"""

import contextlib
import shlex
import sys
import time
import unittest

import controller as arm
import image
import through
from ssh_server import SshServer, free_ports, is_listening

TUNNEL_TIMEOUT_S = 60
# "At once" for a program that reads an RSA key on this emulated machine.
AT_ONCE_S = 3
EX_USAGE = 64
EX_UNAVAILABLE = 69

REFUSED = "Ebee custom script not invoked: Argument does not match user@domain"
NOT_ONE_DESTINATION = [
    "",
    "root",
    "root@",
    "-V",
    "-oProxyCommand=reboot",
    "root@10.0.2.2 -R 0.0.0.0:9:localhost:22",
    "root@1.2.3.4. -R 0.0.0.0:9:h:1",
    "root@10.0.2.2;reboot",
    "root@$(hostname).example.org",
    "root@10.0.2.2\nroot@10.0.2.3",
]


class TheController(unittest.TestCase):
    """One boot, one SSH server beside it, both scripts."""

    log_at_the_end = ""

    @classmethod
    def setUpClass(cls):
        cls.sshd_port, cls.ssh_port, cls.web_port = free_ports(3)
        machine = arm.Controller()
        authorized = [image.public_line(image.KEYS / "charge")]
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(SshServer(cls.sshd_port, authorized))
        cls.controller = stack.enter_context(machine)
        cls.destination = f"{cls.server.user}@{arm.HOST_ADDRESS}:{cls.sshd_port}"

    @classmethod
    def tearDownClass(cls):
        try:
            cls.log_at_the_end = cls.controller.log()
        except arm.ControllerError as error:
            cls.log_at_the_end = str(error)
        cls.log_at_the_end += "\n--- sshd\n" + cls.server.log()

    def script(self, number, *arguments):
        """Runs custom_script1.sh or custom_script2.sh; returns (outcome, seconds)."""
        port = {1: self.ssh_port, 2: self.web_port}[number]
        words = shlex.join([f"/home/charge/custom_script{number}.sh", *arguments])
        began = time.monotonic()
        outcome = self.controller.run(f"REACHBACK_REMOTE_PORT={port} {words}", 20)
        return outcome, time.monotonic() - began

    def wait(self, condition, what):
        return arm.wait_until(condition, TUNNEL_TIMEOUT_S, what)

    def wait_for_both(self):
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")
        self.wait(
            lambda: through.shell(self.ssh_port, "hostname") == "controller",
            "a shell through the tunnel",
        )

    # --- In order ----------------------------------------------------------------------

    def test_the_version_prints_without_configuration(self):
        self.assertRegex(self.controller.check("reachback --version"), r"^reachback \d+\.\d+\.\d+")

    def test_a_bad_argument_starts_nothing_and_is_logged(self):
        for argument in NOT_ONE_DESTINATION:
            with self.subTest(argument=argument):
                before = self.controller.log().count(REFUSED)
                outcome, _ = self.script(1, argument)
                self.assertEqual(outcome.status, EX_USAGE, outcome.output)
                self.controller.wait_for_log(REFUSED, 5, before + 1)
                self.assertEqual(self.controller.pids(), [])

    def test_more_or_fewer_than_one_argument_start_nothing(self):
        for arguments in ([], [self.destination, self.destination]):
            with self.subTest(arguments=arguments):
                outcome, _ = self.script(2, *arguments)
                self.assertEqual(outcome.status, EX_USAGE, outcome.output)
                self.assertEqual(self.controller.pids(), [])

    def test_a_script_without_the_program_says_so(self):
        outcome = self.controller.run(
            f"REACHBACK=/nonexistent /home/charge/custom_script1.sh {self.destination}"
        )
        self.assertEqual(outcome.status, EX_UNAVAILABLE)
        self.controller.wait_for_log("/nonexistent is not installed", 5)

    def test_both_scripts_return_at_once(self):
        for number in (1, 2):
            outcome, seconds = self.script(number, self.destination)
            self.assertEqual(outcome.status, 0, outcome.output)
            self.assertLess(seconds, AT_ONCE_S)

    def test_both_scripts_log_word_for_word(self):
        invoked = f": Ebee custom script invoked with parameter {self.destination}"
        completed = ": Ebee custom script invocation completed"
        self.controller.wait_for_log(invoked, 5, 2)
        self.controller.wait_for_log(completed, 5, 2)
        for wanted in (invoked, completed):
            lines = [line for line in self.controller.log().splitlines() if line.endswith(wanted)]
            self.assertEqual(len(lines), 2, self.controller.log())
            for line in lines:
                self.assertRegex(line, r" daemon\.info reachback\[\d+\]: Ebee ")

    def test_dashboard_and_shell_are_reached_through_the_tunnel(self):
        self.wait_for_both()
        self.controller.wait_for_log(f"tunnel up: {self.server.user}@{arm.HOST_ADDRESS}", 5)

    def test_the_host_key_is_pinned(self):
        pinned = self.controller.check("cat /root/.ssh/known_hosts")
        host_key = (self.server.directory / "host_key.pub").read_text().split()[1]
        self.assertIn(host_key, pinned)

    def test_every_process_has_one_thread(self):
        pids = self.controller.pids()
        self.assertNotEqual(pids, [])
        for pid in pids:
            tasks = self.controller.check(f"ls /proc/{pid}/task").split()
            self.assertEqual(tasks, [pid])

    def test_a_worker_makes_the_calls_of_its_list_only(self):
        workers = set(self.controller.all_pids("reachback")) - set(self.controller.pids())
        self.assertNotEqual(workers, set())
        for pid in workers:
            status = self.controller.check(f"cat /proc/{pid}/status")
            self.assertIn("Seccomp:\t2", status)
            self.assertIn("CapEff:\t0000000000002002", status)

    def test_the_tunnel_comes_back_after_the_session_is_killed(self):
        before = self.controller.log().count("tunnel up:")
        self.assertGreater(self.server.cut_sessions(), 0)
        self.controller.wait_for_log("connection lost:", TUNNEL_TIMEOUT_S)
        self.controller.wait_for_log("tunnel up:", TUNNEL_TIMEOUT_S, before + 1)
        self.wait_for_both()

    def test_the_tunnel_comes_back_after_the_server_restarts(self):
        self.server.stop()
        self.wait(lambda: not is_listening(self.web_port), "the forward's listener is gone")
        self.server.start()
        self.wait_for_both()

    def test_sigterm_ends_what_the_scripts_started(self):
        self.controller.check("kill -TERM " + " ".join(self.controller.pids()))
        arm.wait_until(lambda: not self.controller.pids(), 10, "reachback has ended")
        for port in (self.ssh_port, self.web_port):
            self.wait(lambda: not is_listening(port), "the forward's listener is gone")

    def test_a_server_that_is_not_there_at_the_start_is_waited_for(self):
        self.server.stop()
        failed = self.controller.log().count("no connection:")
        outcome, seconds = self.script(2, self.destination)
        self.assertEqual(outcome.status, 0, outcome.output)
        self.assertLess(seconds, AT_ONCE_S)
        self.controller.wait_for_log("no connection:", TUNNEL_TIMEOUT_S, failed + 1)
        self.assertNotEqual(self.controller.pids(), [])
        self.server.start()
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")

    def test_sigterm_in_the_foreground_exits_0(self):
        self.controller.run("kill -TERM " + " ".join(self.controller.pids()))
        arm.wait_until(lambda: not self.controller.pids(), 10, "reachback has ended")
        self.wait(lambda: not is_listening(self.web_port), "the forward's listener is gone")
        user = f"{self.server.user}@{arm.HOST_ADDRESS}"
        self.controller.check(
            f"(reachback -y -N -p {self.sshd_port} -i {arm.KEY} -R {self.web_port}:localhost:80"
            f" {user}; echo $? >/tmp/status) >/tmp/foreground 2>&1 &"
        )
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")
        self.controller.check("kill -TERM " + " ".join(self.controller.pids()))
        self.wait(lambda: self.controller.run("cat /tmp/status").output.strip(), "an exit status")
        self.assertEqual(self.controller.check("cat /tmp/status"), "0")

    def test_no_call_of_a_worker_was_refused(self):
        said = self.controller.check("dmesg")
        self.assertIn("audit: initializing", said, "or else it would not be logged")
        self.assertNotIn("type=1326", said)

    def test_nothing_panicked(self):
        self.assertNotIn("panick", self.controller.log() + self.controller.check("cat /tmp/foreground"))


def main():
    arm.end_on_signals()
    suite = unittest.TestSuite(
        TheController(name) for name in vars(TheController) if name.startswith("test_")
    )
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        print("--- the controller's log at the end\n" + TheController.log_at_the_end)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
